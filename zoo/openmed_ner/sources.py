"""What ``zoo predict`` reads: texts with names, their characters left as they are."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import read_text, refuse

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
    """The texts of a file, or of stdin for ``-``.

    Args:
        source: a path, or ``-``.
        read_as: ``text``: the file is one text. ``lines``: each line that is not blank is one. ``jsonl``: each line is an object
            with "text" and, if it has a name, "id". None: by the file's name, jsonl for .jsonl and .ndjson, else text.

    Raises:
        UserError: it cannot be read, is not UTF-8, holds no text, or a line is no such object; the line is named.
    """
    path = Path(source)
    if read_as is None:
        read_as = "jsonl" if path.suffix.lower() in (".jsonl", ".ndjson") else "text"
    name, content = ("stdin", _stdin()) if source == "-" else (path.stem, _file(path))
    if read_as == "text":
        return [Source(name, content)]
    # Only "\n" parts lines: a text may hold the other characters that str.splitlines takes for line ends.
    lines = [(i, line.removesuffix("\r")) for i, line in enumerate(content.split("\n"), start=1)]
    lines = [(i, line) for i, line in lines if line.strip()]
    if not lines:
        raise UserError(f"{source} holds no text: give one a line")
    if read_as == "lines":
        return [Source(f"{name}-{i}", line) for i, line in lines]
    found: dict[str, Source] = {}
    for i, line in lines:
        one = _object(source, i, line, f"{name}-{i}")
        if one.id in found:
            raise refuse(source, i, f"id {one.id[:60]!r} was there before", "give every text its own id")
        found[one.id] = one
    return list(found.values())


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


def _file(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from None


def _stdin() -> str:
    raw = sys.stdin.buffer.read()  # text mode would turn "\r\n" into one character
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise refuse("stdin", line, f"byte {raw[error.start]:#04x} is not UTF-8", "convert it to UTF-8") from None
