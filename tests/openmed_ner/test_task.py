"""Fine-tuning: examples, batches, scores against seqeval, and a short run that learns."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.core.errors import UserError
from zoo.core.schema import OptimizerConfig, RunConfig, TrainerConfig
from zoo.core.task import Split
from zoo.openmed_ner.config import LoraSettings, TaggerConfig, TaggerDataConfig, TaggerModelConfig
from zoo.openmed_ner.corpora.records import Report, Sentence
from zoo.openmed_ner.examples import IGNORED, LengthSampler, TaggedRecords
from zoo.openmed_ner.labels import LabelMap, spans
from zoo.openmed_ner.scoring import f1_scores
from zoo.openmed_ner.task import TaggerTask
from zoo.openmed_ner.tokenize import Tokenizer

TAGS = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])


@given(st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_f1_is_seqevals(rows):
    from seqeval.metrics import f1_score, precision_score, recall_score

    gold, predicted = [[a for a, _ in row] for row in rows], [[b for _, b in row] for row in rows]
    got = f1_scores((spans(a), spans(b)) for a, b in zip(gold, predicted))
    for name, metric in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert got[name] == pytest.approx(100 * metric(gold, predicted, zero_division=0))


def test_partial_matches():
    got = f1_scores([([(0, 3, "X"), (5, 6, "X")], [(1, 2, "X"), (5, 6, "Y")])])
    assert got == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "f1_partial": 50.0}
    assert f1_scores([([], [])])["f1"] == 0.0


def sentence(text):
    words, tags = zip(*(pair.rsplit("/", 1) for pair in text.split()))
    return Sentence(words, tags)


@pytest.fixture(scope="module")
def tokenizer(lexicon_folder):
    return Tokenizer(lexicon_folder)


LABELS = LabelMap.of_types(["D"])


def test_labels_stand_at_first_pieces_of_the_taggers_words(tokenizer):
    rows = [sentence("a2a/B-D \u200b/I-D fever-cells/I-D of/O fevers/B-D")]
    records = TaggedRecords(rows, tokenizer, LABELS, 32, Split.TRAIN)
    batch = records.take(np.array([0]))
    got = [None if k == IGNORED else LABELS.names[k] for k in batch["labels"][0]]
    # [CLS] a ##2 ##a fever - cells of fever ##s [SEP] and padding: the word that vanishes shifts nothing
    assert got[:11] == [None, "B-D", None, None, "I-D", "I-D", "I-D", "O", "B-D", None, None]
    assert set(got[11:]) == {None}
    assert batch["attention_mask"].sum() == 11
    assert batch["input_ids"].shape == (1, 16)


def test_long_sentences_are_cut_into_windows_and_labelled_once(tokenizer):
    rows = [sentence("fever/B-D of/O " * 30), sentence("of/O")]
    records = TaggedRecords(rows, tokenizer, LABELS, 16, Split.TRAIN)
    batch = records.take(np.arange(len(records)))
    assert batch["input_ids"].shape[1] == 16
    assert (batch["labels"] != IGNORED).sum() == 61
    assert records.mean_labels == 61 / len(records)
    # and perfect scores give the gold entities back
    logits = np.eye(3, dtype=np.float32)[np.maximum(batch["labels"], 0)] * 9
    predicted = list(records.predictions([(np.arange(len(records)), logits)]))
    assert predicted == [s.entities for s in rows]


def many(n, seed=0):
    """Sentences of 1 to 30 words, some longer than a row."""
    rng = np.random.default_rng(seed)
    words = ("fever/B-D", "of/O", "cells/O", "a2a/B-D", "fevers/B-D")
    return [sentence("fever/B-D " + " ".join(rng.choice(words, k))) for k in rng.integers(1, 30, n)]


def test_packed_rows_hold_every_label_once_and_give_the_entities_back(tokenizer):
    sentences = many(200)
    packed, alone = (TaggedRecords(sentences, tokenizer, LABELS, 40, Split.TRAIN, packed=p) for p in (True, False))
    assert len(packed) < 0.7 * len(alone)
    assert set(packed.lengths.tolist()) == {40}
    a, b = (records.take(np.arange(len(records))) for records in (packed, alone))
    for key in ("labels", "input_ids"):
        np.testing.assert_array_equal(np.bincount(a[key].ravel() + 1)[2:], np.bincount(b[key].ravel() + 1)[2:])
    assert a["attention_mask"].mean() > 0.9
    assert packed.mean_labels * len(packed) == pytest.approx(alone.mean_labels * len(alone))
    assert "segments" not in b
    logits = np.eye(3, dtype=np.float32)[np.maximum(a["labels"], 0)] * 9
    order = np.random.default_rng(1).permutation(len(packed))
    found = list(packed.predictions([(part, logits[part]) for part in np.array_split(order, 5)]))
    assert found == [s.entities for s in sentences]
    assert packed.fingerprint() != alone.fingerprint()


def test_predictions_inside_a_word_become_the_words(tokenizer):
    rows = [sentence("fever-cells/O of/O")]
    records = TaggedRecords(rows, tokenizer, LABELS, 16, Split.TEST)
    logits = np.zeros((1, 16, 3), np.float32)
    logits[0, :, 0] = 5
    logits[0, 1, 1] = logits[0, 3, 1] = 9  # two entities in one word of the corpus
    assert list(records.predictions([(np.array([0]), logits)])) == [[(0, 1, "D")]]


def test_unknown_types(tokenizer):
    rows = [sentence("fever/B-Z")]
    with pytest.raises(UserError, match="label 'B-Z' is not in the label map"):
        TaggedRecords(rows, tokenizer, LABELS, 16, Split.TRAIN)
    records = TaggedRecords(rows, tokenizer, LABELS, 16, Split.VALID)
    assert (records.take(np.array([0]))["labels"] == IGNORED).all()


def test_fingerprints_follow_the_content(tokenizer):
    made = [
        TaggedRecords([sentence(text)], tokenizer, LABELS, length, Split.TRAIN).fingerprint()
        for text, length in (("fever/B-D", 16), ("fever/O", 16), ("of/O", 16), ("fever/B-D", 32), ("fever/B-D", 16))
    ]
    assert len(set(made)) == 4
    assert made[0] == made[4]


@given(n=st.integers(1, 300), size=st.integers(1, 32), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_an_epoch_holds_every_example(n, size, seed):
    sampler = LengthSampler(np.arange(n) % 17, size, seed, pool=4)
    epoch = np.concatenate([sampler(i) for i in range(sampler.batches)])
    assert set(epoch.tolist()) == set(range(n))
    assert len(epoch) - n < size
    assert np.array_equal(
        sampler(sampler.batches + 1), LengthSampler(np.arange(n) % 17, size, seed, pool=4)(sampler.batches + 1)
    )


def test_batches_are_of_about_one_length():
    lengths = np.random.default_rng(0).integers(5, 120, 4000)
    sampler = LengthSampler(lengths, 16, 0)
    spread = [np.ptp(lengths[sampler(i)]) for i in range(sampler.batches)]
    assert np.median(spread) <= 4
    other = LengthSampler(lengths, 16, 1)
    assert not np.array_equal(sampler(0), other(0))
    assert not np.array_equal(sampler(0), sampler(sampler.batches))


@pytest.fixture
def corpus_of_patterns(monkeypatch):
    """A corpus without files: "origin" and "disease" are a D each, neighbours too."""
    from zoo.openmed_ner import task

    def read(split):
        rng = np.random.default_rng(["train", "devel", "test"].index(split))
        words = ["cells", "signs", "unknown", "origin", "disease", "the"]
        rows = []
        for _ in range({"train": 160, "devel": 40, "test": 20}[split]):
            line = rng.choice(words, rng.integers(2, 9))
            rows.append(sentence(" ".join(f"{w}/{'B-D' if w in ('origin', 'disease') else 'O'}" for w in line)))
        return rows, Report()

    monkeypatch.setattr(task, "corpus", lambda name: type("Corpus", (), {"read": staticmethod(read)}))


def experiment(tmp_path, base, packed=False, **model):
    return TaggerConfig(
        family="openmed_ner",
        task="tag",
        name="openmed_ner/patterns",
        seed=0,
        run=RunConfig(dir=str(tmp_path / "run")),
        trainer=TrainerConfig(steps=40, batch_size=16, eval_every=40, checkpoint_every=40, eval_batch_size=32),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=2e-2, schedule="linear", warmup_steps=5, weight_decay=0.01
        ),
        model=TaggerModelConfig(base=str(base), dropout=0.0, lora=LoraSettings(rank=4), **model),
        data=TaggerDataConfig(corpus="patterns", max_length=32, packed=packed),
    )


@pytest.mark.parametrize("packed", [False, True])
def test_rows_longer_than_the_base_takes_are_refused(packed, tmp_path, lexicon_folder, corpus_of_patterns):
    """Positions past the last would be read as the last."""
    config = experiment(tmp_path, lexicon_folder, packed)
    config = replace(config, data=replace(config.data, max_length=64))
    with pytest.raises(UserError, match=r"data.max_length=64: the base at .* takes 40 pieces at most"):
        TaggerTask(config).records(Split.TRAIN)


def test_a_split_that_cannot_be_read_is_told_before_training(tmp_path, lexicon_folder, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.tsv").write_text("the origin\tB-D\n")  # white space in a word
    config = experiment(tmp_path, lexicon_folder)
    config = replace(config, data=replace(config.data, corpus=None, folder=str(folder)))
    with pytest.raises(UserError, match="mine has no token file for devel"):
        TaggerTask(config)
    said = capsys.readouterr().err
    assert said.count("mine, train:") == 1
    assert "train.tsv, line 1: " in said


def test_a_release_names_folders_by_their_whole_paths(tmp_path, lexicon_folder, corpus_of_patterns, monkeypatch):
    monkeypatch.chdir(lexicon_folder.parent)
    config = TaggerTask(experiment(tmp_path, lexicon_folder.name)).config
    assert config.model.base == str(lexicon_folder.resolve())


@pytest.mark.parametrize("packed", [False, True])
def test_a_short_run_learns_with_a_frozen_base(packed, tmp_path, lexicon_folder, corpus_of_patterns):
    from zoo.core.loop import Evaluator, fit

    task = TaggerTask(experiment(tmp_path, lexicon_folder, packed))
    assert task.labels.names == ("O", "B-D", "I-D")
    result = fit(task)
    graphdef, _, frozen = nnx.split(task.init(jax.random.key(0)), task.trainable(), ...)
    paths = {".".join(map(str, p)) for p, _ in nnx.to_flat_state(result.params)}
    assert all(".lora." in p or p.startswith("head.") for p in paths)
    metrics = Evaluator(task, graphdef, frozen)(result.params, Split.TEST)
    assert metrics["f1"] > 95
    assert set(metrics) == {"precision", "recall", "f1", "f1_partial"}


def test_packed_rows_have_the_loss_and_the_scores_of_sentences_apart(tmp_path, lexicon_folder, corpus_of_patterns):
    losses, scores, rows = [], [], []
    for packed in (True, False):
        task = TaggerTask(experiment(tmp_path, lexicon_folder, packed))
        model, records = task.init(jax.random.key(0)), task.records(Split.VALID)
        rows.append(len(records))
        taken = {**records.take(np.arange(len(records))), "weight": np.ones(len(records), np.float32)}
        batch = {k: jax.numpy.asarray(x) for k, x in taken.items()}
        losses.append(task.loss(model, batch, step=jax.numpy.zeros((), "int32"), key=jax.random.key(0))[0])
        scores.append(np.asarray(task.evaluate(model, batch))[taken["labels"] != IGNORED])
    assert rows[0] < 0.6 * rows[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    np.testing.assert_allclose(np.sort(scores[0], 0), np.sort(scores[1], 0), atol=1e-5)


def test_corpora_of_as_many_labels_share_a_program(tmp_path, lexicon_folder, monkeypatch):
    """The loss on one corpus traces to the same program as on another, and gives each its own mean."""
    from zoo.openmed_ner import task as module

    programs, means = [], []
    for text in ("fever/B-D of/O", "the/O fever/B-D cells/O of/O"):
        read = lambda split, text=text: ([sentence(text)], Report())  # noqa: E731
        monkeypatch.setattr(module, "corpus", lambda name, read=read: SimpleNamespace(read=read))
        task = module.TaggerTask(experiment(tmp_path, lexicon_folder))
        graphdef, state = nnx.split(task.init(jax.random.key(0)))
        batch = {**task.records(Split.TRAIN).take(np.array([0])), "weight": np.ones(1, np.float32)}
        means.append(batch["mean_labels"].tolist())

        def loss(state, batch, graphdef=graphdef, task=task):
            model = nnx.merge(graphdef, state)
            return task.loss(model, batch, step=jax.numpy.zeros((), "int32"), key=jax.random.key(0))[0]

        programs.append(str(jax.make_jaxpr(loss)(state, batch)))
    assert means == [[2.0], [4.0]]
    assert programs[0] == programs[1]


def test_settings_that_are_refused():
    for make, says in (
        (lambda: TaggerModelConfig(dropout=1.0), "dropout=1.0"),
        (lambda: LoraSettings(rank=0), "rank=0"),
        (lambda: TaggerDataConfig(corpus="x", max_length=4), "max_length=4"),
        (lambda: TaggerDataConfig(corpus="x", limit=0), "limit=0"),
    ):
        with pytest.raises(ValueError, match=says):
            make()
