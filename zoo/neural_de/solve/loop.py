"""The engine: one loop of attempts forwards, the same attempts in reverse for the gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import Array, lax

from zoo.neural_de.solve import checkpoints, control, regularizers, saving, step, trees
from zoo.neural_de.solve.control import Clock
from zoo.neural_de.solve.field import Field
from zoo.neural_de.solve.step import Problem
from zoo.neural_de.solve.tableau import Tableau

PyTree = Any


@dataclass(frozen=True, eq=False)
class Engine:
    """The static part of a solve.

    Attributes:
        field, tableau: what is integrated, and how.
        norm: the controller's norm, ``(norm_data, scaled error) -> scalar``.
        pid: the controller's settings that are Python numbers, None in place of arrays.
        plan: the regularisers asked for.
        exact: gradients go through the step sizes.
        max_steps: most attempts.
        slots: states kept for the backward pass.
        strides, dense: what is saved on the way beside the given times.
    """

    field: Field
    tableau: Tableau
    norm: Callable[[PyTree, PyTree], Array]
    pid: control.PID
    plan: regularizers.Plan
    exact: bool
    max_steps: int
    slots: int
    strides: tuple[int, ...]
    dense: bool

    def problem(self, weights: PyTree, fixed: Fixed) -> Problem:
        """The arrays of a solve with the settings put together."""
        return Problem(weights, fixed.data, fixed.norm_data, eqx.combine(fixed.pid, self.pid), fixed.direction)


class Inputs(NamedTuple):
    """The differentiable part of a solve, in time that runs forwards.

    Attributes:
        weights: the field's weights.
        y0, k1: initial state and the field there.
        t0, t1, end: start and end time, and the end of the first attempt.
        times: arrays of save times.
    """

    weights: PyTree
    y0: PyTree
    k1: PyTree
    t0: Array
    t1: Array
    end: Array
    times: tuple[Array, ...]


class Fixed(NamedTuple):
    """The arrays that are held in the gradient: see Problem; ``pid`` has None in place of Python numbers."""

    data: PyTree
    norm_data: PyTree
    pid: control.PID
    direction: Array


class Outputs(NamedTuple):
    """What a solve gives.

    Attributes:
        y, t: the state and time reached.
        regularizers: the scalars by name.
        saved: see Saved.
        attempts, accepted: counts, int32.
        code: RUNNING (done, or out of attempts) or UNDERFLOW.
    """

    y: PyTree
    t: Array
    regularizers: dict[str, Array]
    saved: saving.Saved
    attempts: Array
    accepted: Array
    code: Array


class _Record(NamedTuple):
    """Scalars of every attempt, leading axis max_steps."""

    clock: Clock
    error: Array


class _State(NamedTuple):
    number: Array  # of the iteration: the same for all trajectories of a vmapped batch
    y: PyTree
    k1: PyTree
    clock: Clock
    code: Array
    attempts: Array
    accepted: Array
    totals: list[Array]
    winners: list[Array]
    saved: saving.Saved
    slots: checkpoints.Slots | None
    record: _Record | None


def _running(state: _State, t1: Array) -> Array:
    return (state.clock.start < t1) & (state.code == control.RUNNING)


def _forward(engine: Engine, inputs: Inputs, fixed: Fixed, keep_states: bool) -> _State:
    """Attempt steps until the end time, an underflow or the last allowed attempt."""
    problem = engine.problem(inputs.weights, fixed)
    plan, tableau, t0, t1 = engine.plan, engine.tableau, inputs.t0, inputs.t1
    floor = control.clip_floor(t1)
    real = trees.dtype_of(inputs.y0)
    one, zero = jnp.ones((), real), jnp.zeros((), real)
    clock = Clock(t0, inputs.end, one, one, jnp.zeros((), bool))
    code = jnp.where((inputs.end > t0) | ~(t0 < t1), control.RUNNING, control.UNDERFLOW).astype(jnp.int32)
    count = jnp.zeros((), jnp.int32)
    state = _State(
        number=count,
        y=inputs.y0,
        k1=inputs.k1,
        clock=clock,
        code=code,
        attempts=count,
        accepted=count,
        totals=[zero for _ in plan.names],
        winners=[count - 1 for _ in plan.names],
        saved=saving.empty(inputs.y0, t0, inputs.times, engine.strides, engine.dense, engine.max_steps),
        slots=checkpoints.empty((inputs.y0, inputs.k1), engine.slots) if keep_states else None,
        record=jtu.tree_map(lambda x: jnp.zeros((engine.max_steps, *x.shape), x.dtype), _Record(clock, zero))
        if keep_states
        else None,
    )

    def body(state: _State) -> _State:
        active = _running(state, t1)
        clock = state.clock
        slots = None
        if state.slots is not None:
            slots = checkpoints.keep_forward(state.slots, state.number, (state.y, state.k1))
        stages = step.run_stages(engine.field, tableau, problem, clock.start, clock.end, state.y, state.k1)
        length = (clock.end - clock.start) * fixed.direction
        error = step.error_norm(tableau, engine.norm, problem, stages, length)
        stiff = zero
        if plan.needs_stiffness:
            stiff = step.stiffness(tableau, trees.combine(length, tableau.stiff, stages.k), stages.k[5], stages.k[6])
        verdict = control.judge(problem.pid, clock, t1, floor, error.astype(real), engine.exact)
        keep = verdict.keep & active
        accepted = state.accepted + keep
        totals, winners = plan.update(
            state.totals, state.winners, plan.values(error, stiff, length), keep, state.attempts
        )
        kept = saving.Kept(keep, clock.start, clock.end, accepted)
        record = None
        if state.record is not None:
            record = jtu.tree_map(
                lambda buffer, x: lax.dynamic_update_index_in_dim(buffer, x, state.number, 0),
                state.record,
                _Record(clock, error.astype(real)),
            )
        return _State(
            number=state.number + 1,
            y=trees.where(keep, stages.g[6], state.y),
            k1=trees.where(keep, stages.k[6], state.k1),
            clock=trees.where(active, verdict.clock, clock),
            code=jnp.where(active, verdict.code, state.code),
            attempts=state.attempts + active,
            accepted=accepted,
            totals=totals,
            winners=winners,
            saved=saving.save(state.saved, tableau, inputs.times, engine.strides, t0, kept, stages, length),
            slots=slots,
            record=record,
        )

    def more(state: _State) -> Array:
        return eqxi.unvmap_any(_running(state, t1)) & (state.number < engine.max_steps)

    return lax.while_loop(more, body, state)


def _outputs(engine: Engine, state: _State) -> Outputs:
    return Outputs(
        y=state.y,
        t=state.clock.start,
        regularizers=engine.plan.finish(state.totals, state.accepted),
        saved=state.saved,
        attempts=state.attempts,
        accepted=state.accepted,
        code=state.code,
    )


class _Residuals(NamedTuple):
    inputs: Inputs
    fixed: Fixed
    slots: checkpoints.Slots
    record: _Record
    attempts: Array
    accepted: Array
    winners: list[Array]


class _Bars(NamedTuple):
    """The backward loop's state: the next attempt to undo, and cotangents."""

    number: Array
    slots: checkpoints.Slots
    accepted: Array
    y: PyTree
    k1: PyTree
    clock: tuple[Array, Array, Array, Array]  # of Clock's inexact fields
    weights: PyTree
    t1: Array
    times: tuple[Array, ...]


def _advance(engine: Engine, residuals: _Residuals, slots: checkpoints.Slots, wanted: Array) -> tuple[Any, Any]:
    """The state from which attempt ``wanted`` starts, and the slots with what was kept on the way to it."""
    problem = engine.problem(residuals.inputs.weights, residuals.fixed)
    kept, (y, k1) = checkpoints.nearest(slots, wanted)
    gap = checkpoints.spacing(slots, kept, wanted)
    floor = control.clip_floor(residuals.inputs.t1)

    def body(carry: Any) -> Any:
        number, y, k1, slots = carry
        clock, error = _at(residuals.record, number)
        verdict = control.judge(problem.pid, clock, residuals.inputs.t1, floor, error, engine.exact)
        keep = verdict.keep & (number < residuals.attempts)

        def move() -> tuple[PyTree, PyTree]:
            stages = step.run_stages(engine.field, engine.tableau, problem, clock.start, clock.end, y, k1)
            return trees.where(keep, stages.g[6], y), trees.where(keep, stages.k[6], k1)

        y, k1 = lax.cond(eqxi.unvmap_any(keep), move, lambda: (y, k1))
        number = number + 1
        due = ((number - kept) % gap == 0) & (number < wanted)
        return number, y, k1, checkpoints.keep_backward(slots, number, (y, k1), due, wanted)

    _, y, k1, slots = lax.while_loop(lambda c: c[0] < wanted, body, (kept, y, k1, slots))
    return (y, k1), slots


def _at(record: _Record, number: Array) -> _Record:
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
        (y, k1), slots = _advance(engine, residuals, carry.slots, number)
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
        safe_y = y

        def attempt() -> Any:
            length = (end - clock.start) * fixed.direction
            stages = step.run_stages(engine.field, tableau, problem, clock.start, end, safe_y, k1)
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
                stiff = step.stiffness(tableau, difference, stages.k[5], stages.k[6])
            _, pull_values = jax.vjp(plan.values, error, stiff, clock.end - clock.start)
            error_more, stiff_bar, span_bar = pull_values(value_bars)
            total_error = jnp.where(needed, error_bar + error_more, 0)
            step_bars = step.StepCotangents(
                y1=jtu.tree_map(lambda b: jnp.where(keep, b, 0), carry.y),
                k7=jtu.tree_map(lambda b: jnp.where(keep, b, 0), carry.k1),
                error=total_error,
                stiff=stiff_bar if plan.needs_stiffness else None,
                outputs=outputs,
            )
            weights, y_bar, k1_bar, start_bar, end_bar = step.pull_step(
                engine.field, tableau, engine.norm, problem, clock.start, end, stages, step_bars, True
            )
            through = jnp.where(keep, 0, 1)
            y_bar = jtu.tree_map(lambda a, b: jnp.where(needed, a, 0) + through.astype(a.dtype) * b, y_bar, carry.y)
            k1_bar = jtu.tree_map(lambda a, b: jnp.where(needed, a, 0) + through.astype(a.dtype) * b, k1_bar, carry.k1)
            start_bar = jnp.where(needed, start_bar + start_more - span_bar, 0)
            end_bar = jnp.where(needed, end_bar + end_more + span_bar, 0)
            return y_bar, k1_bar, trees.add(carry.weights, weights), start_bar, end_bar, times_bar

        def stand() -> Any:
            zero = jnp.zeros_like(clock.start)
            return carry.y, carry.k1, carry.weights, zero, zero, carry.times

        y_bar, k1_bar, weights, start_bar, end_bar, times_bar = lax.cond(eqxi.unvmap_any(needed), attempt, stand)
        clock_bars[0], clock_bars[1] = clock_bars[0] + start_bar, clock_bars[1] + end_bar
        clock_bars = jtu.tree_map(lambda a, b: jnp.where(active, a, b), tuple(clock_bars), carry.clock)
        return _Bars(
            number=number,
            slots=slots,
            accepted=carry.accepted - keep,
            y=y_bar,
            k1=k1_bar,
            clock=clock_bars,
            weights=weights,
            t1=carry.t1 + jnp.where(active, t1_bar, 0),
            times=times_bar,
        )

    zero_t = jnp.zeros_like(inputs.t0)
    carry = _Bars(
        number=eqxi.unvmap_max(residuals.attempts),
        slots=residuals.slots,
        accepted=residuals.accepted,
        y=bars.y,
        k1=trees.zeros_like(inputs.k1),
        clock=(bars.t, zero_t, none, none),
        weights=trees.zeros_like(inputs.weights),
        t1=zero_t,
        times=trees.zeros_like(inputs.times),
    )
    carry = lax.while_loop(lambda c: c.number > 0, undo, carry)
    start_bar, end_bar, *_ = carry.clock
    return Inputs(carry.weights, carry.y, carry.k1, start_bar, carry.t1, end_bar, carry.times)


def _saves(engine: Engine, inputs: Inputs) -> bool:
    return bool(inputs.times) or bool(engine.strides) or engine.dense


def run(engine: Engine, inputs: Inputs, fixed: Fixed) -> Outputs:
    """Solve; differentiable with respect to ``inputs``."""

    @jax.custom_vjp
    def solve(inputs: Inputs, fixed: Fixed) -> Outputs:
        return _outputs(engine, _forward(engine, inputs, fixed, keep_states=False))

    def forward(inputs: Inputs, fixed: Fixed) -> tuple[Outputs, _Residuals]:
        state = _forward(engine, inputs, fixed, keep_states=True)
        assert state.slots is not None
        assert state.record is not None
        residuals = _Residuals(inputs, fixed, state.slots, state.record, state.attempts, state.accepted, state.winners)
        return _outputs(engine, state), residuals

    def backward(residuals: _Residuals, bars: Outputs) -> tuple[Inputs, Any]:
        nothing = jtu.tree_map(_zero_cotangent, residuals.fixed)
        return _backward(engine, residuals, bars), nothing

    solve.defvjp(forward, backward)
    return solve(inputs, fixed)


def _zero_cotangent(x: Array) -> Any:
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)
