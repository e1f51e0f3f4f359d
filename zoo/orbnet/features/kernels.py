"""Coulomb and exchange kernels from Loewdin populations, and the square root of the overlap they need.

(pq|rs) = sum_AB Q^A_pq gamma_AB Q^B_rs, with Q^A_pq = sum over the orbitals k of atom A of (S^1/2)_kp (S^1/2)_kq and
gamma_AB = (R_AB^y + eta_AB^-y)^(-1/y), eta the mean chemical hardness; y is 4 for J and 10 for K (OrbNet, Qiao et al.
2020). Exchange K_pq = (pq|pq) keeps the two host atoms of p and q in both sums, so that K costs as much as J; what third atoms
would add is a tenth of the largest element in water.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from zoo.orbnet.features.layout import Layout

Y_COULOMB, Y_EXCHANGE = 4, 10


def gamma(squared_distance: Any, eta: Any, y: int) -> Any:
    """gamma = (R^y + eta^-y)^(-1/y) in hartree, from R^2 in bohr^2 and the mean hardness in hartree; y is even."""
    return (squared_distance ** (y // 2) + eta**-y) ** (-1.0 / y)


def squared_distances(positions: Any) -> Any:
    """R_AB^2, (n_atoms, n_atoms)."""
    difference = positions[:, None] - positions[None]
    return (difference * difference).sum(-1)


def mean_hardness(layout: Layout) -> np.ndarray:
    """eta_AB = (eta_A + eta_B) / 2, (n_atoms, n_atoms)."""
    return 0.5 * np.add.outer(layout.hardness, layout.hardness)


def gammas(layout: Layout, positions: Any) -> tuple[Any, Any]:
    """gamma_AB of J and of K, each (n_atoms, n_atoms)."""
    squared, eta = squared_distances(positions), mean_hardness(layout)
    return gamma(squared, eta, Y_COULOMB), gamma(squared, eta, Y_EXCHANGE)


def square_root(overlap: Any, xp: ModuleType) -> Any:
    """S^1/2 of a positive definite matrix, in NumPy or, differentiably, in JAX."""
    if xp is np:
        return _root(overlap, np)
    from zoo.orbnet.features.derivatives import square_root as differentiable

    return differentiable(overlap)


def _root(overlap: np.ndarray, xp: Any) -> Any:
    values, vectors = xp.linalg.eigh(overlap)
    return (vectors * xp.sqrt(values)) @ vectors.T


def host_populations(root: Any, layout: Layout) -> Any:
    """Q^{a(p)}_pq, the overlap population of p and q on the atom of p, (n_orbitals, n_orbitals)."""
    return (root * layout.same_atom) @ root
