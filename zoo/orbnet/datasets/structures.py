"""Flat arrays of many structures as a sequence of molecules, each built and checked when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from zoo.core.errors import DamagedError
from zoo.orbnet.molecule import Molecule


@dataclass(frozen=True, eq=False)
class Structures(Sequence[Molecule]):
    """Molecules of a data set.

    Attributes:
        numbers: atomic numbers, (n_atoms_in_all,).
        positions_angstrom: float, (n_atoms_in_all, 3).
        offsets: first atom of each structure and the end, int64, (n_structures + 1,).
        charges: total charges in e, (n_structures,).
        names: what errors and tables call each, (n_structures,).
    """

    numbers: np.ndarray
    positions_angstrom: np.ndarray
    offsets: np.ndarray
    charges: np.ndarray
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.charges)

    @overload
    def __getitem__(self, index: int) -> Molecule: ...
    @overload
    def __getitem__(self, index: slice) -> list[Molecule]: ...

    def __getitem__(self, index: int | slice) -> Molecule | list[Molecule]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"structure {index} of {len(self)}")
        index %= len(self)
        return self.part(index, 0, self.size(index), int(self.charges[index]), str(self.names[index]))

    def size(self, index: int) -> int:
        """Number of atoms of a structure."""
        return int(self.offsets[index + 1] - self.offsets[index])

    def part(self, index: int, first: int, last: int, charge: int, name: str) -> Molecule:
        """The molecule of atoms ``first`` to ``last`` of a structure: a dimer's monomer with its own charge."""
        atoms = slice(int(self.offsets[index]) + first, int(self.offsets[index]) + last)
        return Molecule.from_angstrom(
            self.numbers[atoms].astype(np.int64), self.positions_angstrom[atoms], charge, 0, name
        )

    def atoms(self, index: int) -> np.ndarray:
        """Atomic numbers of a structure."""
        return self.numbers[self.offsets[index] : self.offsets[index + 1]]


def load_npz(path: Path) -> dict[str, Any]:
    """All arrays of an npz file; nothing pickled is read."""
    with np.load(path, allow_pickle=False) as content:
        return {key: content[key] for key in content.files}


def structures(arrays: dict[str, Any], names: Sequence[str], where: str) -> Structures:
    """The structures of arrays ``numbers``, ``coords_angstrom``, ``natoms``, ``charge``.

    Raises:
        DamagedError: their lengths do not agree.
    """
    offsets = np.concatenate([[0], np.cumsum(arrays["natoms"].astype(np.int64))])
    numbers, positions = arrays["numbers"], arrays["coords_angstrom"]
    if offsets[-1] != len(numbers) or len(numbers) != len(positions) or len(names) != len(arrays["charge"]):
        raise DamagedError(
            f"{where}: {offsets[-1]} atoms are announced, {len(numbers)} numbers and {len(positions)} positions are there"
        )
    return Structures(numbers, positions, offsets, arrays["charge"], names)
