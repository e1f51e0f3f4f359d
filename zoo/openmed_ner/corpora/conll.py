"""Token files: a word and its tag on a line, a blank line between sentences; IOB1, IOB2, IOBES, BILOU or bare tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import Report, Sentence, read_text, refuse
from zoo.openmed_ner.labels import OUTSIDE, is_bare, spans, split_tag, tags_of

DOCSTART = "-DOCSTART-"


def read_conll(
    path: str | Path,
    *,
    default_type: str = "",
    aliases: Mapping[str, str] | None = None,
    word_column: int = 0,
    tag_column: int = -1,
    strict: bool = False,
) -> tuple[list[Sentence], Report]:
    """Read a token file as IOB2 sentences.

    Columns are parted by tabs, or by white space in a file without tabs. Repaired and counted: -DOCSTART- lines, doubled
    blank lines, Windows line ends, lines without a word, white space inside a word, I- (or E-) that continues nothing.

    Args:
        path: the file, UTF-8.
        default_type: the type of bare B and I tags.
        aliases: types to rename, as {"GP": "protein"}.
        word_column: column of the word.
        tag_column: column of the tag; -1 is the last.
        strict: refuse the first flaw instead of repairing it.

    Returns:
        The sentences, and the report of all repairs.

    Raises:
        UserError: a line without a tag, a file that is not UTF-8 or holds no word; with ``strict`` any flaw. The message has
            the file, the line and the reason.
    """
    text = read_text(path)
    report = Report()

    def flaw(kind: str, line: int, reason: str, action: str) -> None:
        if strict:
            raise refuse(path, line, reason, "mend the file, or read it with repairs")
        report.add(kind, path, line, reason, action)

    if "\r" in text:
        flaw("Windows line ends", text.count("\n", 0, text.index("\r")) + 1, "a carriage return", "taken off")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    tabs = "\t" in text
    rows: list[list[tuple[str, str, int]]] = [[]]
    blank = True
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            if blank and number <= text.count("\n"):
                flaw("blank lines doubled", number, "a blank line with no sentence before it", "passed over")
            blank = True
            rows.append([])
            continue
        blank = False
        columns = line.split("\t") if tabs else line.split()
        if columns[0] == DOCSTART:
            flaw("-DOCSTART- lines", number, f"a {DOCSTART} line", "passed over")
            blank = True
            continue
        if len(columns) < 2:
            raise refuse(path, number, f"{line[:40]!r} has no tag", "give a word and a tag, parted by a tab")
        word, tag = columns[word_column], columns[tag_column].strip()
        parts = word.split()
        if not parts:
            flaw("lines without a word", number, "a tag without a word", "passed over")
            continue
        if not tag:
            raise refuse(path, number, f"{word[:40]!r} has an empty tag", "tag it, with O where it is no entity")
        if len(parts) > 1 or parts[0] != word:
            flaw("white space in a word", number, f"{word[:40]!r} holds white space", "split there")
        rows[-1].extend((part, _inner(tag) if i else tag, number) for i, part in enumerate(parts))
    rows = [row for row in rows if row]
    if not rows:
        raise UserError(f"{path} holds no sentence: check the file")
    sentences = _to_iob2(rows, path, default_type, aliases or {}, flaw)
    return sentences, report


def write_conll(path: str | Path, sentences: Sequence[Sentence]) -> None:
    """Write sentences as word, tab, tag lines with a blank line after each."""
    blocks = ("".join(f"{w}\t{t}\n" for w, t in zip(s.words, s.tags)) for s in sentences)
    Path(path).write_text("\n".join(blocks), encoding="utf-8")


def _inner(tag: str) -> str:
    """The tag of a further part of one word."""
    letter, kind = split_tag(tag)
    return tag if letter == OUTSIDE or kind == tag else f"I{tag[1:]}"


def _to_iob2(rows, path, default_type, aliases, flaw) -> list[Sentence]:
    bare = is_bare(tag for row in rows for _, tag, _ in row)
    begins = _begins_everywhere(rows, bare)
    sentences = []
    for row in rows:
        tags = [tag for _, tag, _ in row]
        if begins:
            previous = (OUTSIDE, "")
            for word, tag, number in row:
                letter, kind = split_tag(tag, bare=bare)
                if letter in "IE" and (previous[0] not in "BI" or previous[1] != kind):
                    reason = f"{word[:40]!r} is {tag} and continues nothing"
                    flaw("I- without B-", number, reason, "begins an entity")
                previous = (letter, kind)
        found = [(a, b, aliases.get(kind, kind)) for a, b, kind in spans(tags, bare=bare)]
        words = tuple(word for word, _, _ in row)
        out = tuple(tags_of(found, len(row), default_type=default_type))
        sentences.append(Sentence(words, out, f"{path}, line {row[0][2]}"))
    return sentences


def _begins_everywhere(rows, bare: bool) -> bool:
    """Whether the scheme begins every entity with B or S. IOB1 does so only between neighbours, bare tags never."""
    if bare:
        return False
    for row in rows:
        previous = (OUTSIDE, "")
        for _, tag, _ in row:
            letter, kind = split_tag(tag)
            if letter == "S" or (letter == "B" and (previous[0] == OUTSIDE or previous[1] != kind)):
                return True
            previous = (letter, kind)
    return False
