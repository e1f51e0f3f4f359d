"""States saved on the way: at given times, at every n-th step, and whole steps for dense output."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array, lax

from zoo.neural_de.solve import trees
from zoo.neural_de.solve.step import Stages
from zoo.neural_de.solve.tableau import Tableau

PyTree = Any


class Saved(NamedTuple):
    """What was saved; entries not reached are inf.

    Attributes:
        at_times: for each array of save times, states with a leading axis of its length.
        at_steps: for each stride n, (times, states) with a leading axis max_steps // n.
        dense: None, or (times (max_steps + 1,), {"y0", "y1", "k"} with leading axis max_steps).
    """

    at_times: tuple[PyTree, ...]
    at_steps: tuple[tuple[Array, PyTree], ...]
    dense: tuple[Array, PyTree] | None


class Kept(NamedTuple):
    """An attempt's part in saving: whether it was accepted, its interval, its number among the accepted (from 1)."""

    keep: Array
    start: Array
    end: Array
    number: Array


def empty(
    y: PyTree, t0: Array, times: tuple[Array, ...], strides: tuple[int, ...], dense: bool, max_steps: int
) -> Saved:
    """Buffers for states like ``y``, filled with inf."""

    def buffer(tree: PyTree, count: int, *inner: int) -> PyTree:
        return jtu.tree_map(lambda x: jnp.full((count, *inner, *x.shape), jnp.inf, x.dtype), tree)

    at_steps = tuple((buffer(t0, max_steps // n), buffer(y, max_steps // n)) for n in strides)
    whole = None
    if dense:
        infos = {"y0": buffer(y, max_steps), "y1": buffer(y, max_steps), "k": buffer(y, max_steps, 7)}
        whole = (buffer(t0, max_steps + 1).at[0].set(t0), infos)
    return Saved(tuple(buffer(y, len(ts)) for ts in times), at_steps, whole)


def covered(ts: Array, t0: Array, kept: Kept) -> tuple[Array, Array]:
    """Range of the save times that lie in the attempt's interval; empty for a rejected attempt."""
    low = jnp.where(kept.start > t0, jnp.sum(ts <= kept.start), 0)
    high = jnp.where(kept.keep, jnp.sum(ts <= kept.end), low)
    return low, high


def _set(buffer: PyTree, index: Array, value: PyTree, chosen: Array) -> PyTree:
    def leaf(b: Array, x: Array) -> Array:
        safe = jnp.minimum(index, b.shape[0] - 1)
        return b.at[safe].set(jnp.where(chosen, x, b[safe]))

    return jtu.tree_map(leaf, buffer, value)


def save(
    saved: Saved,
    tableau: Tableau,
    times: tuple[Array, ...],
    strides: tuple[int, ...],
    t0: Array,
    kept: Kept,
    stages: Stages,
    length: Array,
) -> Saved:
    """Save what an attempt gives, if it was accepted."""
    y, y1 = stages.y, stages.y1
    at_times = []
    for ts, buffer in zip(times, saved.at_times, strict=True):
        low, high = covered(ts, t0, kept)

        def one(carry: tuple[Array, PyTree], ts: Array = ts, high: Array = high) -> tuple[Array, PyTree]:
            index, buffer = carry
            weights = tableau.weights(kept.start, kept.end, ts[jnp.minimum(index, ts.size - 1)])
            return index + 1, _set(buffer, index, _interpolate(weights, length, y, y1, stages.k), index < high)

        at_times.append(lax.while_loop(lambda c, high=high: eqxi.unvmap_any(c[0] < high), one, (low, buffer))[1])
    at_steps = []
    for n, (ts, ys) in zip(strides, saved.at_steps, strict=True):
        chosen = kept.keep & (kept.number % n == 0)
        at_steps.append(_set((ts, ys), kept.number // n - 1, (kept.end, y1), chosen))
    dense = saved.dense
    if dense is not None:
        ts, infos = dense
        k = jtu.tree_map(lambda *leaves: jnp.stack(leaves), *(trees.times(length, k) for k in stages.k))
        infos = _set(infos, kept.number - 1, {"y0": y, "y1": y1, "k": k}, kept.keep)
        dense = (_set(ts, kept.number, kept.end, kept.keep), infos)
    return Saved(tuple(at_times), tuple(at_steps), dense)


def _interpolate(weights: Array, length: Array, y: PyTree, y1: PyTree, k: list[PyTree]) -> PyTree:
    def leaf(a: Array, b: Array, *ks: Array) -> Array:
        w = weights.astype(a.dtype)
        h = length.astype(a.dtype)
        return w[0] * a + w[1] * b + h * sum(w[i + 2] * x for i, x in enumerate(ks))

    return jtu.tree_map(leaf, y, y1, *k)


class OutputBars(NamedTuple):
    """Cotangents that saved outputs send to an attempt: of y0, y1, each H k_i, the interval and the save times."""

    y0: PyTree
    y1: PyTree
    k: list[PyTree]
    start: Array
    end: Array
    times: tuple[Array, ...]


def pull(
    bars: Saved,
    times_bar: tuple[Array, ...],
    tableau: Tableau,
    times: tuple[Array, ...],
    strides: tuple[int, ...],
    t0: Array,
    kept: Kept,
    stages: Stages,
    length: Array,
) -> OutputBars:
    """Pull the cotangents ``bars`` of what was saved back to one attempt; ``times_bar`` are added to."""
    y, y1 = stages.y, stages.y1
    zero = trees.zeros_like(y)
    total = OutputBars(zero, zero, [zero] * 7, jnp.zeros_like(t0), jnp.zeros_like(t0), times_bar)
    for which, (ts, bar) in enumerate(zip(times, bars.at_times, strict=True)):
        low, high = covered(ts, t0, kept)

        def one(
            carry: tuple[Array, OutputBars], which: int = which, ts: Array = ts, bar: PyTree = bar, high: Array = high
        ) -> Any:
            index, total = carry
            inside = index < high
            safe = jnp.minimum(index, ts.size - 1)
            c = jtu.tree_map(lambda b: jnp.where(inside, b[safe], 0), bar)
            weights, pull_weights = jax.vjp(tableau.weights, kept.start, kept.end, ts[safe])
            leaves = [y, y1, *(trees.times(length, k) for k in stages.k)]
            start_bar, end_bar, t_bar = pull_weights(jnp.stack([trees.dot(c, leaf, weights.dtype) for leaf in leaves]))
            scaled = lambda i, tree: jtu.tree_map(lambda a, x: a + weights[i].astype(a.dtype) * x, tree, c)  # noqa: E731
            times_bar = tuple(b.at[safe].add(t_bar) if j == which else b for j, b in enumerate(total.times))
            return index + 1, OutputBars(
                scaled(0, total.y0),
                scaled(1, total.y1),
                [scaled(i + 2, k) for i, k in enumerate(total.k)],
                total.start + start_bar,
                total.end + end_bar,
                times_bar,
            )

        total = lax.while_loop(lambda c, high=high: eqxi.unvmap_any(c[0] < high), one, (low, total))[1]

    def pick(buffer: PyTree, index: Array, chosen: Array) -> PyTree:
        return jtu.tree_map(lambda b: jnp.where(chosen, b[jnp.clip(index, 0, b.shape[0] - 1)], 0), buffer)

    for n, (ts_bar, ys_bar) in zip(strides, bars.at_steps, strict=True):
        chosen = kept.keep & (kept.number % n == 0)
        t_bar, y_bar = pick((ts_bar, ys_bar), kept.number // n - 1, chosen)
        total = total._replace(y1=trees.add(total.y1, y_bar), end=total.end + t_bar)
    if bars.dense is not None:
        t_bar = pick(bars.dense[0], kept.number, kept.keep)
        info = pick(bars.dense[1], kept.number - 1, kept.keep)
        k = [trees.add(a, jtu.tree_map(lambda b, i=i: b[i], info["k"])) for i, a in enumerate(total.k)]
        total = total._replace(
            y0=trees.add(total.y0, info["y0"]), y1=trees.add(total.y1, info["y1"]), k=k, end=total.end + t_bar
        )
    return total
