"""Token files: a word and its tag on a line, a blank line between sentences; IOB1, IOB2, IOBES, BILOU, BMES or bare tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import Report, Sentence, read_text, refuse
from zoo.openmed_ner.corpora.schemes import judged, undecided
from zoo.openmed_ner.labels import OUTSIDE, lettered, spans, split_tag, tags_of

DOCSTART = "-DOCSTART-"
Row = list[tuple[str, str, int]]  # of a sentence: word, tag and line
Flaw = Callable[[str, int, str, str], None]


def read_conll(
    path: str | Path,
    *,
    default_type: str = "",
    aliases: Mapping[str, str] | None = None,
    word_column: int = 0,
    tag_column: int = -1,
    beside: Sequence[str | Path] = (),
    strict: bool = False,
) -> tuple[list[Sentence], Report]:
    """Read a token file as IOB2 sentences.

    Columns are parted by tabs, or by white space in a file without tabs. Repaired and counted: -DOCSTART- lines, doubled
    blank lines, Windows line ends, lines without a word, white space inside a word, a small o for O, I- (or E-) that continues
    nothing. Either all tags have scheme letters or none has: :func:`zoo.openmed_ner.corpora.schemes.judged` has the rule.

    Args:
        path: the file, UTF-8.
        default_type: the type of bare B and I tags.
        aliases: types to rename, as {"GP": "protein"}.
        word_column: column of the word.
        tag_column: column of the tag; -1 is the last.
        beside: other files of the corpus, whose tags count too where this file's do not tell whether ``B-cell`` is a type.
        strict: refuse the first flaw instead of repairing it.

    Returns:
        The sentences, and the report of all repairs.

    Raises:
        UserError: a line without a tag, a tag without a letter where others have one, a file that is not UTF-8 or holds no
            word; with ``strict`` any flaw. The message has the file, the line and the reason.
    """
    report = Report()

    def flaw(kind: str, line: int, reason: str, action: str) -> None:
        if strict:
            raise refuse(path, line, reason, "mend the file, or read it with repairs")
        report.add(kind, path, line, reason, action)

    rows = _rows(path, word_column, tag_column, flaw)
    counts = _counts(rows)
    if undecided(counts):
        for other in beside:
            counts += _counts(_rows(other, word_column, tag_column, lambda *_: None))
    bare, stray = judged(counts)
    if stray:
        _refuse_stray(rows, path, counts, stray)
    return _to_iob2(rows, path, default_type, aliases or {}, bare, flaw), report


def write_conll(path: str | Path, sentences: Sequence[Sentence]) -> None:
    """Write sentences as word, tab, tag lines with a blank line after each."""
    blocks = ("".join(f"{w}\t{t}\n" for w, t in zip(s.words, s.tags)) for s in sentences)
    Path(path).write_text("\n".join(blocks), encoding="utf-8")


def _counts(rows: Sequence[Row]) -> Counter[str]:
    return Counter(tag for row in rows for _, tag, _ in row)


def _refuse_stray(rows: Sequence[Row], path: str | Path, counts: Counter[str], stray: set[str]) -> None:
    with_letter = lettered(counts)
    # Where the stray ones are in other files, and no type has B and I, it is these that cannot be told.
    for doubtful in (stray, with_letter if undecided(counts) else set()):
        for word, tag, number in (word for row in rows for word in row):
            if tag in doubtful:
                both = f"and tags stand there with a scheme letter ({min(with_letter, default='')}) and without ({min(stray)})"
                why = both if with_letter else "which looks like a scheme letter and a type"
                raise refuse(path, number, f"{word[:40]!r} is {tag}, {why}", "write B-TYPE and I-TYPE, or types alone")


def _rows(path: str | Path, word_column: int, tag_column: int, flaw: Flaw) -> list[Row]:
    text = read_text(path)
    if "\r" in text:
        flaw("Windows line ends", text.count("\n", 0, text.index("\r")) + 1, "a carriage return", "taken off")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    tabs = "\t" in text
    rows: list[Row] = [[]]
    blank = True
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            if blank and number < len(lines):
                flaw("blank lines doubled", number, "a blank line with no sentence before it", "passed over")
            blank = True
            rows.append([])
            continue
        blank = False
        columns = line.split("\t") if tabs else line.split()
        if columns[0] == DOCSTART:
            flaw("-DOCSTART- lines", number, f"a {DOCSTART} line", "passed over")
            blank = True
            rows.append([])
            continue
        if len(columns) < 2:
            raise refuse(path, number, f"{line[:40]!r} has no tag", "give a word and a tag, parted by a tab")
        try:
            word, tag = columns[word_column], columns[tag_column].strip()
        except IndexError:
            reason = f"{line[:40]!r} has {len(columns)} columns, of which {word_column} should be the word and {tag_column} the tag"
            raise refuse(path, number, reason, "count from 0, or from -1 backwards") from None
        parts = word.split()
        if not parts:
            flaw("lines without a word", number, "a tag without a word", "passed over")
            continue
        if not tag:
            raise refuse(path, number, f"{word[:40]!r} has an empty tag", "tag it, with O where it is no entity")
        if tag == "o":
            flaw("small o for O", number, f"{word[:40]!r} is o", "read as O")
            tag = OUTSIDE
        if len(parts) > 1 or parts[0] != word:
            flaw("white space in a word", number, f"{word[:40]!r} holds white space", "split there")
        rows[-1].append((" ".join(parts), tag, number))
    rows = [row for row in rows if row]
    if not rows:
        raise UserError(f"{path} holds no sentence: check the file")
    return rows


def _parted(word: str, tag: str, number: int, bare: bool) -> Row:
    """A word that holds white space as several, whose tags mean the same entity."""
    parts = word.split(" ")
    letter, _ = split_tag(tag, bare=bare)
    if bare or letter == OUTSIDE:
        return [(part, tag, number) for part in parts]
    first, last = ("B" if letter in "BS" else "I"), ("E" if letter in "ES" else "I")
    letters = [first, *"I" * (len(parts) - 2), last]
    return [(part, letter + tag[1:], number) for part, letter in zip(parts, letters)]


def _to_iob2(
    rows: Sequence[Row], path: str | Path, default_type: str, aliases: Mapping[str, str], bare: bool, flaw: Flaw
) -> list[Sentence]:
    begins = _begins_everywhere(rows, bare)
    sentences = []
    for whole in rows:
        row = [part for word in whole for part in (_parted(*word, bare) if " " in word[0] else [word])]
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


def _begins_everywhere(rows: Sequence[Row], bare: bool) -> bool:
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
