"""A solve by the project's own engine: Tsit5 and Dopri5 under a PIDController."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optimistix
from diffrax._term import WrapTerm
from jax import Array, lax

from zoo.neural_de.solve import adjoint, control, loop, step, trees
from zoo.neural_de.solve import checkpoints as slots
from zoo.neural_de.solve.arguments import Arguments, Sub
from zoo.neural_de.solve.field import Field
from zoo.neural_de.solve.regularizers import Plan
from zoo.neural_de.solve.solution import RegularizedSolution
from zoo.neural_de.solve.tableau import TABLEAUS, Tableau

PyTree = Any


def solve(
    problem: Arguments,
    solver: diffrax.AbstractSolver,
    args: PyTree,
    controller: diffrax.PIDController,
    max_steps: int,
    plan: Plan,
    exact: bool,
    checkpoints: int | None,
    sum_shared: bool,
    axis_name: str | None,
) -> RegularizedSolution:
    """See zoo.neural_de.solve; arguments are checked."""
    # Over a mesh, all that a loop carries is each device's own: a sum over the devices, such as that of a gradient, is taken once, at the
    # end, and not in each step.
    arrays, rest = eqx.partition((problem, args), eqx.is_array)
    problem, args = eqx.combine(trees.differing(trees.mesh_axes(arrays), arrays), rest)
    y0, terms, tableau = problem.y0, problem.terms, TABLEAUS[type(solver)]
    direction = jnp.where(problem.t0 < problem.t1, 1, -1).astype(problem.t0.dtype)
    t0, t1 = problem.t0 * direction, problem.t1 * direction
    field = Field(lambda t, y: terms.vf(t, y, args), problem.t0, y0)
    rms = functools.partial(trees.rms, axis_name=axis_name)
    norm, norm_data = _norm(controller.norm, y0, rms)
    pid = _settings(controller, tableau)
    pid_arrays, pid_static = eqx.partition(pid, eqx.is_array)

    end, evaluations = _first_end(problem, solver, controller, field, direction)
    if axis_name is not None and problem.dt0 is None:  # a rule that looks at the state sees this device's share alone
        end = t0 + trees.differing(trees.mesh_axes(arrays), lax.pmean(end - t0, axis_name))
    end = jnp.where(end > t1, t1, end)

    kept: list[PyTree] = [y0, y0]  # of an attempt: state and derivative, their projections, and what it projects
    if field.project is not None:
        kept += (2 + step.PROJECTIONS) * [jax.eval_shape(field.project, field.weights, field.data, t0, y0)]
    subs, treedef = jtu.tree_flatten(problem.subs, is_leaf=lambda x: isinstance(x, Sub))
    times = tuple(sub.ts * direction for sub in subs if sub.ts is not None)
    strides = tuple(sub.steps for sub in subs if sub.steps)
    engine = loop.Engine(
        field=field,
        tableau=tableau,
        norm=norm,
        rms=rms,
        pid=pid_static,
        plan=plan,
        exact=exact,
        max_steps=max_steps,
        slots=slots.slot_count(kept, max_steps, checkpoints),
        sum_shared=sum_shared,
        strides=strides,
        dense=problem.dense,
    )
    inputs = loop.Inputs(field.weights, y0, t0, t1, end, times)
    fixed = loop.Fixed(field.data, *lax.stop_gradient((norm_data, pid_arrays)), lax.stop_gradient(direction))
    out = adjoint.run(engine, inputs, fixed)

    unfinished = (out.t < t1) & (out.code == control.RUNNING)
    result = diffrax.RESULTS.where(
        out.code == control.UNDERFLOW, diffrax.RESULTS.dt_min_reached, diffrax.RESULTS.successful
    )
    result = diffrax.RESULTS.where(unfinished, diffrax.RESULTS.max_steps_reached, result)
    ts, ys = _collect(subs, problem, args, out, direction, max_steps)
    interpolation = None
    if problem.dense:
        assert out.saved.dense is not None
        interpolation = diffrax.DenseInterpolation(
            ts=out.saved.dense[0],
            ts_size=out.accepted + 1,
            infos=out.saved.dense[1],
            interpolation_cls=tableau.interpolation,
            direction=direction,
            t0_if_trivial=t0,
            y0_if_trivial=y0,
        )
    return RegularizedSolution(
        t0=problem.t0,
        t1=problem.t1,
        ts=jtu.tree_unflatten(treedef, ts) if subs else None,
        ys=jtu.tree_unflatten(treedef, ys) if subs else None,
        interpolation=interpolation,
        stats={
            "num_steps": out.attempts,
            "num_accepted_steps": out.accepted,
            "num_rejected_steps": out.attempts - out.accepted,
            "max_steps": max_steps,
            "nfe": 1 + evaluations + 6 * out.attempts,
        },
        result=result,
        solver_state=None,
        controller_state=None,
        made_jump=None,
        event_mask=None,
        regularizers=out.regularizers,
    )


def _first_end(
    problem: Arguments, solver: Any, controller: diffrax.PIDController, field: Field, direction: Array
) -> tuple[Array, int]:
    """End of the first attempt, chosen by diffrax's own controller as diffeqsolve calls it, and what it evaluated.

    Which rule that is depends on diffrax: 0.7.2 wraps the term and thereby falls back to 0.01, others choose by Hairer's rule. No
    gradient flows through a chosen step.
    """
    weights, data = lax.stop_gradient((field.weights, field.data))
    called = False

    def function(t: Any, y: PyTree, args: PyTree) -> PyTree:
        nonlocal called
        called = True
        return field(weights, data, t, y)

    t0, t1 = problem.t0 * direction, problem.t1 * direction
    dt0 = None if problem.dt0 is None else problem.dt0 * direction
    terms = WrapTerm(diffrax.ODETerm(function), direction.astype(jnp.int32))
    end, _ = controller.init(terms, t0, t1, problem.y0, dt0, None, solver.func, solver.error_order(terms))
    return jnp.asarray(end, t0.dtype), 2 if called else 0


def _settings(controller: diffrax.PIDController, tableau: Tableau) -> control.PID:
    def number(x: Any) -> Any:
        return float(x) if isinstance(x, (int, float, np.generic)) else x

    c = controller
    return control.PID(
        rtol=number(c.rtol),
        atol=number(c.atol),
        pcoeff=number(c.pcoeff),
        icoeff=number(c.icoeff),
        dcoeff=number(c.dcoeff),
        dtmin=number(c.dtmin),
        dtmax=number(c.dtmax),
        force_dtmin=bool(c.force_dtmin),
        factormin=number(c.factormin),
        factormax=number(c.factormax),
        safety=number(c.safety),
        order=number(tableau.order if c.error_order is None else c.error_order),
    )


def _norm(norm: Any, y0: PyTree, rms: Callable[[PyTree], Array]) -> tuple[Any, PyTree]:
    """The norm as a function of (its arrays, a state), and those arrays."""
    if norm is optimistix.rms_norm or trees.size(y0) == 0:
        return lambda data, tree: rms(tree), ()
    converted = eqx.filter_closure_convert(norm, y0)
    arrays, static = eqx.partition(converted, eqx.is_array)
    return lambda data, tree: eqx.combine(data, static)(tree), arrays


def _collect(
    subs: list[Sub], problem: Arguments, args: PyTree, out: loop.Outputs, direction: Array, max_steps: int
) -> Any:
    """Saved times and what ``fn`` makes of the saved states, laid out as diffrax does: t0, the steps or times, t1."""
    all_ts, all_ys = [], []
    times, steps = iter(out.saved.at_times), iter(out.saved.at_steps)
    still = problem.t0 == problem.t1
    for sub in subs:
        parts_t, parts_y = [], []
        count: Array | int = 0
        if sub.t0:
            parts_t.append(problem.t0[None])
            parts_y.append(_expand(sub.fn(problem.t0, problem.y0, args)))
        if sub.ts is not None:
            reached = still | ((out.accepted > 0) & (sub.ts * direction <= out.t))
            states = jtu.tree_map(lambda b, y: jnp.where(still, y, b), next(times), problem.y0)
            ts, ys = _apply(sub.fn, sub.ts, states, reached, problem, args)
            count = jnp.sum(reached)
            parts_t.append(ts)
            parts_y.append(ys)
        if sub.steps:
            raw, states = next(steps)
            number = jnp.arange(1, raw.shape[0] + 1) * sub.steps
            reached = number <= out.accepted
            ts, ys = _apply(sub.fn, raw * direction, states, reached, problem, args)
            count = out.accepted // sub.steps
            parts_t.append(ts)
            parts_y.append(ys)
        ts = jnp.concatenate(parts_t) if parts_t else None
        ys = jtu.tree_map(lambda *x: jnp.concatenate(x), *parts_y) if parts_y else None
        if sub.t1 and (sub.steps == 0 or max_steps % sub.steps != 0):
            ts, ys = _append(ts, ys, sub, problem, args, out, direction, count)
        all_ts.append(ts)
        all_ys.append(ys)
    return all_ts, all_ys


def _append(
    ts: Array | None,
    ys: PyTree,
    sub: Sub,
    problem: Arguments,
    args: PyTree,
    out: loop.Outputs,
    direction: Array,
    count: Any,
) -> tuple[Array, PyTree]:
    """Add the state reached behind what was saved before it, unless saving at steps has it already."""
    last_t, last_y = out.t * direction, sub.fn(out.t * direction, out.y, args)
    if ts is None:
        return last_t[None], _expand(last_y)
    if isinstance(count, int) and count == 0:  # only t0 before it
        return jnp.append(ts, last_t), jtu.tree_map(
            lambda a, b: jnp.concatenate([a, b[None]]), ys, jtu.tree_map(jnp.asarray, last_y)
        )
    where = int(sub.t0) + count
    fresh = jnp.asarray(True) if not sub.steps else out.accepted % sub.steps != 0

    def put(buffer: Array, x: Array) -> Array:
        longer = jnp.concatenate([buffer, _unreached(buffer[:1])])
        return longer.at[where].set(jnp.where(fresh, x, longer[where]))

    return put(ts, last_t), jtu.tree_map(put, ys, last_y)


def _expand(tree: PyTree) -> PyTree:
    return jtu.tree_map(lambda x: jnp.asarray(x)[None], tree)


def _apply(fn: Any, ts: Array, states: PyTree, reached: Array, problem: Arguments, args: PyTree) -> Any:
    """fn at each saved time, in its own dtypes; see _unreached for where it was not reached."""

    def one(t: Array, y: PyTree, ok: Array) -> tuple[Array, PyTree]:
        safe_t, safe_y = jnp.where(ok, t, problem.t0), trees.where(ok, y, problem.y0)
        value = fn(safe_t, safe_y, args)
        return jnp.where(ok, t, jnp.inf), jtu.tree_map(lambda x: jnp.where(ok, x, _unreached(x)), value)

    return jax.vmap(one)(ts, states, reached)


def _unreached(x: Array) -> Array:
    """What stands in place of values like ``x`` that were not reached: inf, the largest integer or True.

    As in diffrax, whose inf cast to integers is the largest one or the smallest, by where it is cast.
    """
    dtype = jnp.result_type(x)
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.full(jnp.shape(x), jnp.iinfo(dtype).max, dtype)
    return jnp.full(jnp.shape(x), jnp.inf, dtype)
