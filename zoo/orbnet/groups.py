"""Groups: structures whose energies differ by known amounts at one level of theory.

Total energies of different levels never meet. A group says which combinations of its structures' energies are known:
``coefficients @ energies = targets``. For conformers these are the energies minus their mean; for a dimer E(AB) - E(A) - E(B); for a
reaction its stoichiometry. A loss of differences needs no more, and every group carries the label of its level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.datasets.structures import Structures
from zoo.orbnet.molecule import Molecule


@dataclass(frozen=True)
class Part:
    """Atoms ``first`` to ``last`` of a structure, as a molecule of its own."""

    structure: int
    first: int
    last: int
    charge: int
    name: str


@dataclass(frozen=True, eq=False)
class Group:
    """Structures with known differences.

    Attributes:
        name: what reports call it.
        source: the set it is of.
        level: the label of the level of theory of its targets.
        kind: conformers (energies minus their mean), dimers (interaction energies) or reaction.
        key: the molecule it is of; groups of one key fall on one side of a split.
        parts: which atoms its molecules are, (n_molecules,).
        coefficients: float64, (n_targets, n_molecules).
        targets_kcal: float64, (n_targets,).
        of: the set that its structures stand in.
        totals_kcal: total energies of conformers at ``level``, (n_molecules,), where they are known.
    """

    name: str
    source: str
    level: str
    kind: Literal["conformers", "dimers", "reaction"]
    key: str
    parts: tuple[Part, ...]
    coefficients: np.ndarray
    targets_kcal: np.ndarray
    of: Structures
    totals_kcal: np.ndarray | None = None

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """Its molecules, built now."""
        return tuple(self.of.part(p.structure, p.first, p.last, p.charge, p.name) for p in self.parts)

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers of its molecules, without building them."""
        return frozenset(int(z) for p in self.parts for z in self.of.atoms(p.structure)[p.first : p.last])


def split(groups: Sequence[Group], valid: float = 0.1, salt: str = "") -> tuple[list[Group], list[Group]]:
    """Groups for training and for validation: a molecule's key decides, whatever else is in the list.

    Args:
        groups: what to split.
        valid: share of the keys that go to validation, between 0 and 1.
        salt: another text is another split.

    Raises:
        UserError: a share outside 0 to 1.
    """
    if not 0 <= valid <= 1:
        raise UserError(f"valid={valid} must lie between 0 and 1")
    sides: tuple[list[Group], list[Group]] = ([], [])
    for group in groups:
        sides[_position(group.key, salt) < valid].append(group)
    return sides


def _position(key: str, salt: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{salt}|{key}".encode()).digest()[:8], "big") / 2**64


def conformers(
    name: str,
    source: str,
    level: str,
    key: str,
    of: Structures,
    indices: np.ndarray,
    energies_kcal: np.ndarray,
    *,
    total: bool = False,
) -> Group | None:
    """The group of the structures that have an energy; None where fewer than two have. ``total``: energies are total ones."""
    present = np.isfinite(energies_kcal)
    if present.sum() < 2:
        return None
    kept = [int(i) for i in indices[present]]
    parts = tuple(Part(i, 0, of.size(i), int(of.charges[i]), str(of.names[i])) for i in kept)
    values = energies_kcal[present]
    centring = np.eye(len(kept)) - 1.0 / len(kept)
    targets, totals = values - values.mean(), values if total else None
    return Group(name, source, level, "conformers", key, parts, centring, targets, of, totals)
