"""How features enter the network: bounded functions of node and edge features, and mollifiers that end an edge smoothly."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Cut-offs of the paper's edge operators F J K D P S H: of -ln|X|, and of D in bohr.
PAPER_CUTOFFS = (8.0, 1.6, 20.0, 9.45, 14.0, 8.0, 8.0)
_DISTANCE_COLUMN = 3


def distance_mollifier(distance: jax.Array, cutoff: float) -> jax.Array:
    """exp(1 - 1 / (1 - (r / c)^2)) inside the cut-off, 0 outside: 1 at r = 0, all derivatives vanish at c."""
    inside = distance < cutoff
    left = jnp.where(inside, 1.0 - (distance / cutoff) ** 2, 1.0)
    # Below 0.01 the exponential is under 1e-42: the bound only keeps derivatives from overflowing.
    return jnp.where(inside, jnp.exp(1.0 - 1.0 / jnp.maximum(left, 0.01)), 0.0)


def paper_mollifier(r: jax.Array, cutoff: jax.Array) -> jax.Array:
    """I(r) = exp(-c^2 / (|r| - c)^2 + 1) for |r| < c, else 0 (OrbNet, Qiao et al. 2020)."""
    inside = jnp.abs(r) < cutoff
    left = jnp.where(inside, (1.0 - jnp.abs(r) / cutoff) ** 2, 1.0)
    return jnp.where(inside, jnp.exp(1.0 - 1.0 / jnp.maximum(left, 0.01)), 0.0)


def squashed(x: jax.Array, scales: tuple[float, ...]) -> jax.Array:
    """x s / sqrt(1 + (x s)^2) at each scale s: (n, m) to (n, len(scales) * m), scale by scale, bounded by 1 and zero at zero."""
    scaled = jnp.concatenate([x * s for s in scales], 1)
    return scaled * jax.lax.rsqrt(1.0 + scaled * scaled)


def radial(distance: jax.Array, cutoff: float, n: int) -> jax.Array:
    """3 sin(k pi r / c) / (k pi r / c) for k = 1 to n: (n_edges, n); the factor brings them to unit size."""
    angle = distance * (jnp.pi / cutoff)
    # sin((k + 1) x) = 2 cos(x) sin(k x) - sin((k - 1) x): one sine for all k. Written by differences, which keep the digits at small x.
    wave, curve = jnp.sin(angle), 4.0 * jnp.sin(0.5 * angle) ** 2
    waves, step = [wave], wave
    while len(waves) < n:
        step = step - curve * wave
        wave = wave + step
        waves.append(wave)
    apart = distance > 0
    inverse = jnp.where(apart, 3.0 / jnp.where(apart, angle, 1.0), 0.0)
    return jnp.stack([jnp.where(apart, wave * inverse / k, 3.0) for k, wave in enumerate(waves, 1)], 1)


def sines(x: jax.Array, n: int) -> jax.Array:
    """sin(pi k x) for k = 1 to n: (n_nodes, m) to (n_nodes, m * n), the paper's node basis."""
    k = jnp.pi * jnp.arange(1, n + 1, dtype=x.dtype)
    return jnp.sin(x[:, :, None] * k).reshape(len(x), -1)


def paper_bessel(x: jax.Array, n: int) -> jax.Array:
    """The paper's edge basis of SAAO features F J K D P S H: (n_edges, 7) to (n_edges, 7 n).

    sqrt(2 / c) sin(pi k r / c) / (r / c) I(r) with r = -ln|X|, the distance itself for D; an operator that has decayed past
    its own cut-off contributes nothing.
    """
    cutoff = jnp.asarray(PAPER_CUTOFFS, x.dtype)
    smallest = jnp.exp(-cutoff)
    logarithm = -jnp.log(jnp.maximum(jnp.abs(x), smallest))
    is_distance = jnp.arange(len(PAPER_CUTOFFS)) == _DISTANCE_COLUMN
    r = jnp.where(is_distance, x, logarithm)
    k = jnp.arange(1, n + 1, dtype=x.dtype)
    waves = jnp.sqrt(2.0 / cutoff)[:, None] * jnp.pi * k * jnp.sinc((r / cutoff)[:, :, None] * k)
    return (waves * paper_mollifier(r, cutoff)[:, :, None]).reshape(len(x), -1)
