"""The tagger on texts whose entities are known, windows, decoding, and arbitrary Unicode."""

import itertools
import re
import unicodedata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxprs import product_precisions

from zoo.core.errors import UserError
from zoo.openmed_ner.convert import load_token_classifier
from zoo.openmed_ner.decode import best_tags, entities, log_probabilities
from zoo.openmed_ner.labels import LabelMap
from zoo.openmed_ner.pipeline import Entity, Tagger, _forward, tagger_from_folder
from zoo.openmed_ner.tokenize import NO_PIECE, Pieces, Tokenizer
from zoo.openmed_ner.windows import LENGTHS, ROW_LENGTHS, batches, padded_length, windows


@pytest.fixture(scope="module")
def make(lexicon_folder, lexicon_labels):
    model, tokenizer = load_token_classifier(lexicon_folder).model, Tokenizer(lexicon_folder)
    return lambda **settings: Tagger(model, tokenizer, lexicon_labels, **settings)


@pytest.fixture(scope="module")
def tagger(make):
    return make()


def found(entities):
    return [(e.text, e.label) for e in entities]


def exact(text, entities):
    assert all(text[e.start : e.end] == e.text and e.start < e.end for e in entities)
    assert all(not e.text[0].isspace() and not e.text[-1].isspace() for e in entities)
    assert all(a.end <= b.start for a, b in itertools.pairwise(entities))
    assert all(0 < e.score <= 1 for e in entities)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", []),
        (" \n\t ", []),
        ("no signs", []),
        ("Breast cancer and fever.", ["Breast cancer", "fever"]),
        ("breast  cancer", ["breast  cancer"]),
        ("breast\n cancer", ["breast\n cancer"]),
        ("  fever\n", ["fever"]),
        ("fever fever", ["fever", "fever"]),  # B- splits neighbours
        ("fevers", ["fevers"]),  # fever ##s: the first piece speaks for the word
        ("breast can\u200bcer of", ["breast can\u200bcer"]),
        ("bre\u00adast cancer", ["bre\u00adast cancer"]),
        ("breast \u200b cancer", ["breast \u200b cancer"]),  # a word without a piece inside an entity
        ("\ufefffever", ["fever"]),
        ("breast\u00a0cancer\u2028fever", ["breast\u00a0cancer", "fever"]),
        ("cancer", ["cancer"]),  # I- is likeliest, but continues nothing
        ("(fever),fever-fever", ["fever"] * 3),
        ("[SEP] fever [MASK]", ["fever"]),
    ],
)
def test_known_entities(tagger, text, want):
    got = tagger(text)
    exact(text, got)
    assert [e.text for e in got if e.label == "D"] == want


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
def test_accents(tagger, form):
    text = unicodedata.normalize(form, "the Ménière's disease")
    got = tagger(text)
    exact(text, got)
    assert found(got) == [(unicodedata.normalize(form, "Ménière"), "D")]


def test_cjk_and_emoji(tagger):
    text = "😀 肺癌, 👩‍⚕️ fever 😀"
    got = tagger(text)
    exact(text, got)
    assert ("肺癌", "G") in found(got)
    assert ("fever", "D") in found(got)
    assert ("😀", "U") in found(got)  # [UNK] has its place too


WORDS = st.sampled_from(
    ["breast", "cancer", "fever", "of", "signs", "Ménière", "肺", "癌", "fevers", "a2a2a2a2a2", ".", "\u200b"]
)


def truth(words):
    """Entities of the dictionary as lists of words: an independent reading."""
    out, open_kind = [], None
    for i, word in enumerate(words):
        kind = {
            "fever": "B-D",
            "fevers": "B-D",
            "breast": "B-D",
            "ménière": "B-D",
            "cancer": "I-D",
            "肺": "B-G",
            "癌": "I-G",
        }.get(word.lower())
        if word == "\u200b":
            continue
        if kind and kind[0] == "I" and open_kind == kind[2:]:
            out[-1][-1] = i
        elif kind:
            out.append([kind[2:], i, i])
        open_kind = kind[2:] if kind else None
    return [(kind, a, b) for kind, a, b in out]


@given(words=st.lists(WORDS, max_size=150), window=st.sampled_from([3, 5, 18, 40]), share=st.floats(0, 0.5))
@settings(max_examples=30, deadline=None)
def test_no_window_border_costs_an_entity(make, words, window, share):
    """The scores do not depend on context here, so any windows must give what one pass over the words gives."""
    text = " ".join(words)
    starts = np.cumsum([0] + [len(w) + 1 for w in words])
    tagger = make(window=window, overlap=int(share * (window - 2)), batch_tokens=256)
    got = tagger(text)
    exact(text, got)
    want = [(kind, int(starts[a]), int(starts[b]) + len(words[b])) for kind, a, b in truth(words)]
    assert [(e.label, e.start, e.end) for e in got] == want


def test_a_long_document_is_not_cut(tagger):
    text = "signs of breast\ncancer, fever. " * 700
    got = tagger(text)
    exact(text, got)
    assert len(got) == 1400
    assert [m.start() for m in re.finditer("breast|fever", text)] == [e.start for e in got]


def test_lists_are_as_their_texts_alone(tagger):
    texts = ["fever", "", "breast cancer " * 60, "the signs", "a " * 100 + "fever"]
    together = tagger(texts)
    for text, got in zip(texts, together):
        alone = tagger(text)
        assert [(e.text, e.label, e.start, e.end) for e in got] == [(e.text, e.label, e.start, e.end) for e in alone]
        np.testing.assert_allclose([e.score for e in got], [e.score for e in alone], rtol=1e-4)
    streamed = list(tagger.stream(iter(texts), chunk=2))
    assert [found(e) for e in streamed] == [found(e) for e in together]
    assert tagger([]) == []


@given(
    text=st.text(
        st.one_of(st.characters(), st.sampled_from("fever brast cn\u0301\u200b\ufeff\u00ad \n肺癌😀👩‍⚕️[]-")),
        max_size=60,
    )
)
@settings(max_examples=150, deadline=None)
def test_arbitrary_unicode(tagger, text):
    exact(text, tagger(text))


@given(parts=st.lists(st.one_of(st.just("fever"), st.text(st.characters(), max_size=5)), max_size=10))
@settings(max_examples=100, deadline=None)
def test_an_entity_amid_arbitrary_unicode_is_found(tagger, parts):
    text = " ".join(parts)
    got = tagger(text)
    exact(text, got)
    wanted = [m.start() for m in re.finditer(r"(?<!\S)fever(?!\S)", text)]
    assert set(wanted) <= {e.start for e in got if e.label == "D"}


def test_thresholds(make):
    text = "fever 肺癌"
    every = make()(text)
    assert found(make(threshold={"D": 1.0})(text)) == [("肺癌", "G")]
    assert make(threshold=1.0)(text) == []
    assert make(threshold=min(e.score for e in every))(text) == every


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"window": 41}, "window=41: it must lie in 3..40"),
        ({"window": 2}, "window=2"),
        ({"window": 12, "overlap": 6}, "overlap=6: it must lie in 0..5"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"threshold": {"X": 0.5}}, "threshold for 'X': the model's types are D, G, U"),
    ],
)
def test_settings_that_are_refused(make, settings, says):
    with pytest.raises(UserError) as error:
        make(**settings)
    assert says in str(error.value)


@pytest.mark.wrong_types
def test_inputs_that_are_refused(tagger):
    with pytest.raises(UserError, match="text 1 is a int"):
        tagger(["a", 3])
    with pytest.raises(UserError, match="text 0 is a NoneType"):
        tagger([None])
    for wrong, name in ((None, "NoneType"), (3, "int"), ({"text": "a"}, "dict")):
        with pytest.raises(UserError, match=f"text is a {name}: give a str"):
            tagger(wrong)
    with pytest.raises(UserError, match="texts is a str"):
        list(tagger.stream("fever"))
    with pytest.raises(UserError, match="chunk=0"):
        list(tagger.stream(["fever"], chunk=0))


def test_labels_and_tokenizer_must_fit(lexicon_folder, lexicon_labels):
    model = load_token_classifier(lexicon_folder).model
    with pytest.raises(UserError, match="the label map has 3 labels and the head 7"):
        Tagger(model, Tokenizer(lexicon_folder), LabelMap.of_types(["D"]))


def test_a_folder_is_a_tagger(lexicon_folder):
    tagger = tagger_from_folder(lexicon_folder, threshold=0.1)
    assert isinstance(tagger("x")[:0], list)
    assert Entity("a", "D", 0, 1, 0.5).to_dict() == {"text": "a", "label": "D", "start": 0, "end": 1, "score": 0.5}


# Windows


@st.composite
def documents(draw):
    lengths = draw(st.lists(st.integers(1, 7), max_size=40))
    words = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    first = (np.cumsum([0, *lengths])[:-1]).astype(np.int32)
    ids = np.arange(len(words), dtype=np.int32)
    return Pieces(ids, np.stack([ids, ids + 1], 1), words, first)


@given(pieces=documents(), size=st.integers(1, 30), share=st.floats(0, 0.5))
def test_every_piece_is_owned_once_with_context(pieces, size, share):
    overlap = int(share * size)
    made = windows(pieces, size=size, overlap=overlap)
    owned = [i for w in made for i in range(w.own_start, w.own_end)]
    assert owned == list(range(len(pieces)))
    for w in made:
        assert w.start <= w.own_start <= w.own_end <= w.end
        assert len(w) <= size
    for a, b in itertools.pairwise(made):
        assert b.start < a.end or overlap == 0
        border = a.own_end
        assert min(a.end - border, border - b.start) >= 0
        if overlap >= 14:  # twice the longest word: the border has context on both sides
            assert min(a.end - border, border - b.start) >= overlap // 2 - 7
            assert border in pieces.first


def test_a_short_document_is_one_window():
    pieces = Pieces(np.zeros(5, np.int32), np.zeros((5, 2), np.int32), np.zeros(5, np.int32), np.zeros(1, np.int32))
    assert [(w.start, w.end, w.own_start, w.own_end) for w in windows(pieces, size=5, overlap=2)] == [(0, 5, 0, 5)]
    for size, overlap in ((0, 0), (5, 3), (5, -1)):
        with pytest.raises(UserError, match="window"):
            windows(pieces, size=size, overlap=overlap)


def cut(lengths, size):
    """Documents of so many pieces and their windows of at most ``size``, special pieces not counted."""
    rng, ids, todo = np.random.default_rng(0), [], []
    for i, n in enumerate(lengths):
        ids.append(rng.integers(5, 100, n).astype(np.int32))
        first = np.arange(n, dtype=np.int32)
        todo += windows(Pieces(ids[-1], np.zeros((n, 2), np.int32), first, first), size=size, overlap=30, document=i)
    return ids, todo


def test_batches_have_few_shapes_and_hold_every_window_once():
    ids, todo = cut(np.random.default_rng(1).integers(1, 500, 300), 126)
    seen, shapes, pieces = [], set(), 0
    for batch in batches(todo, ids, cls=1, sep=2, pad=0, limit=128, tokens=1024):
        assert batch.input_ids.size <= 1024
        shapes.add(batch.input_ids.shape)
        pieces += batch.input_ids.size
        left = np.ones(batch.input_ids.shape, bool)
        for w, (row, at) in zip(batch.windows, batch.places):
            n = len(w) + 2
            here = row, slice(at, at + n)
            assert batch.input_ids[here].tolist() == [1, *ids[w.document][w.start : w.end], 2]
            assert batch.position_ids[here].tolist() == list(range(n))
            number = batch.segments[row, at]
            assert number > 0
            np.testing.assert_array_equal(np.flatnonzero(batch.segments[row] == number), np.arange(at, at + n))
            left[here] = False
        assert not batch.segments[left].any()
        assert not batch.input_ids[left].any()
        seen += batch.windows
    assert sorted(seen, key=lambda w: (w.document, w.start)) == todo
    assert {length for _, length in shapes} <= {*ROW_LENGTHS, *LENGTHS}
    assert len(shapes) <= 8
    assert sum(len(w) + 2 for w in todo) > 0.93 * pieces
    assert padded_length(33, 40) == 40
    assert padded_length(512, 512) == 512


def test_a_short_text_by_itself_gets_a_short_row():
    for n, length in ((1, 16), (20, 24), (60, 64), (70, 80), (126, 128)):
        ids, todo = cut([n], 126)
        (batch,) = batches(todo, ids, cls=1, sep=2, pad=0, limit=128, tokens=1024)
        assert batch.input_ids.shape == (1, length)


def test_texts_that_share_a_row_do_not_see_each_other(tagger):
    texts = ["cystic fibrosis", "ataxia of the heart in cystic fibrosis", "heart", "no", "ataxia " * 40]
    pieces = [tagger.tokenizer.text(text)[0] for text in texts]
    together = tagger.word_log_probabilities(pieces)
    for one, log_p in zip(pieces, together):
        np.testing.assert_allclose(tagger.word_log_probabilities([one])[0], log_p, atol=2e-5)


# Decoding


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_the_best_allowed_sequence_by_trying_all(seed, n):
    for names in (("B-X", "I-X", "O"), ("O", "B-X", "I-X", "E-X", "S-X"), ("GENE", None, "O")):
        labels = LabelMap(names)
        log_p = log_probabilities(np.random.default_rng(seed).standard_normal((n, labels.size)) * 3, labels)
        table, out = labels.allowed(), labels.outside
        scores = {}
        for path in itertools.product(range(labels.size), repeat=n):
            steps = (
                [table[-1][path[0]], *(table[a][b] for a, b in itertools.pairwise(path)), table[path[-1]][out]]
                if n
                else []
            )
            if all(steps) and all(names[i] is not None for i in path):
                scores[path] = sum(log_p[i, k] for i, k in enumerate(path))
        got = tuple(best_tags(log_p, labels))
        assert scores[got] == pytest.approx(max(scores.values()))


def test_scores_are_geometric_means():
    labels = LabelMap(("O", "B-X", "I-X"))
    p = np.array([[0.1, 0.8, 0.1], [0.3, 0.2, 0.5], [0.9, 0.05, 0.05]])
    ((start, end, kind, score),) = entities(np.log(p), labels)
    assert (start, end, kind) == (0, 2, "X")
    assert score == pytest.approx((0.8 * 0.5) ** 0.5)
    assert NO_PIECE == -1


def test_products_are_whole_float32(lexicon_folder) -> None:
    graphdef, state = nnx.split(load_token_classifier(lexicon_folder).model)
    row = jnp.zeros((1, 16), jnp.int32)
    traced = jax.make_jaxpr(_forward, static_argnums=0)(graphdef, state, row, row, row + 1)
    assert product_precisions(traced) == {"HIGHEST"}
