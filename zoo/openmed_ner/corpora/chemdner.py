"""CHEMDNER (BC4CHEMD): one file of abstracts (id, title, abstract), one of annotations (id, T or A, start, end, mention, class)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import Document, Report, checked_span, offset, read_text, refuse


def read_chemdner(
    abstracts: str | Path, annotations: str | Path, *, label: str | None = "Chemical", strict: bool = False
) -> tuple[list[Document], Report]:
    """Read one split. The text is title, one line break, abstract; offsets of the file count within either.

    Args:
        abstracts: ``chemdner_abs_*.txt`` of the release.
        annotations: ``chemdner_ann_*.txt``.
        label: one type for all mentions, as BC4CHEMD is scored; None keeps the classes (SYSTEMATIC, TRIVIAL, ...).
        strict: refuse the first annotation that does not match instead of reporting it.

    Returns:
        The documents, and the report of annotations that do not match and were left out.

    Raises:
        UserError: a line with other columns, an annotation of an unknown document, or with ``strict`` any flaw.
    """
    texts: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(_lines(abstracts), start=1):
        if not line:
            continue
        columns = line.split("\t")
        if len(columns) != 3:
            raise refuse(abstracts, number, f"{len(columns)} columns", "give id, title and abstract, parted by tabs")
        if columns[0] in texts:
            raise refuse(abstracts, number, f"document {columns[0]} for the second time", "remove one")
        texts[columns[0]] = columns[1], columns[2]
    if not texts:
        raise UserError(f"{abstracts} holds no abstract: check the file")
    report, spans = Report(), defaultdict(list)
    for number, line in enumerate(_lines(annotations), start=1):
        if not line:
            continue
        columns = line.split("\t")
        mend = "give id, T or A, start, end, mention, class"
        if len(columns) < 6 or columns[1] not in ("T", "A"):
            raise refuse(annotations, number, f"{line[:40]!r} cannot be read", mend)
        name, part, start, end, mention, kind = columns[:6]
        start, end = offset(start), offset(end)
        if start is None or end is None:
            raise refuse(annotations, number, f"{line[:40]!r} has no whole numbers as offsets", mend)
        if name not in texts:
            raise refuse(
                annotations, number, f"document {name} is not among the abstracts", "use the files of one split"
            )
        title, abstract = texts[name]
        shift = 0 if part == "T" else len(title) + 1
        fragment = (start + shift, end + shift)
        span, why = checked_span(f"{title}\n{abstract}", [fragment], label or kind, mention)
        if span is None:
            if strict:
                raise refuse(annotations, number, why, "mend the annotation, or read without strict")
            report.add("spans that do not match", annotations, number, why, "left out")
        else:
            spans[name].append(span)
    documents = [
        Document(name, f"{t}\n{a}", tuple(sorted(spans[name], key=lambda s: (s.start, s.end))))
        for name, (t, a) in texts.items()
    ]
    return documents, report


def _lines(path: str | Path) -> list[str]:
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]
