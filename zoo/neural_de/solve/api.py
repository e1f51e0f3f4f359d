"""``solve``: diffrax.diffeqsolve that also returns the solver's own error and stiffness, differentiably."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import diffrax
import jax
import jax.numpy as jnp
from jax import Array

from zoo.core.errors import UserError
from zoo.core.precision import whole_float32
from zoo.neural_de.solve import arguments, native, stock, trees
from zoo.neural_de.solve.regularizers import make_plan
from zoo.neural_de.solve.solution import RegularizedSolution
from zoo.neural_de.solve.tableau import TABLEAUS

PyTree = Any

# diffrax.diffeqsolve's own defaults.
_AT_END = diffrax.SaveAt(t1=True)
_CONSTANT = diffrax.ConstantStepSize()


@whole_float32
def solve(
    terms: diffrax.AbstractTerm,
    solver: diffrax.AbstractSolver,
    t0: float | Array,
    t1: float | Array,
    dt0: float | Array | None,
    y0: PyTree,
    args: PyTree = None,
    *,
    saveat: diffrax.SaveAt = _AT_END,
    stepsize_controller: diffrax.AbstractStepSizeController = _CONSTANT,
    max_steps: int = 4096,
    throw: bool = True,
    regularizers: Sequence[str] = ("R_E",),
    reduce: str | Mapping[str, str] = "sum",
    h_grad: Literal["exact", "frozen"] = "exact",
    adjoint: None = None,
    checkpoints: int | None = None,
    sum_shared: bool = False,
    axis_name: str | None = None,
    event: None = None,
    progress_meter: None = None,
    solver_state: None = None,
    controller_state: None = None,
    made_jump: None = None,
) -> RegularizedSolution:
    """Solve an ODE and return its solver's heuristics with gradients by discrete adjoint.

    Args:
        terms, solver, t0, t1, dt0, y0, args, saveat, stepsize_controller, max_steps, throw: as diffrax.diffeqsolve.
        regularizers: which to compute, over the accepted steps j with error E_j (norm of the error over the tolerance, so
            below 1), stiffness S_j (Shampine's estimate over the pair's stability scale) and length h_j: "R_E" = sum E |h|, "R_E2" = sum
            E^2, "R_S" = sum S |h| (Pal et al. 2021, section 3), and "E", "S" without the length.
        reduce: "sum", "mean" over accepted steps or "max" over them; or one for each name. The paper's text sums; its
            original code takes the mean of E |h| and the maximum of S, which is {"R_E": "mean", "S": "max"}.
        h_grad: "exact": step sizes are functions of the errors, as they are in the discrete adjoint of the paper (the first step, the
            accept/reject pattern and step sizes cut to a limit are held). "frozen": they are constants, as in diffrax.
        adjoint: not taken: the gradient is that of h_grad.
        checkpoints: states kept for the backward pass; None lets the state's size choose (16 to 64).
        sum_shared: only for ``jax.grad`` of a ``jax.vmap`` of solves that share weights: their gradients are summed over the vmapped axis
            as one contraction in each step, where else each trajectory has a copy of them that is summed at the end. The same
            gradient in less time and memory; under a vmap of gradients it would sum those that have to stay apart.
        axis_name: within ``jax.shard_map``, the mesh axis over which the state is cut: the controller's default norm and S are then those
            of the whole state, so that all devices take the same steps, at the price of one number exchanged an attempt. (A norm of
            one's own takes its mean over the axis itself.) None lets each device take its own. Either way the gradient of what ``args``
            and ``terms`` hold is summed over the devices once, at the end, where ``jax.jit`` of a solve over sharded arrays sums it in
            each stage of each step.
        event, progress_meter, solver_state, controller_state, made_jump: not taken.

    Returns:
        a diffrax.Solution with ``.regularizers`` and ``.stats["nfe"]`` besides.

    Raises:
        UserError: an argument that cannot be served, ``throw`` within jax.shard_map among them; the message names it.
        eqx.EquinoxRuntimeError: with ``throw``, a solve that did not reach ``t1``: max_steps reached, or the step too small to go on,
            which is also how a field that is not finite ends.
    """
    plan = make_plan(regularizers, reduce)
    if h_grad not in ("exact", "frozen"):
        raise UserError(f"h_grad={h_grad!r}: it must be 'exact' or 'frozen'")
    if adjoint is not None:
        raise UserError("adjoint: not taken; h_grad='exact' or 'frozen' chooses the gradient, both with bounded memory")
    mends = {
        "event": "solve to a fixed t1 and find the event on its dense output (saveat=SaveAt(dense=True))",
        "progress_meter": "a solve reports nothing on its way; leave it out",
        "solver_state": "every solve starts afresh from y0; leave it out",
        "controller_state": "every solve starts afresh; give its first step by dt0",
        "made_jump": "every solve starts afresh from y0; leave it out",
    }
    given = (event, progress_meter, solver_state, controller_state, made_jump)
    for (name, mend), value in zip(mends.items(), given, strict=True):
        if value is not None:
            raise UserError(f"{name}: not taken: {mend}")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise UserError(f"max_steps={max_steps!r}: it must be a whole number of at least 1")
    problem = arguments.normalise(terms, t0, t1, dt0, y0, saveat)
    cut = jax.sharding.get_abstract_mesh().manual_axes
    if axis_name is not None and axis_name not in cut:
        raise UserError(
            f"axis_name={axis_name!r} is not an axis of a jax.shard_map around this solve ({', '.join(cut) or 'there is none'}): solve "
            "within one whose mesh has it, or leave it out"
        )
    if throw and trees.mesh_axes((problem.y0, problem.t0, problem.t1)):
        raise UserError(
            "throw=True within jax.shard_map: one device cannot stop them all; give throw=False and read the solution's result"
        )
    if type(solver) in TABLEAUS and isinstance(stepsize_controller, diffrax.PIDController):
        arguments.warn_precision(stepsize_controller, problem.y0)
        solution = native.solve(
            problem, solver, args, stepsize_controller, max_steps, plan, h_grad == "exact", checkpoints, sum_shared, axis_name,
        )  # fmt: skip
    elif axis_name is not None:
        raise UserError(
            f"axis_name={axis_name!r} needs Tsit5() or Dopri5() under a PIDController without step_ts and jump_ts, not "
            f"{type(solver).__name__} under {type(stepsize_controller).__name__}: leave it out, or change them"
        )
    elif h_grad == "exact":
        raise UserError(
            f"h_grad='exact' needs Tsit5() or Dopri5() under a PIDController without step_ts and jump_ts, not "
            f"{type(solver).__name__} under {type(stepsize_controller).__name__}: ask for h_grad='frozen', or change them"
        )
    else:
        solution = stock.solve(
            terms, solver, t0, t1, dt0, problem.y0, args, saveat, stepsize_controller, max_steps, plan, checkpoints
        )
    if throw:
        failed = solution.result != diffrax.RESULTS.successful
        solution = solution.result.error_if(solution, jnp.asarray(failed))
    return solution
