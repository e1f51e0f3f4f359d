"""The conformer-difference loss: (1 - a) of total energies plus a of differences between conformers of one molecule."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def pseudo_huber(x: jax.Array, delta: float) -> jax.Array:
    """2 d^2 (sqrt(1 + (x / d)^2) - 1): x^2 where |x| << d, 2 d |x| far out."""
    return 2.0 * delta * delta * (jnp.sqrt(1.0 + (x / delta) ** 2) - 1.0)


def conformer_loss(
    error: jax.Array,
    group: jax.Array,
    weight: jax.Array,
    n_groups: int,
    *,
    alpha: float = 0.9,
    delta_total: float = 3.0,
    delta_difference: float = 1.0,
) -> jax.Array:
    """The mean loss of a batch.

    The paper compares a conformer with one other drawn at random; here with all others at once: for squares, the mean of
    (e_i - e_j)^2 over pairs is 2 n / (n - 1) times the mean of (e_i - mean e)^2, and that factor stands before the centred term.

    Args:
        error: predicted minus reference, kcal/mol, (n_molecules,).
        group: which conformers belong together, int (n_molecules,), below ``n_groups``.
        weight: 0 leaves a molecule out entirely, (n_molecules,).
        n_groups: capacity for groups.
        alpha: share of the differences in groups of two and more; a molecule alone counts by its total energy.
        delta_total, delta_difference: where squares become linear, kcal/mol.

    Returns:
        Scalar, kcal^2/mol^2; 0 for a batch without weight.
    """
    present = (weight > 0).astype(error.dtype)
    count = jax.ops.segment_sum(present, group, n_groups)
    mean = jax.ops.segment_sum(error * present, group, n_groups) / jnp.maximum(count, 1.0)
    n = count[group]
    share = jnp.where(n > 1, alpha, 0.0)
    factor = 2.0 * n / jnp.maximum(n - 1.0, 1.0)
    each = (1.0 - share) * pseudo_huber(error, delta_total)
    each = each + share * factor * pseudo_huber(error - mean[group], delta_difference)
    return (weight * each).sum() / jnp.maximum(weight.sum(), 1e-30)
