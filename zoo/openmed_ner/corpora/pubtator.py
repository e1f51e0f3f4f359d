"""PubTator: ``id|t|title``, ``id|a|abstract``, then ``id, start, end, mention, type, concept`` lines; a blank line ends it."""

from __future__ import annotations

import re
from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import Document, Report, Span, checked_span, offset, read_text, refuse

_TEXT = re.compile(r"([^|\t]+)\|([ta])\|(.*)")
_CONCEPTS = re.compile(r"[,;|]")


def read_pubtator(path: str | Path, *, strict: bool = False) -> tuple[list[Document], Report]:
    """Read all documents of a file. The text is title, one line break, abstract: what offsets count.

    A mention that the file gives in several places of the text is given as several spans, as it is. Relation lines are passed
    over: a kind in letters and two concepts in place of offsets, of which a line of five columns or more (BioRED) must have both
    from the document's annotations.

    Args:
        path: the file, UTF-8.
        strict: refuse the first span that does not match instead of reporting it.

    Returns:
        The documents in order, and the report of spans that do not match their text, and of lines that are neither annotation nor
        relation; both were left out.

    Raises:
        UserError: a line that belongs to no document, a document without title, or with ``strict`` any flaw.
    """
    documents: list[Document] = []
    report = Report()
    name, parts, lines = "", {}, []

    def flaw(kind: str, line: int, why: str) -> None:
        if strict:
            raise refuse(path, line, why, "mend the annotation, or read without strict")
        report.add(kind, path, line, why, "left out")

    def finish(number: int) -> None:
        nonlocal name, parts, lines
        if not name:
            return
        if "t" not in parts:
            raise refuse(path, number, f"document {name} has no title line", f"give a line {name}|t|...")
        text = parts["t"] if "a" not in parts else f"{parts['t']}\n{parts['a']}"
        spans = []
        concepts = {c for _, columns in lines if len(columns) > 5 for c in (columns[5], *_CONCEPTS.split(columns[5]))}
        for at, columns in lines:
            start, end = offset(columns[1]), offset(columns[2])
            if len(columns) < 5 or start is None or end is None:
                if not _is_relation(columns, concepts):
                    shown = "\t".join(columns)[:60]
                    flaw("lines without offsets", at, f"{shown!r} is no id, start, end, mention, type")
                continue
            mention, label = columns[3:5]
            concept = columns[5] if len(columns) > 5 else ""
            span, why = checked_span(text, [(start, end)], label, mention, id=concept, exact=True)
            if span is None:
                flaw("spans that do not match", at, why)
            else:
                spans.append(span)
        documents.append(Document(name, text, tuple(sorted(spans, key=_place))))
        name, parts, lines = "", {}, []

    number = 0
    # Not splitlines: texts hold characters that it takes for line ends.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.strip():
            finish(number)
            continue
        match = _TEXT.fullmatch(line)
        if match:
            if name and (match[1] != name or match[2] in parts):
                finish(number)
            name = match[1]
            parts[match[2]] = match[3]
            continue
        columns = line.split("\t")
        if columns[0] != name or not name:
            raise refuse(path, number, f"{line[:40]!r} belongs to no document", "put it after its title and abstract")
        if len(columns) < 4:
            raise refuse(
                path, number, f"{line[:40]!r} has {len(columns)} columns", "give id, start, end, mention, type"
            )
        lines.append((number, columns))
    finish(number)
    if not documents:
        raise UserError(f"{path} holds no document: check that it is a PubTator file")
    return documents, report


def _is_relation(columns: list[str], concepts: set[str]) -> bool:
    kind, *pair = columns[1:4]
    return any(c.isalpha() for c in kind) and (len(columns) == 4 or concepts.issuperset(pair))


def _place(span: Span) -> tuple[int, int]:
    return span.start, span.end
