"""Sentences that stand in more than one split: they flatter a score, so they are counted and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.openmed_ner.corpora.records import Sentence


@dataclass(frozen=True)
class Overlap:
    """The distinct sentences that two splits share.

    Attributes:
        first: name of one split.
        second: name of the other.
        texts: the sentences, words joined by spaces, sorted.
        conflicting: how many of them carry other tags in the other split.
    """

    first: str
    second: str
    texts: tuple[str, ...]
    conflicting: int

    def __len__(self) -> int:
        return len(self.texts)

    def __str__(self) -> str:
        return f"{len(self)} sentences of {self.second} are in {self.first} ({self.conflicting} with other tags)"


def duplicates(splits: Mapping[str, Sequence[Sentence]]) -> list[Overlap]:
    """What every pair of splits shares, in the order of ``splits``; two sentences are the same if their words are."""
    seen: dict[str, dict[str, set[tuple[str, ...]]]] = {}
    for name, sentences in splits.items():
        table: dict[str, set[tuple[str, ...]]] = {}
        for sentence in sentences:
            table.setdefault(" ".join(sentence.words), set()).add(sentence.tags)
        seen[name] = table
    names = list(splits)
    found = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            texts = sorted(seen[first].keys() & seen[second].keys())
            conflicting = sum(seen[first][text] != seen[second][text] for text in texts)
            found.append(Overlap(first, second, tuple(texts), conflicting))
    return found
