"""Converged quantities in a third of their size: what GFN1-xTB's own form makes redundant is not stored.

GFN1-xTB has H0_uv = k_ab S_uv with one factor for every pair of shells, and F_uv = H0_uv + S_uv (V_a + V_b) / 2 with one
potential for every shell (Grimme et al. 2017). So S and P as triangles, the factors and the potentials hold all four matrices.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from zoo.orbnet.features.layout import Layout
from zoo.orbnet.gfn1 import Converged, EngineError
from zoo.orbnet.molecule import Molecule

Precision = Literal["float32", "float64"]


def pack(converged: Converged, precision: Precision = "float32") -> dict[str, np.ndarray]:
    """The arrays that :func:`unpack` makes the matrices from.

    Args:
        converged: what to store.
        precision: of overlap, density, factors and potentials. float32 rounds them by 6e-8 of their size, which moves
            features by about 1e-6 and is enough for training; energies and charges stay float64.

    Raises:
        EngineError: matrices that do not have GFN1-xTB's form, whose packing would lose something.
    """
    layout = Layout.of(converged.molecule.numbers)
    members, overlap = layout.shell_members, converged.overlap
    weight = members @ (overlap * overlap) @ members.T
    product = members @ (converged.core * overlap) @ members.T
    factors = np.divide(product, weight, out=np.zeros_like(product), where=weight > 0)
    potentials = members @ np.diag(converged.fock - converged.core) / layout.sizes
    core, fock = _rebuild(overlap, factors, potentials, layout)
    error = max(np.abs(core - converged.core).max(), np.abs(fock - converged.fock).max())
    if not error < 1e-8:
        molecule = converged.molecule
        raise EngineError(
            f"{molecule.label}{molecule.formula}: matrices differ from GFN1-xTB's form by {error:.1e} hartree"
        )
    rows, columns = np.tril_indices(layout.n_orbitals)
    shells = np.tril_indices(layout.n_shells)
    small = {
        "overlap": overlap[rows, columns],
        "density": converged.density[rows, columns],
        "factors": factors[shells],
        "potentials": potentials,
    }
    return {
        **{name: array.astype(precision) for name, array in small.items()},
        "energy": np.array([converged.energy]),
        "charges": converged.charges,
    }


def unpack(arrays: dict[str, np.ndarray], molecule: Molecule, engine: str) -> Converged:
    """The converged quantities of ``molecule`` from what :func:`pack` made."""
    layout = Layout.of(molecule.numbers)
    overlap = _square(arrays["overlap"], layout.n_orbitals)
    np.fill_diagonal(overlap, 1.0)
    factors = _square(arrays["factors"], layout.n_shells)
    core, fock = _rebuild(overlap, factors, arrays["potentials"].astype(np.float64), layout)
    density = _square(arrays["density"], layout.n_orbitals)
    return Converged(molecule, float(arrays["energy"][0]), overlap, core, density, fock, arrays["charges"], engine)


def _rebuild(
    overlap: np.ndarray, factors: np.ndarray, potentials: np.ndarray, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    of = layout.orbital_shell
    core = overlap * factors[of[:, None], of]
    shift = potentials[of]
    return core, core + overlap * (0.5 * (shift[:, None] + shift))


def _square(triangle: np.ndarray, n: int) -> np.ndarray:
    full = np.zeros((n, n))
    rows, columns = np.tril_indices(n)
    full[rows, columns] = triangle
    full[columns, rows] = triangle
    return full
