"""Images through a neural ODE: the forward pass that training, evaluation and prediction share."""

from __future__ import annotations

from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import optimistix
from flax import nnx
from jax import Array

from zoo.core.precision import whole_float32
from zoo.neural_de.config import RegularizeConfig, SolverConfig
from zoo.neural_de.integrals import augmented, augmented_state, jacobian_rate, kinetic_rate, state_norm, taylor_rate
from zoo.neural_de.local import solve_locally_regularised
from zoo.neural_de.models import NodeClassifier
from zoo.neural_de.solve import solve

SOLVERS = {"tsit5": diffrax.Tsit5, "dopri5": diffrax.Dopri5}


class Forward(NamedTuple):
    """What one forward pass gives.

    Attributes:
        logits: float, shape (batch, classes).
        regularizers: scalars by name; the mean over samples under per-sample step control.
        nfe, steps, rejected: evaluations of the field, attempted and rejected steps; float scalars (means over samples under per-sample
            step control).
        ok: bool, shape (batch,): the solve reached the end time and the state is finite.
        out_of_steps: bool, shape (batch,): the solve took all the steps allowed and did not reach the end time.
    """

    logits: Array
    regularizers: dict[str, Array]
    nfe: Array
    steps: Array
    rejected: Array
    ok: Array
    out_of_steps: Array


@whole_float32
def forward(
    model: NodeClassifier,
    images: Array,
    solver: SolverConfig,
    *,
    t1: Array | float | None = None,
    weight: Array | None = None,
    regularize: RegularizeConfig | None = None,
    key: Array | None = None,
) -> Forward:
    """Solve the model's ODE from the images and classify the end state.

    Args:
        model: the classifier.
        images: initial values, float, shape (batch, pixels).
        solver: method, tolerances, step control.
        t1: end time, ``solver.t1`` if None.
        weight: float, shape (batch,): rows of weight 0 have no part in the batch's step control.
        regularize: the regularisers to compute, none if None.
        key: for those that draw at random (local, jacobian).
    """
    graphdef, params = nnx.split(model.field)
    end = jnp.asarray(solver.t1 if t1 is None else t1, images.dtype)
    plan = RegularizeConfig() if regularize is None else regularize
    key = jax.random.key(0) if key is None else key

    def field(t: Any, y: Any, args: Any) -> Any:
        return nnx.merge(graphdef, args)(t, y)

    def one_solve(y0: Array, norm: Any, key: Array) -> tuple[Any, diffrax.Solution, dict[str, Array]]:
        """(end state, solution, regularisers) of one trajectory or one batch under a common step."""
        makers = _rates(plan, key, y0)
        settings: dict[str, Any] = {
            "max_steps": solver.max_steps,
            "throw": False,
            "h_grad": solver.h_grad,
            "sum_shared": solver.control == "sample",  # the vmap is below, and nothing takes a gradient inside of it
        }
        problem = (SOLVERS[solver.name](), jnp.zeros((), images.dtype), end, None)
        if plan.local is not None:
            controller = diffrax.PIDController(rtol=solver.rtol, atol=solver.atol, norm=norm)
            out = solve_locally_regularised(
                diffrax.ODETerm(field), *problem, y0, params,
                key=key, mode=plan.local.mode, stepsize_controller=controller, **settings,
            )  # fmt: skip
            assert out.solution.ys is not None
            return out.solution.ys[-1], out.solution, {"local": out.local}
        heuristics = plan.heuristics()
        settings |= {
            "regularizers": tuple(heuristics),
            "reduce": {name: term.reduce for name, term in heuristics.items()},
        }
        if not makers:
            controller = diffrax.PIDController(rtol=solver.rtol, atol=solver.atol, norm=norm)
            solution = solve(diffrax.ODETerm(field), *problem, y0, params, stepsize_controller=controller, **settings)
            assert solution.ys is not None
            return solution.ys[-1], solution, solution.regularizers
        controller = diffrax.PIDController(rtol=solver.rtol, atol=solver.atol, norm=state_norm(norm))
        solution = solve(
            augmented(field, makers), *problem, augmented_state(y0, makers), params,
            stepsize_controller=controller, **settings,
        )  # fmt: skip
        final, integrals = jax.tree.map(lambda x: x[-1], solution.ys)
        return final, solution, {**solution.regularizers, **integrals}

    if solver.control == "sample":
        keys = jax.random.split(key, images.shape[0])
        final, solution, values = jax.vmap(lambda y0, k: one_solve(y0, rms_norm(None), k))(images, keys)
    else:
        final, solution, values = one_solve(images, rms_norm(weight), key)

    def ended(result: Any) -> Array:
        return jnp.broadcast_to(solution.result == result, images.shape[:1])

    def mean(x: Any) -> Array:
        return jnp.mean(jnp.asarray(x, images.dtype))

    if plan.outer is not None:
        outer = model.field.outer
        squares = sum(jnp.sum(part[...] ** 2) for part in (outer.kernel, outer.time, outer.bias))
        values = {**values, "outer": squares / outer.bias.shape[0]}
    return Forward(
        logits=model.head(final),
        regularizers={name: mean(value) for name, value in values.items()},
        nfe=mean(solution.stats["nfe"]),
        steps=mean(solution.stats["num_steps"]),
        rejected=mean(solution.stats["num_rejected_steps"]),
        ok=ended(diffrax.RESULTS.successful) & jnp.all(jnp.isfinite(final), axis=-1),
        out_of_steps=ended(diffrax.RESULTS.max_steps_reached),
    )


def _rates(plan: RegularizeConfig, key: Array, y0: Array) -> dict[str, Any]:
    """The integral regularisers that are on, each as a function that makes its rate."""
    makers: dict[str, Any] = {}
    if plan.taylor is not None:
        order = plan.taylor.order
        makers["taylor"] = lambda f: taylor_rate(f, order)
    if plan.kinetic is not None:
        makers["kinetic"] = kinetic_rate
    if plan.jacobian is not None:
        makers["jacobian"] = lambda f: jacobian_rate(f, key, y0)
    return makers


def rms_norm(weight: Array | None):
    """Root mean square over all entries of a state, rows weighted by ``weight`` (shape (batch,)); gradient 0 at 0, NaN for NaN."""
    if weight is None:
        return optimistix.rms_norm

    def norm(x: Array) -> Array:
        rows = x.reshape(x.shape[0], -1)
        square = jnp.sum(weight[:, None] * rows**2) / jnp.maximum(weight.sum() * rows.shape[1], 1)
        zero = square == 0
        return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))

    return norm
