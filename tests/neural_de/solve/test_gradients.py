"""Gradients against finite differences of what each kind claims to differentiate, and against diffrax's own."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.neural_de.solve import solve

from .problems import direction, parameters, quick, replayed, run, start, stock

NAMES = ("R_E", "R_E2", "R_S", "S")


def weighted(mix: Any, x: Any, unravel: Any, **options: Any) -> Any:
    """A mix of the regularisers and a function of the end state, over (weights, y0, t0, t1, dt0)."""
    p, y0, t0, t1, dt0 = unravel(x)
    s = run(p, y0, t0, t1, dt0, regularizers=NAMES, **options)
    return mix @ jnp.stack([*s.regularizers.values(), jnp.sum(s.ys**2)]), s.stats["num_rejected_steps"]


@pytest.mark.parametrize("reduce", ["sum", pytest.param("mean", marks=pytest.mark.slow), "max"])
def test_exact_gradients_are_those_of_finite_differences(reduce: str) -> None:
    """Through rejected attempts and every step size, with respect to everything; more attempts than slots in one case."""
    at, along, unravel = direction((parameters(), start(), 0.0, 1.0, 0.03))
    options = {"reduce": reduce, "checkpoints": 3 if reduce == "max" else None}
    both = quick(jax.value_and_grad(lambda x, mix: weighted(mix, x, unravel, **options), has_aux=True))
    for mix in np.eye(5):
        (_, rejected), gradient = both(at, mix)
        assert int(rejected) > 0
        step = 1e-6
        difference = (both(at + step * along, mix)[0][0] - both(at - step * along, mix)[0][0]) / (2 * step)
        np.testing.assert_allclose(gradient @ along, difference, rtol=1e-4, atol=1e-6)


def test_exact_gradients_under_pid_control_backwards_in_time_and_with_saved_states() -> None:
    ts = jnp.array([0.9, 0.5, 0.45, 0.1])
    at, along, unravel = direction((parameters(), start(), 1.0, 0.0, -0.03, ts))

    def value(x: Any) -> Any:
        p, y0, t0, t1, dt0, ts = unravel(x)
        saveat = diffrax.SaveAt(
            subs=[diffrax.SubSaveAt(ts=ts), diffrax.SubSaveAt(steps=2), diffrax.SubSaveAt(t1=True)], dense=True
        )
        controller = diffrax.PIDController(rtol=1e-6, atol=1e-6, pcoeff=0.3, icoeff=0.4, dcoeff=0.05)
        s = run(
            p, y0, t0, t1, dt0, saveat=saveat, stepsize_controller=controller, solver=diffrax.Dopri5(), max_steps=64
        )
        at_ts, at_steps, at_end = s.ys
        early = jnp.sum(jnp.where(jnp.isfinite(at_steps), jnp.sin(at_steps), 0))
        return (
            s.regularizers["R_E"]
            + jnp.sum(at_ts**2)
            + early
            + jnp.sum(jnp.cos(at_end))
            + jnp.sum(s.evaluate(0.33) ** 2)
        )

    both = quick(jax.value_and_grad(value))
    step = 1e-6
    difference = (both(at + step * along)[0] - both(at - step * along)[0]) / (2 * step)
    np.testing.assert_allclose(both(at)[1] @ along, difference, rtol=1e-5)


def test_frozen_gradients_are_those_of_replayed_steps() -> None:
    """The steps are recorded, then kept while weights and initial state move; in NumPy, from the definitions."""
    at, along, unravel = direction((parameters(), start()))
    steps = quick(lambda p: stock(p, start(), saveat=diffrax.SaveAt(steps=True, t0=True)))(parameters())
    ts = np.asarray(steps.ts)[: int(steps.stats["num_accepted_steps"]) + 1]

    def frozen(x: Any, mix: Any) -> Any:
        p, y0 = unravel(x)
        s = run(p, y0, regularizers=NAMES, h_grad="frozen")
        return mix @ jnp.stack([*s.regularizers.values(), jnp.sum(s.ys**2)])

    def plain(x: Any) -> np.ndarray:
        r = replayed(*unravel(x), ts)
        return np.array(
            [(r["E"] * r["h"]).sum(), (r["E"] ** 2).sum(), (r["S"] * r["h"]).sum(), r["S"].sum(), (r["y"] ** 2).sum()]
        )

    gradient, step = quick(jax.grad(frozen)), 1e-6
    difference = (plain(at + step * along) - plain(at - step * along)) / (2 * step)
    for mix, expected in zip(np.eye(5), difference, strict=True):
        np.testing.assert_allclose(gradient(at, mix) @ along, expected, rtol=1e-4)


@pytest.mark.slow
def test_frozen_gradients_are_those_of_diffrax() -> None:
    """A step_ts at the end time sends Tsit5 through stock diffrax: the same steps, its own derivatives."""
    at, _, unravel = direction((parameters(), start()))

    def value(x: Any, controller: Any) -> Any:
        p, y0 = unravel(x)
        s = run(p, y0, regularizers=NAMES, h_grad="frozen", stepsize_controller=controller)
        return sum(s.regularizers.values()) + jnp.sum(s.ys**2), s.stats["nfe"]

    plain = diffrax.PIDController(rtol=1e-6, atol=1e-6)
    clipped = diffrax.PIDController(rtol=1e-6, atol=1e-6, step_ts=jnp.array([1.0]))
    ours, nfe = quick(jax.grad(lambda x: value(x, plain), has_aux=True))(at)
    theirs, their_nfe = quick(jax.grad(lambda x: value(x, clipped), has_aux=True))(at)
    assert int(nfe) == int(their_nfe)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8 * float(jnp.abs(theirs).max()))


def test_frozen_steps_give_the_gradient_of_r_e_the_wrong_sign() -> None:
    """Pal et al. differentiate h too, and that can decide the direction: along one of 20 random directions in which the
    gradient with h held, which is diffrax's own (see above), disagrees in sign, finite differences side with the exact one."""
    at, _, unravel = direction((parameters(), start()))
    both = {
        h: quick(
            jax.value_and_grad(lambda x, h=h: run(*unravel(x), regularizers=("R_E",), h_grad=h).regularizers["R_E"])
        )
        for h in ("exact", "frozen")
    }
    along = jax.random.normal(jax.random.PRNGKey(3), (20, at.size))
    along = along / jnp.linalg.norm(along, axis=1, keepdims=True)
    exact, frozen = along @ both["exact"](at)[1], along @ both["frozen"](at)[1]
    opposite = np.flatnonzero(np.sign(exact) != np.sign(frozen))
    assert opposite.size > 0
    worst = opposite[np.argmax(np.abs(exact[opposite]))]
    value = lambda x: both["exact"](x)[0]  # noqa: E731
    step = 1e-6 * along[worst]
    true = (value(at + step) - value(at - step)) / 2e-6
    assert np.sign(true) == np.sign(exact[worst]) != np.sign(frozen[worst])
    np.testing.assert_allclose(exact[worst], true, rtol=1e-3)


@pytest.mark.slow
def test_few_slots_change_nothing() -> None:
    """Over 200 attempts: all kept, and a few kept. (E is a difference of nearly equal numbers: round-off moves it by 1e-8.)"""
    slow = diffrax.PIDController(rtol=1e-6, atol=1e-6, dtmax=0.01)
    value = lambda p, n: run(p, start(2), t1=2.0, checkpoints=n, stepsize_controller=slow)  # noqa: E731
    grads = []
    for n in (256, 7):
        gradient, steps = quick(
            jax.grad(
                lambda p, n=n: (lambda s: (s.regularizers["R_E"] + s.ys.sum(), s.stats["num_steps"]))(value(p, n)),
                has_aux=True,
            )
        )(parameters())
        assert int(steps) >= 200
        grads.append(gradient)
    for other in grads[1:]:
        for a, b in zip(jax.tree.leaves(grads[0]), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sum_shared", [False, True])
def test_vmapped_gradients_are_sums_and_stay_apart(sum_shared: bool) -> None:
    """Shared weights gather the trajectories' gradients; initial states keep their own."""
    p, y0 = parameters(), start(3)

    def one(p: Any, y: Any) -> Any:
        s = run(p, y, dt0=None, regularizers=("R_E", "R_S"), sum_shared=sum_shared)
        return sum(s.regularizers.values()) + jnp.sum(s.ys**2)

    together = quick(jax.grad(lambda p, y: jnp.sum(jax.vmap(one, (None, 0))(p, y)), argnums=(0, 1)))(p, y0)
    each = quick(jax.grad(one, argnums=(0, 1)))
    alone = [each(p, y) for y in y0]
    for name in p:
        np.testing.assert_allclose(together[0][name], sum(a[0][name] for a in alone), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(together[1], jnp.stack([a[1] for a in alone]), rtol=1e-5, atol=1e-6)


def test_gradients_under_vmap_are_each_examples_own() -> None:
    """vmap of a gradient keeps the examples' gradients of the shared weights apart, also within another vmap's gradient."""
    p, y0 = parameters(), start(3)

    def one(p: Any, y: Any) -> Any:
        s = run(p, y, dt0=None, regularizers=("R_E",))
        return s.regularizers["R_E"] + jnp.sum(s.ys**2)

    alone = [quick(jax.grad(one))(p, y) for y in y0]
    each = quick(jax.vmap(jax.grad(one), (None, 0)))(p, y0)
    for name in p:
        np.testing.assert_allclose(each[name], jnp.stack([a[name] for a in alone]), rtol=1e-5, atol=1e-6)

    def of_batch(p: Any, y: Any) -> Any:
        return jnp.sum(jax.vmap(lambda row: run(p, row, dt0=None, sum_shared=True).regularizers["R_E"])(y))

    batches = jnp.stack([y0, 2 * y0])
    outer = quick(jax.vmap(jax.grad(of_batch), (None, 0)))(p, batches)
    for i, batch in enumerate(batches):
        for name, expected in quick(jax.grad(of_batch))(p, batch).items():
            np.testing.assert_allclose(outer[name][i], expected, rtol=1e-5, atol=1e-6)


def test_jacobians_hold_a_row_for_each_output() -> None:
    p, y0 = parameters(), start(1)[0]

    def end(p: Any) -> Any:
        return run(p, y0, dt0=None).ys[-1]

    jacobian = quick(jax.jacrev(end))(p)
    for i in range(y0.size):
        row = quick(jax.grad(lambda p, i=i: end(p)[i]))(p)
        for name in p:
            np.testing.assert_allclose(jacobian[name][i], row[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_vmapped_weights_of_their_own_keep_their_gradients() -> None:
    p, y0 = parameters(), start(3)

    def one(p: Any, y: Any) -> Any:
        return run(p, y, dt0=None).regularizers["R_E"]

    each = quick(jax.grad(one))
    alone = [each(p, y) for y in y0]
    own = jax.tree.map(lambda x: jnp.stack([x] * 3), p)
    apart = quick(jax.grad(lambda p: jnp.sum(jax.vmap(one)(p, y0))))(own)
    for name in p:
        np.testing.assert_allclose(apart[name], jnp.stack([a[name] for a in alone]), rtol=1e-5, atol=1e-6)


def test_gradients_reach_a_module_and_a_closure() -> None:
    """y' = (a + b + c) y: a an Equinox module's, b closed over, c in args; all have the same derivative."""

    class Linear(eqx.Module):
        a: Any

        def __call__(self, t: Any, y: Any, c: Any) -> Any:
            return (self.a + b * 1.0 + c) * y

    values = jnp.array([0.2, 0.3, 0.4])

    def value(x: Any) -> Any:
        nonlocal b
        b = x[1]
        term, controller = diffrax.ODETerm(Linear(x[0])), diffrax.PIDController(rtol=1e-9, atol=1e-9)
        return solve(term, diffrax.Tsit5(), 0.0, 1.0, None, jnp.ones(2), x[2], stepsize_controller=controller).ys[-1, 0]

    b: Any = None
    gradient = quick(jax.grad(value))(values)
    np.testing.assert_allclose(gradient, np.full(3, np.exp(0.9)), rtol=1e-8)


def test_zero_field_has_gradient_zero() -> None:
    names = ("R_E", "R_E2", "R_S", "S")
    root = lambda tree: jnp.sqrt(jnp.mean(tree**2))  # noqa: E731  whose derivative at 0 is not finite
    controller = diffrax.PIDController(rtol=1e-6, atol=1e-6, norm=root)
    value = lambda a: sum(  # noqa: E731
        run(
            a, jnp.ones(3), field=lambda t, y, a: 0 * a * y, regularizers=names, stepsize_controller=controller
        ).regularizers.values()
    )
    assert float(quick(value)(1.3)) == 0
    assert float(quick(jax.grad(value))(1.3)) == 0
