"""BRAT standoff: NAME.txt and NAME.ann side by side (NCBI-disease, S800, AnatEM, CLL, CHEMDNER samples, users' own)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import Document, Report, Span, checked_span, read_text

_PLACE = r"[0-9]{1,9} [0-9]{1,9}"
_ENTITY = re.compile(rf"(T\S+)\t(\S+) ({_PLACE}(?:;{_PLACE})*)(?:\t(.*))?")
_NOTE = re.compile(r"N\S+\tReference (T\S+) (\S+)")
# How lines begin that name no span: relations, events, attributes, modifications, normalisations, comments, equivalences.
_OTHERS = "REAMN#*"
_MARK = "\ufeff"


@dataclass(frozen=True)
class _Entity:
    name: str
    label: str
    fragments: tuple[tuple[int, int], ...]
    mention: str | None  # some tools leave it out

    def span(self, text: str) -> tuple[Span | None, str]:
        mention = " ".join(text[s:e] for s, e in self.fragments) if self.mention is None else self.mention
        return checked_span(text, self.fragments, self.label, mention)


def _entity(line: str) -> _Entity | None:
    match = _ENTITY.fullmatch(line)
    if match is None:
        return None
    name, label, places, mention = match.groups()
    fragments = ((int(a), int(b)) for a, b in (place.split() for place in places.split(";")))
    return _Entity(name, label, tuple(fragments), mention)


def read_brat(folder: str | Path, *, strict: bool = False) -> tuple[list[Document], Report]:
    """Read every document of a folder, in the order of their names.

    Entities (T lines) keep their fragments; normalisations (N lines) give their id, several as ``A|B``. Relations, events, attributes and
    comments are passed over without a word: they name no span. Of entities with one id all are kept, and reported.

    Args:
        folder: holds NAME.txt with NAME.ann; a text without annotations (a README) is passed over and reported, unless the
            folder has none at all.
        strict: refuse the first flaw instead of reporting it.

    Returns:
        The documents, and the report of what did not fit.

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
    """Read one document by the path of its text; flaws go into ``report``.

    A byte-order mark is a character of the text, as BRAT counts it, unless more mentions fit without it.
    """
    path = Path(path)
    notes = path.with_suffix(".ann")
    rows: list[tuple[int, str, _Entity | None]] = []
    ids: dict[str, dict[str, None]] = {}
    # Not splitlines: mentions hold characters that it takes for line ends.
    for number, line in enumerate(read_text(notes).split("\n") if notes.is_file() else (), start=1):
        line = line.removesuffix("\r")
        if note := _NOTE.match(line):
            ids.setdefault(note[1], {})[note[2]] = None
        if line.strip() and line[0] not in _OTHERS:
            rows.append((number, line, _entity(line)))
    # Offsets count the file's own characters, so line ends stay as they are.
    text = _counted(read_text(path, mark=True), [entity for _, _, entity in rows if entity is not None])
    spans: list[Span] = []
    seen: set[str] = set()
    for number, line, entity in rows:
        if entity is None:
            _flaw(report, "lines that are no entity", notes, number, f"{line[:60]!r} cannot be read", strict)
            continue
        if entity.name in seen:
            reason = f"{entity.name} for the second time"
            _flaw(report, "ids given twice", notes, number, reason, strict, "both kept")
        seen.add(entity.name)
        span, why = entity.span(text)
        if span is None:
            _flaw(report, "spans that do not match", notes, number, why, strict)
        else:
            spans.append(replace(span, id="|".join(ids.get(entity.name, ()))))
    return Document(path.stem, text, tuple(sorted(spans, key=lambda s: (s.start, s.end))))


def _counted(text: str, entities: Sequence[_Entity]) -> str:
    """The text with its byte-order mark, if it has one and its entities count it, else without."""
    bare = text.removeprefix(_MARK)
    if text == bare or not entities:
        return bare
    with_mark, without = (sum(e.span(t)[0] is not None for e in entities) for t in (text, bare))
    return text if with_mark >= without else bare


def write_brat(folder: str | Path, document: Document) -> None:
    """Write NAME.txt and NAME.ann into ``folder``, as :func:`brat_annotations` gives them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{document.id}.txt", "w", encoding="utf-8", newline="") as out:
        out.write(document.text)
    with open(folder / f"{document.id}.ann", "w", encoding="utf-8", newline="") as out:
        out.write(brat_annotations(document))


def brat_annotations(document: Document) -> str:
    """The content of NAME.ann: a T line for each span.

    A mention's line breaks become spaces. BRAT's types hold no white space, so that of a type becomes an underscore ("Cell line"
    is Cell_line), and a type without a name becomes ENTITY, as a folder's bare tags are called.
    """
    lines = []
    for i, span in enumerate(document.spans, start=1):
        places = ";".join(f"{s} {e}" for s, e in _by_line(document.text, span.fragments))
        mention = " ".join(" ".join(document.text[s:e] for s, e in span.fragments).split())
        label = "_".join(span.label.split()) or "ENTITY"
        lines.append(f"T{i}\t{label} {places}\t{mention}\n")
    return "".join(lines)


def _by_line(text: str, fragments: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Fragments cut at line breaks: BRAT spans do not cross them."""
    for start, end in fragments:
        for piece in re.finditer(r"[^\r\n]+", text[start:end]):
            yield start + piece.start(), start + piece.end()


def _flaw(
    report: Report, kind: str, file: Path, line: int, reason: str, strict: bool, action: str = "left out"
) -> None:
    if strict:
        raise UserError(f"{file}, line {line}: {reason}: mend the annotation, or read without strict")
    report.add(kind, file, line, reason, action)
