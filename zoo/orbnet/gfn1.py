"""The mean field: converged GFN1-xTB quantities from tblite, with the engine's silent nonsense caught.

tblite is imported here and nowhere else. GFN2-xTB energies come from the same door: a baseline and a cheap label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from zoo.core.errors import UserError, ZooError, one_line
from zoo.orbnet.blas import one_thread
from zoo.orbnet.elements import ELEMENTS, valence_electrons
from zoo.orbnet.molecule import Molecule

Method = Literal["GFN1-xTB", "GFN2-xTB"]
# tblite's accuracy 1 converges the density to 2e-5, which features can amplify past 1e-6 hartree. Of 400 molecules of GMTKN55 the released
# model's energies move by 1.3e-6 at most there, by 1.3e-7 at 0.1 (against 1e-5), and each factor of ten costs a tenth of the single point.
ACCURACY = 0.1


class EngineError(ZooError):
    """A single point that failed or whose result is not that of a molecule."""


@dataclass(frozen=True, eq=False)
class Converged:
    """What GFN1-xTB knows of a molecule once its density has converged. Matrices are float64, (n_orbitals, n_orbitals).

    Attributes:
        molecule: the geometry, charge and spin they belong to.
        energy: total GFN1-xTB energy, hartree, with dispersion.
        overlap: S.
        core: H0, the core Hamiltonian, hartree.
        density: P, with the factor 2 of doubly occupied orbitals, so that tr(P S) = number of valence electrons.
        fock: F = S C diag(e) C^T S, hartree.
        charges: Mulliken charges of the atoms, e, (n_atoms,).
        engine: name and version of the program.
    """

    molecule: Molecule
    energy: float
    overlap: np.ndarray
    core: np.ndarray
    density: np.ndarray
    fock: np.ndarray
    charges: np.ndarray
    engine: str


@dataclass(frozen=True, eq=False)
class SinglePoint:
    """An energy and, where it was asked for, its gradient.

    Attributes:
        energy: hartree.
        gradient: dE/dx, hartree / bohr, (n_atoms, 3), or None.
    """

    energy: float
    gradient: np.ndarray | None


@cache
def engine_version() -> str:
    """``tblite <version>``: part of every cache key, for another engine means other features."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"tblite {version('tblite')}"
    except PackageNotFoundError:
        raise UserError("orbnet needs tblite for GFN1-xTB: pip install 'sci-model-zoo[orbnet]'") from None


def converge(molecule: Molecule, *, accuracy: float = ACCURACY, max_iterations: int = 250) -> Converged:
    """Converge GFN1-xTB and collect the matrices that features are made of.

    Args:
        molecule: what to compute.
        accuracy: tblite's factor on its convergence thresholds; smaller is tighter.
        max_iterations: SCF cycles before giving up.

    Raises:
        EngineError: an SCF that does not converge, or a result that no molecule has.
    """
    with one_thread(molecule.n_orbitals):
        return _converge(molecule, accuracy, max_iterations)


def _converge(molecule: Molecule, accuracy: float, max_iterations: int) -> Converged:
    calculator = _calculator(molecule, "GFN1-xTB", accuracy, max_iterations)
    calculator.set("save-integrals", 1)
    result = _run(calculator, molecule)
    names = ("overlap-matrix", "hamiltonian-matrix", "density-matrix")
    overlap, core, density = (_symmetric(result.get(name)) for name in names)
    coefficients, levels = result.get("orbital-coefficients"), result.get("orbital-energies")
    overlap_mo = overlap @ coefficients
    fock = (overlap_mo * levels) @ overlap_mo.T
    energy = float(result.get("energy"))
    _check(molecule, energy, "GFN1-xTB")
    _check_layout(molecule, calculator)
    _check_matrices(molecule, overlap_mo, coefficients, overlap, density)
    charges = np.array(result.get("charges"), np.float64)
    return Converged(molecule, energy, overlap, core, density, _symmetric(fock), charges, engine_version())


def single_point(
    molecule: Molecule,
    method: Method = "GFN1-xTB",
    *,
    gradient: bool = False,
    accuracy: float = 1.0,
    max_iterations: int = 250,
) -> SinglePoint:
    """Energy, and analytic gradient on request, of GFN1-xTB or GFN2-xTB; EngineError as for :func:`converge`."""
    if method not in ("GFN1-xTB", "GFN2-xTB"):
        raise UserError(f"method={method!r} is not one of GFN1-xTB, GFN2-xTB")
    result = _run(_calculator(molecule, method, accuracy, max_iterations), molecule)
    energy = float(result.get("energy"))
    _check(molecule, energy, method)
    return SinglePoint(energy, np.array(result.get("gradient"), np.float64) if gradient else None)


def energies(molecules: Sequence[Molecule], method: Method = "GFN1-xTB") -> np.ndarray:
    """Energies in hartree, float64, (n_molecules,), by :func:`single_point`."""
    return np.array([single_point(m, method).energy for m in molecules], np.float64)


def _calculator(molecule: Molecule, method: Method, accuracy: float, max_iterations: int) -> Any:
    engine_version()
    from tblite.interface import Calculator

    calculator = Calculator(
        method, np.array(molecule.numbers), np.array(molecule.positions_bohr), float(molecule.charge), molecule.spin
    )
    calculator.set("verbosity", 0)
    calculator.set("accuracy", accuracy)
    calculator.set("max-iter", max_iterations)
    return calculator


def _run(calculator: Any, molecule: Molecule) -> Any:
    from tblite.exceptions import TBLiteRuntimeError

    try:
        return calculator.singlepoint()
    except (TBLiteRuntimeError, RuntimeError) as error:
        text = one_line(str(error))
        mend = "; check geometry, charge and spin" if "not converged" in text else ""
        raise EngineError(f"{molecule.label}{molecule.formula}: xTB failed: {text}{mend}") from None


def _symmetric(matrix: Any) -> np.ndarray:
    matrix = np.ascontiguousarray(matrix, np.float64)
    return 0.5 * (matrix + matrix.T)


def _check(molecule: Molecule, energy: float, method: str) -> None:
    # A bare ion may lie above zero (H+ has no electron left, its energy is the engine's +0.24); a molecule never does.
    if not np.isfinite(energy) or (energy > 0 and len(molecule) > 1):
        raise EngineError(
            f"{molecule.label}{molecule.formula}: {method} gives {energy:.3f} hartree, which no molecule has: "
            "check geometry, charge and spin"
        )


def _check_layout(molecule: Molecule, calculator: Any) -> None:
    """The engine's shells must be those of :mod:`zoo.orbnet.elements`, on which every layout stands."""
    shells = [ell for z in molecule.numbers for ell in ELEMENTS[z - 1].shells]
    if list(calculator.get("angular-momenta")) != shells:
        raise EngineError(f"{engine_version()} has other GFN1-xTB shells than this package for {molecule.formula}")


def _check_matrices(
    molecule: Molecule, overlap_mo: np.ndarray, coefficients: np.ndarray, overlap: np.ndarray, density: np.ndarray
) -> None:
    electrons = float((density * overlap).sum())
    expected = int(valence_electrons(molecule.numbers).sum()) - molecule.charge
    if not np.isfinite(electrons) or abs(electrons - expected) > 1e-6 * max(expected, 1):
        raise EngineError(
            f"{molecule.label}{molecule.formula}: the density holds {electrons:.6f} electrons instead of {expected}"
        )
    error = float(np.abs(coefficients.T @ overlap_mo - np.eye(len(overlap))).max())
    if error > 1e-8:
        raise EngineError(f"{molecule.label}{molecule.formula}: orbitals are orthonormal only to {error:.1e}")
