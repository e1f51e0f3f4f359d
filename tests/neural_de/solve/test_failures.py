"""What happens when a solve cannot do what was asked: each case has one outcome."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.neural_de.solve import arguments, solve

from .problems import parameters, quick, run, start


def decay(t: Any, y: Any, a: Any) -> Any:
    """y' = -a y; not a number from t = 0.5 on where y is large then."""
    return jnp.where((t > 0.5) & jnp.any(y > 0.8), jnp.nan, -a * y)


def blows(t: Any, y: Any, a: Any) -> Any:
    """y' = a y^2: from 3 the solution ends at t = 1/3, so the step must vanish before."""
    return a * y**2


def safe(a: Any, y: Any, **options: Any) -> Any:
    return run(a, y, throw=False, dt0=None, **options)


def test_max_steps_reached() -> None:
    solution = quick(lambda p: safe(p, start(), max_steps=3))(parameters())
    assert bool(solution.result == diffrax.RESULTS.max_steps_reached)
    assert int(solution.stats["num_steps"]) == 3
    with pytest.raises(eqx.EquinoxRuntimeError, match="maximum number of solver steps"):
        jax.block_until_ready(eqx.filter_jit(lambda p: run(p, start(), max_steps=3).ys)(parameters()))


@pytest.mark.parametrize("field", [decay, blows], ids=["nan", "step-vanishes"])
def test_a_field_that_cannot_be_followed_ends_early(field: Any) -> None:
    """Long before max_steps, with the last good state, finite regularisers and finite gradients."""

    def value(a: Any) -> Any:
        s = safe(a, jnp.array([3.0, 1.0]), field=field, max_steps=4096)
        return s.regularizers["R_E"], (s.result == diffrax.RESULTS.dt_min_reached, s.stats["num_steps"], s.ys)

    (r_e, (ended, steps, ys)), gradient = quick(jax.value_and_grad(value, has_aux=True))(1.0)
    assert bool(ended)
    assert int(steps) < 600
    assert bool(jnp.all(jnp.isfinite(ys)))
    assert np.isfinite(float(r_e))
    assert np.isfinite(float(gradient))


def test_one_failing_trajectory_leaves_the_others_alone() -> None:
    """Of four, one meets NaN on the way and one starts from NaN."""
    y0 = jnp.array([[1.0, 0.5], [3.0, 1.0], [jnp.nan, 1.0], [0.2, 0.3]])

    def one(a: Any, y: Any) -> Any:
        s = safe(a, y, field=decay, regularizers=("R_E", "R_S"))
        ok = s.result == diffrax.RESULTS.successful
        total = sum(s.regularizers.values()) + jnp.sum(jnp.where(ok, s.ys, 0) ** 2)
        return jnp.where(ok, total, 0), ok

    def batch(a: Any, y0: Any) -> Any:
        values, ok = jax.vmap(one, (None, 0))(a, y0)
        return jnp.sum(values), (values, ok)

    whole = quick(jax.value_and_grad(batch, argnums=(0, 1), has_aux=True))
    (_, (values, ok)), (a_bar, y_bar) = whole(1.3, y0)
    assert ok.tolist() == [True, False, False, True]
    (_, (good_values, _)), (good_a, good_y) = whole(1.3, y0.at[1:3].set(0.0))
    np.testing.assert_allclose(values[jnp.array([0, 3])], good_values[jnp.array([0, 3])], rtol=1e-9)
    np.testing.assert_allclose(a_bar, good_a, rtol=1e-6)
    np.testing.assert_allclose(y_bar[jnp.array([0, 3])], good_y[jnp.array([0, 3])], rtol=1e-6)
    assert bool(jnp.all(jnp.isfinite(y_bar)))


def test_no_time_at_all() -> None:
    """t0 = t1: the initial state everywhere, no step, gradient that of the identity."""

    def value(y: Any, t: Any) -> Any:
        s = run(1.0, y, t, t, None, field=blows, saveat=diffrax.SaveAt(t0=True, ts=jnp.stack([t, t]), t1=True))
        return jnp.sum(s.ys) + s.regularizers["R_E"], s

    (_, s), gradient = quick(jax.value_and_grad(value, has_aux=True))(jnp.array([1.0, 2.0]), 0.7)
    np.testing.assert_array_equal(s.ys, np.tile([1.0, 2.0], (4, 1)))
    assert int(s.stats["num_steps"]) == 0
    assert bool(s.result == diffrax.RESULTS.successful)
    np.testing.assert_array_equal(gradient, [4.0, 4.0])


def test_an_empty_batch() -> None:
    names = ("R_E", "R_E2", "R_S")
    value = lambda a: sum(safe(a, jnp.zeros((0, 4)), field=blows, regularizers=names).regularizers.values())  # noqa: E731
    found, gradient = quick(jax.value_and_grad(value))(1.0)
    assert (float(found), float(gradient)) == (0.0, 0.0)


def test_duplicate_times_are_served_and_wrong_ones_refused() -> None:
    save = lambda ts: run(1.0, jnp.ones(2), field=blows, t1=0.5, saveat=diffrax.SaveAt(ts=ts)).ys  # noqa: E731
    with pytest.raises(UserError, match=r"saveat.ts\[2\]=0.2 comes after 0.3: give save times in the order"):
        save([0.1, 0.3, 0.2])
    with pytest.raises(UserError, match=r"saveat.ts=0.6 lies outside the solve from t0=0.0 to t1=0.5"):
        save([0.1, 0.6])
    with pytest.raises(UserError, match=r"saveat.ts=nan lies outside"):
        save([0.1, np.nan])
    later = eqx.filter_jit(save)
    with pytest.raises(eqx.EquinoxRuntimeError, match="in the order of the solve"):
        jax.block_until_ready(later(jnp.array([0.1, 0.3, 0.2])))
    ys = later(jnp.array([0.1, 0.3, 0.3]))
    np.testing.assert_array_equal(ys[1], ys[2])
    np.testing.assert_allclose(ys[0], 1 / 0.9, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regularizers": ("R_F",)}, "'R_F': not a regulariser, did you mean 'R_S'.*there are 'R_E'"),
        ({"regularizers": ("R_E", "R_E")}, "name each one once"),
        ({"reduce": "median"}, "reduce='median': not a reduction.*'sum', 'mean', 'max'"),
        ({"reduce": {"R_S": "max"}}, "'R_S' is not among regularizers"),
        pytest.param(
            {"h_grad": "full"}, "h_grad='full': it must be 'exact' or 'frozen'", marks=pytest.mark.wrong_types
        ),
        pytest.param({"max_steps": None}, "max_steps=None: it must be a whole number", marks=pytest.mark.wrong_types),
        ({"max_steps": 0}, "max_steps=0"),
        ({"checkpoints": 1}, "checkpoints=1: it must be a whole number of at least 2"),
        pytest.param(
            {"adjoint": diffrax.DirectAdjoint()}, "adjoint: not taken; h_grad=", marks=pytest.mark.wrong_types
        ),
        *(
            pytest.param({name: value}, f"{name}: not taken: ", marks=pytest.mark.wrong_types)
            for name, value in {
                "event": diffrax.Event(lambda t, y, args, **_: y[0]),
                "progress_meter": diffrax.NoProgressMeter(),
                "solver_state": (),
                "controller_state": (),
                "made_jump": False,
            }.items()
        ),
        ({"dt0": -0.1}, r"dt0=-0.1 points away from t1=1.0"),
        ({"y0": jnp.ones(2, complex)}, "complex"),
        ({"y0": ()}, "y0 holds no array"),
        ({"t1": jnp.ones(3)}, r"t1 has shape \(3,\)"),
        ({"saveat": diffrax.SaveAt(t1=True, solver_state=True)}, "solver_state=True is not served"),
        ({"saveat": diffrax.SaveAt(ts=[0.5], steps=True)}, "ts and steps in one request"),
        (
            {"solver": diffrax.Heun()},
            "h_grad='exact' needs Tsit5.*not Heun under PIDController: ask for h_grad='frozen'",
        ),
        (
            {"solver": diffrax.Heun(), "h_grad": "frozen", "regularizers": ("R_S",)},
            "Heun has no two stages at one time",
        ),
        ({"solver": diffrax.Euler(), "h_grad": "frozen"}, "Euler has no error estimate"),
        (
            {"stepsize_controller": diffrax.ConstantStepSize(), "h_grad": "frozen"},
            "ConstantStepSize has no tolerance.*PIDController",
        ),
        (
            {"terms": diffrax.ControlTerm(lambda t, y, a: y, lambda t0, t1: t1 - t0), "h_grad": "frozen"},
            "ControlTerm is not served; give one diffrax.ODETerm",
        ),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else "",
)
def test_mistakes_are_named_in_one_line(options: dict[str, Any], message: str) -> None:
    arguments_ = {
        "terms": diffrax.ODETerm(decay),
        "solver": diffrax.Tsit5(),
        "t0": 0.0,
        "t1": 1.0,
        "dt0": 0.1,
        "y0": jnp.ones(2),
        "args": 1.0,
        "stepsize_controller": diffrax.PIDController(rtol=1e-3, atol=1e-3),
        **options,
    }
    with pytest.raises(UserError, match=message) as caught:
        solve(**arguments_)
    assert "\n" not in str(caught.value)


def test_a_tolerance_below_the_precision_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "_warned", set())
    fine = diffrax.PIDController(rtol=1.4e-8, atol=1.4e-8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            arguments.warn_precision(fine, jnp.ones(2, jnp.float32))
        arguments.warn_precision(fine, jnp.ones(2, jnp.float64))
    assert len(caught) == 1
    assert "rtol=1.4e-08 is below the precision of float32 (1.2e-07)" in str(caught[0].message)


def test_importing_the_family_waits_for_no_jax() -> None:
    code = (
        "import sys, zoo.neural_de as n; assert 'jax' not in sys.modules, 'jax was imported'\n"
        "f = n.solve; import zoo.neural_de.solve as m\n"
        "assert callable(f) and callable(m) and m.solve is n.solve.solve if hasattr(n.solve, 'solve') else True\n"
        "import inspect; assert 'h_grad' in inspect.signature(n.solve).parameters\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
