"""The low-rank update of a linear map, and what several of one input share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.openmed_ner.encoders.dropout import dropout


class LoRAParam(nnx.LoRAParam):
    """A leaf of an adapter; its type is what zoo.openmed_ner.lora.trainable filters by."""


class Adapter(nnx.Module):
    """scale (dropout(x) A) B with A (n_in, rank) and B (rank, n_out); B starts at zero. :func:`updates` computes it.

    Args:
        n_in: features in.
        n_out: features out.
        rank: columns of A.
        scale: factor of the update.
        rate: dropout of the input, in training.
        key: random key of A, drawn uniformly within 1 / sqrt(n_in) as PEFT does.

    Attributes:
        merged: whether the update is in the map's matrix already.
    """

    def __init__(self, n_in: int, n_out: int, *, rank: int, scale: float, rate: float, key: jax.Array) -> None:
        bound = 1.0 / math.sqrt(n_in)
        self.a = LoRAParam(jax.random.uniform(key, (n_in, rank), jnp.float32, -bound, bound))
        self.b = LoRAParam(jnp.zeros((rank, n_out), jnp.float32))
        self.scale, self.rate, self.merged = scale, rate, False


def updates(adapters: Sequence[Adapter], x: jax.Array, key: jax.Array | None) -> list[jax.Array]:
    """The updates of adapters that read the same input, all of one dropout rate.

    They see one dropped input and multiply it by all their A at once, as loralib's merged layers do; PEFT draws a mask for each
    map. A mask for each of query, key and value makes a training step 9 % longer on a CPU.

    Args:
        adapters: those of maps of ``x``; none gives none.
        x: (..., n_in).
        key: of the dropout's mask, or None for no dropout.
    """
    if not adapters:
        return []
    dropped = dropout(x, adapters[0].rate, key)
    thin = narrow_product(dropped, jnp.concatenate([adapter.a[...] for adapter in adapters], axis=1))
    ends = np.cumsum([adapter.a.shape[1] for adapter in adapters])[:-1]
    return [narrow_product(h, a.scale * a.b[...]) for h, a in zip(jnp.split(thin, ends, axis=-1), adapters)]


@jax.custom_vjp
def narrow_product(x: jax.Array, w: jax.Array) -> jax.Array:
    """x W for a W with few rows or few columns, whose gradient x^T g turns the narrower of the two by itself.

    XLA on a CPU leaves a product over the first axis of both to a routine that is five to ten times slower at these shapes.

    Args:
        x: (..., n_in).
        w: (n_in, n_out).
    """
    return x @ w


def _narrow_backward(held: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = held
    rows, slopes = x.reshape(-1, w.shape[0]), g.reshape(-1, w.shape[1])
    alone = jax.lax.optimization_barrier
    dw = alone(rows.T) @ slopes if w.shape[0] <= w.shape[1] else alone(alone(slopes.T) @ rows).T
    return g @ w.T, dw


narrow_product.defvjp(lambda x, w: (x @ w, (x, w)), _narrow_backward)
