"""Images through a neural ODE: the forward pass that training, evaluation and prediction share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from zoo.neural_de.config import SolverConfig
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
    """

    logits: Array
    regularizers: dict[str, Array]
    nfe: Array
    steps: Array
    rejected: Array
    ok: Array


def forward(
    model: NodeClassifier,
    images: Array,
    solver: SolverConfig,
    *,
    t1: Array | float | None = None,
    weight: Array | None = None,
    regularizers: Sequence[str] = (),
    reduce: Mapping[str, str] | str = "sum",
) -> Forward:
    """Solve the model's ODE from the images and classify the end state.

    Args:
        model: the classifier.
        images: initial values, float, shape (batch, pixels).
        solver: method, tolerances, step control.
        t1: end time, ``solver.t1`` if None.
        weight: float, shape (batch,): rows of weight 0 have no part in the batch's step control.
        regularizers: names of the regularisers to compute.
        reduce: how each is reduced over the accepted steps.
    """
    graphdef, params = nnx.split(model.field)
    end = jnp.asarray(solver.t1 if t1 is None else t1, images.dtype)

    def one_solve(y0: Array, norm: Any) -> diffrax.Solution:
        return solve(
            diffrax.ODETerm(lambda t, y, args: nnx.merge(graphdef, args)(t, y)),
            SOLVERS[solver.name](),
            jnp.zeros((), images.dtype),
            end,
            None,
            y0,
            params,
            stepsize_controller=diffrax.PIDController(rtol=solver.rtol, atol=solver.atol, norm=norm),
            max_steps=solver.max_steps,
            throw=False,
            regularizers=tuple(regularizers),
            reduce=dict(reduce) if isinstance(reduce, Mapping) else reduce,
            h_grad=solver.h_grad,
        )

    if solver.control == "sample":
        solution = jax.vmap(lambda y0: one_solve(y0, rms_norm(None)))(images)
        final = solution.ys[:, -1]
        succeeded = solution.result == diffrax.RESULTS.successful
    else:
        solution = one_solve(images, rms_norm(weight))
        final = solution.ys[-1]
        succeeded = jnp.broadcast_to(solution.result == diffrax.RESULTS.successful, images.shape[:1])

    def mean(x: Any) -> Array:
        return jnp.mean(jnp.asarray(x, images.dtype))

    return Forward(
        logits=model.head(final),
        regularizers={name: mean(value) for name, value in solution.regularizers.items()},
        nfe=mean(solution.stats["nfe"]),
        steps=mean(solution.stats["num_steps"]),
        rejected=mean(solution.stats["num_rejected_steps"]),
        ok=succeeded & jnp.all(jnp.isfinite(final), axis=-1),
    )


def rms_norm(weight: Array | None):
    """Root mean square over all entries of a state, rows weighted by ``weight`` (shape (batch,)); gradient 0 at 0."""

    def norm(x: Array) -> Array:
        if weight is None:
            square = jnp.mean(x**2) if x.size else jnp.zeros((), x.dtype)
        else:
            rows = x.reshape(x.shape[0], -1)
            square = jnp.sum(weight[:, None] * rows**2) / jnp.maximum(weight.sum() * rows.shape[1], 1)
        positive = square > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)

    return norm
