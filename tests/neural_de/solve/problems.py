"""Small problems that the solve's tests share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from zoo.neural_de.solve import RegularizedSolution, solve

# Compiling is most of these tests' time; the small problems do not need fast code.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

PID = diffrax.PIDController(rtol=1e-6, atol=1e-6)


def field(t: Array, y: Array, p: Any) -> Array:
    """A restless tanh network: 24 attempts on [0, 1] at 1e-6, 3 of them rejected."""
    time = jnp.full((*y.shape[:-1], 1), t)
    hidden = jnp.tanh(jnp.concatenate([y, time], -1) @ p["w1"])
    return 3 * jnp.tanh(hidden @ p["w2"])


def parameters(width: int = 4, hidden: int = 16) -> Any:
    """Its weights; float64 where 64 bit is on."""
    a, b = jax.random.split(jax.random.PRNGKey(0))
    return {
        "w1": 1.2 * jax.random.normal(a, (width + 1, hidden)),
        "w2": 1.2 * jax.random.normal(b, (hidden, width)),
    }


def start(rows: int = 8, width: int = 4) -> Array:
    """Its initial states."""
    return jax.random.normal(jax.random.PRNGKey(1), (rows, width))


def run(p: Any, y0: Any, t0: Any = 0.0, t1: Any = 1.0, dt0: Any = 0.03, **options: Any) -> RegularizedSolution:
    """The problem solved by zoo."""
    options = {"stepsize_controller": PID, "max_steps": 256, **options}
    solver = options.pop("solver", diffrax.Tsit5())
    vector_field = options.pop("field", field)
    return solve(diffrax.ODETerm(vector_field), solver, t0, t1, dt0, y0, p, **options)


def stock(p: Any, y0: Any, t0: Any = 0.0, t1: Any = 1.0, dt0: Any = 0.03, **options: Any) -> diffrax.Solution:
    """The problem solved by diffrax."""
    options = {"stepsize_controller": PID, "max_steps": 256, **options}
    solver = options.pop("solver", diffrax.Tsit5())
    vector_field = options.pop("field", field)
    return diffrax.diffeqsolve(diffrax.ODETerm(vector_field), solver, t0, t1, dt0, y0, p, **options)


def same(ours: Any, theirs: Any, tolerance: float = 1e-8) -> None:
    """Every saved time and state, the counts and the result agree."""
    for a, b in zip(jax.tree.leaves((ours.ts, ours.ys)), jax.tree.leaves((theirs.ts, theirs.ys)), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    for name in ("num_steps", "num_accepted_steps", "num_rejected_steps"):
        assert int(ours.stats[name]) == int(theirs.stats[name])
    assert bool(ours.result == theirs.result)


def direction(at: Any, seed: int = 2) -> tuple[Array, Any, Callable[[Array], Any]]:
    """``at`` as a flat vector, a random direction of length 1, and the way back."""
    flat, unravel = ravel_pytree(at)
    random = jax.random.normal(jax.random.PRNGKey(seed), flat.shape, flat.dtype)
    return flat, random / jnp.linalg.norm(random), unravel


def replayed(p: Any, y0: Any, ts: Any, tolerance: float = 1e-6) -> dict[str, np.ndarray]:
    """Tsit5 over given steps, in NumPy and from the definitions: E, S and h of each step, and the end state."""
    w1, w2, y = (np.asarray(x, np.float64) for x in (p["w1"], p["w2"], y0))

    def rate(t: float, y: np.ndarray) -> np.ndarray:
        time = np.full((*y.shape[:-1], 1), t)
        return 3 * np.tanh(np.tanh(np.concatenate([y, time], -1) @ w1) @ w2)

    tableau = diffrax.Tsit5.tableau
    errors, stiffs = [], []
    for t, h in zip(ts[:-1], np.diff(ts), strict=True):
        g, k = [y], [rate(t, y)]
        for row, c in zip(tableau.a_lower, tableau.c, strict=True):
            g.append(y + h * sum(a * s for a, s in zip(row, k, strict=True)))
            k.append(rate(t + c * h, g[-1]))
        error = h * sum(b * s for b, s in zip(tableau.b_error, k, strict=True))
        scale = tolerance + tolerance * np.maximum(abs(y), abs(g[6]))
        errors.append(np.sqrt(np.mean((error / scale) ** 2)))
        stiffs.append(np.linalg.norm(k[6] - k[5]) / np.linalg.norm(g[6] - g[5]) / 3.5068)
        y = g[6]
    return {"E": np.array(errors), "S": np.array(stiffs), "h": np.abs(np.diff(ts)), "y": y}
