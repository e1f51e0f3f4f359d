"""Solves of a batch cut over two devices beside whole ones; prints by how much they differ, as JSON. See test_sharded.py."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

sys.path.insert(0, str(Path(__file__).parents[2]))
from jaxprs import equations

from neural_de.solve.problems import field, parameters, quick, run, start
from zoo.neural_de.solve import solve

MESH = Mesh(np.asarray(jax.devices()), ("data",))
CUT, WHOLE = PartitionSpec("data"), PartitionSpec()
TIMES = jnp.array([0.2, 0.21, 0.7])
NAMES = ("R_E", "R_E2", "R_S", "S")
FIRST = jnp.linspace(1.0, 3.0, 8)[:, None] * start()  # the second half is harder than the first


def cut(function: Callable[..., Any], out: Any, given: Any = (WHOLE, CUT)) -> Callable[..., Any]:
    return jax.shard_map(function, mesh=MESH, in_specs=given, out_specs=out)


def off(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest entry of each array."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def loss(p: Any, y0: Any, axis_name: str | None = None, **options: Any) -> Any:
    """A mean over the batch, or this device's share of one, and regularisers, which are the same on all."""
    saveat = diffrax.SaveAt(ts=TIMES, t1=True)
    s = run(p, y0, regularizers=NAMES, axis_name=axis_name, saveat=saveat, throw=False, **options)
    return jnp.mean(s.ys**2) + sum((i + 1) * x for i, x in enumerate(s.regularizers.values()))


def mean(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.pmean(x, "data"), tree)


def own(p: Any) -> Any:
    """The weights as each device's own, so that gradients by them are its own too."""
    return jax.tree.map(lambda x: jax.lax.pcast(x, "data", to="varying"), p)


def values() -> dict[str, float]:
    """States, regularisers and counts, with every way to save; the default first step too."""
    saveat = diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=TIMES), diffrax.SubSaveAt(steps=5), diffrax.SubSaveAt(t1=True)])

    def found(p: Any, y0: Any, axis_name: str | None = None) -> Any:
        s = run(p, y0, dt0=None, regularizers=NAMES, axis_name=axis_name, saveat=saveat, throw=False)
        return s.ys, s.regularizers, s.stats["num_steps"]

    def sharded(p: Any, y0: Any) -> Any:
        ys, values, steps = found(p, y0, "data")
        return ys, *mean((values, steps.astype(float)))

    (ys, *rest), (expected, *others) = (
        quick(cut(sharded, (PartitionSpec(None, "data"), WHOLE, WHOLE)))(parameters(), FIRST),
        quick(found)(parameters(), FIRST),
    )
    finite = [jnp.nan_to_num(x, posinf=0.0) for x in (*ys, *expected)]
    return {"states": off(finite[:3], finite[3:]), "regularizers and steps": off(rest, others)}


def gradients(h_grad: Any) -> dict[str, float]:
    """By weights and states, taken within shard_map."""
    expected = _expected(h_grad)

    def within(p: Any, y0: Any) -> Any:
        by_p, by_y0 = jax.grad(lambda p, y0: loss(p, y0, "data", h_grad=h_grad), (0, 1))(own(p), y0)
        return mean(by_p), by_y0 / 2

    return {"within": off(quick(cut(within, (WHOLE, CUT)))(parameters(), FIRST), expected)}


def gradients_outside() -> dict[str, float]:
    """Taken of shard_map: of weights among the arguments, and of weights that the field closes over."""

    def passed(p: Any, y0: Any) -> Any:
        return cut(lambda p, y0: mean(loss(p, y0, "data")), WHOLE)(p, y0)

    def closed_over(p: Any, y0: Any) -> Any:
        def sharded(p: Any, y0: Any) -> Any:
            return mean(loss(None, y0, "data", field=lambda t, y, _: field(t, y, p)))

        return cut(sharded, WHOLE)(p, y0)

    return {
        name: off(quick(jax.grad(function, (0, 1)))(parameters(), FIRST), _expected("exact"))
        for name, function in (("outside", passed), ("closed over", closed_over))
    }


@functools.cache
def _expected(h_grad: Any) -> Any:
    return quick(jax.grad(lambda p, y0: loss(p, y0, h_grad=h_grad), (0, 1)))(parameters(), FIRST)


def alone() -> dict[str, float]:
    """Without an axis each device takes the steps of its own half."""

    def solved(y0: Any) -> Any:
        s = run(parameters(), y0, dt0=None, throw=False)
        return s.ys, s.stats["num_steps"][None], s.regularizers["R_E"][None]

    found = quick(cut(solved, CUT, (CUT,)))(FIRST)
    halves = [quick(solved)(half) for half in (FIRST[:4], FIRST[4:])]
    expected = jax.tree.map(lambda *x: jnp.concatenate(x), *halves)
    return {"each its own": off(found, expected), "steps apart": float(abs(expected[1][0] - expected[1][1]))}


def trajectories() -> dict[str, float]:
    """A solve for each trajectory, of an Equinox model, gradients of its weights summed."""
    model = eqx.nn.MLP(4, 4, 8, 1, activation=jnp.tanh, key=jax.random.key(3))
    arrays, static = eqx.partition(model, eqx.is_array)

    def total(arrays: Any, y0: Any) -> Any:
        term = diffrax.ODETerm(lambda t, y, m: eqx.combine(m, static)(y))
        controller = diffrax.PIDController(rtol=1e-6, atol=1e-6)

        def one(y: Any) -> Any:
            s = solve(term, diffrax.Tsit5(), 0.0, 1.0, None, y, arrays, stepsize_controller=controller, throw=False)
            return jnp.sum(s.ys**2) + s.regularizers["R_E"]

        return jnp.mean(jax.vmap(one)(y0))

    found = quick(cut(lambda a, y0: mean(jax.grad(total)(own(a), y0)), WHOLE))(arrays, FIRST)
    return {"gradient": off(found, quick(jax.grad(total))(arrays, FIRST))}


def sums() -> dict[str, list[list[int]]]:
    """Shapes of what is summed over the devices within loops, and outside them, in a gradient."""

    def gradient(p: Any, y0: Any) -> Any:
        return cut(lambda p, y0: mean(loss(p, y0, "data")), WHOLE)(p, y0)

    traced = list(equations(jax.make_jaxpr(jax.grad(gradient))(parameters(), FIRST)))
    inner = [e for loop in traced if loop.primitive.name == "while" for e in equations(loop.params["body_jaxpr"])]
    shapes = lambda found: [list(x.aval.shape) for e in found if "psum" in e.primitive.name for x in e.outvars]  # noqa: E731
    return {"in loops": shapes(inner), "in all": shapes(traced)}


if __name__ == "__main__":
    found = {
        "devices": len(jax.devices()),
        "values": values(),
        "exact": gradients("exact") | gradients_outside(),
        "frozen": gradients("frozen"),
        "alone": alone(),
        "trajectories": trajectories(),
        "sums": sums(),
    }
    json.dump(found, sys.stdout)
