"""The vector field as pure functions of its arrays, and their pullbacks, summed over a vmapped batch where that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array, custom_batching

from zoo.neural_de.solve import projection

PyTree = Any
# cotangent of f(t, x) -> cotangents of (weights, t, x)
Pull = Callable[[PyTree], tuple[PyTree, Array, PyTree]]


class Map:
    """A function ``(weights, data, t, x) -> value`` with its pullback."""

    def __init__(self, function: Callable[[PyTree, PyTree, Array, PyTree], PyTree]) -> None:
        self._function = function
        self._pull_summed = _make_pull_summed(function)

    def __call__(self, weights: PyTree, data: PyTree, t: Array, x: PyTree) -> PyTree:
        """The function's value."""
        return self._function(weights, data, t, x)

    def linearize(self, weights: PyTree, data: PyTree, t: Array, x: PyTree, summed: bool) -> tuple[PyTree, Pull]:
        """The value and its pullback: cotangent -> cotangents of (weights, t, x).

        With ``summed``, under vmap, the cotangent of weights that all trajectories share comes back summed over the innermost vmapped
        axis, as one contraction: a copy of the weights for each trajectory need not fit in memory. The pullback then evaluates the
        function anew, of which the compiler spares what it recognises.
        """
        if summed:
            return self(weights, data, t, x), functools.partial(self._pull_summed, weights, data, t, x)
        return jax.vjp(lambda w, s, y: self(w, data, s, y), weights, t, x)


class Field:
    """dy/dt = f(t, y), traced once; every array that it closes over is an argument.

    Args:
        function: ``(t, y) -> dy/dt``, of the state's structure, shapes and dtypes; it may close over traced arrays.
        t: a time, for its shape and dtype.
        y: a state, for its structure, shapes and dtypes.

    Attributes:
        weights: the inexact arrays that f uses: gradients flow to them.
        data: the other arrays that f uses.
        project: where f reads the state through a narrower linear map P alone, ``(weights, data, t, y) -> P y``; else None.
        slope: ``(weights, data, t, P y) -> f(t, y)``, of y itself where there is no projection.
    """

    project: Map | None
    slope: Map

    def __init__(self, function: Callable[[Array, PyTree], PyTree], t: Array, y: PyTree) -> None:
        converted = eqx.filter_closure_convert(function, t, y)
        self.weights, rest = eqx.partition(converted, eqx.is_inexact_array)
        self.data, static = eqx.partition(rest, eqx.is_array)

        def whole(weights: PyTree, data: PyTree, t: Array, y: PyTree) -> PyTree:
            return eqx.combine(weights, data, static)(t, y)

        parts = projection.split(whole, self.weights, self.data, t, y)
        self.project, self.slope = (None, Map(whole)) if parts is None else (Map(parts[0]), Map(parts[1]))

    def __call__(self, weights: PyTree, data: PyTree, t: Array, y: PyTree) -> PyTree:
        """f(t, y) with the arrays ``weights`` and ``data``."""
        inner = y if self.project is None else self.project(weights, data, t, y)
        return self.slope(weights, data, t, inner)


def _make_pull_summed(
    function: Callable[[PyTree, PyTree, Array, PyTree], PyTree],
) -> Callable[[PyTree, PyTree, Array, PyTree, PyTree], tuple[PyTree, Array, PyTree]]:
    """``(weights, data, t, x, cotangent) -> cotangents of (weights, t, x)``, see Map.linearize."""

    @custom_batching.custom_vmap
    def pull(weights: PyTree, data: PyTree, t: Array, x: PyTree, cotangent: PyTree) -> tuple[PyTree, Array, PyTree]:
        return jax.vjp(lambda w, s, y: function(w, data, s, y), weights, t, x)[1](cotangent)

    @pull.def_vmap
    def rule(size: int, batched: Any, weights: PyTree, data: PyTree, t: Array, x: PyTree, cotangent: PyTree) -> Any:
        weights_batched, data_batched, *others = batched
        axes = jtu.tree_map(lambda b: 0 if b else None, (weights_batched, data_batched))

        def spread(x: Array, is_batched: bool) -> Array:
            return x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))

        t, x, cotangent = jtu.tree_map(spread, (t, x, cotangent), tuple(others))
        whole = jax.vmap(function, in_axes=(*axes, 0, 0))
        out = jax.vjp(lambda w, s, y: whole(w, data, s, y), weights, t, x)[1](cotangent)
        every = jtu.tree_map(lambda _: True, (t, x))
        return out, (weights_batched, *every)

    return pull
