"""The engine forwards: one loop, one attempted step an iteration."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array, lax

from zoo.neural_de.solve import checkpoints, control, regularizers, saving, step, trees
from zoo.neural_de.solve.control import Clock
from zoo.neural_de.solve.field import Field
from zoo.neural_de.solve.step import Point, Problem
from zoo.neural_de.solve.tableau import Tableau

PyTree = Any


@dataclass(frozen=True, eq=False)
class Engine:
    """The static part of a solve.

    Attributes:
        field, tableau: what is integrated, and how.
        norm: the controller's norm, ``(norm_data, scaled error) -> scalar``.
        rms: the root mean square over all entries of a state, on whichever device they are.
        pid: the controller's settings that are Python numbers, None in place of arrays.
        plan: the regularisers asked for.
        exact: gradients go through the step sizes.
        max_steps: most attempts.
        slots: states kept for the backward pass.
        sum_shared: see zoo.neural_de.solve.
        strides, dense: what is saved on the way beside the given times.
    """

    field: Field
    tableau: Tableau
    norm: Callable[[PyTree, PyTree], Array]
    rms: Callable[[PyTree], Array]
    pid: control.PID
    plan: regularizers.Plan
    exact: bool
    max_steps: int
    slots: int
    sum_shared: bool
    strides: tuple[int, ...]
    dense: bool

    def problem(self, weights: PyTree, fixed: Fixed) -> Problem:
        """The arrays of a solve with the settings put together."""
        return Problem(weights, fixed.data, fixed.norm_data, eqx.combine(fixed.pid, self.pid), fixed.direction)


class Inputs(NamedTuple):
    """The differentiable part of a solve, in time that runs forwards.

    Attributes:
        weights: the field's weights.
        y0: initial state.
        t0, t1, end: start and end time, and the end of the first attempt.
        times: arrays of save times.
    """

    weights: PyTree
    y0: PyTree
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


class Record(NamedTuple):
    """Scalars of every attempt, leading axis max_steps."""

    clock: Clock
    error: Array


class State(NamedTuple):
    """The loop's state; the last four are None where no gradient is wanted.

    ``sound``: the field is finite at the start; of a trajectory where it is not, zeros are kept. ``projections``: what
    attempts projected (see Stages), of as many as there are slots; None without a projection.
    """

    number: Array  # of the iteration: the same for all trajectories of a vmapped batch
    point: Point
    clock: Clock
    code: Array
    attempts: Array
    accepted: Array
    totals: list[Array]
    winners: list[Array]
    saved: saving.Saved
    slots: checkpoints.Slots | None
    record: Record | None
    sound: Array | None
    projections: list[PyTree] | None


def running(state: State, t1: Array) -> Array:
    """Whether a trajectory goes on."""
    return (state.clock.start < t1) & (state.code == control.RUNNING)


def forward(engine: Engine, inputs: Inputs, fixed: Fixed, keep_states: bool) -> State:
    """Attempt steps until the end time, an underflow or the last allowed attempt."""
    problem = engine.problem(inputs.weights, fixed)
    plan, tableau, t0, t1 = engine.plan, engine.tableau, inputs.t0, inputs.t1
    floor = control.clip_floor(t1)
    real = trees.dtype_of(inputs.y0)
    point = step.first_point(engine.field, problem, t0 * problem.direction, inputs.y0)
    one, zero = jnp.ones((), real), jnp.zeros((), real)
    clock = Clock(t0, inputs.end, one, one, jnp.zeros((), bool))
    code = jnp.where((inputs.end > t0) | ~(t0 < t1), control.RUNNING, control.UNDERFLOW).astype(jnp.int32)
    count = jnp.zeros((), jnp.int32)
    state = State(
        number=count,
        point=point,
        clock=clock,
        code=code,
        attempts=count,
        accepted=count,
        totals=[zero for _ in plan.names],
        winners=[count - 1 for _ in plan.names],
        saved=saving.empty(inputs.y0, t0, inputs.times, engine.strides, engine.dense, engine.max_steps),
        slots=checkpoints.empty(point, engine.slots) if keep_states else None,
        record=jtu.tree_map(lambda x: jnp.zeros((engine.max_steps, *x.shape), x.dtype), Record(clock, zero))
        if keep_states
        else None,
        sound=functools.reduce(jnp.logical_and, (jnp.all(jnp.isfinite(x)) for x in jtu.tree_leaves(point)))
        if keep_states
        else None,
        projections=[checkpoints.buffer(point.p, engine.slots) for _ in range(step.PROJECTIONS)]
        if keep_states and engine.field.project is not None
        else None,
    )

    def body(state: State) -> State:
        active = running(state, t1)
        clock = state.clock
        slots = None
        if state.slots is not None:
            assert state.sound is not None
            slots = checkpoints.keep_forward(state.slots, state.number, trees.kept_if(state.sound, state.point))
        stages = step.run_stages(engine.field, tableau, problem, clock.start, clock.end, state.point)
        length = (clock.end - clock.start) * fixed.direction
        error = step.error_norm(tableau, engine.norm, problem, stages, length)
        stiff = zero
        if plan.needs_stiffness:
            difference = trees.combine(length, tableau.stiff, stages.k)
            stiff = step.stiffness(tableau, engine.rms, difference, stages.k[5], stages.k[6])
        verdict = control.judge(problem.pid, clock, t1, floor, error.astype(real), engine.exact)
        keep = verdict.keep & active
        accepted = state.accepted + keep
        totals, winners = plan.update(
            state.totals, state.winners, plan.values(error, stiff, length), keep, state.attempts
        )
        kept = saving.Kept(keep, clock.start, clock.end, accepted)
        record = None
        if state.record is not None:
            record = _put(state.record, state.number, Record(clock, error.astype(real)))
        projections = None
        if state.projections is not None:
            # Past the slots, into the last place: those are not read again.
            projections = _put(state.projections, state.number, stages.projections())
        return State(
            number=state.number + 1,
            point=trees.where(keep, stages.end(), state.point),
            clock=trees.where(active, verdict.clock, clock),
            code=jnp.where(active, verdict.code, state.code),
            attempts=state.attempts + active,
            accepted=accepted,
            totals=totals,
            winners=winners,
            saved=saving.save(state.saved, tableau, inputs.times, engine.strides, t0, kept, stages, length),
            slots=slots,
            record=record,
            sound=state.sound,
            projections=projections,
        )

    def more(state: State) -> Array:
        return eqxi.unvmap_any(running(state, t1)) & (state.number < engine.max_steps)

    return lax.while_loop(more, body, trees.differing(trees.mesh_axes((inputs, fixed)), state))


def _put(buffers: Any, number: Array, values: Any) -> Any:
    return jtu.tree_map(lambda b, x: lax.dynamic_update_index_in_dim(b, x, number, 0), buffers, values)


def outputs(engine: Engine, state: State) -> Outputs:
    """What a finished loop gives."""
    return Outputs(
        y=state.point.y,
        t=state.clock.start,
        regularizers=engine.plan.finish(state.totals, state.accepted),
        saved=state.saved,
        attempts=state.attempts,
        accepted=state.accepted,
        code=state.code,
    )
