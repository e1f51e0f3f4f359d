"""The window that pools near-degenerate orbitals of one atomic shell."""

from __future__ import annotations

from typing import Any


def window(x: Any, width: float, xp: Any) -> Any:
    """w(x) = (1 - (x / width)^4)^3 inside the width, 0 outside: flat to fourth order at 0, twice differentiable."""
    t = xp.clip(xp.abs(x) / width, 0.0, 1.0)
    return (1.0 - t**4) ** 3


def windowed(values: Any, vectors: Any, width: float, xp: Any) -> tuple[Any, Any, Any]:
    """Pi_i = sum_j w(l_i - l_j) y_j y_j^T / sum_j w(l_i - l_j) of eigenpairs (l, y).

    Args:
        values: eigenvalues, (n, d).
        vectors: eigenvectors in columns, (n, d, d).
        width: the window's half width, e.
        xp: numpy or jax.numpy.

    Returns:
        Pi (n, d, d, d) with the orbital i in axis 1, the weights (n, d, d) before normalisation, and their sums (n, d).
    """
    weights = window(values[:, :, None] - values[:, None, :], width, xp)
    total = weights.sum(-1)
    scaled = vectors[:, None] * (weights / total[..., None])[:, :, None, :]
    return scaled @ xp.swapaxes(vectors, 1, 2)[:, None], weights, total
