"""The linear part of the energy against known coefficients."""

import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.orbnet.linear import LinearPart


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
