"""The measures on cases small enough to work out by hand, and the published sums that they must give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.core.errors import UserError
from zoo.orbnet.metrics import (
    MEAN_ABSOLUTE_REFERENCE_KCAL,
    correlations,
    median_of_present,
    profile_errors,
    set_error,
    wtmad1,
    wtmad2,
)

ALL = [np.arange(4)]


def test_a_profile_by_hand() -> None:
    """Reference 0 1 2 1; ours 0 3 2 -1: differences 0 2 0 -2 with mean 0, ours' minimum -1, heights 4 and 2."""
    errors = profile_errors(np.array([0.0, 3, 2, -1]), np.array([0.0, 1, 2, 1]), ALL)
    assert errors.centred[0] == pytest.approx(1.0)  # |0| + |2| + |0| + |-2| over 4
    assert errors.min_zeroed[0] == pytest.approx((1 + 3 + 1 + 1) / 4)  # 1 4 3 0 against 0 1 2 1
    assert errors.barrier[0] == pytest.approx(2.0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=4, max_size=4),
    st.lists(st.floats(-50, 50), min_size=4, max_size=4),
    st.floats(-1e3, 1e3),
)
def test_profiles_have_no_zero_of_their_own(ours: list[float], theirs: list[float], shift: float) -> None:
    a, b = np.array(ours), np.array(theirs)
    plain, shifted = profile_errors(a, b, ALL), profile_errors(a + shift, b - shift, ALL)
    for kind in ("centred", "min_zeroed", "barrier"):
        assert getattr(plain, kind) == pytest.approx(getattr(shifted, kind), abs=1e-9)
    assert plain.centred[0] <= plain.min_zeroed[0] * 2 + 1e-12  # |d - mean d| is at most twice the mean of any |d - c|


def test_a_profile_with_a_hole_does_not_count() -> None:
    ours = np.array([0.0, 1, 2, np.nan, 0, 5])
    errors = profile_errors(
        ours, np.array([0.0, 1, 2, 3, 0, 4]), [np.array([0, 1, 2]), np.array([3, 4]), np.array([4, 5])]
    )
    assert np.isnan(errors.centred).tolist() == [False, True, False]
    assert errors.summary() == pytest.approx(
        {"mae_centred": 0.25, "mae_min_zeroed": 0.25, "barrier_mae": 0.5, "profiles": 2}
    )
    nothing = profile_errors(np.full(4, np.nan), np.zeros(4), ALL)
    assert nothing.summary() == {"profiles": 0.0}


def test_profiles_of_other_lengths_are_refused() -> None:
    with pytest.raises(UserError, match="the shapes must be equal"):
        profile_errors(np.zeros(3), np.zeros(4), ALL)
    with pytest.raises(UserError, match="profile 1 has no structures"):
        profile_errors(np.zeros(4), np.zeros(4), [*ALL, np.array([], int)])


def test_correlation_by_hand_and_what_has_none() -> None:
    """x = 0 1 2, y = 0 2 1: covariance 1/3, variances 2/3 and 2/3, so r = 1/2."""
    reference = np.array([0.0, 1, 2, 5, 6, 7, 7, 7, 1, 2])
    predicted = np.array([0.0, 2, 1, 9, 8, 1, 2, 3, 4, 5])
    groups = [np.arange(3), np.arange(3, 5), np.arange(5, 8), np.arange(8, 10)]
    r2 = correlations(predicted, reference, groups)
    assert r2[0] == pytest.approx(0.25)
    assert np.isnan(r2[1:]).all()  # two conformers; energies that do not differ; two conformers
    assert correlations(-3 * predicted[:3] + 7, reference[:3], [np.arange(3)])[0] == pytest.approx(0.25)
    assert median_of_present(np.array([np.nan, 0.2, 0.4])) == pytest.approx(0.3)
    assert np.isnan(median_of_present(np.array([np.nan])))


def test_a_missing_conformer_is_left_out_of_its_molecule() -> None:
    reference, predicted = np.array([0.0, 1, 2, 3]), np.array([0.0, np.nan, 2, 1])
    assert correlations(predicted, reference, ALL)[0] == pytest.approx(np.corrcoef([0, 2, 3], [0, 2, 1])[0, 1] ** 2)


def test_weights_of_wtmad1_at_their_bounds() -> None:
    means = {"small": 7.49, "from": 7.5, "to": 75.0, "large": 75.01}
    for name, weight in (("small", 10.0), ("from", 1.0), ("to", 1.0), ("large", 0.1)):
        assert wtmad1({name: 2.0}, means) == pytest.approx(2 * weight)
    assert wtmad1({"small": 1.0, "large": 10.0}, means) == pytest.approx((10 + 1) / 2)


def test_wtmad2_by_hand() -> None:
    """Two sets: 10 reactions of mean 56.84 and error 1, 30 of mean 28.42 and error 2: (10 x 1 + 30 x 2 x 2) / 40."""
    assert MEAN_ABSOLUTE_REFERENCE_KCAL == 56.84
    found = wtmad2({"a": 1.0, "b": 2.0}, {"a": 56.84, "b": 28.42, "unused": 1.0}, {"a": 10, "b": 30, "unused": 5})
    assert found == pytest.approx(130 / 40)


def test_wtmad_of_what_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="no sets"):
        wtmad2({}, {}, {})
    with pytest.raises(UserError, match="set a has no error"):
        wtmad1({"a": float("nan")}, {"a": 1.0})
    with pytest.raises(UserError, match="set a has no mean reference"):
        wtmad1({"a": 1.0}, {"b": 1.0})


def test_a_set_with_a_missing_reaction_is_not_complete() -> None:
    error = set_error(np.array([1.0, np.nan, 4.0]), np.array([0.0, 0.0, 1.0]))
    assert (error.mae, error.count, error.missing, error.complete) == (2.0, 3, 1, False)
    assert set_error(np.array([1.0]), np.array([2.0])).complete
    nothing = set_error(np.array([np.nan]), np.array([1.0]))
    assert np.isnan(nothing.mae)
    assert not nothing.complete
