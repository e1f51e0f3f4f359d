"""XYZ and extended XYZ: a count, a comment, one line an atom, any number of frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers.frame import Failure, Frame, agreed, attempt

_PAIR = re.compile(r"""([A-Za-z_][\w-]*)=("[^"]*"|'[^']*'|\{[^}]*\}|\S+)""")
_CHARGE_KEYS = ("charge", "total_charge")
_SPIN_KEYS = ("spin", "uhf", "unpaired_electrons")
_MULTIPLICITY_KEYS = ("multiplicity", "spin_multiplicity")
_NAME_KEYS = ("name", "title", "id")


def parse(text: str, source: str, charge: int | None, spin: int | None) -> Iterator[Frame | Failure]:
    """Frames of an XYZ text; ``source`` names the file in errors."""
    lines = text.splitlines()
    stem = source.rsplit(".", 1)[0]
    at, index = 0, 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        index += 1
        name, where = f"{stem}#{index}", f"{source}, line {at + 1}"
        if not _is_count(lines[at]):
            yield _no_count(lines, at, source, name)
            return
        count, start = int(lines[at]), at
        at += count + 2
        if at > len(lines):
            found = max(len(lines) - start - 2, 0)
            yield Failure(name, f"{where}: {count} atoms are announced and the file ends after {found}")
            return
        if at < len(lines) and lines[at].strip() and not _is_count(lines[at]):
            yield _no_count(lines, at, source, name)  # a count that is too small would pass for a smaller molecule
            return
        yield attempt(lambda s=start, e=at, n=name: _frame(lines, s, e, n, charge, spin), name, where)


def _is_count(line: str) -> bool:
    words = line.split()
    return len(words) == 1 and words[0].isdigit()


def _no_count(lines: list[str], at: int, source: str, name: str) -> Failure:
    shown = lines[at].strip()[:40]
    return Failure(
        name, f"{source}, line {at + 1}: expected a frame's number of atoms, not {shown!r}; the rest is not read"
    )


def _frame(lines: list[str], start: int, end: int, name: str, charge: int | None, spin: int | None) -> Frame:
    comment = lines[start + 1]
    info = {key: value.strip("\"'") for key, value in _PAIR.findall(comment)}
    folded = {key.lower(): value for key, value in info.items()}
    name = next((folded[k] for k in _NAME_KEYS if k in folded), name)
    _refuse_periodic(folded, start + 2)
    columns = _columns(folded.get("properties"), start + 2)
    symbols: list[int | str] = []
    table: dict[str, list[list[float]]] = {column.name: [] for column in columns if column.number}
    for number in range(start + 2, end):
        words = lines[number].split()
        _check_width(words, columns, number + 1)
        for column in columns:
            part = words[column.first : column.first + column.width]
            if column.name == "species":
                symbols.append(int(part[0]) if part[0].isdigit() else part[0])
            elif column.number:
                table[column.name].append(_floats(part, column.name, number + 1))
    arrays = {key: np.array(rows, np.float64) for key, rows in table.items()}
    positions = arrays.pop("pos")
    stated = _stated(folded, _CHARGE_KEYS, "charge")
    unpaired = _stated(folded, _SPIN_KEYS, "spin")
    multiplicity = _stated(folded, _MULTIPLICITY_KEYS, "multiplicity")
    if multiplicity is not None:
        unpaired = agreed("spin", unpaired, multiplicity - 1)
    molecule = Molecule.from_angstrom(
        symbols, positions, agreed("charge", stated, charge) or 0, agreed("spin", unpaired, spin), name
    )
    return Frame(molecule, start + 1, info, arrays)


def _refuse_periodic(info: dict[str, str], line: int) -> None:
    """Refuse a crystal: what repeats in space would be computed as a molecule in vacuum. A lattice alone says that it repeats."""
    flags = re.findall(r"\w+", info["pbc"].lower()) if "pbc" in info else ["t"] * ("lattice" in info)
    if any(flag in ("t", "true", "1") for flag in flags):
        said = f'pbc="{info["pbc"]}"' if "pbc" in info else "Lattice without pbc"
        raise UserError(
            f'line {line}: the frame is periodic ({said}): energies are of molecules in vacuum, set pbc="F F F" where it is one'
        )


@dataclass(frozen=True)
class _Column:
    name: str
    number: bool
    first: int
    width: int


def _columns(properties: str | None, line: int) -> list[_Column]:
    """Columns of an atom's line from extended XYZ's ``Properties=species:S:1:pos:R:3:...``; plain XYZ without it."""
    if properties is None:
        return [_Column("species", False, 0, 1), _Column("pos", True, 1, 3)]
    fields = properties.split(":")
    columns, first = [], 0
    try:
        for name, kind, width in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
            columns.append(_Column(name, kind.upper() in ("R", "I"), first, int(width)))
            first += int(width)
    except ValueError:
        raise UserError(f"line {line - 1}: Properties={properties} is not a list of name:type:count") from None
    by_name = {c.name: c for c in columns}
    if "pos" not in by_name or by_name["pos"].width != 3 or "species" not in by_name:
        raise UserError(f"line {line - 1}: Properties={properties} lacks species:S:1 or pos:R:3")
    return columns


def _check_width(words: list[str], columns: list[_Column], line: int) -> None:
    needed = columns[-1].first + columns[-1].width
    if len(words) < needed:
        raise UserError(f"line {line}: an atom needs {needed} columns, {' '.join(words)[:40]!r} has {len(words)}")


def _floats(words: list[str], what: str, line: int) -> list[float]:
    try:
        return [float(w) for w in words]
    except ValueError:
        bad = next(w for w in words if not _is_float(w))
        raise UserError(f"line {line}: {bad!r} in {what} is not a number") from None


def _is_float(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _stated(info: dict[str, str], keys: tuple[str, ...], what: str) -> int | None:
    for key in keys:
        if key in info:
            if not _is_float(info[key]) or float(info[key]) != round(float(info[key])):
                raise UserError(f"{what}={info[key]} in the comment is not an integer")
            return round(float(info[key]))
    return None
