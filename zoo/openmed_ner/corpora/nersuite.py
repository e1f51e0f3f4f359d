"""NERsuite files (CLL, Gellus): tag, start, end, word, then lemma and other columns; a blank line between sentences."""

from __future__ import annotations

from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import Document, Report, Sentence, Span, offset, read_text, refuse
from zoo.openmed_ner.labels import OUTSIDE, lettered, spans, tags_of


def read_nersuite(path: str | Path) -> tuple[Document, list[Sentence], Report]:
    """Read one document: its text rebuilt from offsets and words, its spans, and its sentences.

    Offsets count the whole document, or start anew in each sentence (as Gellus and CLL print them); both are read. What lies
    between words is blank, and a line break parts sentences whose offsets start anew.

    Returns:
        The document, its sentences as IOB2, and the report of tags that continue nothing and begin an entity.

    Raises:
        UserError: a line without four columns, a tag that is neither O nor a letter with a type, offsets that do not fit
            the word or run backwards within a sentence.
    """
    report, text = Report(), ""
    sentences, found, borders = [], [], []
    rows: list[tuple[int, int, str, str, int]] = []

    def finish() -> None:
        nonlocal text, rows
        if not rows:
            return
        fresh = bool(text) and rows[0][0] < len(text)
        base = len(text) + 1 if fresh else 0
        if fresh:
            text += "\n"
        low = rows[0][0] + base
        for start, _, word, _, _ in rows:
            text += " " * (start + base - len(text)) + word
        tags = [row[3] for row in rows]
        before = "O"
        for (_, _, word, tag, line), last in zip(rows, [before, *tags]):
            if tag[:1] == "I" and (last[:1] not in "BI" or last[1:] != tag[1:]):
                report.add("I- without B-", path, line, f"{word!r} is {tag} and continues nothing", "begins an entity")
        here = spans(tags)
        for a, b, kind in here:
            start, end = rows[a][0] + base, rows[b - 1][1] + base
            found.append(Span(((start, end),), kind, text[start:end]))
        words = tuple(row[2] for row in rows)
        sentences.append(Sentence(words, tuple(tags_of(here, len(rows))), f"{path}, line {rows[0][4]}"))
        borders.append((low, len(text)))
        rows = []

    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            finish()
            continue
        columns = line.rstrip("\r").split("\t")
        start, end = (offset(c) for c in columns[1:3]) if len(columns) >= 4 else (None, None)
        if start is None or end is None:
            raise refuse(path, number, f"{line[:40]!r} is no NERsuite line", "give tag, start, end, word")
        tag, word = columns[0], columns[3]
        if tag != OUTSIDE and not lettered([tag]):
            raise refuse(path, number, f"{word[:40]!r} is {tag}, which has no scheme letter", "give O, B- or I-")
        if end - start != len(word):
            raise refuse(path, number, f"{word!r} does not fit {start}:{end}", "mend the offsets")
        if rows and start < rows[-1][1]:
            raise refuse(
                path, number, f"{word!r} at {start} starts before the end of the word before", "mend the offsets"
            )
        rows.append((start, end, word, tag, number))
    finish()
    if not sentences:
        raise UserError(f"{path} holds no sentence: check the file")
    return Document(Path(path).stem, text, tuple(found), tuple(borders)), sentences, report
