"""Projectors onto sigma, pi and delta components of a block between two shells, polynomials in the bond's direction.

With n the unit vector along the bond, a block X between shells a and b splits into channels m = 0 (sigma), +-1 (pi),
+-2 (delta); sum_m X_mm over one |m| does not depend on how the axes around the bond are chosen. Each channel is a
contraction with a weight matrix W(n). Orders are the engine's: p as y, z, x; d as xy, yz, z2, xz, x2-y2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

P_ORDER = (1, 2, 0)
_R3 = 3.0**-0.5


def _quadrupoles() -> np.ndarray:
    """T_m of the d functions, (5, 3, 3): u.T_m.v has norm 1 over m for perpendicular unit vectors u and v."""
    t = np.zeros((5, 3, 3))
    for m, (i, j) in ((0, (0, 1)), (1, (1, 2)), (3, (0, 2))):
        t[m, i, j] = t[m, j, i] = 1.0
    t[2] = np.diag([-1.0, -1.0, 2.0]) * _R3
    t[4] = np.diag([1.0, -1.0, 0.0])
    return t


QUADRUPOLES = _quadrupoles()


def harmonic(ell: int, n: Any, xp: Any) -> Any:
    """The m = 0 function along unit vectors n (k, 3) as a unit vector of the shell, (k, 2 l + 1)."""
    if ell == 0:
        return xp.ones((len(n), 1))
    if ell == 1:
        return n[:, np.array(P_ORDER)]
    return xp.einsum("ki,mij,kj->km", n, QUADRUPOLES, n) * (0.5 * 3**0.5)


def _perpendicular(ell: int, n: Any, xp: Any) -> Any:
    """V_l with (k, 2 l + 1, 3): V e is the m = 1 function of a unit vector e perpendicular to n; V n = 0."""
    across = xp.eye(3) - n[:, :, None] * n[:, None, :]
    if ell == 1:
        return across[:, np.array(P_ORDER)]
    return xp.einsum("mij,ki,kjx->kmx", QUADRUPOLES, n, across)


def channels(la: int, lb: int, n: Any, xp: Any) -> list[Any]:
    """Weights (k, 2 la + 1, 2 lb + 1) of sigma, pi and delta for la <= lb, as many as the shells allow.

    Each has Frobenius norm 1, so that a channel's square is its share of the block's squared norm. Functions on b point
    at a, those on a point at b: the value is the same seen from either atom.
    """
    sigma = harmonic(la, n, xp)[:, :, None] * harmonic(lb, n, xp)[:, None, :]
    weights = [(-1.0) ** lb * sigma]
    if la >= 1:
        pi = _perpendicular(la, n, xp) @ _perpendicular(lb, n, xp).swapaxes(1, 2)
        weights.append(-((-1.0) ** lb) * pi * 0.5**0.5)
        if la == 2:
            weights.append((xp.eye(5) - sigma - pi) * 0.5**0.5)
    return weights
