"""A loaded tagger on a corpus: the scores that the tables state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.core.task import Split
from zoo.openmed_ner.corpora.records import Sentence
from zoo.openmed_ner.examples import TaggedRecords
from zoo.openmed_ner.joining import joined
from zoo.openmed_ner.labels import spans
from zoo.openmed_ner.scoring import f1_scores

if TYPE_CHECKING:
    from zoo.openmed_ner.pipeline import Tagger


def corpus_scores(tagger: Tagger, sentences: Sequence[Sentence], join: int | None = None) -> dict[str, float]:
    """Micro-averaged scores in percent on a corpus's words, by the path of :class:`zoo.openmed_ner.pipeline.Tagger`.

    Args:
        tagger: a release, or any tagger.
        sentences: with gold tags.
        join: neighbours are read as one text of at most so many pieces, as ``data.joined`` has it; None reads each by itself.

    Returns:
        precision, recall, f1_strict: of the tagger's entities, exact, as seqeval's strict mode scores IOB2 tags (they are
        well-formed, so its default mode gives the same); f1_default: seqeval's default mode on the best label of every word by
        itself, as taggers without a scheme's rules give them; f1_partial: see :func:`zoo.openmed_ner.scoring.f1_scores`.

    Raises:
        UserError: no sentence has a piece.
    """
    if join is not None:
        sentences = joined(sentences, tagger.tokenizer, join)
    records = TaggedRecords(sentences, tagger.tokenizer, tagger.labels, tagger.window, Split.TEST)
    gold = [s.entities for s in records.sentences]
    answers = list(records.tagged(tagger.word_log_probabilities(records.pieces)))
    found = f1_scores(zip(gold, (entities for entities, _ in answers)))
    alone = f1_scores(zip(gold, (spans(tags, bare=tagger.labels.bare) for _, tags in answers)))
    return {
        "precision": found["precision"],
        "recall": found["recall"],
        "f1_strict": found["f1"],
        "f1_default": alone["f1"],
        "f1_partial": found["f1_partial"],
    }
