"""One attempt of a step and its pullback, written out by hand.

With H = direction * h, stages k_i = f(t_i, g_i), g_j = y + H sum_i a_ji k_i, error H sum_i e_i k_i and stage difference
H sum_i w_i k_i, let q_i be the cotangent of H k_i: q_i = sum_j a_ji gbar_j + e_i errorbar + w_i differencebar. Then the stages'
cotangents are kbar_i = H q_i (plus what reaches k_i directly), and that of H is sum_i <k_i, q_i>: one inner product a stage.

A field that reads its state through a projection alone, f(t, y) = g(t, P y), is evaluated at u_j = P g_j = P y + H sum_i a_ji P k_i in
the inner stages: of the states, only the step's end y1 = y + H sum_i b_i k_i is made. The last stage is there, and u_7 = P y1 is
projected anew: P k_6 is spared for it, and what y1 has of round-off is seen by the field, which damps it as it damps any error of the
state. (Were P y carried on as a combination too, y would follow it unseen, and keep the round-off of its largest value for good.)
Backwards, P k_i has the cotangent pbar_i = H sum_j a_ji ubar_j over the inner stages, y1bar gets P^T ubar_7,
kbar_i = H (b_i y1bar + e_i errorbar + w_i differencebar) + P^T pbar_i, and that of H is a sum of two inner products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array

from zoo.neural_de.solve import control, trees
from zoo.neural_de.solve.field import Field, Pull
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


class Point(NamedTuple):
    """Where an attempt starts.

    Attributes:
        y, k: the state, and the field there.
        u, p: the projections of y and k; None where the field has no projection.
    """

    y: PyTree
    k: PyTree
    u: PyTree
    p: PyTree


class Stages(NamedTuple):
    """Times (user's), projected states, derivatives and their projections of the seven stages, entry 0 of the step's start; without a
    projection ``u`` are the states themselves and ``p`` are the derivatives. The projection of the sixth derivative is not needed:
    None. ``y`` and ``y1`` are the start's and the end's state."""

    t: list[Array]
    u: list[PyTree]
    k: list[PyTree]
    p: list[PyTree | None]
    y: PyTree
    y1: PyTree

    def end(self) -> Point:
        """Where the next attempt starts if this one is accepted."""
        projected = self.p is not self.k
        return Point(self.y1, self.k[6], self.u[6] if projected else None, self.p[6] if projected else None)

    def projections(self) -> list[PyTree]:
        """What was projected, in order, but for the last derivative, which the next attempt begins with."""
        return [*self.p[1:5], self.u[6]]


# Of an attempt: the derivatives of four inner stages, and the end's state.
PROJECTIONS = 5
Evaluate = Callable[[PyTree, PyTree, Array, PyTree], PyTree]


class Parts(NamedTuple):
    """What a step calls of a Field; see there."""

    slope: Evaluate
    project: Evaluate | None


def first_point(field: Field | Parts, problem: Problem, t0: Array, y0: PyTree) -> Point:
    """The start of a solve, at the time ``t0`` (user's)."""
    arrays = (problem.weights, problem.data, t0)
    if field.project is None:
        return Point(y0, field.slope(*arrays, y0), None, None)
    u = field.project(*arrays, y0)
    k = field.slope(*arrays, u)
    return Point(y0, k, u, field.project(*arrays, k))


def run_stages(
    field: Field | Parts, tableau: Tableau, problem: Problem, start: Array, end: Array, point: Point
) -> Stages:
    """Six evaluations of the field: the step from ``start`` to ``end``."""
    length = (end - start) * problem.direction
    t, k = [start * problem.direction], [point.k]
    u, p = ([point.y], k) if field.project is None else ([point.u], [point.p])
    y1: PyTree = None
    for stage, (row, c) in enumerate(zip(tableau.a, tableau.c, strict=True), start=1):
        t.append((end if c == 1 else start + c * (end - start)) * problem.direction)
        arrays = (problem.weights, problem.data, t[-1])
        if field.project is not None and stage == 6:
            y1 = trees.combine(length, row, k, point.y)
            u.append(field.project(*arrays, y1))
        else:
            u.append(trees.combine(length, row, p, u[0]))
        k.append(field.slope(*arrays, u[-1]))
        if field.project is not None:
            p.append(None if stage == 5 else field.project(*arrays, k[-1]))
    return Stages(t, u, k, p, point.y, u[6] if field.project is None else y1)


def scaled_norm(
    norm: Callable[[PyTree, PyTree], Array], problem: Problem, error: PyTree, y0: PyTree, y1: PyTree
) -> Array:
    """E: the controller's norm of the scaled error; inf where it is not a number, 0 for a state without entries."""
    if trees.size(error) == 0:
        return jnp.zeros((), trees.dtype_of(error))
    value = norm(problem.norm_data, control.scaled_error(problem.pid, error, y0, y1))
    value = trees.differing(trees.mesh_axes(error), value)  # a norm over all devices is the same on each
    return jnp.where(jnp.isnan(value), jnp.inf, value)


def error_norm(tableau: Tableau, norm: Any, problem: Problem, stages: Stages, length: Array) -> Array:
    """E of an attempt."""
    return scaled_norm(norm, problem, trees.combine(length, tableau.error, stages.k), stages.y, stages.y1)


def stiffness(tableau: Tableau, rms: Callable[[PyTree], Array], difference: PyTree, k6: PyTree, k7: PyTree) -> Array:
    """S = |k7 - k6| / |g7 - g6| / stability: the stiffness estimate of Shampine (paper, section 3.2), 0 where g7 = g6.

    Args:
        tableau: the pair.
        rms: the root mean square over all entries of a state.
        difference: g7 - g6, as a combination of the stages so that nothing cancels.
        k6, k7: the last two stages, both at the step's end.
    """
    below = rms(difference)
    above = rms(jtu.tree_map(jnp.subtract, k7, k6))
    apart = below > 0
    return jnp.where(apart, above / jnp.where(apart, below, 1), 0) / tableau.stability


class StepCotangents(NamedTuple):
    """Cotangents of an attempt's results; None for a zero that is known.

    Attributes:
        end: of the point reached.
        error: E.
        stiff: S.
        outputs: of (y0, y1, [H k_1, ..., H k_7]) through saved outputs.
    """

    end: Point
    error: Array
    stiff: Array | None
    outputs: tuple[PyTree, PyTree, Sequence[PyTree]] | None


class Pulls(NamedTuple):
    """Pullbacks of an attempt's six evaluations of slope and, where there is a projection, six of it: of the derivatives 1 to 4, of the
    end's state, and of the last derivative."""

    slope: list[Pull]
    project: list[Pull]


def pull_step(
    pulls: Pulls,
    tableau: Tableau,
    norm: Callable[[PyTree, PyTree], Array],
    rms: Callable[[PyTree], Array],
    problem: Problem,
    start: Array,
    end: Array,
    stages: Stages,
    bars: StepCotangents,
) -> tuple[PyTree, Point, Array, Array]:
    """Pull an attempt's cotangents back.

    Returns:
        cotangents of (weights, the point that the attempt starts from, start, end).
    """
    span = end - start
    length = span * problem.direction
    time_dtype = span.dtype
    one = jnp.ones((), time_dtype)
    projected = bool(pulls.project)

    # E
    error = trees.combine(length, tableau.error, stages.k)
    value, pull_norm = jax.vjp(lambda e, a, b: scaled_norm(norm, problem, e, a, b), error, stages.y, stages.y1)
    # A norm's derivative at no error at all is taken as 0, whatever the norm makes of it.
    error_bar, y_bar, y1_bar = jtu.tree_map(lambda b: jnp.where(value > 0, b, 0), pull_norm(bars.error))
    # S
    difference_bar: PyTree = None
    k6_bar: PyTree = None
    k7_bar = bars.end.k
    if bars.stiff is not None:
        difference = trees.combine(length, tableau.stiff, stages.k)
        _, pull_stiff = jax.vjp(lambda d, a, b: stiffness(tableau, rms, d, a, b), difference, stages.k[5], stages.k[6])
        difference_bar, k6_bar, more = pull_stiff(bars.stiff)
        k7_bar = trees.add(k7_bar, more)
    y1_bar = trees.add(y1_bar, bars.end.y)
    outputs: Sequence[PyTree] = [None] * 7
    if bars.outputs is not None:
        more_y, more_y1, outputs = bars.outputs
        y_bar, y1_bar = trees.add(y_bar, more_y), trees.add(y1_bar, more_y1)

    # What combines the derivatives themselves, beside the stages.
    combined: list[tuple[Sequence[float], PyTree]] = [(tableau.error, error_bar)]
    if difference_bar is not None:
        combined.append((tableau.stiff, difference_bar))
    length_bar = jnp.zeros((), time_dtype)

    direct: list[PyTree] = [None, None, None, None, None, k6_bar, k7_bar]
    weights_bar: PyTree = None
    start_bar, end_bar = jnp.zeros((), time_dtype), jnp.zeros((), time_dtype)
    u_bars: list[PyTree] = [None] * 7  # u_bars[j]: cotangent of u[j]
    k_bar: PyTree = None
    p_bar: PyTree = None
    for i in reversed(range(7)):
        after = zip(tableau.a[i:], u_bars[i + 1 :], strict=True)
        later = [(row[i], bar) for row, bar in after if row[i] != 0 and bar is not None]
        wide = [(weights[i], bar) for weights, bar in combined if weights[i] != 0]
        if outputs[i] is not None:
            wide.append((1.0, outputs[i]))
        if projected:
            if i == 6:
                p_bar = bars.end.p
            elif later:
                q = trees.combine(one, *zip(*later, strict=True))
                length_bar = length_bar + trees.dot(stages.p[i], q, time_dtype)
                p_bar = trees.times(length, q)
            if outputs[i] is not None:
                length_bar = length_bar + trees.dot(stages.k[i], outputs[i], time_dtype)
            k_bar = direct[i]
            if wide:
                k_bar = trees.add(trees.times(length, trees.combine(one, *zip(*wide, strict=True))), k_bar)
            if i not in (0, 5):  # the first was projected by the attempt before, the sixth is not
                w_bar, _, more = pulls.project[i - 1](p_bar)
                weights_bar, k_bar = trees.add(weights_bar, w_bar), trees.add(more, k_bar)
        else:
            q = trees.combine(one, *zip(*later, *wide, strict=True))
            length_bar = length_bar + trees.dot(stages.k[i], q, time_dtype)
            k_bar = trees.add(trees.times(length, q), direct[i])
        if i == 0:
            break
        w_bar, t_bar, u_bars[i] = pulls.slope[i - 1](k_bar)
        weights_bar = trees.add(weights_bar, w_bar)
        t_bar, c = t_bar * problem.direction, tableau.c[i - 1]
        start_bar, end_bar = start_bar + (1 - c) * t_bar, end_bar + c * t_bar
        if i == 6 and projected:
            w_bar, _, more = pulls.project[4](trees.add(u_bars[6], bars.end.u))
            weights_bar, u_bars[6] = trees.add(weights_bar, w_bar), None  # P y1 is no combination
            y1_bar = trees.add(y1_bar, more)
            y_bar = trees.add(y_bar, y1_bar)
            combined.append(((*tableau.a[5], 0.0), y1_bar))
            for weights, bar in combined:
                length_bar = length_bar + trees.dot(trees.combine(one, weights, stages.k), bar, time_dtype)
        elif i == 6:
            u_bars[6] = trees.add(u_bars[6], y1_bar)
    u_bar = trees.add(*u_bars[1:])
    point = Point(y_bar, k_bar, u_bar, p_bar) if projected else Point(trees.add(y_bar, u_bar), k_bar, None, None)
    span_bar = length_bar * problem.direction
    return weights_bar, point, start_bar - span_bar, end_bar + span_bar
