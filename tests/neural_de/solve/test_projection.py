"""Fields that read the state through a narrow linear map: which are recognised, and that solves are the same as when they are not."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxprs import product_precisions

from zoo.neural_de.solve import solve
from zoo.neural_de.solve.attempts import attempts
from zoo.neural_de.solve.field import Field

from .problems import direction, parameters, quick, run, start

WIDTH, HIDDEN = 12, 5
NAMES = ("R_E", "R_E2", "R_S", "S")


def narrow(t: Any, y: Any, p: Any) -> Any:
    """A restless network whose inner layer is narrower than the state."""
    return 3 * jnp.tanh(jnp.tanh(y @ p["w1"][:-1] + t * p["w1"][-1]) @ p["w2"])


def unseen(t: Any, y: Any, p: Any) -> Any:
    """The same field, its first operation on the state a call that is not looked into."""
    return jax.jit(narrow)(t, y, p)


def problem() -> tuple[Any, Any]:
    """Weights and initial states: 36 attempts on [0, 1] at 1e-6, 8 of them rejected."""
    return jax.tree.map(lambda w: 1.5 * w, parameters(WIDTH, HIDDEN)), start(4, WIDTH)


def test_what_is_recognised() -> None:
    key, y, t = jax.random.key(0), jax.random.normal(jax.random.key(1), (3, WIDTH)), jnp.asarray(0.3)
    w = jax.random.normal(key, (WIDTH + 1, HIDDEN))
    v = jax.random.normal(key, (HIDDEN, WIDTH))
    mlp = eqx.nn.MLP(WIDTH, WIDTH, HIDDEN, 2, key=key)
    wide = eqx.nn.MLP(WIDTH, WIDTH, 2 * WIDTH, 2, key=key)
    layer = nnx.Linear(WIDTH, HIDDEN, rngs=nnx.Rngs(0))
    yes = {
        "equinox": lambda t, y: jax.vmap(mlp)(y),
        "flax": lambda t, y: jnp.tanh(layer(y)) @ v,
        "time beside": lambda t, y: jnp.tanh(y @ w[:-1] + t * w[-1]) @ v,
        "two readers": lambda t, y: jnp.tanh(y @ w[:-1]) @ v + (y @ w[:-1, :1]) * v[0],
        "one of two leaves": lambda t, y: ((rate := jnp.tanh(y[0] @ w[:-1]) @ v), jnp.sum(rate**2)),
    }
    no = {
        "wide": lambda t, y: jax.vmap(wide)(y),
        "skip": lambda t, y: jnp.tanh(y @ w[:-1]) @ v - y,
        "time within": lambda t, y: jnp.tanh(y @ (t * w[:-1])) @ v,
        "state within": lambda t, y: (y @ y.T @ y) / 9,
        "concatenated": lambda t, y: jnp.tanh(jnp.concatenate([y, jnp.full((3, 1), t)], 1) @ w) @ v,
        "not linear": lambda t, y: jnp.tanh(y**3 @ w[:-1]) @ v,
        "no state": lambda t, y: jnp.broadcast_to(t, (3, WIDTH)),
        "the state itself": lambda t, y: y,
    }
    for name, function in {**yes, **no}.items():
        state = (y, jnp.asarray(1.0)) if name == "one of two leaves" else y
        field = Field(function, t, state)
        assert (field.project is not None) == (name in yes), name
        value = field(field.weights, field.data, t, state)
        for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(function(t, state)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_a_field_with_an_effect_is_left_whole() -> None:
    def loud(t: Any, y: Any) -> Any:
        jax.debug.print("{}", t)
        return y @ jnp.ones((WIDTH, 1)) @ jnp.ones((1, WIDTH))

    assert Field(loud, jnp.asarray(0.0), jnp.ones(WIDTH)).project is None


def everything(x: Any, unravel: Any, field: Any, **options: Any) -> Any:
    """A mix of regularisers, saved states, dense output and end state, over (weights, y0, t0, t1, dt0, save times)."""
    p, y0, t0, t1, dt0, ts = unravel(x)
    subs = [diffrax.SubSaveAt(ts=ts), diffrax.SubSaveAt(steps=3), diffrax.SubSaveAt(t1=True)]
    saveat = diffrax.SaveAt(subs=subs, dense=True)
    s = run(p, y0, t0, t1, dt0, field=field, regularizers=NAMES, saveat=saveat, **options)
    at_times, at_steps, at_end = s.ys
    parts = [
        *s.regularizers.values(),
        jnp.sum(at_times**2),
        jnp.sum(jnp.where(jnp.isfinite(at_steps), jnp.sin(at_steps), 0)),
        jnp.sum(jnp.cos(at_end)),
        jnp.sum(s.evaluate(0.4 * t0 + 0.6 * t1) ** 2),
    ]
    return jnp.stack(parts), (s.stats["num_steps"], s.stats["num_rejected_steps"])


@pytest.mark.parametrize(
    "options",
    [
        {"h_grad": "exact"},
        pytest.param({"h_grad": "frozen", "checkpoints": 3, "solver": diffrax.Dopri5()}, marks=pytest.mark.slow),
        {"h_grad": "exact", "backwards": True, "checkpoints": 4, "solver": diffrax.Dopri5()},
    ],
    ids=str,
)
def test_solves_and_gradients_are_those_of_the_whole_field(options: dict[str, Any]) -> None:
    """With rejected attempts, in all that a solve gives and with respect to all that it takes."""
    options = dict(options)
    ends = (1.0, 0.0, -0.03) if options.pop("backwards", False) else (0.0, 1.0, 0.03)
    at, along, unravel = direction((*problem(), *ends, jnp.array([0.2, 0.45, 0.5, 0.9])[:: int(ends[1] - ends[0])]))
    mix = jnp.array([1.0, 0.1, 0.01, 0.01, 1.0, 1.0, 1.0, 1.0])

    def value(x: Any, field: Any) -> Any:
        parts, counts = everything(x, unravel, field, **options)
        return mix @ parts, (parts, counts)

    found = {}
    for field in (narrow, unseen):
        found[field] = quick(jax.value_and_grad(lambda x, field=field: value(x, field), has_aux=True))
    (_, (ours, (steps, rejected))), gradient = found[narrow](at)
    (_, (theirs, counts)), expected = found[unseen](at)
    assert (int(steps), int(rejected)) == tuple(map(int, counts))
    assert int(rejected) > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * float(jnp.abs(expected).max()))
    if options["h_grad"] == "exact":
        step = 1e-6
        low, high = (found[narrow](at + sign * step * along)[0][0] for sign in (-1, 1))
        np.testing.assert_allclose(gradient @ along, (high - low) / (2 * step), rtol=1e-4)


@pytest.mark.parametrize("sum_shared", [False, True])
def test_vmapped_solves_are_those_of_the_whole_field(sum_shared: bool) -> None:
    p, y0 = problem()

    def total(p: Any, y0: Any, field: Any) -> Any:
        def one(y: Any) -> Any:
            s = run(p, y, dt0=None, field=field, regularizers=("R_E", "R_S"), sum_shared=sum_shared)
            return sum(s.regularizers.values()) + jnp.sum(s.ys**2)

        return jnp.sum(jax.vmap(one)(y0))

    ours, theirs = (
        quick(jax.grad(lambda p, y0, field=field: total(p, y0, field), argnums=(0, 1)))(p, y0)
        for field in (narrow, unseen)
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * float(jnp.abs(b).max()))


def test_less_of_the_error_estimate_is_round_off() -> None:
    """In float32 the first layer rounds once for all stages of a step: what is left of E in a step too short for a true error."""
    with jax.enable_x64(False):
        p = jax.tree.map(lambda w: w.astype(jnp.float32) / 10, parameters(784, 20))
        y0 = jax.random.uniform(jax.random.key(0), (64, 784), jnp.float32)
        controller = diffrax.PIDController(rtol=1e-8, atol=1e-8)
        error = {
            field: attempts(
                lambda t, y, field=field: field(t, y, p), diffrax.Tsit5(), 0.0, 1.0, y0, controller, max_steps=1
            ).error[0]
            for field in (narrow, unseen)
        }
    assert 0 < error[narrow] < 0.5 * error[unseen]


@pytest.mark.parametrize(("dtype", "t1", "rtol"), [("float32", 20.0, 1e-4), ("float64", 50.0, 1e-6)])
def test_a_decaying_state_keeps_its_relative_accuracy(dtype, t1, rtol):
    """exp(-t) y0: round-off of the start, which nothing damps unless the field sees it, would outweigh what is left."""
    with jax.enable_x64(dtype == "float64"):
        rng = np.random.default_rng(0)
        w = jnp.asarray(np.concatenate([np.linalg.qr(rng.normal(size=(4, 4)))[0], np.zeros((12, 4))]), dtype)
        y0 = w @ jnp.asarray([1.0, 2.0, -1.0, 0.5], dtype)
        controller = diffrax.PIDController(rtol=rtol, atol=1e-30 if dtype == "float64" else 1e-10)
        found, whole = (
            solve(diffrax.ODETerm(f), diffrax.Tsit5(), 0.0, t1, 0.01, y0, w, stepsize_controller=controller).ys[-1]
            for f in (lambda t, y, w: -(w @ (w.T @ y)), lambda t, y, w: -(w @ jax.jit(lambda z: w.T @ z)(y)))
        )
        true = np.exp(-t1) * np.asarray(y0, np.float64)
        off, off_whole = (np.abs(np.asarray(y) - true).max() / np.abs(true).max() for y in (found, whole))
        assert off < 2 * off_whole < 0.02


@pytest.mark.parametrize("vector_field", [narrow, unseen])
@pytest.mark.parametrize("solver", [diffrax.Tsit5(), diffrax.Heun()])
def test_products_of_a_solve_and_its_gradient_are_whole_float32(vector_field, solver) -> None:
    """Else E is round-off on a GPU, whose default is TF32. The products of diffrax's own loop are the field's."""

    def loss(p: Any, y0: Any) -> Any:
        options = {"h_grad": "exact"} if isinstance(solver, diffrax.Tsit5) else {"h_grad": "frozen"}
        solution = run(p, y0, field=vector_field, solver=solver, regularizers=("R_E",), **options)
        return jnp.sum(solution.ys**2) + solution.regularizers["R_E"]

    traced = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(*problem())
    assert product_precisions(traced) == {"HIGHEST"}
