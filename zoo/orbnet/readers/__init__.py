"""Molecules from files: XYZ and extended XYZ, SDF, SMILES. Errors name the line; one bad entry does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo.core.errors import UserError
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers.frame import Failure, Frame

__all__ = ["SUFFIXES", "Failure", "Frame", "read_frames", "read_molecules"]

SUFFIXES = {
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".sdf": "sdf",
    ".sd": "sdf",
    ".mol": "sdf",
    ".smi": "smiles",
    ".smiles": "smiles",
}


def read_frames(path: str | Path, charge: int | None = None, spin: int | None = None) -> Iterator[Frame | Failure]:
    """The entries of a file in order, each a Frame or, where it is broken, a Failure that says why.

    Args:
        path: .xyz, .extxyz, .sdf, .mol, .smi or .smiles; coordinates in angstrom.
        charge: total charge of every molecule, for files that do not say; refused where the file says another.
        spin: number of unpaired electrons, likewise.

    Raises:
        UserError: a file that is absent, empty, not text, or of another kind.
    """
    path = Path(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: a {path.suffix or 'file without suffix'} is not read: give {', '.join(SUFFIXES)}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from None
    if not text.strip():
        raise UserError(f"{path}: the file is empty")
    if kind == "xyz":
        from zoo.orbnet.readers.xyz import parse
    elif kind == "sdf":
        from zoo.orbnet.readers.sdf import parse
    else:
        from zoo.orbnet.readers.smiles import parse
    return parse(text, path.name, charge, spin)


def read_molecules(path: str | Path, charge: int | None = None, spin: int | None = None) -> list[Molecule]:
    """All molecules of a file; UserError for the first entry that is broken. Arguments as :func:`read_frames`."""
    molecules = []
    for entry in read_frames(path, charge, spin):
        if isinstance(entry, Failure):
            raise UserError(entry.error)
        molecules.append(entry.molecule)
    return molecules
