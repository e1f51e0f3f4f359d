"""Steps, states, statistics and regularisers against diffrax and plain NumPy."""

from __future__ import annotations

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.neural_de.solve import solve

from .problems import field, parameters, quick, replayed, run, same, start, stock

SOLVERS = pytest.mark.parametrize("solver", [diffrax.Tsit5(), diffrax.Dopri5()], ids=lambda s: type(s).__name__)


@SOLVERS
def test_steps_are_those_of_diffrax(solver: Any) -> None:
    def options(tolerance: Any, dt0: Any) -> dict[str, Any]:
        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
        saveat = diffrax.SaveAt(steps=True)
        return {"solver": solver, "dt0": dt0, "stepsize_controller": controller, "saveat": saveat, "max_steps": 512}

    ours = quick(lambda *case: run(parameters(), start(), **options(*case)))
    theirs = quick(lambda *case: stock(parameters(), start(), **options(*case)))
    rejected = 0
    # At 1e-10 the error estimate itself is uncertain by round-off to some 1e-7.
    for tolerance, dt0, agree in ((1e-3, 0.2, 1e-9), (1e-6, 0.2, 1e-8), (1e-6, 0.01, 1e-8), (1e-10, 0.01, 1e-6)):
        same(found := ours(tolerance, dt0), theirs(tolerance, dt0), agree)
        rejected += int(found.stats["num_rejected_steps"])
    assert rejected > 5, "the cases must reject steps to test anything"


def test_every_controller_setting() -> None:
    names = ("pcoeff", "icoeff", "dcoeff", "dtmin", "dtmax", "factormin", "factormax", "safety", "error_order")

    def options(values: list[Any]) -> dict[str, Any]:
        controller = diffrax.PIDController(rtol=1e-6, atol=1e-7, **dict(zip(names, values, strict=True)))
        return {"stepsize_controller": controller, "saveat": diffrax.SaveAt(steps=True)}

    ours = quick(lambda values: run(parameters(), start(), **options(values)))
    theirs = quick(lambda values: stock(parameters(), start(), **options(values)))
    usual = {"pcoeff": 0.0, "icoeff": 1.0, "dcoeff": 0.0, "dtmin": 1e-9, "dtmax": 9.0}
    usual |= {"factormin": 0.2, "factormax": 10.0, "safety": 0.9, "error_order": 5.0}
    changes = (
        {"pcoeff": 0.4},
        {"pcoeff": 0.3, "icoeff": 0.3, "dcoeff": 0.1},
        {"dtmax": 0.05},
        {"dtmin": 0.04},
        {"factormin": 0.5, "factormax": 2.0, "safety": 0.7},
        {"error_order": 4.0},
    )
    counts = set()
    for change in changes:
        values = [float((usual | change)[name]) for name in names]
        same(found := ours(values), theirs(values))
        counts.add((int(found.stats["num_steps"]), int(found.stats["num_accepted_steps"])))
    assert len(counts) == len(changes), "every setting must change the steps to test anything"


def test_own_norm_and_smallest_step_not_forced() -> None:
    controller = diffrax.PIDController(
        rtol=1e-6, atol=1e-6, norm=lambda tree: jnp.max(jnp.abs(tree)), dtmin=0.04, force_dtmin=False
    )
    ours = quick(lambda p: run(p, start(), dt0=None, stepsize_controller=controller, throw=False))(parameters())
    theirs = quick(lambda p: stock(p, start(), dt0=None, stepsize_controller=controller, throw=False))(parameters())
    same(ours, theirs)
    assert bool(ours.result == diffrax.RESULTS.dt_min_reached)


def test_save_requests_forwards_and_backwards() -> None:
    def options(t0: Any, t1: Any, ts: Any) -> dict[str, Any]:
        subs = {
            "ends": diffrax.SubSaveAt(t0=True, t1=True),
            "times": diffrax.SubSaveAt(t0=True, t1=True, ts=ts),
            "third": diffrax.SubSaveAt(t0=True, t1=True, steps=3),
            "every": diffrax.SubSaveAt(steps=1, t1=True),
            "made": diffrax.SubSaveAt(ts=ts, fn=lambda t, y, args: (t * y.sum(), args["w1"][0])),
        }
        return {"t0": t0, "t1": t1, "dt0": (t1 - t0) / 30, "saveat": diffrax.SaveAt(subs=subs)}

    ours = quick(lambda *case: run(parameters(), start(), **options(*case)))
    theirs = quick(lambda *case: stock(parameters(), start(), **options(*case)))
    ts = jnp.array([0.0, 0.1, 0.1, 0.6, 1.0])
    for case in ((0.0, 1.0, ts), (1.0, 0.0, ts[::-1])):
        same(ours(*case), theirs(*case))


def test_saved_values_keep_their_dtypes() -> None:
    """Counts, masks and weakly typed numbers as diffrax saves them; the largest where they were not reached."""

    def made(t: Any, y: Any, args: Any) -> Any:
        return {
            "mask": y > 0,
            "count": jnp.sum(y > 0, dtype=jnp.int32),
            "byte": jnp.full((2,), 7, jnp.uint8),
            "weak": jnp.asarray(3),
            "single": y[0].astype(jnp.float32),
        }

    subs = [
        diffrax.SubSaveAt(fn=made, **request)
        for request in (
            {"t0": True},
            {"t1": True},
            {"t0": True, "t1": True, "ts": [0.02, 0.9]},
            {"steps": 3, "t1": True},
        )
    ]
    largest = {"mask": True, "count": 2**31 - 1, "byte": 255, "weak": 2**63 - 1, "single": np.inf}
    options: dict[str, Any] = {"saveat": diffrax.SaveAt(subs=subs), "throw": False, "max_steps": 7}
    ours = quick(lambda p: run(p, start(), **options))(parameters())
    theirs = quick(lambda p: stock(p, start(), **options))(parameters())
    missed = 0
    for ts, ys, their_ts, their_ys in zip(ours.ts, ours.ys, theirs.ts, theirs.ys, strict=True):
        np.testing.assert_allclose(ts, their_ts, rtol=1e-8)
        reached = np.isfinite(ts)
        missed += np.sum(~reached)
        for name, value in ys.items():
            assert value.dtype == their_ys[name].dtype
            np.testing.assert_allclose(value[reached], their_ys[name][reached], rtol=1e-6)
            assert (value[~reached] == largest[name]).all()
    assert missed == 2, "the solve must end between the times and between two saved steps to test anything"


@pytest.mark.parametrize(
    ("dtype", "rate", "t0", "t1", "dt0", "end"),
    [
        (jnp.float16, lambda t, y, a: 2 * jnp.cos(5 * t) * jnp.ones_like(y), 0, 1, 0.03, 1 + 0.4 * np.sin(5)),
        (jnp.bfloat16, lambda t, y, a: -0.5 * y, 0, 1, 0.03, np.exp(-0.5)),
        (jnp.bfloat16, lambda t, y, a: -2 * y, 1, 0, -0.1, np.exp(2)),
    ],
)
def test_sixteen_bit_solves_reach_the_end(dtype: Any, rate: Any, t0: float, t1: float, dt0: float, end: float) -> None:
    """Round-off keeps the step control's factor from shortening a rejected attempt, and 100 units are a part of the solve."""
    options: dict[str, Any] = {"stepsize_controller": diffrax.PIDController(rtol=1e-4, atol=1e-5), "throw": False}
    times = [jnp.asarray(t, dtype) for t in (t0, t1, dt0)]
    found = quick(lambda *times: run(None, jnp.ones(2, dtype), *times, field=rate, **options))(*times)
    assert bool(found.result == diffrax.RESULTS.successful)
    np.testing.assert_allclose(found.ys[-1].astype(float), end, rtol=8 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize(
    "solver",
    [diffrax.Tsit5(), pytest.param(diffrax.Dopri5(), marks=pytest.mark.slow)],
    ids=lambda s: type(s).__name__,
)
def test_dense_output_and_its_derivative(solver: Any) -> None:
    def seen(solution: Any) -> Any:
        return [(solution.evaluate(t), solution.derivative(t)) for t in (1.0, 0.77, 0.0, -0.5)]

    options: dict[str, Any] = {
        "saveat": diffrax.SaveAt(dense=True),
        "t0": 1.0,
        "t1": -0.5,
        "dt0": None,
        "solver": solver,
    }
    ours = quick(lambda p: seen(run(p, start(), **options)))(parameters())
    theirs = quick(lambda p: seen(stock(p, start(), **options)))(parameters())
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_a_tree_of_mixed_dtypes() -> None:
    """Against y0 exp(-a sin t); stock diffrax refuses such a tree."""
    y0 = {"a": jnp.arange(3.0), "b": (jnp.float64(0.5), jnp.ones((2, 1), jnp.float32))}
    rate = lambda t, y, args: jax.tree.map(lambda x: (-args * x * jnp.cos(t)).astype(x.dtype), y)  # noqa: E731
    options: dict[str, Any] = {"t0": jnp.float32(0), "t1": jnp.float32(1), "dt0": jnp.float32(0.1), "field": rate}
    options["stepsize_controller"] = diffrax.PIDController(rtol=1e-5, atol=1e-5)
    solution = quick(lambda a: run(a, y0, **options))(jnp.float32(2.0))
    for start_, end in zip(jax.tree.leaves(y0), jax.tree.leaves(solution.ys), strict=True):
        assert start_.dtype == end.dtype
        np.testing.assert_allclose(end[0], start_ * np.exp(-2 * np.sin(1)), rtol=3e-5)


@SOLVERS
def test_nfe_counts_the_evaluations_that_are_made(solver: Any) -> None:
    """On a scalar problem, whose solution is checked against the analytic one besides."""
    calls = []

    def counted(t: Any, y: Any, a: Any) -> Any:
        jax.debug.callback(lambda: calls.append(1))
        return -a * y

    solution = jax.block_until_ready(quick(lambda a: run(a, 1.5, field=counted, solver=solver, dt0=None))(2.0))
    jax.effects_barrier()
    assert int(solution.stats["nfe"]) == len(calls)
    np.testing.assert_allclose(solution.ys, [1.5 * np.exp(-2)], rtol=1e-5)


def test_regularizers_from_their_definitions() -> None:
    """Over diffrax's own accepted steps, replayed in NumPy."""
    p, y0 = parameters(), start()
    steps = quick(lambda p: stock(p, y0, saveat=diffrax.SaveAt(steps=True, t0=True)))(p)
    steps_of = np.asarray(steps.ts)[: int(steps.stats["num_accepted_steps"]) + 1]
    plain = replayed(p, y0, steps_of)
    e, s, h = plain["E"], plain["S"], plain["h"]
    names = ("R_E", "R_E2", "R_S", "E", "S")
    for reduction, reduce in (("sum", np.sum), ("mean", np.mean), ("max", np.max)):
        found = quick(lambda p, r=reduction: run(p, y0, regularizers=names, reduce=r).regularizers)(p)
        for name, values in zip(names, (e * h, e**2, s * h, e, s), strict=True):
            np.testing.assert_allclose(found[name], reduce(values), rtol=3e-5, err_msg=f"{name} {reduction}")


@SOLVERS
def test_stiffness_of_a_stiff_problem(solver: Any) -> None:
    """y' = -1000 (y - cos t) has stiffness 1000; the estimate is given over the stability scale."""
    scale = {"Tsit5": 3.5068, "Dopri5": 3.3066}[type(solver).__name__]
    options: dict[str, Any] = {
        "solver": solver,
        "dt0": None,
        "regularizers": ("S",),
        "reduce": "mean",
        "max_steps": 4096,
    }
    solution = quick(lambda a: run(a, jnp.ones(3), field=lambda t, y, a: -a * (y - jnp.cos(t)), **options))(1000.0)
    np.testing.assert_allclose(float(solution.regularizers["S"]) * scale, 1000, rtol=0.02)


def test_vmap_is_a_loop() -> None:
    p, y0, t1 = parameters(), start(), jnp.linspace(0.3, 1.0, 8)

    def one(y: Any, end: Any) -> Any:
        saveat = diffrax.SaveAt(ts=jnp.stack([end / 3, end / 2]), t1=True)
        s = run(p, y, t1=end, dt0=None, saveat=saveat, regularizers=("R_E", "R_S"))
        return s.ts, s.ys, s.regularizers, s.stats["nfe"]

    together, alone = quick(jax.vmap(one))(y0, t1), quick(one)
    assert len(set(np.asarray(together[-1]).tolist())) > 1, "the trajectories must differ in steps to test anything"
    for i in range(8):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone(y0[i], t1[i])), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-7)


@pytest.mark.parametrize(
    "solver",
    [diffrax.Bosh3(), pytest.param(diffrax.Kvaerno5(), marks=pytest.mark.slow)],
    ids=lambda s: type(s).__name__,
)
def test_other_solvers_are_stock_diffrax(solver: Any) -> None:
    options: dict[str, Any] = {"solver": solver, "saveat": diffrax.SaveAt(ts=[0.2, 0.5], t1=True, dense=True)}
    options["stepsize_controller"] = diffrax.PIDController(rtol=1e-4, atol=1e-4)
    look = lambda s: (s, s.evaluate(0.35))  # noqa: E731
    ours, ours_between = quick(lambda p: look(run(p, start(2), h_grad="frozen", **options)))(parameters())
    theirs, theirs_between = quick(lambda p: look(stock(p, start(2), **options)))(parameters())
    same(ours, theirs)
    np.testing.assert_allclose(ours_between, theirs_between, rtol=1e-10)
    assert float(ours.regularizers["R_E"]) > 0


def test_constant_steps_give_stiffness() -> None:
    s = solve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        0.0,
        1.0,
        0.01,
        start(),
        parameters(),
        regularizers=("R_S",),
        h_grad="frozen",
    )
    ts = np.linspace(0, 1, 101)
    plain = replayed(parameters(), start(), ts)
    np.testing.assert_allclose(s.regularizers["R_S"], np.sum(plain["S"] * plain["h"]), rtol=3e-5)
    assert int(s.stats["nfe"]) == 601
