"""The tables: rows against the catalogue, scores against seqeval by another path, committed results against the releases."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from zoo.core import hub, tables
from zoo.core.config import compose
from zoo.core.release import read_release
from zoo.core.train import typed
from zoo.openmed_ner.config import TaggerConfig
from zoo.openmed_ner.convert import load_token_classifier
from zoo.openmed_ner.corpora.catalogue import CORPORA
from zoo.openmed_ner.corpora.records import Report, Sentence
from zoo.openmed_ner.evaluation import corpus_scores
from zoo.openmed_ner.labels import tags_of
from zoo.openmed_ner.lora import Share
from zoo.openmed_ner.pipeline import Tagger
from zoo.openmed_ner.tables import CONFIRMED, PAPER, TABLES
from zoo.openmed_ner.tokenize import Tokenizer

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "results/openmed_ner"


def test_the_table_has_the_thirteen_corpora():
    rows = TABLES["table"]().rows
    assert {row.name for row in rows} == {entry.title for entry in CORPORA.values()}
    assert len(rows) == 13
    assert set(CONFIRMED) < set(PAPER)
    by_title = {entry.title: name for name, entry in CORPORA.items()}
    for row in rows:
        name = by_title[row.name]
        assert row.paper_only == (not CORPORA[name].sha256)
        if row.experiment is not None:
            config = typed(compose([row.experiment]))
            assert isinstance(config, TaggerConfig)
            assert config.data.corpus == name
            assert config.data.limit is None
            assert row.experiment == config.name


def test_every_row_of_dapt_begins_from_the_adapted_base():
    plain = {row.name: row for row in TABLES["table"]().rows if not row.paper_only}
    rows = {row.name: row for row in TABLES["dapt"]().rows}
    assert list(rows) == list(plain)
    for name, row in rows.items():
        config = typed(compose([row.experiment, *row.overrides]))
        assert isinstance(config, TaggerConfig)
        assert (config.model.adapter, config.model.train, config.data.packed) == (
            "openmed_ner/dapt-minilm",
            "lora",
            True,
        )
        released = read_release(hub.resolve(plain[name].release)).info.config["model"]["adapter"]
        assert (released == "openmed_ner/dapt-minilm") == (row.release is not None)


def test_the_ablation_changes_two_things_alone():
    rows = {row.name: typed(compose([row.experiment])) for row in TABLES["ablation"]().rows}
    assert {name: (c.model.adapter, c.model.train) for name, c in rows.items()} == {
        "LoRA": (None, "lora"),
        "DAPT + LoRA": ("openmed_ner/dapt-minilm", "lora"),
        "full fine-tuning": (None, "full"),
        "DAPT + full fine-tuning": ("openmed_ner/dapt-minilm", "full"),
    }
    assert len({(c.trainer, c.data, c.seed) for c in rows.values()}) == 1


@pytest.fixture(scope="module")
def tagger(lexicon_folder, lexicon_labels):
    model = load_token_classifier(lexicon_folder).model
    return Tagger(model, Tokenizer(lexicon_folder), lexicon_labels, window=24)


WORDS = ["fever", "breast", "cancer", "肺", "癌", "cells", "of", "a2a", "fever-cells", "cancer-of", "\u200b"]
# The label that the lexicon gives each word by itself: the first of the tagger's words decides.
ALONE = {
    "fever": "B-D",
    "breast": "B-D",
    "cancer": "I-D",
    "肺": "B-G",
    "癌": "I-G",
    "fever-cells": "B-D",
    "cancer-of": "I-D",
}


def sentences(seed):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(60):
        words = tuple(rng.choice(WORDS, rng.integers(1, 12)).tolist())
        spans, at = [], 0
        while at < len(words):
            length = int(rng.integers(1, 3))
            if rng.random() < 0.5 and at + length <= len(words):
                spans.append((at, at + length, "DG"[int(rng.integers(2))]))
            at += length
        made.append(Sentence(words, tuple(tags_of(spans, len(words)))))
    return made


def words_of(entities, words):
    """Character places in the joined text as spans of words."""
    starts = np.cumsum([0] + [len(w) + 1 for w in words])
    found, past = [], 0
    for e in entities:
        first, last = (int(np.searchsorted(starts, c, "right")) - 1 for c in (e.start, e.end - 1))
        if first >= past:
            found.append((first, last + 1, e.label))
            past = last + 1
    return found


def test_scores_are_seqevals_on_what_the_tagger_says(tagger):
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

    rows = sentences(0)
    got = corpus_scores(tagger, rows)
    gold = [list(s.tags) for s in rows]
    texts = [" ".join(s.words) for s in rows]
    said = [tags_of(words_of(e, s.words), len(s.words)) for e, s in zip(tagger(texts), rows)]
    for mode in ({"mode": "strict", "scheme": IOB2}, {}):  # well-formed tags: both modes agree
        assert got["f1_strict"] == pytest.approx(100 * f1_score(gold, said, **mode))
        assert got["precision"] == pytest.approx(100 * precision_score(gold, said, **mode))
        assert got["recall"] == pytest.approx(100 * recall_score(gold, said, **mode))
    alone = [[ALONE.get(w, "O") for w in s.words] for s in rows]
    assert got["f1_default"] == pytest.approx(100 * f1_score(gold, alone))
    assert got["f1_partial"] > got["f1_strict"] > 0
    assert got["f1_default"] != pytest.approx(got["f1_strict"])  # the sentences can tell the two apart


def test_every_column_finds_its_number(tagger, monkeypatch):
    from zoo.openmed_ner.corpora import catalogue

    read = {"test": sentences(1)}
    monkeypatch.setattr(catalogue, "corpus", lambda name: SimpleNamespace(read=lambda split: (read[split], Report())))
    tagger.info = SimpleNamespace(config={"data": {"corpus": "x"}}, metrics={"valid": {"f1": 1.0}})
    tagger.share = Share(1, 50)
    table = TABLES["table"]()
    numbers = {**table.evaluate(tagger), "run": {"steps": 3, "train_seconds": 2.0, "co2_g": 0.1}}
    document = tables.row_document(table, table.rows[0], [numbers], release="r", command="c", scale="quick")
    ours = {name: entry["ours"] for name, entry in document["metrics"].items()}
    assert ours["trained"] == 2.0
    assert ours["f1_strict"] == corpus_scores(tagger, read["test"])["f1_strict"]
    assert None not in ours.values()


@pytest.mark.parametrize("name", TABLES)
def test_committed_results_are_of_the_packaged_releases(name):
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"results/openmed_ner/{name}.json has not been made")
    rows = {row["name"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}
    table = TABLES[name]()
    for row in table.rows:
        if row.paper_only:
            assert rows[row.name]["metrics"]["f1_strict"]["ours"] is None
        elif row.name in rows and rows[row.name]["release"] == row.release:
            stated = read_release(hub.resolve(row.release)).info.metrics
            ours = {metric: entry["ours"] for metric, entry in rows[row.name]["metrics"].items()}
            assert ours["f1_strict"] == pytest.approx(stated["test"]["f1"], rel=1e-3)
            assert ours["f1_partial"] == pytest.approx(stated["test"]["f1_partial"], rel=1e-3)
            assert ours["trained"] < 1.5 or name == "ablation"
