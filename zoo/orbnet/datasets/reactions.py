"""Reactions: energies that are sums of species with coefficients, and the reference value of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.molecule import Molecule


@dataclass(frozen=True)
class Reaction:
    """An energy difference.

    Attributes:
        name: what tables call it.
        stoichiometry: (coefficient, index into the set's molecules), products positive.
        reference_kcal: sum of coefficient times energy, kcal/mol.
    """

    name: str
    stoichiometry: tuple[tuple[float, int], ...]
    reference_kcal: float


@dataclass(frozen=True, eq=False)
class ReactionSet:
    """Reactions over the same list of molecules.

    Attributes:
        name: of the set.
        molecules: the species, each once.
        reactions: in the source's order.
    """

    name: str
    molecules: tuple[Molecule, ...]
    reactions: tuple[Reaction, ...]

    @property
    def references(self) -> np.ndarray:
        """Reference values, kcal/mol, float64, (n_reactions,)."""
        return np.array([r.reference_kcal for r in self.reactions], np.float64)


def reaction_energies(reactions: Sequence[Reaction], energies_hartree: np.ndarray) -> np.ndarray:
    """Reaction energies in kcal/mol, float64, (n_reactions,), NaN where a species has none.

    Args:
        reactions: whose indices point into ``energies_hartree``.
        energies_hartree: float64, (n_molecules,), NaN for a molecule that failed.

    Raises:
        UserError: an index outside the energies.
    """
    energies = np.asarray(energies_hartree, np.float64)
    values = np.empty(len(reactions))
    for i, reaction in enumerate(reactions):
        if any(not 0 <= index < len(energies) for _, index in reaction.stoichiometry):
            raise UserError(f"reaction {reaction.name} names a species outside the {len(energies)} energies given")
        values[i] = sum(c * energies[index] for c, index in reaction.stoichiometry) * HARTREE_KCAL
    return values
