"""Places of pieces and words: on tokenizers made here (word pieces, bytes, sentence pieces) and on arbitrary Unicode."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.core.errors import DamagedError, UserError
from zoo.openmed_ner.tokenize import NO_PIECE, Tokenizer, word_spans

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402

WORDS = "fever of the unknown origin breast cancer menieres disease il 2 nf kappa b cells α receptor 肺 癌 - ' . , ( ) [ ] _"
TEXT = ["fever of unknown origin", "breast cancer cells, IL-2 (NF-kappa B)", "Ménière's disease", "α-receptor 肺癌"] * 5


def bert(folder):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), *"abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces += ["##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"] + ["##es", "##cer"]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    fast = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=20))
    fast.normalizer = normalizers.BertNormalizer(lowercase=True)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.add_special_tokens([AddedToken(p, special=True) for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    fast.enable_truncation(4)
    fast.enable_padding(length=4)
    fast.save(str(folder / "tokenizer.json"))


def byte_level(folder):
    """RoBERTa's kind: one emoji is several pieces of the same place."""
    fast = tokenizers.Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    fast.decoder = decoders.ByteLevel()
    special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    fast.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    )
    fast.save(str(folder / "tokenizer.json"))


def metaspace(folder):
    """DeBERTa-v3's and XLM-R's kind: offsets that hold the space before a word, lone and overlapping marks."""
    fast = tokenizers.Tokenizer(models.Unigram())
    fast.normalizer = normalizers.NFKC()
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>")
    fast.train_from_iterator(TEXT, trainer)
    fast.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module", params=[bert, byte_level, metaspace], ids=lambda f: f.__name__)
def any_tokenizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.__name__)
    request.param(folder)
    return Tokenizer(folder)


@pytest.fixture(scope="module")
def bert_tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    bert(folder)
    return Tokenizer(folder)


def check(text, pieces, bounds):
    n = len(pieces.ids)
    assert pieces.offsets.shape == (n, 2)
    assert len(pieces.words) == n
    assert len(pieces.first) == len(bounds)
    flat = pieces.offsets.reshape(-1).tolist()
    assert flat == sorted(flat)  # in order and apart
    assert not flat or (flat[0] >= 0 and flat[-1] <= len(text))
    assert (np.diff(pieces.words) >= 0).all()
    for start, end in pieces.offsets.tolist():
        if end > start:
            assert not text[start].isspace()
            assert not text[end - 1].isspace()
    edges = bounds.reshape(-1).tolist()
    assert edges == sorted(edges)
    covered = {i for a, b in bounds.tolist() for i in range(a, b)}
    assert covered >= {i for i, c in enumerate(text) if not c.isspace()}
    first = [f for f in pieces.first.tolist() if f != NO_PIECE]
    assert first == sorted(set(first))  # no two words share a piece
    for word, f in enumerate(pieces.first.tolist()):
        if f != NO_PIECE:
            a, b = bounds[word]
            assert pieces.offsets[f, 0] < b
            assert pieces.offsets[f, 1] > a


unicode_text = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("ab é\u0301\u200b\u200d\ufeff\u00ad\u00a0\u2028\n\t肺😀👩‍İßﬁﷺ[]▁Ġ"),
    ),
    max_size=40,
)


@given(text=unicode_text)
@settings(max_examples=150, deadline=None)
def test_places_hold_on_arbitrary_unicode(any_tokenizer, text):
    check(text, *any_tokenizer.text(text))


@given(words=st.lists(st.text(st.characters(), min_size=1, max_size=6), max_size=8))
@settings(max_examples=100, deadline=None)
def test_words_keep_their_count(any_tokenizer, words):
    words = ["".join(w.split()) or "x" for w in words]
    (pieces,) = any_tokenizer.sentences([words])
    assert len(pieces.first) == len(words)
    starts = np.cumsum([0] + [len(w) + 1 for w in words])
    for word, f in enumerate(pieces.first.tolist()):
        if f != NO_PIECE:
            assert starts[word] <= pieces.offsets[f, 0] < starts[word] + len(words[word])


@given(words=st.lists(st.text(st.sampled_from("abfe2é\u0301\u200b-'肺😀[]\x00"), min_size=1, max_size=6), max_size=8))
@settings(max_examples=150, deadline=None)
def test_pieces_of_words_are_the_librarys_own(bert_tokenizer, words):
    """The library's word ids for words given apart: an independent road to which piece belongs to which word."""
    (pieces,) = bert_tokenizer.sentences([words])
    encoded = bert_tokenizer._fast.encode(words, is_pretokenized=True, add_special_tokens=False)
    assert pieces.ids.tolist() == encoded.ids
    first = [NO_PIECE] * len(words)
    for i, word in reversed(list(enumerate(encoded.word_ids))):
        first[word] = i
    assert pieces.first.tolist() == first


def spelt(tokenizer, text):
    pieces, bounds = tokenizer.text(text)
    check(text, pieces, bounds)
    return [text[a:b] for a, b in bounds], pieces


def test_words_that_the_normaliser_drops_keep_their_place(bert_tokenizer):
    (pieces,) = bert_tokenizer.sentences([["fever", "\u200b", "of", "\x00", "origin"]])
    assert pieces.first.tolist() == [0, NO_PIECE, 1, NO_PIECE, 2]


@pytest.mark.parametrize("text", ["", " ", "\n\t  \u00a0"])
def test_empty_and_blank_text(any_tokenizer, text):
    words, pieces = spelt(any_tokenizer, text)
    assert words == []
    assert len(pieces) == 0


def test_accents_composed_and_apart(any_tokenizer):
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, "Ménière's  disease")
        words, _ = spelt(any_tokenizer, text)
        assert words[0] == unicodedata.normalize(form, "Ménière")
        assert words[1:] in (["'", "s", "disease"], ["'s", "disease"])  # bytes: "'s" is one piece, so one word


def test_characters_inside_a_word_that_vanish(bert_tokenizer):
    words, pieces = spelt(bert_tokenizer, "breast can\u200bcer")
    assert words == ["breast", "can\u200bcer"]
    assert pieces.first.tolist() == [0, 1]


def test_emoji_cjk_and_symbols(any_tokenizer):
    words, _ = spelt(any_tokenizer, "肺癌 😀 α-receptor")
    assert [w for w in words if w not in "肺癌"] == ["😀", "α", "-", "receptor"]
    assert "".join(words[:-4]) == "肺癌"


def test_special_pieces_in_a_text_are_text(any_tokenizer):
    for text in ("a [SEP] b", "a </s> b", "[CLS][MASK]", "<s>"):
        _, pieces = spelt(any_tokenizer, text)
        own = {any_tokenizer.cls, any_tokenizer.sep, any_tokenizer.pad, any_tokenizer.mask}
        assert not own & set(pieces.ids.tolist())


def test_nothing_is_cut_or_padded(any_tokenizer):
    words, pieces = spelt(any_tokenizer, "fever of the breast " * 300)
    assert len(words) == 1200
    assert len(pieces) >= 1200
    assert NO_PIECE not in pieces.first


def test_lone_surrogates_do_not_break_it(any_tokenizer):
    words, _ = spelt(any_tokenizer, "fever \ud800 x")
    assert words == ["fever", "\ud800", "x"]


def test_words_are_cut_at_punctuation():
    text = "IL-2_R's (n=3) can't"
    assert [text[a:b] for a, b in word_spans(text)] == [
        "IL", "-", "2", "_", "R", "'", "s", "(", "n", "=", "3", ")", "can", "'", "t"
    ]  # fmt: skip


def test_white_space_in_a_word_is_refused(bert_tokenizer):
    for word in ("a b", "", "a\u00a0b"):
        with pytest.raises(UserError, match="a word is one or more characters without white space"):
            bert_tokenizer.sentences([["x", word]])


def test_folders_without_a_tokenizer(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json: no such file"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DamagedError, match="not a tokenizer"):
        Tokenizer(tmp_path)
    fast = tokenizers.Tokenizer(models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    fast.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="the tokenizer has no cls_token"):
        Tokenizer(tmp_path)


def test_special_pieces_named_in_the_config(tmp_path):
    fast = tokenizers.Tokenizer(models.WordPiece({"!": 0, "?": 1, "#": 2, "[UNK]": 3}, unk_token="[UNK]"))
    fast.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(
        '{"cls_token": "!", "sep_token": {"content": "?"}, "pad_token": "#"}'
    )
    made = Tokenizer(tmp_path)
    assert (made.cls, made.sep, made.pad, made.mask, made.unknown) == (0, 1, 2, NO_PIECE, 3)
