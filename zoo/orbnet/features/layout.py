"""Which orbital belongs to which shell and atom, and which pairs of shells carry an edge.

All of it is integers fixed by the elements, besides the choice of pairs within the cut-off: NumPy, outside derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from zoo.orbnet.elements import ELEMENTS, hardness


@dataclass(frozen=True, eq=False)
class Layout:
    """The basis of a molecule.

    Attributes:
        numbers: atomic numbers, (n_atoms,).
        momenta: angular momentum of each shell, (n_shells,).
        shell_atom: the atom of each shell, (n_shells,).
        shell_slot: 0, 1, 2 within its atom, (n_shells,).
        shell_start: its first orbital, (n_shells,).
    """

    numbers: np.ndarray
    momenta: np.ndarray
    shell_atom: np.ndarray
    shell_slot: np.ndarray
    shell_start: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray) -> Layout:
        """The GFN1-xTB basis of atomic numbers (n_atoms,): one object for the geometries of a molecule, conformers for example."""
        return _layout(tuple(map(int, numbers)))

    @property
    def n_shells(self) -> int:
        return len(self.momenta)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Orbitals of each shell, 2 l + 1, (n_shells,)."""
        return 2 * self.momenta + 1

    @property
    def n_orbitals(self) -> int:
        return int(self.sizes.sum())

    @cached_property
    def orbital_shell(self) -> np.ndarray:
        """The shell of each orbital, (n_orbitals,)."""
        return np.repeat(np.arange(self.n_shells), self.sizes)

    @cached_property
    def orbital_atom(self) -> np.ndarray:
        """The atom of each orbital, (n_orbitals,)."""
        return self.shell_atom[self.orbital_shell]

    @cached_property
    def atom_members(self) -> np.ndarray:
        """Float64 (n_atoms, n_orbitals), 1 where the orbital sits on the atom: sums over atoms are products with it."""
        return np.equal.outer(np.arange(len(self.numbers)), self.orbital_atom).astype(np.float64)

    @cached_property
    def shell_members(self) -> np.ndarray:
        """Float64 (n_shells, n_orbitals), 1 where the orbital belongs to the shell."""
        return np.equal.outer(np.arange(self.n_shells), self.orbital_shell).astype(np.float64)

    @cached_property
    def same_atom(self) -> np.ndarray:
        """Boolean (n_orbitals, n_orbitals)."""
        return np.equal.outer(self.orbital_atom, self.orbital_atom)

    @cached_property
    def same_shell(self) -> np.ndarray:
        """Boolean (n_orbitals, n_orbitals)."""
        return np.equal.outer(self.orbital_shell, self.orbital_shell)

    @cached_property
    def hardness(self) -> np.ndarray:
        """Chemical hardness in hartree, (n_atoms,)."""
        return hardness(self.numbers)

    @cached_property
    def first_shell(self) -> np.ndarray:
        """The first shell of each atom, (n_atoms,)."""
        return np.searchsorted(self.shell_atom, np.arange(len(self.numbers)))

    @cached_property
    def shell_count(self) -> np.ndarray:
        """Shells of each atom, (n_atoms,)."""
        return np.bincount(self.shell_atom, minlength=len(self.numbers))

    @cached_property
    def atom_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """All pairs of atoms i < j, near or not."""
        return np.triu_indices(len(self.numbers), 1)

    @cached_property
    def selves(self) -> tuple[PairGroup, ...]:
        """Each shell with itself, in groups of one angular momentum."""
        each = np.arange(self.n_shells)
        return tuple(_grouped(self, each, each, "self"))

    @cached_property
    def onsite(self) -> tuple[PairGroup, ...]:
        """The pairs of two shells of one atom."""
        first, count = self.first_shell, self.shell_count
        s, t = np.triu_indices(int(count.max()), 1)
        on = [(first[count > v] + u, first[count > v] + v) for u, v in zip(s, t)]
        if not on:
            return ()
        first_of, second_of = (np.concatenate(side) for side in zip(*on))
        return tuple(_grouped(self, first_of, second_of, "onsite"))

    def orbitals(self, shells: np.ndarray) -> np.ndarray:
        """Orbital indices (n, 2 l + 1) of shells (n,) that share one angular momentum."""
        width = int(self.sizes[shells[0]]) if len(shells) else 1
        return self.shell_start[shells][:, None] + np.arange(width)


@dataclass(frozen=True, eq=False)
class PairGroup:
    """Pairs of shells with one pair of angular momenta, l_a <= l_b.

    Attributes:
        la, lb: angular momenta.
        kind: "self" (one shell with itself), "onsite" (two shells of one atom) or "bond" (two atoms).
        a, b: the shells, (n_pairs,).
        orbitals_a, orbitals_b: their orbitals, (n_pairs, 2 l + 1).
    """

    la: int
    lb: int
    kind: str
    a: np.ndarray
    b: np.ndarray
    orbitals_a: np.ndarray
    orbitals_b: np.ndarray


@dataclass(frozen=True, eq=False)
class Pairs:
    """The shell pairs of one geometry, grouped for batched algebra on equal blocks.

    Attributes:
        groups: pairs of two different shells.
        selves: each shell with itself, in groups of one angular momentum.
        cutoff: bohr; pairs of atoms at least this far apart carry no edge.
    """

    groups: tuple[PairGroup, ...]
    selves: tuple[PairGroup, ...]
    cutoff: float


@lru_cache(maxsize=16)
def _layout(numbers: tuple[int, ...]) -> Layout:
    shells = [ELEMENTS[z - 1].shells for z in numbers]
    momenta = np.array([ell for s in shells for ell in s], np.int64)
    atom = np.repeat(np.arange(len(numbers)), [len(s) for s in shells])
    slot = np.concatenate([np.arange(len(s)) for s in shells])
    start = np.concatenate([[0], np.cumsum(2 * momenta + 1)[:-1]])
    arrays = (np.array(numbers), momenta, atom, slot, start)
    for array in arrays:
        array.setflags(write=False)  # shared by all that ask for this basis
    return Layout(*arrays)


def find_pairs(layout: Layout, positions: np.ndarray, cutoff: float) -> Pairs:
    """The pairs of shells on one atom or on atoms nearer than ``cutoff`` (bohr): one object while the same atoms are near."""
    i, j = layout.atom_pairs
    near = ((positions[i] - positions[j]) ** 2).sum(1) < cutoff * cutoff
    return _pairs(layout, near.tobytes(), cutoff)


@lru_cache(maxsize=16)
def _pairs(layout: Layout, near: bytes, cutoff: float) -> Pairs:
    chosen = np.frombuffer(near, bool)
    i, j = (side[chosen] for side in layout.atom_pairs)
    first, count = layout.first_shell, layout.shell_count
    # Every shell of atom i with every shell of atom j: the ragged product, flattened.
    n = count[i] * count[j]
    pair = np.repeat(np.arange(len(i)), n)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(n) - n, n)
    a = first[i[pair]] + within // count[j[pair]]
    b = first[j[pair]] + within % count[j[pair]]
    return Pairs((*layout.onsite, *_grouped(layout, a, b, "bond")), layout.selves, cutoff)


def _grouped(layout: Layout, a: np.ndarray, b: np.ndarray, kind: str) -> list[PairGroup]:
    swap = layout.momenta[a] > layout.momenta[b]
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    key = layout.momenta[a] * 3 + layout.momenta[b]
    groups = []
    for value in np.unique(key):
        chosen = key == value
        p, q = a[chosen], b[chosen]
        la, lb = divmod(int(value), 3)
        groups.append(PairGroup(la, lb, kind, p, q, layout.orbitals(p), layout.orbitals(q)))
    return groups
