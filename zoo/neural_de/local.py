"""Local regularisation (Pal et al. 2023): the error estimate of one extra step at a random place of the trajectory."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array, lax

from zoo.core.config import nearest
from zoo.core.errors import UserError
from zoo.neural_de.solve import arguments, solve

PyTree = Any
MODES = ("unbiased", "biased")


class LocalSolution(NamedTuple):
    """A solve with its local regulariser.

    Attributes:
        solution: what diffrax.diffeqsolve returns for SaveAt(t1=True).
        local: E |h| of the extra step, a scalar; h is held in the gradient.
        time: where it was taken.
    """

    solution: diffrax.Solution
    local: Array
    time: Array


def solve_locally_regularised(
    terms: diffrax.AbstractTerm,
    solver: diffrax.AbstractSolver,
    t0: Array | float,
    t1: Array | float,
    dt0: Array | float | None,
    y0: PyTree,
    args: PyTree = None,
    *,
    key: Array,
    mode: Literal["unbiased", "biased"],
    stepsize_controller: diffrax.PIDController,
    max_steps: int = 4096,
    throw: bool = True,
    h_grad: Literal["exact", "frozen"] = "exact",
    sum_shared: bool = False,
) -> LocalSolution:
    """Solve, and take one more step of the same solver from a random place of the solution.

    Args:
        terms, solver, t0, t1, dt0, y0, args, stepsize_controller, max_steps, throw, h_grad, sum_shared: as for zoo.neural_de.solve.
        key: draws the place.
        mode: ``unbiased`` draws t uniformly from (t0, t1); ``biased`` draws one of the accepted steps, so that places where the
            steps are short are drawn more often (for which a solve without gradient runs first).

    The extra step has the length of the solve's own step there, cut off at t1. Pal, Edelman and Rackauckas 2023, Locally Regularized
    Neural Differential Equations, algorithm 1.

    Raises:
        UserError: an unknown mode, a controller without tolerances or a solver without an error estimate of its own, and what
            zoo.neural_de.solve refuses.
    """
    if mode not in MODES:
        raise UserError(f"mode={mode!r}: it must be 'unbiased' or 'biased'{nearest(str(mode), MODES)}")
    if not isinstance(stepsize_controller, diffrax.PIDController):
        raise UserError(
            f"stepsize_controller: {type(stepsize_controller).__name__} has no tolerances to scale the error of the extra step by; "
            "give diffrax.PIDController(rtol=..., atol=...)"
        )
    if not (isinstance(solver, diffrax.AbstractERK) and isinstance(solver, diffrax.AbstractAdaptiveSolver)):
        raise UserError(
            f"solver: {type(solver).__name__} gives no error estimate of a step by itself; explicit pairs such as Tsit5 do"
        )
    problem = arguments.normalise(terms, t0, t1, dt0, y0, diffrax.SaveAt(t1=True))
    t0, t1, dt0, y0 = problem.t0, problem.t1, problem.dt0, problem.y0
    times_only = diffrax.SubSaveAt(steps=True, fn=lambda t, y, args: t)
    settings: dict[str, Any] = {
        "stepsize_controller": stepsize_controller,
        "max_steps": max_steps,
        "regularizers": (),
        "sum_shared": sum_shared,
    }

    if mode == "unbiased":
        time = t0 + (t1 - t0) * jax.random.uniform(key, (), t0.dtype)
    else:
        held = lax.stop_gradient((y0, args))
        first = solve(
            terms,
            solver,
            t0,
            t1,
            dt0,
            *held,
            saveat=diffrax.SaveAt(subs=times_only),
            throw=False,
            h_grad="frozen",
            **settings,
        )
        assert first.ts is not None
        starts = jnp.concatenate([t0[None], first.ts[:-1]])
        step = jax.random.randint(key, (), 0, jnp.maximum(first.stats["num_accepted_steps"], 1))
        time = starts[step]
    time = lax.stop_gradient(time)

    saveat = diffrax.SaveAt(subs=[times_only, diffrax.SubSaveAt(ts=time[None]), diffrax.SubSaveAt(t1=True)])
    whole = solve(terms, solver, t0, t1, dt0, y0, args, saveat=saveat, throw=throw, h_grad=h_grad, **settings)
    assert whole.ts is not None
    assert whole.ys is not None
    ends, _, last = whole.ts
    _, here, final = whole.ys
    y = jtu.tree_map(lambda x: x[0], here)

    direction = jnp.sign(t1 - t0)
    # Unused places of `ends` hold infinity, in either direction of time.
    ahead = jnp.where(jnp.isfinite(ends) & ((ends - time) * direction > 0), (ends - time) * direction, jnp.inf)
    after = jnp.argmin(ahead)
    start = jnp.where(after > 0, ends[after - 1], t0)
    length = (ends[after] - start) * direction
    length = jnp.where(jnp.isfinite(length), jnp.minimum(length, (t1 - time) * direction), 0) * direction
    local = local_error(terms, solver, time, lax.stop_gradient(length), y, args, stepsize_controller)
    return LocalSolution(eqx.tree_at(lambda s: (s.ts, s.ys), whole, (last, final)), local, time)


def local_error(
    terms: diffrax.AbstractTerm,
    solver: diffrax.AbstractSolver,
    t: Array,
    length: Array,
    y: PyTree,
    args: PyTree,
    controller: diffrax.PIDController,
) -> Array:
    """E |h| of one step of ``solver`` from (t, y) over ``length`` (scalar, signed): a scalar; 0 for length 0.

    E is the controller's norm of the error estimate over atol + rtol max(|y|, |y1|), as in the controller itself.
    """
    moving = length != 0
    end = jnp.where(moving, t + length, t + 1)  # a step of length 0 would divide by it; its value is masked below
    state = solver.init(terms, t, end, y, args)
    y1, error, _, _, _ = solver.step(terms, t, end, y, args, state, made_jump=False)

    def scaled(e: Array, a: Array, b: Array) -> Array:
        return e / (controller.atol + controller.rtol * jnp.maximum(jnp.abs(a), jnp.abs(b)))

    size = controller.norm(jtu.tree_map(scaled, error, y, y1))
    return jnp.where(moving, size * jnp.abs(length), 0)
