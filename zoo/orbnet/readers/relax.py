"""Geometries brought to a minimum of GFN1-xTB, for a force field's bonds may be far off: MMFF94 draws CO2 with 1.41 A.

From MMFF94's geometry it takes 3 to 5 gradients for most molecules (13 at most of 491), which lowers their energy by 2 kcal/mol.
"""

from __future__ import annotations

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.elements import covalent_radii
from zoo.orbnet.gfn1 import EngineError, single_point
from zoo.orbnet.molecule import Molecule

LARGEST_FORCE = 0.01  # hartree / bohr, on any atom; MMFF94 leaves 0.03 in the median, and 0.25 in CO2
STEPS = 100
_STIFFNESS = 0.7  # hartree / bohr^2, a single bond's, of the first step
_SOFTEST = 0.01  # hartree / bohr^2: along a softer mode a step would go anywhere
_LONGEST_STEP = 0.2  # bohr, of any atom
# Times the sum of covalent radii: a bond of the drawing beyond is broken.
_BROKEN = 1.4


def relaxed(molecule: Molecule, bonds: np.ndarray) -> Molecule:
    """``molecule`` at a geometry whose largest force on an atom is below LARGEST_FORCE, by BFGS on GFN1-xTB's gradient.

    Args:
        molecule: where to start.
        bonds: pairs of atoms that must stay bound, int, (n_bonds, 2).

    Raises:
        UserError: GFN1-xTB does not converge on the way, the forces are not small after STEPS steps, or a bond breaks.
    """
    hessian = _STIFFNESS * np.eye(3 * len(molecule))
    here, gradient = molecule, _gradient(molecule)
    for _ in range(STEPS):
        if np.linalg.norm(gradient, axis=1).max() < LARGEST_FORCE:
            return _whole(here, bonds)
        step = _step(hessian, gradient)
        there = Molecule(here.numbers, here.positions_bohr + step, here.charge, here.spin, here.name)
        after = _gradient(there)
        hessian = _updated(hessian, step.ravel(), (after - gradient).ravel())
        here, gradient = there, after
    raise UserError(f"{molecule.label}GFN1-xTB finds no minimum in {STEPS} steps: give coordinates instead")


def _gradient(molecule: Molecule) -> np.ndarray:
    """dE/dx, hartree / bohr, (n_atoms, 3)."""
    try:
        gradient = single_point(molecule, gradient=True).gradient
    except EngineError as error:
        raise UserError(f"{error}; give coordinates instead of a SMILES") from None
    assert gradient is not None
    return gradient


def _step(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Downhill along every mode, whatever its curvature's sign, and no atom further than _LONGEST_STEP."""
    values, vectors = np.linalg.eigh(hessian)
    step = -(vectors @ ((gradient.ravel() @ vectors) / np.maximum(np.abs(values), _SOFTEST))).reshape(gradient.shape)
    return step * min(1.0, _LONGEST_STEP / np.linalg.norm(step, axis=1).max())


def _updated(hessian: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """BFGS: the Hessian that gives ``change`` of the gradient for ``step``."""
    along = hessian @ step
    return hessian + np.outer(change, change) / (change @ step) - np.outer(along, along) / (step @ along)


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
