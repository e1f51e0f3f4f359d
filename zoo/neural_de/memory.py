"""``zoo bench neural_de``, second half: memory and compilation of value and gradient, beside stock diffrax.

Memory is what the compiled function sets aside beyond its arguments and results (XLA's own account, so it is the same on every run), for
float32 states of 512 x 784. It depends on the greatest number of attempts and on the states kept, not on the attempts a solve makes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from zoo.core.bench import Timing, row
from zoo.neural_de.solve import solve

MIB = 2**20
# (greatest number of attempts, states kept), None for the default number.
SETTINGS = ((16, None), (256, None), (4096, None), (256, 4), (256, 32))


def compiled(function: Callable[..., Any], *args: Any) -> tuple[float, float]:
    """(seconds that compiling value and gradient of the scalar ``function(*args)`` took, MiB that the result sets aside)."""
    lowered = jax.jit(jax.value_and_grad(function)).lower(*args)
    began = time.perf_counter()
    program = lowered.compile()
    seconds = time.perf_counter() - began
    analysis = program.memory_analysis()
    if analysis is None:
        return seconds, float("nan")
    return seconds, analysis.temp_size_in_bytes / MIB


def scalar(solution: Any) -> Any:
    """What gradients are taken of: the mean square of the last states, and R_E where the solve returns it."""
    penalty = solution.regularizers["R_E"] if getattr(solution, "regularizers", None) else 0.0
    return jnp.mean(solution.ys[-1] ** 2) + penalty


def memory_rows(
    term: diffrax.ODETerm, controller: diffrax.PIDController, weights: Any, y0: Any
) -> list[dict[str, Any]]:
    """Rows of Dopri5's value and gradient: ``ms`` is compilation, ``mib`` memory, ``peer_mib`` diffrax's.

    Args:
        term: the field.
        controller: step size control.
        weights: the field's weights, by which the gradient is taken.
        y0: the initial states.
    """

    def ours(max_steps: int, checkpoints: int | None) -> Callable[[Any, Any], Any]:
        def loss(w: Any, y: Any) -> Any:
            solution = solve(
                term, diffrax.Dopri5(), 0.0, 1.0, None, y, w, stepsize_controller=controller, max_steps=max_steps,
                throw=False, regularizers=("R_E",), checkpoints=checkpoints,
            )  # fmt: skip
            return scalar(solution)

        return loss

    def stock(max_steps: int, checkpoints: int | None) -> Callable[[Any, Any], Any]:
        def loss(w: Any, y: Any) -> Any:
            solution = diffrax.diffeqsolve(
                term, diffrax.Dopri5(), 0.0, 1.0, None, y, w, stepsize_controller=controller, max_steps=max_steps,
                throw=False, adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints),
            )  # fmt: skip
            return scalar(solution)

        return loss

    compiled(ours(2, 2), weights, y0)  # the first compilation pays for what all share
    rows = []
    for max_steps, kept in SETTINGS:
        seconds, mib = compiled(ours(max_steps, kept), weights, y0)
        peer_seconds, peer_mib = compiled(stock(max_steps, kept), weights, y0)
        line = row(
            f"compile dopri5 value and gradient; max_steps {max_steps}, {kept or 'default'} states kept",
            Timing(1e3 * seconds, 0.0), peer="diffrax, no regulariser", peer_timing=Timing(1e3 * peer_seconds, 0.0),
        )  # fmt: skip
        rows.append({**line, "mib": round(mib, 1), "peer_mib": round(peer_mib, 1)})
    return rows
