"""Molecules from files: XYZ and extended XYZ, SDF, SMILES. Errors name the line; one bad entry does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from zoo.core.errors import UserError
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers.frame import Failure, Frame

__all__ = ["KINDS", "SUFFIXES", "Failure", "Frame", "read_frames", "read_molecules"]

SUFFIXES = {
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".sdf": "sdf",
    ".sd": "sdf",
    ".mol": "sdf",
    ".smi": "smi",
    ".smiles": "smi",
}
KINDS = ("xyz", "sdf", "smi")
STDIN = "-"


def read_frames(
    path: str | Path, charge: int | None = None, spin: int | None = None, *, read_as: str | None = None
) -> Iterator[Frame | Failure]:
    """The entries of a file in order, each a Frame or, where it is broken, a Failure that says why.

    Args:
        path: .xyz, .extxyz, .sdf, .mol, .smi or .smiles; coordinates in angstrom. "-" reads stdin.
        charge: total charge of every molecule, for files that do not say; refused where the file says another.
        spin: number of unpaired electrons, likewise.
        read_as: one of KINDS, whatever the suffix; None goes by it.

    Raises:
        UserError: a file that is absent, empty, not text, or of another kind; stdin without ``read_as``.
    """
    path = Path(path)
    stdin = str(path) == STDIN
    kind = _kind(path, read_as)
    name = "stdin" if stdin else path.name
    try:
        # Some editors begin UTF-8 with a byte-order mark, which is no part of the first line.
        text = (sys.stdin.buffer.read() if stdin else path.read_bytes()).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from None
    if not text.strip():
        raise UserError(f"{name if stdin else path}: {'nothing came' if stdin else 'the file is empty'}")
    if kind == "xyz":
        from zoo.orbnet.readers.xyz import parse
    elif kind == "sdf":
        from zoo.orbnet.readers.sdf import parse
    else:
        from zoo.orbnet.readers.smiles import parse
    return parse(text, name, charge, spin)


def _kind(path: Path, read_as: str | None) -> str:
    """What a file holds, one of KINDS; UserError where that is not known."""
    if read_as is not None:
        if read_as not in KINDS:
            raise UserError(f"read_as={read_as!r} is not one of {', '.join(KINDS)}")
        return read_as
    if str(path) == STDIN:
        raise UserError("stdin has no suffix that says what it holds: add --read-as xyz, sdf or smi")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: a {path.suffix or 'file without suffix'} is not read: give {', '.join(SUFFIXES)}")
    return kind


def read_molecules(path: str | Path, charge: int | None = None, spin: int | None = None) -> list[Molecule]:
    """All molecules of a file; UserError for the first entry that is broken. Arguments as :func:`read_frames`."""
    molecules = []
    for entry in read_frames(path, charge, spin):
        if isinstance(entry, Failure):
            raise UserError(entry.error)
        molecules.append(entry.molecule)
    return molecules
