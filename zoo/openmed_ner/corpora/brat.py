"""BRAT standoff: NAME.txt and NAME.ann side by side (NCBI-disease, S800, AnatEM, CLL, CHEMDNER samples, users' own)."""

from __future__ import annotations

import re
from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import Document, Report, checked_span, read_text

_ENTITY = re.compile(r"(T\S+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?")
_NOTE = re.compile(r"N\S+\tReference (T\S+) (\S+)")


def read_brat(folder: str | Path, *, strict: bool = False) -> tuple[list[Document], Report]:
    """Read every document of a folder, in the order of their names.

    Entities (T lines) keep their fragments; normalisations (N lines) give their id. Relations, events, attributes and
    comments are passed over without a word: they name no span.

    Args:
        folder: holds NAME.txt with NAME.ann; a text without annotations (a README) is passed over and reported, unless the
            folder has none at all.
        strict: refuse the first flaw instead of reporting it.

    Returns:
        The documents, and the report of what did not fit and was left out.

    Raises:
        UserError: no such folder, no document in it, annotations without a text, or with ``strict`` any flaw.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: name a folder of .txt and .ann files")
    orphans = sorted(p for p in folder.glob("*.ann") if not p.with_suffix(".txt").is_file())
    if orphans:
        raise UserError(f"{orphans[0]} has no text beside it: put {orphans[0].stem}.txt there")
    texts = sorted(folder.glob("*.txt"))
    if not texts:
        raise UserError(f"{folder} holds no .txt file: name a folder of .txt and .ann files")
    report = Report()
    if any(folder.glob("*.ann")):
        for path in [p for p in texts if not p.with_suffix(".ann").is_file()]:
            _flaw(report, "texts without annotations", path, 1, f"no {path.stem}.ann", strict)
        texts = [p for p in texts if p.with_suffix(".ann").is_file()]
    return [read_brat_document(path, report, strict=strict) for path in texts], report


def read_brat_document(path: str | Path, report: Report, *, strict: bool = False) -> Document:
    """Read one document by the path of its text; flaws go into ``report``."""
    path = Path(path)
    # Offsets count the file's own characters, so line ends stay as they are.
    text, notes = read_text(path), path.with_suffix(".ann")
    found, ids = {}, {}
    for number, line in enumerate(read_text(notes).splitlines() if notes.is_file() else (), start=1):
        if note := _NOTE.match(line):
            ids[note[1]] = note[2]
        if not line.startswith("T"):
            continue
        match = _ENTITY.fullmatch(line)
        if match is None:
            _flaw(report, "lines that are no entity", notes, number, f"{line[:60]!r} cannot be read", strict)
            continue
        name, label, places, mention = match.groups()
        fragments = [(int(a), int(b)) for a, b in (place.split() for place in places.split(";"))]
        if mention is None:  # some tools leave the mention out
            mention = " ".join(text[s:e] for s, e in fragments)
        span, why = checked_span(text, fragments, label, mention)
        if span is None:
            _flaw(report, "spans that do not match", notes, number, why, strict)
        else:
            found[name] = span
    spans = [_with_id(span, ids.get(name, "")) for name, span in found.items()]
    return Document(path.stem, text, tuple(sorted(spans, key=lambda s: (s.start, s.end))))


def write_brat(folder: str | Path, document: Document) -> None:
    """Write NAME.txt and NAME.ann into ``folder``; a mention's line breaks become spaces, as BRAT wants."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{document.id}.txt", "w", encoding="utf-8", newline="") as out:
        out.write(document.text)
    with open(folder / f"{document.id}.ann", "w", encoding="utf-8", newline="") as out:
        out.write(brat_annotations(document))


def brat_annotations(document: Document) -> str:
    """The content of NAME.ann: a T line for each span."""
    lines = []
    for i, span in enumerate(document.spans, start=1):
        places = ";".join(f"{s} {e}" for s, e in _by_line(document.text, span.fragments))
        mention = " ".join(" ".join(document.text[s:e] for s, e in span.fragments).split())
        lines.append(f"T{i}\t{span.label} {places}\t{mention}\n")
    return "".join(lines)


def _by_line(text, fragments):
    """Fragments cut at line breaks: BRAT spans do not cross them."""
    for start, end in fragments:
        at = start
        for piece in text[start:end].splitlines(keepends=True):
            bare = piece.rstrip("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")
            if bare:
                yield at, at + len(bare)
            at += len(piece)


def _with_id(span, concept):
    return span if not concept else type(span)(span.fragments, span.label, span.text, concept)


def _flaw(report: Report, kind: str, file: Path, line: int, reason: str, strict: bool) -> None:
    if strict:
        raise UserError(f"{file}, line {line}: {reason}: mend the annotation, or read without strict")
    report.add(kind, file, line, reason, "left out")
