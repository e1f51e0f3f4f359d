"""Integral regularisers against nested jvp, closed forms and an unaugmented solve."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.neural_de import solve
from zoo.neural_de.integrals import (
    augmented,
    augmented_state,
    jacobian_rate,
    kinetic_rate,
    mean_square,
    state_norm,
    taylor_rate,
    total_derivative,
)


def nested(field, order):
    """d^order y / dt^order by jvp within jvp."""
    total = field
    for _ in range(order - 1):
        total = (lambda f: lambda t, y: jax.jvp(f, (t, y), (jnp.ones_like(t), field(t, y)))[1])(total)
    return total


@pytest.mark.parametrize("order", [2, 3, 4])
def test_total_derivative_equals_nested_jvp(order: int) -> None:
    with jax.enable_x64(True):
        weight = jax.random.normal(jax.random.key(0), (3, 3), jnp.float64)
        field = lambda t, y: jnp.tanh(weight @ y + t)  # noqa: E731
        t, y = jnp.asarray(0.3), jnp.arange(3.0)
        np.testing.assert_allclose(
            total_derivative(field, t, y, order), nested(field, order)(t, y), rtol=1e-9, atol=1e-9
        )


def test_total_derivative_of_an_exponential_is_known() -> None:
    """y' = a y has d^3 y / dt^3 = a^3 y, for a PyTree state as well."""
    y = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
    found = total_derivative(lambda t, y: jax.tree.map(lambda x: 2.0 * x, y), jnp.asarray(0.0), y, 3)
    np.testing.assert_allclose(found["a"], [8.0, 16.0])
    np.testing.assert_allclose(found["b"], 24.0)


def test_what_taylor_mode_cannot_do_is_refused_by_name() -> None:
    t, y = jnp.asarray(0.0), jnp.ones(2)
    with pytest.raises(UserError, match="order=5"):
        total_derivative(lambda t, y: y, t, y, 5)
    for function, name in ((jax.lax.digamma, "digamma"), (jax.nn.relu, "relu"), (jax.nn.softplus, "softplus")):
        with pytest.raises(UserError, match=name):
            total_derivative(lambda t, y, f=function: f(y), t, y, 2)


def solve_augmented(field, rates, y0, **settings):
    return solve(
        augmented(field, rates), diffrax.Tsit5(), 0.0, 1.0, None, augmented_state(y0, rates),
        stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-9, norm=state_norm(diffrax_rms)), **settings,
    )  # fmt: skip


def diffrax_rms(tree):
    return jnp.sqrt(mean_square(tree))


def test_integrals_have_their_closed_forms_and_change_no_step() -> None:
    """y' = -y from y0: kinetic and Taylor rates are y^2, with integral y0^2 (1 - e^-2) / 2; the Jacobian's is e^2."""
    with jax.enable_x64(True):
        y0 = jnp.array([2.0], jnp.float64)
        field = lambda t, y, args: -y  # noqa: E731
        key = jax.random.key(1)
        rates = {
            "kinetic": kinetic_rate,
            "taylor": lambda f: taylor_rate(f, 3),
            "jacobian": lambda f: jacobian_rate(f, key, y0),
        }
        solution = solve_augmented(field, rates, y0)
        final, integrals = jax.tree.map(lambda x: x[-1], solution.ys)
        expected = 4.0 * (1 - np.exp(-2.0)) / 2
        assert float(integrals["kinetic"]) == pytest.approx(expected, rel=1e-8)
        assert float(integrals["taylor"]) == pytest.approx(expected, rel=1e-8)
        probe = float(jax.random.normal(jax.random.split(key, 1)[0], (1,), jnp.float64)[0])
        assert float(integrals["jacobian"]) == pytest.approx(probe**2, rel=1e-8)
        alone = solve(
            diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, 1.0, None, y0,
            stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-9),
        )  # fmt: skip
        np.testing.assert_array_equal(final, alone.ys[-1])
        assert int(solution.stats["nfe"]) == int(alone.stats["nfe"])


def test_gradient_of_an_integral_equals_finite_differences() -> None:
    with jax.enable_x64(True):
        y0 = jnp.array([0.5, -0.3], jnp.float64)

        def integral(a):
            rates = {"taylor": lambda f: taylor_rate(f, 2)}
            return solve_augmented(lambda t, y, args: jnp.tanh(a * y + t), rates, y0, h_grad="frozen").ys[1]["taylor"][
                -1
            ]

        a = jnp.asarray(1.3, jnp.float64)
        step = 1e-5
        slope = (integral(a + step) - integral(a - step)) / (2 * step)
        assert float(jax.grad(integral)(a)) == pytest.approx(float(slope), rel=1e-5)
