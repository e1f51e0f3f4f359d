"""Joined sentences: every word and entity once, in order, in texts that keep to their length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.core.task import Split
from zoo.openmed_ner.config import TaggerDataConfig
from zoo.openmed_ner.corpora.records import Sentence
from zoo.openmed_ner.examples import TaggedRecords
from zoo.openmed_ner.joining import joined
from zoo.openmed_ner.labels import LabelMap
from zoo.openmed_ner.tokenize import Tokenizer


@pytest.fixture(scope="session")
def tokenizer(lexicon_folder):
    return Tokenizer(lexicon_folder)


def sentence(words: str, *entities: tuple[int, int]) -> Sentence:
    tags = ["O"] * len(words.split())
    for first, last in entities:
        tags[first:last] = ["B-D"] + ["I-D"] * (last - first - 1)
    return Sentence(tuple(words.split()), tuple(tags))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(8, 30))
@settings(max_examples=50, deadline=None)
def test_nothing_is_lost_and_no_text_is_too_long(tokenizer, lengths, most):
    sentences = [sentence(" ".join(["disease"] * n), (0, 1)) for n in lengths]
    texts = joined(sentences, tokenizer, most)
    assert [w for t in texts for w in t.words] == [w for s in sentences for w in s.words]
    assert [t for text in texts for t in text.tags] == [t for s in sentences for t in s.tags]
    single = max(lengths) * len(tokenizer.text("disease")[0])
    pieces = [len(tokenizer.text(" ".join(t.words))[0]) + 2 for t in texts]
    assert all(n <= most or n == single + 2 or t in sentences for n, t in zip(pieces, texts))
    # Two neighbours that would fit into one text are never apart.
    assert all(a + b - 2 > most for a, b in pairwise(pieces))


def test_entities_stay_apart_at_a_seam(tokenizer):
    (text,) = joined([sentence("the disease", (1, 2)), sentence("disease of", (0, 1))], tokenizer, 30)
    assert text.entities == [(1, 2, "D"), (2, 3, "D")]


def test_gold_tags_of_joined_sentences_score_as_those_of_single_ones(tokenizer):
    sentences = [sentence("the disease of origin", (1, 2)), sentence("no disease", (1, 2)), sentence("signs")]
    labels = LabelMap.of_types(("D",))
    records = TaggedRecords(joined(sentences, tokenizer, 40), tokenizer, labels, 40, Split.TEST)
    batch = records.take(np.arange(len(records)))
    logits = np.where(np.arange(labels.size) == np.maximum(batch["labels"], 0)[..., None], 9.0, 0.0)
    (found,) = records.predictions([(np.arange(len(records)), logits)])
    assert found == [(1, 2, "D"), (5, 6, "D")]


def test_a_length_that_fits_no_window_is_refused():
    for wrong in (7, 129):
        with pytest.raises(ValueError, match=rf"joined={wrong}: it must lie in 8\.\.128"):
            TaggerDataConfig(corpus="ncbi_disease", joined=wrong)
