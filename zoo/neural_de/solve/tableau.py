"""The two Runge-Kutta pairs that the engine runs: coefficients, interpolant and stability scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclass(frozen=True, eq=False)
class Tableau:
    """A 7-stage embedded pair of order 5(4) whose last stage is the first of the next step.

    Attributes:
        a: rows of stage weights; row j makes the state at which stage j + 1 is evaluated, the last row is the step's end.
        c: time fractions of the stages 1..6.
        error: weights of the local error estimate.
        stiff: weights of the difference between the states of the last two stages, both at the step's end.
        order: order of the error estimate, as the step size controller takes it.
        stability: extent of the stability region on the negative real axis (3.5068 for Tsit5, 3.3066 for Dopri5).
        interpolation: the pair's own continuous extension.
    """

    a: tuple[tuple[float, ...], ...]
    c: tuple[float, ...]
    error: tuple[float, ...]
    stiff: tuple[float, ...]
    order: int
    stability: float
    interpolation: Callable[..., Any]

    def weights(self, t0: Array, t1: Array, t: Array) -> Array:
        """Weights of (y0, y1, h k_1, ..., h k_7) in the interpolated state at ``t``, shape (9,), dtype of the times."""
        unit = jnp.eye(9, dtype=jnp.result_type(t0))
        return self.interpolation(t0=t0, t1=t1, y0=unit[0], y1=unit[1], k=unit[2:]).evaluate(t)


def _make(solver: type[diffrax.Tsit5] | type[diffrax.Dopri5], stability: float) -> Tableau:
    source = solver.tableau
    rows = tuple(tuple(float(x) for x in row) for row in source.a_lower)
    last = np.zeros(7)
    last[:6] = source.a_lower[-1]
    last[:5] -= source.a_lower[-2]
    return Tableau(
        a=rows,
        c=tuple(float(x) for x in source.c),
        error=tuple(float(x) for x in source.b_error),
        stiff=tuple(float(x) for x in last),
        order=5,
        stability=stability,
        interpolation=solver.interpolation_cls,
    )


# Extents of the real stability interval: Rackauckas and Nie, DifferentialEquations.jl (alg_stability_size).
TABLEAUS: dict[type, Tableau] = {
    diffrax.Tsit5: _make(diffrax.Tsit5, 3.5068),
    diffrax.Dopri5: _make(diffrax.Dopri5, 3.3066),
}
