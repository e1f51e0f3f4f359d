"""The engine backwards: the same attempts in reverse, each from its kept or recomputed start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import Array, lax

from zoo.neural_de.solve import checkpoints, control, saving, step, trees
from zoo.neural_de.solve.control import Clock
from zoo.neural_de.solve.field import Field, Map, Pull
from zoo.neural_de.solve.loop import Engine, Fixed, Inputs, Outputs, Record, forward, outputs
from zoo.neural_de.solve.step import Parts, Point, Problem, Pulls

PyTree = Any


class _Residuals(NamedTuple):
    """What the backward pass starts from; ``sound``: the field is finite at the start (no gradient comes from elsewhere)."""

    inputs: Inputs
    fixed: Fixed
    slots: checkpoints.Slots
    record: Record
    projections: list[PyTree] | None
    attempts: Array
    accepted: Array
    winners: list[Array]
    sound: Array


class _Bars(NamedTuple):
    """The backward loop's state: the next attempt to undo, and cotangents."""

    number: Array
    slots: checkpoints.Slots
    accepted: Array
    point: Point
    clock: tuple[Array, Array, Array, Array]  # of Clock's inexact fields
    weights: PyTree
    t1: Array
    times: tuple[Array, ...]


def _advance(engine: Engine, residuals: _Residuals, slots: checkpoints.Slots, wanted: Array) -> tuple[Point, Any]:
    """The point from which attempt ``wanted`` starts, and the slots with what was kept on the way to it."""
    problem = engine.problem(residuals.inputs.weights, residuals.fixed)
    kept, point = checkpoints.nearest(slots, wanted)
    gap = checkpoints.spacing(slots, kept, wanted)
    floor = control.clip_floor(residuals.inputs.t1)

    def body(carry: Any) -> Any:
        number, point, slots = carry
        clock, error = _at(residuals.record, number)
        verdict = control.judge(problem.pid, clock, residuals.inputs.t1, floor, error, engine.exact)
        keep = verdict.keep & (number < residuals.attempts)

        def move() -> Point:
            stages = step.run_stages(engine.field, engine.tableau, problem, clock.start, clock.end, point)
            return trees.where(keep, stages.end(), point)

        point = lax.cond(eqxi.unvmap_any(keep), move, lambda: point)
        number = number + 1
        due = ((number - kept) % gap == 0) & (number < wanted)
        return number, point, checkpoints.keep_backward(slots, number, point, due, wanted)

    _, point, slots = lax.while_loop(lambda c: c[0] < wanted, body, (kept, point, slots))
    return point, slots


def _at(record: Any, number: Array) -> Any:
    return jtu.tree_map(lambda buffer: lax.dynamic_index_in_dim(buffer, number, 0, keepdims=False), record)


def _backward(engine: Engine, residuals: _Residuals, bars: Outputs) -> Inputs:
    """Pull the cotangents of a solve's outputs back to its inputs, attempt by attempt."""
    inputs, fixed, plan, tableau = residuals.inputs, residuals.fixed, engine.plan, engine.tableau
    problem = engine.problem(inputs.weights, fixed)
    real = trees.dtype_of(inputs.y0)
    floor = control.clip_floor(inputs.t1)
    none = jnp.zeros((), real)

    def undo(carry: _Bars) -> _Bars:
        number = carry.number - 1
        active = number < residuals.attempts
        point, slots = _advance(engine, residuals, carry.slots, number)
        clock, error = _at(residuals.record, number)

        # Scalars: the next interval as a function of this one, E and the end time.
        def control_part(start: Array, end: Array, inverse: Array, inverse2: Array, t1: Array, error: Array) -> Any:
            verdict = control.judge(
                problem.pid, Clock(start, end, inverse, inverse2, clock.at_dtmin), t1, floor, error, engine.exact
            )
            return tuple(verdict.clock[:4]), verdict

        _, pull_control, verdict = jax.vjp(control_part, *clock[:4], inputs.t1, error, has_aux=True)
        masked = jtu.tree_map(lambda b: jnp.where(active, b, 0), carry.clock)
        *clock_bars, t1_bar, error_bar = pull_control(masked)
        keep = verdict.keep & active
        value_bars = plan.bars(bars.regularizers, residuals.winners, keep, number, residuals.accepted)

        needed = keep | (verdict.matters & active)
        # A trajectory that this attempt does not concern stands still, so that no garbage of its own can reach the others.
        end = jnp.where(needed, clock.end, clock.start)

        def attempt() -> Any:
            length = (end - clock.start) * fixed.direction

            def stages_of(field: Field | Parts) -> step.Stages:
                return step.run_stages(field, tableau, problem, clock.start, end, point)

            pulls, field = _recorded(
                engine, _projections(residuals, number, needed, point, lambda: stages_of(engine.field))
            )
            stages = stages_of(field)
            kept = saving.Kept(keep, clock.start, clock.end, carry.accepted)
            outputs, times_bar = None, carry.times
            start_more, end_more = jnp.zeros_like(clock.start), jnp.zeros_like(clock.end)
            if _saves(engine, inputs):
                out = saving.pull(
                    bars.saved, carry.times, tableau, inputs.times, engine.strides, inputs.t0, kept, stages, length
                )
                outputs, times_bar = (out.y0, out.y1, out.k), out.times
                start_more, end_more = out.start, out.end
            stiff = none
            if plan.needs_stiffness:
                difference = trees.combine(length, tableau.stiff, stages.k)
                stiff = step.stiffness(tableau, engine.rms, difference, stages.k[5], stages.k[6])
            _, pull_values = jax.vjp(plan.values, error, stiff, clock.end - clock.start)
            error_more, stiff_bar, span_bar = pull_values(value_bars)
            total_error = jnp.where(needed, error_bar + error_more, 0)
            step_bars = step.StepCotangents(
                end=trees.kept_if(keep, carry.point),
                error=total_error,
                stiff=stiff_bar if plan.needs_stiffness else None,
                outputs=outputs,
            )
            weights, point_bar, start_bar, end_bar = step.pull_step(
                pulls, tableau, engine.norm, engine.rms, problem, clock.start, end, stages, step_bars
            )
            point_bar = trees.add(trees.kept_if(needed, point_bar), trees.kept_if(~keep, carry.point))
            start_bar = jnp.where(needed, start_bar + start_more - span_bar, 0)
            end_bar = jnp.where(needed, end_bar + end_more + span_bar, 0)
            return point_bar, trees.add(carry.weights, weights), start_bar, end_bar, times_bar

        def stand() -> Any:
            zero = jnp.zeros_like(clock.start)
            return carry.point, carry.weights, zero, zero, carry.times

        point_bar, weights, start_bar, end_bar, times_bar = lax.cond(eqxi.unvmap_any(needed), attempt, stand)
        clock_bars[0], clock_bars[1] = clock_bars[0] + start_bar, clock_bars[1] + end_bar
        clock_bars = jtu.tree_map(lambda a, b: jnp.where(active, a, b), tuple(clock_bars), carry.clock)
        return _Bars(
            number=number,
            slots=slots,
            accepted=carry.accepted - keep,
            point=point_bar,
            clock=clock_bars,
            weights=weights,
            t1=carry.t1 + jnp.where(active, t1_bar, 0),
            times=times_bar,
        )

    zero_t = jnp.zeros_like(inputs.t0)
    nothing = jtu.tree_map(lambda buffer: jnp.zeros_like(buffer[0]), residuals.slots.state)
    carry = trees.differing(
        trees.mesh_axes(inputs),
        _Bars(
            number=eqxi.unvmap_max(residuals.attempts),
            slots=residuals.slots,
            accepted=residuals.accepted,
            point=nothing._replace(y=bars.y),
            clock=(bars.t, zero_t, none, none),
            weights=(),
            t1=zero_t,
            times=trees.zeros_like(inputs.times),
        ),
    )._replace(weights=trees.zeros_like(inputs.weights))
    carry = lax.while_loop(lambda c: c.number > 0, undo, carry)
    start_bar, end_bar, *_ = carry.clock
    weights, t_bar, y_bar = _pull_first(
        engine, problem, inputs.t0 * fixed.direction, *trees.kept_if(residuals.sound, (inputs.y0, carry.point))
    )
    return Inputs(
        trees.add(carry.weights, weights),
        trees.add(carry.point.y, y_bar),
        start_bar + t_bar * fixed.direction,
        carry.t1,
        end_bar,
        carry.times,
    )


def _projections(
    residuals: _Residuals, number: Array, needed: Array, point: Point, stages: Callable[[], step.Stages]
) -> list[PyTree]:
    """What an attempt projected, nothing without a projection; ``stages`` makes it again.

    It is narrow and kept of each attempt while there are slots for all, which spares the backward pass the projections.
    """
    if residuals.projections is None:
        return []
    kept = residuals.slots.stride == 1
    found = lax.cond(kept, lambda: _at(residuals.projections, number), lambda: stages().projections())
    fit = needed & residuals.sound
    return [trees.where(fit, p, point.p) for p in found]  # for one that stands still, what is finite


def _recorded(engine: Engine, projections: Sequence[PyTree] = ()) -> tuple[Pulls, Parts]:
    """The field, whose pullbacks are put down as it is evaluated; the first of its projections are known."""

    def recorded(function: Map, pulls: list[Pull], known: Sequence[PyTree] = ()) -> step.Evaluate:
        def evaluate(weights: PyTree, data: PyTree, t: Array, x: PyTree) -> PyTree:
            value, pull = function.linearize(weights, data, t, x, engine.sum_shared)
            pulls.append(pull)
            return known[len(pulls) - 1] if len(pulls) <= len(known) else value

        return evaluate

    pulls, field = Pulls([], []), engine.field
    project = None if field.project is None else recorded(field.project, pulls.project, projections)
    return pulls, Parts(recorded(field.slope, pulls.slope), project)


def _pull_first(engine: Engine, problem: Problem, t0: Array, y0: PyTree, bars: Point) -> tuple[PyTree, Array, PyTree]:
    """Pull the cotangents of a solve's first point, beside its state, back to the weights, ``t0`` and ``y0``."""
    pulls, field = _recorded(engine)
    step.first_point(field, problem, t0, y0)
    if field.project is None:
        return pulls.slope[0](bars.k)
    pull_u, pull_p = pulls.project
    weights_p, _, k_bar = pull_p(bars.p)
    weights_k, t_bar, u_bar = pulls.slope[0](trees.add(bars.k, k_bar))
    weights_u, _, y_bar = pull_u(trees.add(bars.u, u_bar))
    return trees.add(weights_p, weights_k, weights_u), t_bar, y_bar


def _saves(engine: Engine, inputs: Inputs) -> bool:
    return bool(inputs.times) or bool(engine.strides) or engine.dense


def run(engine: Engine, inputs: Inputs, fixed: Fixed) -> Outputs:
    """Solve; differentiable with respect to ``inputs``."""

    @jax.custom_vjp
    def solve(inputs: Inputs, fixed: Fixed) -> Outputs:
        return outputs(engine, forward(engine, inputs, fixed, keep_states=False))

    def keep(inputs: Inputs, fixed: Fixed) -> tuple[Outputs, _Residuals]:
        state = forward(engine, inputs, fixed, keep_states=True)
        assert state.slots is not None
        assert state.record is not None
        assert state.sound is not None
        residuals = _Residuals(
            inputs,
            fixed,
            state.slots,
            state.record,
            state.projections,
            state.attempts,
            state.accepted,
            state.winners,
            state.sound,
        )
        return outputs(engine, state), residuals

    def backward(residuals: _Residuals, bars: Outputs) -> tuple[Inputs, Any]:
        nothing = jtu.tree_map(_zero_cotangent, residuals.fixed)
        return _backward(engine, residuals, bars), nothing

    solve.defvjp(keep, backward)
    return solve(inputs, fixed)


def _zero_cotangent(x: Array) -> Any:
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)
