"""Local regularisation: the extra step's error against diffrax's own step, its gradient, and where it is taken."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.neural_de.local import local_error, solve_locally_regularised

CONTROLLER = diffrax.PIDController(rtol=1e-6, atol=1e-6)


def field(t, y, args):
    return jnp.tanh(args * y) + jnp.sin(3 * t)


TERM = diffrax.ODETerm(field)


def test_local_error_is_the_rms_of_the_step_s_scaled_error() -> None:
    with jax.enable_x64(True):
        t, h, y, a = 0.3, 0.1, jnp.array([1.0, -0.5], jnp.float64), jnp.asarray(1.3, jnp.float64)
        solver = diffrax.Tsit5()
        state = solver.init(TERM, t, t + h, y, a)
        y1, error, *_ = solver.step(TERM, t, t + h, y, a, state, made_jump=False)
        scaled = error / (1e-6 + 1e-6 * np.maximum(abs(y), abs(y1)))
        expected = np.sqrt(np.mean(scaled**2)) * h
        found = local_error(TERM, solver, jnp.asarray(t), jnp.asarray(h), y, a, CONTROLLER)
        assert float(found) == pytest.approx(float(expected), rel=1e-10)


def test_gradient_of_local_error_equals_finite_differences() -> None:
    with jax.enable_x64(True):
        y = jnp.array([1.0, -0.5], jnp.float64)

        def value(a):
            return local_error(TERM, diffrax.Tsit5(), jnp.asarray(0.3), jnp.asarray(0.1), a * y, a, CONTROLLER)

        a = jnp.asarray(1.3, jnp.float64)
        slope = (value(a + 1e-4) - value(a - 1e-4)) / 2e-4
        assert float(jax.grad(value)(a)) == pytest.approx(float(slope), rel=3e-4)


def test_a_step_of_no_length_is_0_with_gradient_0() -> None:
    def value(a):
        return local_error(TERM, diffrax.Tsit5(), jnp.asarray(1.0), jnp.asarray(0.0), jnp.ones(2), a, CONTROLLER)

    assert (float(value(1.3)), float(jax.grad(value)(1.3))) == (0.0, 0.0)


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("mode", ["unbiased", "biased"])
def test_places_lie_where_the_mode_says(mode: str, t0: float, t1: float) -> None:
    with jax.enable_x64(True):
        y0, a = jnp.array([1.0, -0.5], jnp.float64), jnp.asarray(1.3, jnp.float64)
        steps = diffrax.diffeqsolve(
            TERM, diffrax.Tsit5(), t0, t1, None, y0, a,
            saveat=diffrax.SaveAt(t0=True, steps=True), stepsize_controller=CONTROLLER,
        )  # fmt: skip
        starts = np.asarray(steps.ts)[np.isfinite(steps.ts)][:-1]
        draw = jax.jit(
            lambda key: solve_locally_regularised(
                TERM, diffrax.Tsit5(), t0, t1, None, y0, a, key=key, mode=mode, stepsize_controller=CONTROLLER
            )
        )
        found = [draw(jax.random.key(i)) for i in range(12)]
        times = np.asarray([float(f.time) for f in found])
        assert all(float(f.local) > 0 for f in found)
        np.testing.assert_allclose(
            found[0].solution.ys[-1], steps.ys[int(steps.stats["num_accepted_steps"])], rtol=1e-9
        )
        nearest = np.abs(times[:, None] - starts).min(1)
        if mode == "biased":
            assert nearest.max() < 1e-9
        else:
            assert nearest.max() > 1e-3
            assert times.min() > 0
            assert times.max() < 1
        assert len(set(times.round(6))) > 3


def test_local_value_is_the_error_of_the_step_there() -> None:
    """Biased: the extra step repeats an accepted step, so its E is below 1 and E h is at most h."""
    with jax.enable_x64(True):
        y0, a = jnp.array([1.0, -0.5], jnp.float64), jnp.asarray(1.3, jnp.float64)
        for i in range(4):
            found = solve_locally_regularised(
                TERM, diffrax.Tsit5(), 0.0, 1.0, None, y0, a,
                key=jax.random.key(i), mode="biased", stepsize_controller=CONTROLLER,
            )  # fmt: skip
            assert 0 < float(found.local) < 1.0


@pytest.mark.wrong_types
def test_whole_numbers_are_times_and_mistakes_are_named() -> None:
    settings = {"key": jax.random.key(0), "mode": "unbiased", "stepsize_controller": CONTROLLER}

    def solve(t0=0, t1=1, dt0=None, solver=None, **changes):
        solver = diffrax.Tsit5() if solver is None else solver
        return solve_locally_regularised(TERM, solver, t0, t1, dt0, jnp.ones(2), 1.3, **(settings | changes))

    assert 0 < float(solve().time) < 1
    with pytest.raises(UserError, match=r"mode='biassed': it must be 'unbiased' or 'biased': did you mean 'biased'\?"):
        solve(mode="biassed")
    with pytest.raises(UserError, match=r"ConstantStepSize has no tolerances.*PIDController"):
        solve(stepsize_controller=diffrax.ConstantStepSize(), dt0=0.1, h_grad="frozen")
    for solver in (diffrax.Euler(), diffrax.Kvaerno5()):
        with pytest.raises(UserError, match=f"{type(solver).__name__} gives no error estimate of a step by itself"):
            solve(solver=solver, h_grad="frozen")
