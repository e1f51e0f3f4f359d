"""Geometries brought to a minimum of GFN1-xTB, for a force field's bonds may be far off: MMFF94 draws CO2 with 1.41 A."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS
from ase.units import Bohr, Hartree

from zoo.core.errors import UserError
from zoo.orbnet.elements import covalent_radii
from zoo.orbnet.gfn1 import EngineError, single_point
from zoo.orbnet.molecule import Molecule

LARGEST_FORCE = 0.01  # hartree / bohr, on any atom; MMFF94 leaves 0.03 in the median, and 0.25 in CO2
STEPS = 100
_LONGEST_STEP = 0.1  # angstrom, of any atom
# Times the sum of covalent radii: a bond of the drawing beyond is broken.
_BROKEN = 1.4


class _GFN1(Calculator):
    """Energy in eV and forces in eV/angstrom of a molecule that moves."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  ASE's own declaration

    def __init__(self, molecule: Molecule) -> None:
        super().__init__()
        self.molecule = molecule

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        m = self.molecule
        self.molecule = Molecule(m.numbers, atoms.positions / Bohr, m.charge, m.spin, m.name)
        found = single_point(self.molecule, gradient=True)
        assert found.gradient is not None
        self.results = {"energy": found.energy * Hartree, "forces": -found.gradient * Hartree / Bohr}


def relaxed(molecule: Molecule, bonds: np.ndarray) -> Molecule:
    """``molecule`` at a geometry whose largest force on an atom is below LARGEST_FORCE, by ASE's BFGS on GFN1-xTB's gradient.

    Args:
        molecule: where to start.
        bonds: pairs of atoms that must stay bound, int, (n_bonds, 2).

    Raises:
        UserError: GFN1-xTB does not converge on the way, the forces are not small after STEPS steps, or a bond breaks.
    """
    calculator = _GFN1(molecule)
    atoms = Atoms(molecule.numbers, molecule.positions_bohr * Bohr, calculator=calculator)
    try:
        small = BFGS(atoms, logfile=None, maxstep=_LONGEST_STEP).run(fmax=LARGEST_FORCE * Hartree / Bohr, steps=STEPS)
    except EngineError as error:
        raise UserError(f"{error}; give coordinates instead of a SMILES") from None
    if not small:
        raise UserError(f"{molecule.label}GFN1-xTB finds no minimum in {STEPS} steps: give coordinates instead")
    return _whole(calculator.molecule, bonds)


def _whole(molecule: Molecule, bonds: np.ndarray) -> Molecule:
    """The molecule; UserError where a bond of the drawing broke."""
    lengths = np.linalg.norm(np.diff(molecule.positions_angstrom[bonds], axis=1)[:, 0], axis=1)
    radii = covalent_radii(molecule.numbers)[bonds].sum(1)
    if (lengths > _BROKEN * radii).any():
        i, j = bonds[np.argmax(lengths / radii)]
        raise UserError(
            f"{molecule.label}the bond of atoms {i + 1} and {j + 1} ({molecule.symbols[i]}-{molecule.symbols[j]}) breaks "
            "when GFN1-xTB relaxes what RDKit embeds: give coordinates instead"
        )
    return molecule
