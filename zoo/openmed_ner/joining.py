"""Sentences put together again, so that a tagger is trained and scored on text with context, as it meets documents."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.openmed_ner.corpora.records import Sentence
from zoo.openmed_ner.tokenize import Tokenizer


def joined(sentences: Sequence[Sentence], tokenizer: Tokenizer, most: int) -> list[Sentence]:
    """Neighbours as one text for as long as it holds at most ``most`` pieces; a longer sentence stays by itself.

    Corpora in files of sentences do not say where a document ends, so a text may hold the end of one and the start of the next.
    Entities stay the same, and with them what a score counts.

    Args:
        sentences: in the order of their documents.
        tokenizer: whose pieces are counted.
        most: pieces of a text, special ones included.
    """
    texts: list[Sentence] = []
    held: list[Sentence] = []
    used = 2  # the special pieces
    for sentence in sentences:
        pieces = len(tokenizer.text(" ".join(sentence.words))[0])
        if held and used + pieces > most:
            texts.append(_one(held))
            held, used = [], 2
        held.append(sentence)
        used += pieces
    if held:
        texts.append(_one(held))
    return texts


def _one(held: Sequence[Sentence]) -> Sentence:
    if len(held) == 1:
        return held[0]
    words = tuple(word for sentence in held for word in sentence.words)
    tags = tuple(tag for sentence in held for tag in sentence.tags)
    return Sentence(words, tags, held[0].source)
