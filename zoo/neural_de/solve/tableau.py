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


def stability_extent(tableau: diffrax.ButcherTableau) -> float:
    """Length of the stability interval on the negative real axis: the largest x with |R(-z)| <= 1 for z in [0, x].

    R is the stability polynomial 1 + z b (1 - z A)^-1 1; 3.5068 for Tsit5, 3.3066 for Dopri5.
    """
    n = tableau.num_stages
    a = np.zeros((n, n))
    for i, row in enumerate(tableau.a_lower):
        a[i + 1, : len(row)] = row
    powers = [np.ones(n)]
    for _ in range(n - 1):
        powers.append(a @ powers[-1])
    polynomial = np.polynomial.Polynomial([1.0, *((-1) ** (i + 1) * tableau.b_sol @ p for i, p in enumerate(powers))])
    # |R| = 1 where R = 1 or R = -1: the first positive root behind which |R| > 1.
    roots = np.concatenate([(polynomial - level).roots() for level in (1.0, -1.0)])
    real = np.sort(roots[np.abs(roots.imag) < 1e-9].real)
    return float(next(x for x in real if x > 1e-3 and abs(polynomial(x + 1e-6)) > 1))


def shared_time_stages(tableau: diffrax.ButcherTableau) -> tuple[int, int] | None:
    """The last two stages at the same time, as Shampine's stiffness estimate needs them; None where there are none."""
    times = np.concatenate([[0.0], tableau.c])
    for second in reversed(range(len(times))):
        for first in reversed(range(second)):
            if abs(times[first] - times[second]) < 1e-12:
                return first, second
    return None


def _make(solver: type[diffrax.Tsit5] | type[diffrax.Dopri5]) -> Tableau:
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
        stability=stability_extent(source),
        interpolation=solver.interpolation_cls,
    )


TABLEAUS: dict[type, Tableau] = {cls: _make(cls) for cls in (diffrax.Tsit5, diffrax.Dopri5)}
