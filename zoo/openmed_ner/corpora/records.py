"""What readers give: sentences of tagged words, documents with spans, and a report of every repair and refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from zoo.core.errors import UserError, one_line
from zoo.openmed_ner.labels import spans


@dataclass(frozen=True)
class Sentence:
    """Words with IOB2 tags.

    Attributes:
        words: without white space, at least one.
        tags: as many, IOB2.
        source: where it stands, for messages.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    source: str = ""

    @property
    def entities(self) -> list[tuple[int, int, str]]:
        """(first word, past the last, type) of each entity."""
        return spans(self.tags)


@dataclass(frozen=True)
class Span:
    """An annotated stretch of a document, in one or more fragments.

    Attributes:
        fragments: [start, end) characters of each, in order and apart; more than one for a discontinuous mention.
        label: its type.
        text: the document's characters in the fragments, joined by one space.
        id: its number or concept in the file, "" where it has none.
    """

    fragments: tuple[tuple[int, int], ...]
    label: str
    text: str
    id: str = ""

    @property
    def start(self) -> int:
        """First character."""
        return self.fragments[0][0]

    @property
    def end(self) -> int:
        """Past the last character."""
        return self.fragments[-1][1]

    @property
    def discontinuous(self) -> bool:
        """Whether it has gaps."""
        return len(self.fragments) > 1


@dataclass(frozen=True)
class Document:
    """A text and its spans; every span has been checked against the mention that its file spells.

    Attributes:
        id: its name in the corpus.
        text: the characters that offsets count.
        spans: in order of their place.
        sentences: [start, end) of its sentences where the file gives them.
    """

    id: str
    text: str
    spans: tuple[Span, ...]
    sentences: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Problem:
    """One flaw of a file: its kind, where, what, and what was done about it."""

    kind: str
    file: str
    line: int
    reason: str
    action: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}; {self.action}"


@dataclass
class Report:
    """What a reader met.

    Attributes:
        counts: flaws by kind.
        problems: the first :attr:`keep` of each kind, with file and line.
        keep: how many to keep.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    keep: int = 20

    def add(self, kind: str, file: object, line: int, reason: str, action: str) -> None:
        """Count a flaw."""
        self.counts[kind] += 1
        if self.counts[kind] <= self.keep:
            self.problems.append(Problem(kind, str(file), line, reason, action))

    def merge(self, other: Report) -> None:
        """Add the flaws of another report; of each kind the first :attr:`keep` of both together are kept."""
        self.counts.update(other.counts)
        kept = Counter(problem.kind for problem in self.problems)
        for problem in other.problems:
            kept[problem.kind] += 1
            if kept[problem.kind] <= self.keep:
                self.problems.append(problem)

    @property
    def clean(self) -> bool:
        """Whether nothing was amiss."""
        return not self.counts

    def __str__(self) -> str:
        if self.clean:
            return "no flaws"
        return "; ".join(f"{kind}: {n}" for kind, n in sorted(self.counts.items()))


def refuse(file: object, line: int, reason: str, mend: str) -> UserError:
    """The error for a flaw that cannot be repaired."""
    return UserError(f"{file}, line {line}: {reason}: {mend}")


def unreadable(path: object, error: OSError) -> UserError:
    """The error for a file that the system does not give out."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file: check the path")
    if isinstance(error, IsADirectoryError):
        return UserError(f"{path} is a folder: name a file")
    return UserError(
        f"{path}: cannot be read ({error.strerror or one_line(str(error))}): check the path and its rights"
    )


def read_bytes(path: str | Path) -> bytes:
    """A file's content; UserError where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def read_text(path: str | Path, *, mark: bool = False) -> str:
    """A file's text; UserError where it cannot be read, with the line where it is not UTF-8.

    Args:
        path: the file.
        mark: keep its byte-order mark.
    """
    raw = read_bytes(path)
    try:
        return raw.decode("utf-8" if mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise refuse(path, line, f"byte {raw[error.start]:#04x} is not UTF-8", "save the file as UTF-8") from None


def offset(digits: str | None) -> int | None:
    """The number that ASCII digits write, None for anything else ("-1", "²") and for more than any text has characters."""
    return int(digits) if digits and digits.isascii() and digits.isdecimal() and len(digits) < 10 else None


def checked_span(
    text: str, fragments: Iterable[tuple[int, int]], label: str, mention: str, *, id: str = "", exact: bool = False
) -> tuple[Span | None, str]:
    """A span whose fragments lie in ``text`` and spell ``mention``, or None and the reason why not.

    Args:
        text: the document's characters.
        fragments: [start, end) of each, in the order in which the mention joins them by one space.
        label: the type.
        mention: what the file says stands there.
        id: its concept.
        exact: compare character by character. Otherwise white space does not count: formats that keep a mention on one line
            write its line breaks as spaces.
    """
    given = list(fragments)
    pieces = sorted(given)
    for start, end in pieces:
        if not 0 <= start < end <= len(text):
            return None, f"span {start}:{end} does not lie within the {len(text)} characters of its text"
    if any(b[0] < a[1] for a, b in pairwise(pieces)):
        return None, f"fragments {pieces} overlap"
    spelt = " ".join(text[s:e] for s, e in given)
    if spelt != mention and (exact or "".join(spelt.split()) != "".join(mention.split())):
        return None, f"span {pieces[0][0]}:{pieces[-1][1]} reads {spelt[:40]!r} where the file says {mention[:40]!r}"
    return Span(tuple(pieces), label, " ".join(text[s:e] for s, e in pieces), id), ""
