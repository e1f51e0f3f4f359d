"""The functions that features enter the network by, against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.orbnet.basis import radial, squashed
from zoo.orbnet.model import _scale_by_scale, _sum_last

SCALES = (0.5, 2.0, 8.0)


@pytest.mark.parametrize("n", [1, 2, 8, 20])
def test_radial_functions_are_sincs(n: int) -> None:
    distance = np.concatenate([[0.0], np.geomspace(1e-6, 12.0, 200)])
    wanted = 3.0 * np.sinc(distance[:, None] * np.arange(1, n + 1) / 12.0)
    with jax.enable_x64(True):
        np.testing.assert_allclose(radial(jnp.asarray(distance), 12.0, n), wanted, atol=1e-12)
    np.testing.assert_allclose(radial(jnp.asarray(distance, jnp.float32), 12.0, n), wanted, atol=3e-6)


def test_radial_functions_have_derivatives_everywhere() -> None:
    with jax.enable_x64(True):
        slopes = jax.vmap(jax.jacfwd(lambda r: radial(r[None], 12.0, 8)[0]))
        found = slopes(jnp.array([0.0, 1e-8, 1.0, 3.7, 12.0]))
        h = 1e-6
        at = np.array([1.0, 3.7])
        near = [3.0 * np.sinc((at + s * h)[:, None] * np.arange(1, 9) / 12.0) for s in (-1, 1)]
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[0], 0.0)
    np.testing.assert_allclose(found[2:4], (near[1] - near[0]) / (2 * h), atol=1e-8)


def test_squashed_features_meet_their_rows_of_a_kernel() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(5, 4)), rng.normal(size=(4 * 3 + 2, 6))
    scaled = x[:, :, None] * np.array(SCALES)
    # Feature by feature, as releases have their kernels' rows.
    stored = (scaled / np.sqrt(1 + scaled**2)).reshape(5, 12)
    rest = rng.normal(size=(5, 2))
    with jax.enable_x64(True):
        inputs = jnp.concatenate([squashed(jnp.asarray(x), SCALES), jnp.asarray(rest)], 1)
        found = inputs @ _scale_by_scale(jnp.asarray(kernel), 3, 4)
    np.testing.assert_allclose(found, np.concatenate([stored, rest], 1) @ kernel, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 16])
def test_sums_by_halves_are_sums(n: int) -> None:
    x = np.random.default_rng(n).integers(-9, 9, (4, 5, n)).astype(np.float32)
    np.testing.assert_array_equal(_sum_last(jnp.asarray(x)), x.sum(-1))
