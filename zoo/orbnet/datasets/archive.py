"""Text members of a tar archive, read once into memory."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from zoo.core.errors import DamagedError

Atoms = tuple[list[str], np.ndarray]


def members(path: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """The text of every regular member whose name ends with one of ``suffixes``, by name."""
    found = {}
    with tarfile.open(path, "r:gz") as tar:
        for entry in tar:
            if entry.isfile() and entry.name.endswith(suffixes):
                content = tar.extractfile(entry)
                assert content is not None
                found[entry.name.removeprefix("./")] = content.read().decode("utf-8", errors="replace")
    return found


def xyz_atoms(text: str, where: str) -> tuple[Atoms, str]:
    """Symbols and positions in angstrom, (n_atoms, 3), of a one-frame XYZ text, and its comment line.

    Raises:
        DamagedError: the text is no such frame.
    """
    lines = text.splitlines()
    try:
        count = int(lines[0])
        rows = [line.split() for line in lines[2 : 2 + count]]
        if len(rows) != count:
            raise ValueError
        positions = np.array([[float(v) for v in row[1:4]] for row in rows]).reshape(count, 3)
        return ([row[0].capitalize() for row in rows], positions), lines[1]
    except (ValueError, IndexError):
        raise DamagedError(f"{where}: not an XYZ frame of the number of atoms that it announces") from None
