"""One attempt of a step and its pullback, written out by hand.

With H = direction * h, stages k_i = f(t_i, g_i), g_j = y + H sum_i a_ji k_i, error H sum_i e_i k_i and stage difference
H sum_i w_i k_i, let q_i be the cotangent of H k_i: q_i = sum_j a_ji gbar_j + e_i errorbar + w_i differencebar. Then the stages'
cotangents are kbar_i = H q_i (plus what reaches k_i directly), and that of H is sum_i <k_i, q_i>: one inner product a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array

from zoo.neural_de.solve import control, trees
from zoo.neural_de.solve.field import Pull
from zoo.neural_de.solve.tableau import Tableau

PyTree = Any


class Problem(NamedTuple):
    """What does not change during a solve, beside the static parts in the engine's plan.

    Attributes:
        weights, data: the field's arrays (see Field).
        norm_data: the arrays that the controller's norm uses.
        pid: the controller's settings.
        direction: +1 or -1, dtype of the times.
    """

    weights: PyTree
    data: PyTree
    norm_data: PyTree
    pid: control.PID
    direction: Array


class Stages(NamedTuple):
    """Times (user's), states and derivatives of the seven stages; entry 0 is the step's start."""

    t: list[Array]
    g: list[PyTree]
    k: list[PyTree]


def run_stages(
    field: Callable[[PyTree, PyTree, Array, PyTree], PyTree],
    tableau: Tableau,
    problem: Problem,
    start: Array,
    end: Array,
    y: PyTree,
    k1: PyTree,
) -> Stages:
    """Six evaluations of the field: the step from ``start`` to ``end``; ``g[6]`` is its end state and ``k[6]`` f there."""
    length = (end - start) * problem.direction
    t, g, k = [start * problem.direction], [y], [k1]
    for row, c in zip(tableau.a, tableau.c, strict=True):
        t.append((end if c == 1 else start + c * (end - start)) * problem.direction)
        g.append(trees.combine(length, row, k, y))
        k.append(field(problem.weights, problem.data, t[-1], g[-1]))
    return Stages(t, g, k)


def scaled_norm(
    norm: Callable[[PyTree, PyTree], Array], problem: Problem, error: PyTree, y0: PyTree, y1: PyTree
) -> Array:
    """E: the controller's norm of the scaled error; inf where it is not a number, 0 for a state without entries."""
    if trees.size(error) == 0:
        return jnp.zeros((), trees.dtype_of(error))
    value = norm(problem.norm_data, control.scaled_error(problem.pid, error, y0, y1))
    return jnp.where(jnp.isnan(value), jnp.inf, value)


def error_norm(tableau: Tableau, norm: Any, problem: Problem, stages: Stages, length: Array) -> Array:
    """E of an attempt."""
    return scaled_norm(norm, problem, trees.combine(length, tableau.error, stages.k), stages.g[0], stages.g[6])


def stiffness(tableau: Tableau, difference: PyTree, k6: PyTree, k7: PyTree) -> Array:
    """S = |k7 - k6| / |g7 - g6| / stability: the stiffness estimate of Shampine (paper, section 3.2), 0 where g7 = g6.

    Args:
        tableau: the pair.
        difference: g7 - g6, as a combination of the stages so that nothing cancels.
        k6, k7: the last two stages, both at the step's end.
    """
    below = trees.rms(difference)
    above = trees.rms(jtu.tree_map(jnp.subtract, k7, k6))
    apart = below > 0
    return jnp.where(apart, above / jnp.where(apart, below, 1), 0) / tableau.stability


class StepCotangents(NamedTuple):
    """Cotangents of an attempt's results; None for a zero that is known.

    Attributes:
        y1, k7: the end state and the field there.
        error: E.
        stiff: S.
        outputs: of (y0, y1, [H k_1, ..., H k_7]) through saved outputs.
    """

    y1: PyTree
    k7: PyTree
    error: Array
    stiff: Array | None
    outputs: tuple[PyTree, PyTree, Sequence[PyTree]] | None


def pull_step(
    pulls: Sequence[Pull],
    tableau: Tableau,
    norm: Callable[[PyTree, PyTree], Array],
    problem: Problem,
    start: Array,
    end: Array,
    stages: Stages,
    bars: StepCotangents,
) -> tuple[PyTree, PyTree, PyTree, Array, Array]:
    """Pull an attempt's cotangents back; ``pulls`` are those of the six evaluations.

    Returns:
        cotangents of (weights, y, k1, start, end).
    """
    span = end - start
    length = span * problem.direction
    time_dtype = span.dtype
    y, y1 = stages.g[0], stages.g[6]

    # E
    error = trees.combine(length, tableau.error, stages.k)
    value, pull_norm = jax.vjp(lambda e, a, b: scaled_norm(norm, problem, e, a, b), error, y, y1)
    # A norm's derivative at no error at all is taken as 0, whatever the norm makes of it.
    error_bar, y_bar, y1_bar = jtu.tree_map(lambda b: jnp.where(value > 0, b, 0), pull_norm(bars.error))
    # S
    difference_bar: PyTree = None
    k6_bar: PyTree = None
    k7_bar = bars.k7
    if bars.stiff is not None:
        difference = trees.combine(length, tableau.stiff, stages.k)
        _, pull_stiff = jax.vjp(lambda d, a, b: stiffness(tableau, d, a, b), difference, stages.k[5], stages.k[6])
        difference_bar, k6_bar, more = pull_stiff(bars.stiff)
        k7_bar = trees.add(k7_bar, more)
    y1_bar = trees.add(y1_bar, bars.y1)
    outputs: Sequence[PyTree] = [None] * 7
    if bars.outputs is not None:
        more_y, more_y1, outputs = bars.outputs
        y_bar, y1_bar = trees.add(y_bar, more_y), trees.add(y1_bar, more_y1)

    direct: list[PyTree] = [None, None, None, None, None, k6_bar, k7_bar]
    weights_bar: PyTree = None
    length_bar = jnp.zeros((), time_dtype)
    start_bar, end_bar = jnp.zeros((), time_dtype), jnp.zeros((), time_dtype)
    g_bars: list[PyTree] = [None] * 7  # g_bars[j]: cotangent of g[j]
    k1_bar: PyTree = None
    for i in reversed(range(7)):
        coefficients: list[float] = []
        sources: list[PyTree] = []
        for j in range(max(i + 1, 1), 7):
            if tableau.a[j - 1][i] != 0:
                coefficients.append(tableau.a[j - 1][i])
                sources.append(g_bars[j])
        for weight, bar in ((tableau.error[i], error_bar), (tableau.stiff[i], difference_bar)):
            if bar is not None and weight != 0:
                coefficients.append(weight)
                sources.append(bar)
        if outputs[i] is not None:
            coefficients.append(1.0)
            sources.append(outputs[i])
        q = trees.combine(jnp.ones((), time_dtype), coefficients, sources)
        length_bar = length_bar + trees.dot(stages.k[i], q, time_dtype)
        k_bar = trees.add(trees.times(length, q), direct[i])
        if i == 0:
            k1_bar = k_bar
            break
        w_bar, t_bar, g_bar = pulls[i - 1](k_bar)
        weights_bar = w_bar if weights_bar is None else trees.add(weights_bar, w_bar)
        t_bar, c = t_bar * problem.direction, tableau.c[i - 1]
        start_bar, end_bar = start_bar + (1 - c) * t_bar, end_bar + c * t_bar
        g_bars[i] = trees.add(g_bar, y1_bar) if i == 6 else g_bar
    y_bar = trees.add(y_bar, *g_bars[1:])
    span_bar = length_bar * problem.direction
    return weights_bar, y_bar, k1_bar, start_bar - span_bar, end_bar + span_bar
