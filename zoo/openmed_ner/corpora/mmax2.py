"""MMAX2, the layout of FSU-PRGE: words in Basedata, sentences and proteins as markables over them."""

from __future__ import annotations

import bisect
import re
from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.bioc import _parse, _tag
from zoo.openmed_ner.corpora.records import Document, Report, Sentence, Span
from zoo.openmed_ner.labels import tags_of

_FOLDED = re.compile(r"\s+")


def read_mmax2(folder: str | Path, *, level: str = "proteins") -> tuple[Document, Report]:
    """Read one document: the folder with project.mmax, Basedata/Basedata.xml and Markables/.

    The format has words and no spaces, so the text is its words joined by single spaces.

    Args:
        folder: the document's folder.
        level: name of the markables that are entities; their attribute of that name is the type.

    Returns:
        The document, and the report of markables that name words which are not there, and were left out.

    Raises:
        UserError: a file is absent, is not XML or holds no word.
    """
    folder, report = Path(folder), Report()
    base = folder / "Basedata" / "Basedata.xml"
    order: dict[str, int] = {}
    places: list[tuple[int, int]] = []
    text = ""
    for node in _parse(base).iter("word"):
        word = _FOLDED.sub("", node.text or "")
        if not word:
            report.add("words without text", base, 0, f"{node.get('id')} is empty", "passed over")
            continue
        start = len(text) + (1 if text else 0)
        text = f"{text} {word}" if text else word
        order[node.get("id", "")] = len(places)
        places.append((start, start + len(word)))
    if not places:
        raise UserError(f"{base} holds no word: check that it is an MMAX2 document")

    def markables(name: str):
        path = folder / "Markables" / f"{name}.xml"
        for node in _parse(path).iter():
            if _tag(node) != "markable":
                continue
            ranges = []
            for part in (node.get("span") or "").split(","):
                first, _, last = part.partition("..")
                if first not in order or (last or first) not in order:
                    report.add("markables without words", path, 0, f"{node.get('id')} names {part!r}", "left out")
                    break
                ranges.append((order[first], order[last or first]))
            else:
                yield node, ranges

    spans = []
    for node, ranges in markables(level):
        fragments = tuple((places[a][0], places[b][1]) for a, b in sorted(ranges))
        mention = " ".join(text[s:e] for s, e in fragments)
        spans.append(Span(fragments, node.get(level) or level, mention, node.get("id") or ""))
    sentences = sorted((places[r[0][0]][0], places[r[-1][1]][1]) for _, r in markables("sentence"))
    ordered = tuple(sorted(spans, key=lambda s: (s.start, s.end)))
    return Document(folder.name, text, ordered, tuple(sentences)), report


def read_fsu(folder: str | Path, ids: set[str] | None = None) -> tuple[list[Document], Report]:
    """Read the documents of an FSU-PRGE folder (one MMAX2 folder each), all or those of a split.

    Args:
        folder: holds the documents' folders.
        ids: names of the documents of a split (HUNER's lists), with or without the folder's ``mmax_``; None for all.

    Raises:
        UserError: no document there, or a document of the split is absent.
    """
    report, documents = Report(), {}
    wanted = None if ids is None else {name.removeprefix("mmax_") for name in ids}
    for path in sorted(Path(folder).glob("*/project.mmax")):
        name = path.parent.name.removeprefix("mmax_")
        if wanted is None or name in wanted:
            documents[name], other = read_mmax2(path.parent)
            report.merge(other)
    lost = sorted((wanted or set()) - documents.keys())
    if lost or not documents:
        what = f"document {lost[0]} ({len(lost)} in all)" if lost else "no MMAX2 document"
        raise UserError(f"{folder}: {what if not lost else what + ' is absent'}: check the folder and the split list")
    return list(documents.values()), report


def fsu_sentences(document: Document, *, label: str | None = None) -> list[Sentence]:
    """A document's sentences with flat IOB2 tags on its own words; of overlapping mentions the longest stays.

    Args:
        document: as read from MMAX2.
        label: one type for all mentions, as HUNER has it; None keeps their own.
    """
    out = []
    spans = sorted(document.spans, key=lambda s: s.start)
    begins = [s.start for s in spans]
    for low, high in document.sentences:
        words = [(m.start() + low, m.end() + low) for m in re.finditer(r"\S+", document.text[low:high])]
        starts, ends = {s: i for i, (s, _) in enumerate(words)}, {e: i + 1 for i, (_, e) in enumerate(words)}
        taken: list[tuple[int, int, str]] = []
        here = spans[bisect.bisect_left(begins, low) : bisect.bisect_left(begins, high)]
        for span in sorted(here, key=lambda s: (s.start - s.end, s.start)):
            a, b = starts.get(span.start), ends.get(span.end)
            if span.discontinuous or a is None or b is None or any(a < y and x < b for x, y, _ in taken):
                continue
            taken.append((a, b, label or span.label))
        tags = tags_of(taken, len(words))
        out.append(Sentence(tuple(document.text[s:e] for s, e in words), tuple(tags), document.id))
    return out
