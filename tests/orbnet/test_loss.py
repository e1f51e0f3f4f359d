"""The loss against pairs written out; padding and single molecules; the linear part against known coefficients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.orbnet.linear import LinearPart
from zoo.orbnet.loss import conformer_loss, pseudo_huber

LARGE = {"delta_total": 1e3, "delta_difference": 1e3}


def test_for_squares_it_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    error, group = rng.normal(size=6), np.array([0, 0, 0, 1, 1, 2])
    expected = 0.0
    for g in range(3):
        own = error[group == g]
        pairs = [(a - b) ** 2 for i, a in enumerate(own) for j, b in enumerate(own) if i != j]
        expected += len(own) * ((0.1 * np.mean(own**2) + 0.9 * np.mean(pairs)) if pairs else np.mean(own**2))
    with jax.enable_x64(True):
        got = float(conformer_loss(jnp.asarray(error), jnp.asarray(group), jnp.ones(6), 4, alpha=0.9, **LARGE))
    assert got == pytest.approx(expected / 6, rel=1e-5)


def test_padding_changes_nothing():
    error, group, weight = jnp.array([1.0, -2.0, 0.5]), jnp.array([0, 0, 1]), jnp.ones(3)
    more = (jnp.append(error, 99.0), jnp.append(group, 0), jnp.append(weight, 0.0))
    value, gradient = jax.value_and_grad(conformer_loss)(error, group, weight, 2)
    padded, padded_gradient = jax.value_and_grad(conformer_loss)(*more, 3)
    assert float(value) == pytest.approx(float(padded), rel=1e-6)
    np.testing.assert_allclose(padded_gradient[:3], gradient, rtol=1e-6)
    assert float(padded_gradient[3]) == 0.0
    assert float(conformer_loss(error, group, jnp.zeros(3), 2)) == 0.0


def test_a_shift_of_all_conformers_costs_only_the_total():
    error, group = jnp.array([0.2, -0.1, 0.4]), jnp.zeros(3, int)
    only = {"alpha": 1.0}
    a = conformer_loss(error, group, jnp.ones(3), 1, **only)
    b = conformer_loss(error + 50.0, group, jnp.ones(3), 1, **only)
    assert float(a) == pytest.approx(float(b), rel=1e-4)


def test_pseudo_huber_has_its_limits():
    assert float(pseudo_huber(jnp.array(0.01), 1.0)) == pytest.approx(1e-4, rel=2e-2)
    assert float(pseudo_huber(jnp.array(1e4), 1.0)) == pytest.approx(2e4, rel=1e-3)
    assert float(jax.grad(pseudo_huber)(0.0, 1.0)) == 0.0


def test_the_linear_part_finds_known_coefficients():
    rng = np.random.default_rng(1)
    compositions = np.concatenate([rng.integers(0, 20, (200, 3)), np.zeros((200, 1)), rng.integers(-1, 2, (200, 1))], 1)
    truth = np.array([0.3, -1.2, 0.05, 0.0, 0.2])
    part = LinearPart.fit(compositions, compositions @ truth, ridge=1e-12)
    np.testing.assert_allclose(part.coefficients, truth, atol=1e-8)
    assert part.coefficients[3] == 0.0  # an element that never comes
    np.testing.assert_allclose(part(compositions[:4]), compositions[:4] @ truth, atol=1e-7)


def test_the_linear_part_refuses_what_it_cannot_fit():
    with pytest.raises(UserError, match="needs molecules"):
        LinearPart.fit(np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(UserError, match="energy 1 of the training set is not finite"):
        LinearPart.fit(np.ones((2, 2)), np.array([0.0, np.nan]))
