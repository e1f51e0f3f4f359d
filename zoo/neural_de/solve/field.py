"""The vector field as a pure function of its arrays, and its pullback, summed over a vmapped batch where that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array, custom_batching

PyTree = Any
# cotangent of f(t, y) -> cotangents of (weights, t, y)
Pull = Callable[[PyTree], tuple[PyTree, Array, PyTree]]


class Field:
    """dy/dt = f(t, y), traced once; every array that it closes over is an argument.

    Args:
        function: ``(t, y) -> dy/dt``, of the state's structure, shapes and dtypes; it may close over traced arrays.
        t: a time, for its shape and dtype.
        y: a state, for its structure, shapes and dtypes.

    Attributes:
        weights: the inexact arrays that f uses: gradients flow to them.
        data: the other arrays that f uses.
    """

    def __init__(self, function: Callable[[Array, PyTree], PyTree], t: Array, y: PyTree) -> None:
        converted = eqx.filter_closure_convert(function, t, y)
        self.weights, rest = eqx.partition(converted, eqx.is_inexact_array)
        self.data, self._static = eqx.partition(rest, eqx.is_array)
        self._pull_summed = _make_pull_summed(self)

    def __call__(self, weights: PyTree, data: PyTree, t: Array, y: PyTree) -> PyTree:
        """f(t, y) with the arrays ``weights`` and ``data``."""
        return eqx.combine(weights, data, self._static)(t, y)

    def linearize(self, weights: PyTree, data: PyTree, t: Array, y: PyTree, summed: bool) -> tuple[PyTree, Pull]:
        """f(t, y) and its pullback: cotangent -> cotangents of (weights, t, y).

        With ``summed``, under vmap, the cotangent of weights that all trajectories share comes back summed over the innermost vmapped
        axis, as one contraction: a copy of the weights for each trajectory need not fit in memory. The pullback then evaluates the
        field anew, of which the compiler spares what it recognises.
        """
        if summed:
            return self(weights, data, t, y), functools.partial(self._pull_summed, weights, data, t, y)
        return jax.vjp(lambda w, s, x: self(w, data, s, x), weights, t, y)


def _make_pull_summed(field: Field) -> Callable[[PyTree, PyTree, Array, PyTree, PyTree], tuple[PyTree, Array, PyTree]]:
    """``(weights, data, t, y, cotangent) -> cotangents of (weights, t, y)``, see Field.linearize."""

    @custom_batching.custom_vmap
    def pull(weights: PyTree, data: PyTree, t: Array, y: PyTree, cotangent: PyTree) -> tuple[PyTree, Array, PyTree]:
        return jax.vjp(lambda w, s, x: field(w, data, s, x), weights, t, y)[1](cotangent)

    @pull.def_vmap
    def rule(size: int, batched: Any, weights: PyTree, data: PyTree, t: Array, y: PyTree, cotangent: PyTree) -> Any:
        weights_batched, data_batched, *others = batched
        axes = jtu.tree_map(lambda b: 0 if b else None, (weights_batched, data_batched))

        def spread(x: Array, is_batched: bool) -> Array:
            return x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))

        t, y, cotangent = jtu.tree_map(spread, (t, y, cotangent), tuple(others))
        whole = jax.vmap(field, in_axes=(*axes, 0, 0))
        out = jax.vjp(lambda w, s, x: whole(w, data, s, x), weights, t, y)[1](cotangent)
        every = jtu.tree_map(lambda _: True, (t, y))
        return out, (weights_batched, *every)

    return pull
