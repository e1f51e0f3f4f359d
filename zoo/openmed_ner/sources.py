"""What ``zoo predict`` reads: texts with names, their characters left as they are."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import read_text, refuse, unreadable

ReadAs = Literal["text", "lines", "jsonl"]
READ_AS: tuple[ReadAs, ...] = ("text", "lines", "jsonl")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Source:
    """A text to tag.

    Attributes:
        id: its name in what is written.
        text: the characters that offsets count; line ends as in the file, a byte-order mark apart.
    """

    id: str
    text: str


def read_sources(source: str, read_as: ReadAs | None = None) -> list[Source]:
    """All texts of :func:`iter_sources` at once; the same arguments and errors."""
    return list(iter_sources(source, read_as))


def iter_sources(source: str, read_as: ReadAs | None = None) -> Iterator[Source]:
    """The texts of a file, of the .txt files of a folder in the order of their names, or of stdin for ``-``, one after another.

    Of a file of lines one line is held at a time, and a short digest of every id.

    Args:
        source: a path, or ``-``.
        read_as: ``text``: a file is one text. ``lines``: each line that is not blank is one. ``jsonl``: each line is an object
            with "text" and, if it has a name, "id". None: by the file's name, jsonl for .jsonl and .ndjson, else text.

    Raises:
        UserError: it cannot be read, is not UTF-8, holds no text, or a line is no such object; the line is named.
    """
    path = Path(source)
    if source != "-" and _is_folder(path):
        yield from _folder(path, read_as)
        return
    if read_as is None:
        read_as = "jsonl" if path.suffix.lower() in (".jsonl", ".ndjson") else "text"
    name = "stdin" if source == "-" else _name(path)
    if read_as == "text":
        yield Source(name, _stdin() if source == "-" else read_text(path))
        return
    ids: set[bytes] = set()
    empty = True
    for i, line in enumerate(_decoded(sys.stdin.buffer, "stdin") if source == "-" else _lines(path), start=1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        empty = False
        one = Source(f"{name}-{i}", line) if read_as == "lines" else _object(source, i, line, f"{name}-{i}")
        digest = hashlib.blake2b(one.id.encode(), digest_size=12).digest()
        if digest in ids:
            raise refuse(source, i, f"id {one.id[:60]!r} was there before", "give every text its own id")
        ids.add(digest)
        yield one
    if empty:
        raise UserError(f"{source} holds no text: give one a line")


def _folder(folder: Path, read_as: ReadAs | None) -> Iterator[Source]:
    if read_as not in (None, "text"):
        raise UserError(f"{folder} is a folder, whose .txt files are a text each: leave out --read-as {read_as}")
    files = sorted(p for p in folder.iterdir() if p.suffix == ".txt" and p.is_file())
    if not files:
        raise UserError(f"{folder} is a folder without .txt files: name a file, or a folder of texts")
    for path in files:
        yield Source(_name(path), read_text(path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError) as error:  # as of a text that is given in place of a path
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{str(path)[:60]!r} is no path ({reason}): name a file, or - and give the text to stdin"
        ) from None


def _name(path: Path) -> str:
    """A file's name without its ending; bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(path.stem).decode("utf-8", "backslashreplace")


def _decoded(file: BinaryIO, what: object) -> Iterator[str]:
    """Lines one at a time. Only "\n" parts them: a text may hold the other characters that str.splitlines cuts at."""
    for number, raw in enumerate(file, start=1):
        try:
            yield raw.removesuffix(b"\n").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            reason = f"byte {raw[error.start]:#04x} is not UTF-8"
            raise refuse(what, number, reason, "convert it to UTF-8") from None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            yield from _decoded(file, path)
    except OSError as error:
        raise unreadable(path, error) from None


def _object(source: str, number: int, line: str, name: str) -> Source:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise refuse(source, number, f"not JSON ({error})", 'write {"id": ..., "text": ...} on one line') from None
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise refuse(source, number, 'no object with a string "text"', 'write {"id": ..., "text": ...} on one line')
    given = value.get("id", name)
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise refuse(source, number, f"id {str(given)[:40]} is neither a string nor a number", "write it as a string")
    for what in (value["text"], str(given)):
        if match := _SURROGATE.search(what):
            escape = f"\\u{ord(match[0]):04x}"
            raise refuse(source, number, f"{escape} is half a character, which no UTF-8 file can hold", "mend the text")
    return Source(str(given), value["text"])


def _stdin() -> str:
    raw = sys.stdin.buffer.read()  # text mode would turn "\r\n" into one character
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise refuse("stdin", line, f"byte {raw[error.start]:#04x} is not UTF-8", "convert it to UTF-8") from None
