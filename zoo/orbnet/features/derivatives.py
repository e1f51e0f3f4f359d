"""Matrix functions in JAX whose derivatives are divided differences and so finite where eigenvalues meet.

Differentiating ``eigh`` divides by differences of eigenvalues, which are zero in every symmetric molecule. A function
of a matrix has no such pole (Daleckii-Krein): d f(A) = V [f[l_i, l_j] * (V^T dA V)] V^T, f[x, y] = (f(x) - f(y)) / (x
- y). First derivatives only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from zoo.orbnet.features.kernels import _root
from zoo.orbnet.features.windows import windowed


@jax.custom_jvp
def square_root(overlap: jax.Array) -> jax.Array:
    """S^1/2; its divided difference is 1 / (sqrt(l_i) + sqrt(l_j))."""
    return _root(overlap, jnp)  # pyright: ignore[reportArgumentType]


@square_root.defjvp
def _square_root_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (overlap,), (tangent,) = primals, tangents
    values, vectors = jnp.linalg.eigh(overlap)
    roots = jnp.sqrt(values)
    inner = (vectors.T @ tangent @ vectors) / (roots[:, None] + roots[None])
    return (vectors * roots) @ vectors.T, vectors @ inner @ vectors.T


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def smooth_projectors(blocks: jax.Array, width: float) -> jax.Array:
    """Pi_i of density blocks (n, d, d), see :func:`zoo.orbnet.features.smooth.projectors`; (n, d, d, d)."""
    values, vectors = jnp.linalg.eigh(blocks)
    return windowed(values, vectors, width, jnp)[0]


@smooth_projectors.defjvp
def _smooth_projectors_jvp(width: float, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (blocks,), (tangent,) = primals, tangents
    values, vectors = jnp.linalg.eigh(blocks)
    projectors, _, total = windowed(values, vectors, width, jnp)
    inner = jnp.einsum("naj,nab,nbk->njk", vectors, tangent, vectors)
    # x_ij = l_j - l_i: the argument of window number i at eigenvalue j; x_i moves with l_i itself.
    x = values[:, None, :] - values[:, :, None]
    moved = jnp.diagonal(inner, axis1=1, axis2=2)
    middle = _divided_difference(x[..., :, None], x[..., None, :], width) * inner[:, None]
    shift = _slope(x, width) * moved[:, :, None]
    middle = middle - shift[..., None] * jnp.eye(shift.shape[-1], dtype=shift.dtype)
    change = jnp.einsum("naj,nijk,nbk->niab", vectors, middle, vectors)
    trace = jnp.trace(change, axis1=2, axis2=3)
    return projectors, (change - projectors * trace[..., None, None]) / total[..., None, None]


def _divided_difference(x: jax.Array, y: jax.Array, width: float) -> jax.Array:
    """(w(x) - w(y)) / (x - y) of the window w, without cancellation.

    Inside the window w is a polynomial and the division is carried out by hand; the clip at its edge adds the factor
    (clip x - clip y) / (x - y).
    """
    s, t = x / width, y / width
    u, v = jnp.clip(s, -1.0, 1.0), jnp.clip(t, -1.0, 1.0)
    a, b = 1.0 - u**4, 1.0 - v**4
    inside = -(u + v) * (u * u + v * v) * (a * a + a * b + b * b) / width
    close = jnp.abs(s - t) < 1e-12
    clipped = jnp.where(close, 1.0, (u - v) / jnp.where(close, 1.0, s - t))
    return inside * clipped


def _slope(x: jax.Array, width: float) -> jax.Array:
    """dw/dx."""
    u = jnp.clip(x / width, -1.0, 1.0)
    return -12.0 * u**3 * (1.0 - u**4) ** 2 / width
