"""The loss of known combinations of energies: totals, differences of conformers, interaction and reaction energies."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def pseudo_huber(x: jax.Array, delta: jax.Array | float) -> jax.Array:
    """2 d^2 (sqrt(1 + (x / d)^2) - 1): x^2 where |x| << d, 2 d |x| far out."""
    return 2.0 * x * x / (jnp.sqrt(1.0 + (x / delta) ** 2) + 1.0)  # the same without its cancellation


def combination_loss(
    energy: jax.Array,
    rows: jax.Array,
    target: jax.Array,
    share: jax.Array,
    delta: jax.Array,
    weight: jax.Array,
) -> jax.Array:
    """The mean over examples of the sum over their combinations of share times pseudo-Huber(rows @ energy - target).

    With the rows and shares of :func:`zoo.orbnet.known.examples` it is the paper's (1 - a) of total energies plus a of
    differences between conformers of one molecule, and the same for interaction and reaction energies.

    Args:
        energy: predicted, kcal/mol, (n_examples, m).
        rows: combinations, (n_examples, t, m); zero where there is none.
        target: kcal/mol, (n_examples, t).
        share: what each combination counts; 0 for padding, (n_examples, t).
        delta: where squares become linear, kcal/mol, above 0, (n_examples, t).
        weight: of the examples; 0 leaves one out entirely, (n_examples,).

    Returns:
        Scalar, kcal^2/mol^2; 0 for a batch without weight.
    """
    error = jnp.einsum("etm,em->et", rows, energy) - target
    each = (share * pseudo_huber(error, delta)).sum(1)
    return (weight * each).sum() / jnp.maximum(weight.sum(), 1e-30)
