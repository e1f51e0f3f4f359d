"""Documents with spans to tagged sentences: how BRAT, PubTator and the like become training data."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterable

from zoo.openmed_ner.corpora.records import Document, Report, Sentence
from zoo.openmed_ner.labels import tags_of
from zoo.openmed_ner.tokenize import word_spans

# A sentence ends at a line break, or after . ! ? and closing marks before white space and what can begin a sentence.
_END = re.compile(r"\n+|(?<=[.!?])(?P<closing>[\"')\]]*)\s+(?=[\"'(\[]*[A-Z0-9])")
_NO_END = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|Fig|fig|al|approx|ca|Dr|St|No|spp?|var|subsp|[A-Z])\.)$")


def sentence_spans(document: Document) -> list[tuple[int, int]]:
    """[start, end) of the sentences: the file's own where it gives them, else by rule; never inside a span."""
    if document.sentences:
        return list(document.sentences)
    text, inside = document.text, sorted(fragment for s in document.spans for fragment in s.fragments)
    begins = [a for a, _ in inside]
    farthest = [0, *itertools.accumulate((b for _, b in inside), max)]  # end of the first n fragments
    out, start = [], 0
    for match in _END.finditer(text):
        if "\n" not in match[0] and _NO_END.search(text, max(start, match.start() - 12), match.start()):
            continue
        at = match.start() + len(match["closing"] or "")  # closing marks belong to the sentence that ends
        if farthest[bisect.bisect_left(begins, match.end())] > at:
            continue
        if text[start:at].strip():
            out.append((start, at))
        start = match.end()
    if text[start:].strip():
        out.append((start, len(text)))
    return out


def to_sentences(documents: Iterable[Document]) -> tuple[list[Sentence], Report]:
    """Flat IOB2 sentences of documents.

    Words are those the tagger sees (:func:`zoo.openmed_ner.tokenize.word_spans`). Flat tags cannot hold everything, so these are
    counted: of overlapping spans the longest stays; a discontinuous span is left out; a border inside a word moves to the
    word's.
    """
    out, report = [], Report()
    for document in documents:
        name = f"document {document.id}"
        bounds = [(int(a), int(b)) for a, b in word_spans(document.text)]
        starts, ends = [a for a, _ in bounds], [b for _, b in bounds]
        taken: list[tuple[int, int, str]] = []
        owner = [False] * len(bounds)
        for span in sorted(document.spans, key=lambda s: (s.start - s.end, s.start)):
            if span.discontinuous:
                report.add("discontinuous spans", name, 0, f"{span.text[:40]!r} has gaps", "left out")
                continue
            inside = range(bisect.bisect_right(ends, span.start), bisect.bisect_left(starts, span.end))
            if not inside or any(owner[i] for i in inside):
                report.add(
                    "overlapping spans", name, 0, f"{span.text[:40]!r} shares words with a longer one", "left out"
                )
                continue
            first, last = inside[0], inside[-1]
            if (bounds[first][0], bounds[last][1]) != (span.start, span.end):
                report.add("borders inside a word", name, 0, f"{span.text[:40]!r}", "moved to the word's")
            taken.append((first, last + 1, span.label))
            for i in inside:
                owner[i] = True
        tags = tags_of(taken, len(bounds))
        for low, high in sentence_spans(document):
            # A word belongs to the sentence that it begins in, should a file's own border cut it.
            here = range(bisect.bisect_left(starts, low), bisect.bisect_left(starts, high))
            if here:
                words = tuple(document.text[bounds[i][0] : bounds[i][1]] for i in here)
                out.append(Sentence(words, tuple(tags[i] for i in here), name))
    return out, report
