"""The paper's neural ODE for images (Pal et al. 2021, section 4.1.1), as a flax.nnx module."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import ArrayLike


class TimeLinear(nnx.Module):
    """Linear layer of concat(x, t): x @ kernel + t * time + bias, without building the concatenation.

    Args:
        features_in: size of x's last axis.
        features_out: size of the result's last axis.
        rngs: the source of the initial values, Glorot-uniform over (features_in + 1, features_out) as in the paper's code.
        scale: what the initial values are multiplied by.
    """

    def __init__(self, features_in: int, features_out: int, *, rngs: nnx.Rngs, scale: float = 1.0) -> None:
        glorot = jax.nn.initializers.glorot_uniform()
        whole = scale * glorot(rngs.params(), (features_in + 1, features_out), jnp.float32)
        self.kernel = nnx.Param(whole[:-1])
        self.time = nnx.Param(whole[-1])
        self.bias = nnx.Param(jnp.zeros((features_out,), jnp.float32))

    def __call__(self, t: ArrayLike, x: Array) -> Array:
        """x of shape (..., features_in) at the scalar time t -> (..., features_out)."""
        offset = jnp.asarray(t, x.dtype) * self.time[...].astype(x.dtype) + self.bias[...].astype(x.dtype)
        return x @ self.kernel[...].astype(x.dtype) + offset


class TanhField(nnx.Module):
    """dy/dt = tanh(W2 [tanh(W1 [y, t] + b1), t] + b2).

    Args:
        size: dimension of the state.
        hidden: width of the inner layer.
        rngs: the source of the initial values.
        outer_scale: what the outer layer's are multiplied by.
    """

    def __init__(self, size: int, hidden: int, *, rngs: nnx.Rngs, outer_scale: float = 1.0) -> None:
        self.inner = TimeLinear(size, hidden, rngs=rngs)
        self.outer = TimeLinear(hidden, size, rngs=rngs, scale=outer_scale)

    def __call__(self, t: ArrayLike, y: Array) -> Array:
        """State y of shape (..., size) at the scalar time t -> its derivative, same shape."""
        return jnp.tanh(self.outer(t, jnp.tanh(self.inner(t, y))))


class NodeClassifier(nnx.Module):
    """An image is the initial value; the state at the end time is classified by a linear layer.

    Args:
        size: number of pixels.
        hidden: width of the field's inner layer.
        classes: number of classes.
        rngs: the source of the initial values.
        outer_scale, head_scale: what those of the field's outer layer and of the readout are multiplied by.
    """

    def __init__(
        self, size: int, hidden: int, classes: int, *, rngs: nnx.Rngs, outer_scale: float = 1.0, head_scale: float = 1.0
    ) -> None:
        self.field = TanhField(size, hidden, rngs=rngs, outer_scale=outer_scale)
        glorot = jax.nn.initializers.glorot_uniform()

        def kernel(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
            return head_scale * glorot(key, shape, dtype)

        self.head = nnx.Linear(size, classes, kernel_init=kernel, rngs=rngs)
