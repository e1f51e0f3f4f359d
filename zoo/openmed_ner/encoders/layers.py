"""The parts of encoders: linear maps that may carry an adapter, layer norm, embeddings, attention.

No module holds random state: whoever wants dropout passes a key, and no key means none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.core.errors import UserError
from zoo.openmed_ner.encoders.adapter import Adapter, updates
from zoo.openmed_ner.encoders.dropout import dropout

# erfc(z) = exp(-z^2) (A1 t + ... + A5 t^5) with t = 1 / (1 + P z), z >= 0, to 1.5e-7: Abramowitz and Stegun 1964, 7.1.26.
_ERFC_P, _ERFC_A = 0.3275911, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), exact to float32's rounding, with its derivative Phi(x) + x phi(x).

    jax.nn.gelu takes more than twice as long on a CPU. The gradient keeps x alone and evaluates Phi and phi from one exponential: what it
    would keep instead takes longer to write and read than to compute.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * 0.5**0.5))


def _normal(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The standard normal's distribution function and density."""
    z = jnp.abs(x) * 0.5**0.5
    t, bell = 1.0 / (1.0 + _ERFC_P * z), jnp.exp(-z * z)
    series = jnp.zeros_like(t)
    for a in reversed(_ERFC_A):
        series = t * (a + series)
    tail = 0.5 * series * bell
    return jnp.where(x < 0, tail, 1.0 - tail), bell * (2.0 * math.pi) ** -0.5


def _gelu_backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    below, density = _normal(jax.lax.optimization_barrier(x))  # else XLA keeps what the forward pass had of it
    return (g * (below + x * density),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}

# Added to the scores of keys that must not be seen. Finite, so that a row of padding alone gives numbers and no NaN.
MASKED = -1e9


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The activation that config.json calls ``name``; UserError for one that is not implemented."""
    if name not in ACTIVATIONS:
        raise UserError(f"config.json: hidden_act={name!r} is not implemented (known: {', '.join(ACTIVATIONS)})")
    return ACTIVATIONS[name]


class Linear(nnx.Module):
    """y = x W + b, plus the low-rank update of an adapter where one is attached.

    Args:
        n_in: features in.
        n_out: features out.
        scale: standard deviation of the initial W (b starts at zero).
        rngs: the source of the initial values.
    """

    def __init__(self, n_in: int, n_out: int, *, scale: float, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(scale * jax.random.normal(rngs.params(), (n_in, n_out), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((n_out,), jnp.float32))
        self.lora: Adapter | None = nnx.data(None)

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return apply_maps([self], x, key)[0]


def apply_maps(maps: Sequence[Linear], x: jax.Array, key: jax.Array | None = None) -> list[jax.Array]:
    """What each of several linear maps makes of the same input; the adapters among them share their dropout, see ``updates``."""
    values = [x @ m.kernel[...] + m.bias[...] for m in maps]
    adapted = {i: m.lora for i, m in enumerate(maps) if m.lora is not None and not m.lora.merged}
    for i, update in zip(adapted, updates(list(adapted.values()), x, key)):
        values[i] = values[i] + update
    return values


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(var + eps) * scale + bias over the last axis.

    Args:
        size: features.
        eps: added to the variance; config.json's ``layer_norm_eps``.
    """

    def __init__(self, size: int, eps: float) -> None:
        self.scale = nnx.Param(jnp.ones((size,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((size,), jnp.float32))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        mean = x.mean(-1, keepdims=True)
        centred = x - mean
        variance = jnp.square(centred).mean(-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(variance + self.eps) * self.scale[...] + self.bias[...]
        return jax.lax.optimization_barrier(normed)  # computed once, not anew in each of the maps that read it


class Embedding(nnx.Module):
    """A table of vectors, ``table`` of shape (count, size), looked up by id."""

    def __init__(self, count: int, size: int, *, scale: float, rngs: nnx.Rngs) -> None:
        self.table = nnx.Param(scale * jax.random.normal(rngs.params(), (count, size), jnp.float32))

    def __call__(self, ids: jax.Array) -> jax.Array:
        # Ids are checked on the host (encoders.common.check_batch); "clip" spares the device a second check.
        return jnp.take(self.table[...], ids, axis=0, mode="clip")


def attention_bias(mask: jax.Array, segments: jax.Array | None) -> jax.Array:
    """What is added to attention scores: 0 where a key may be seen, -1e9 where not.

    Args:
        mask: (batch, length), 0 at padding.
        segments: (batch, length) int or None; where several texts share a row, a piece sees its own number only.

    Returns:
        float32, (batch, 1, 1, length), or (batch, 1, length, length) with segments.
    """
    visible = (mask != 0)[:, None, None, :]
    if segments is not None:
        visible = visible & (segments[:, None, :, None] == segments[:, None, None, :])
    return jnp.where(visible, 0.0, MASKED).astype(jnp.float32)


@jax.custom_vjp
def softmax(x: jax.Array) -> jax.Array:
    """Softmax over the last axis, with y (g - sum(y g)) as its gradient.

    jax.nn.softmax gives the same numbers; what XLA makes of its gradient took a seventh of a training step on a CPU.
    """
    shifted = jnp.exp(x - x.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def _softmax_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = softmax(x)
    return y, y


def _softmax_backward(y: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return (y * (g - (y * g).sum(-1, keepdims=True)),)


softmax.defvjp(_softmax_forward, _softmax_backward)


def attention(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array, *, heads: int, rate: float, key: jax.Array | None
) -> jax.Array:
    """Scaled dot-product attention, softmax(q k^T / sqrt(d) + bias) v for each head.

    Args:
        q, k, v: (batch, length, hidden).
        bias: broadcastable to (batch, heads, length, length).
        heads: number of heads; d = hidden / heads.
        rate: dropout of the attention weights, used with ``key``.
        key: random key, or None for no dropout.

    Returns:
        (batch, length, hidden).
    """
    batch, length, hidden = q.shape
    d = hidden // heads

    def by_head(x: jax.Array) -> jax.Array:
        return x.reshape(batch, length, heads, d).transpose(0, 2, 1, 3)

    scores = jnp.einsum("bhqd,bhkd->bhqk", by_head(q * (1.0 / math.sqrt(d))), by_head(k)) + bias
    weights = dropout(softmax(scores), rate, key)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, by_head(v))
    return mixed.transpose(0, 2, 1, 3).reshape(batch, length, hidden)
