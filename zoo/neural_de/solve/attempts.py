"""Every attempt of a solve, rejected ones included: for pictures and for a look at what the step control did.

The engine keeps no such record; this replays the solve by the same functions, one attempt at a time, so that a solve costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from zoo.core.errors import UserError
from zoo.core.precision import whole_float32
from zoo.neural_de.solve import control, native, step, trees
from zoo.neural_de.solve.field import Field
from zoo.neural_de.solve.tableau import TABLEAUS

PyTree = Any


class Attempts(NamedTuple):
    """Attempts in their order; arrays of shape (attempts,).

    Attributes:
        start, end: the interval of each, float64.
        error: E, the norm of the error estimate over the tolerance: below 1 for an accepted step.
        stiffness: S, Shampine's estimate over the pair's stability scale.
        accepted: bool.
    """

    start: np.ndarray
    end: np.ndarray
    error: np.ndarray
    stiffness: np.ndarray
    accepted: np.ndarray


@whole_float32
def attempts(
    field: Callable[[Array, PyTree], PyTree],
    solver: diffrax.Tsit5 | diffrax.Dopri5,
    t0: float,
    t1: float,
    y0: PyTree,
    controller: diffrax.PIDController,
    *,
    dt0: float = 0.01,
    max_steps: int = 4096,
) -> Attempts:
    """Replay a solve forwards in time and record each attempt.

    Args:
        field: dy/dt = field(t, y).
        solver, t0, t1, y0, controller, dt0, max_steps: as for zoo.neural_de.solve; t1 above t0. 0.01 is what diffrax 0.7.2 begins with
            where dt0 is None.

    Raises:
        UserError: t1 not above t0.
    """
    if not t1 > t0:
        raise UserError(f"t1={t1} is not above t0={t0}: attempts are recorded forwards in time")
    dtype = trees.dtype_of(y0)
    tableau = TABLEAUS[type(solver)]
    end_time = jnp.asarray(t1, dtype)
    floor = control.clip_floor(end_time)
    pure = Field(field, jnp.asarray(t0, dtype), y0)
    norm, norm_data = native._norm(controller.norm, y0, trees.rms)
    problem = step.Problem(
        pure.weights, pure.data, norm_data, native._settings(controller, tableau), jnp.ones((), dtype)
    )

    @jax.jit
    def attempt(clock: control.Clock, point: step.Point) -> Any:
        stages = step.run_stages(pure, tableau, problem, clock.start, clock.end, point)
        length = clock.end - clock.start
        error = step.error_norm(tableau, norm, problem, stages, length)
        difference = trees.combine(length, tableau.stiff, stages.k)
        stiff = step.stiffness(tableau, trees.rms, difference, stages.k[5], stages.k[6])
        verdict = control.judge(problem.pid, clock, end_time, floor, error.astype(dtype), False)
        return verdict, trees.where(verdict.keep, stages.end(), point), error, stiff

    one = jnp.ones((), dtype)
    start = jnp.asarray(t0, dtype)
    clock = control.Clock(start, jnp.minimum(start + jnp.asarray(dt0, dtype), end_time), one, one, jnp.zeros((), bool))
    point = step.first_point(pure, problem, start, y0)
    rows: list[tuple[float, float, float, float, bool]] = []
    while len(rows) < max_steps and float(clock.start) < t1:
        verdict, point, error, stiff = attempt(clock, point)
        rows.append((float(clock.start), float(clock.end), float(error), float(stiff), bool(verdict.keep)))
        if int(verdict.code) != control.RUNNING:
            break
        clock = verdict.clock
    columns = list(zip(*rows))
    return Attempts(*(np.asarray(c) for c in columns))
