"""The rows of ``zoo bench neural_de`` that one process measures with its number of threads (see benches.py).

Everything is float32 with the same weights and images at a tolerance of 1e-5. The floor of a forward solve is its evaluations times one
evaluation of the field; that of value and gradient is three times as much. torchdiffeq joins where the parity extra is installed.

With two threads the processor is two devices besides, each of which computes half of the batch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from zoo.core import machine
from zoo.core.bench import Timing, interleaved, print_rows, row
from zoo.core.mesh import AXIS, device_mesh, replicate, shard
from zoo.neural_de.memory import memory_rows, scalar
from zoo.neural_de.solve import solve

BATCH, SIZE, HIDDEN, TOLERANCE = 512, 784, 100, 1e-5
LOOP = 20
METHODS = {"dopri5": diffrax.Dopri5, "tsit5": diffrax.Tsit5}


def _weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(785, 100) and (101, 784) weights of a field that takes some tens of evaluations, and 512 images."""
    generator = np.random.default_rng(0)
    inner = generator.normal(size=(SIZE + 1, HIDDEN)) / np.sqrt(SIZE) * 3
    outer = generator.normal(size=(HIDDEN + 1, SIZE)) / np.sqrt(HIDDEN) * 2
    return inner.astype(np.float32), outer.astype(np.float32), generator.random((BATCH, SIZE)).astype(np.float32)


def _field(t: Any, y: jax.Array, weights: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The paper's field, time concatenated to both layers."""
    inner, outer = weights
    t = jnp.asarray(t, y.dtype)
    hidden = jnp.tanh(y @ inner[:-1] + t * inner[-1])
    return jnp.tanh(hidden @ outer[:-1] + t * outer[-1])


def all_rows() -> list[dict[str, Any]]:
    """Rows of forward solves and of value and gradient, for Dopri5 and Tsit5; then of memory and compilation."""
    inner, outer, images = _weights()
    weights, y0 = (jnp.asarray(inner), jnp.asarray(outer)), jnp.asarray(images)
    term = diffrax.ODETerm(_field)

    def rms(x: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.mean(x**2))

    controller = diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE, norm=rms)
    functions: dict[str, Callable[[], Any]] = {}
    evaluations: dict[str, int] = {}
    repeated = jax.jit(_repeated)
    functions["field"] = lambda: repeated(weights, y0)

    for name, method in METHODS.items():

        def ours(w: Any, y: Any, h_grad: Any = "exact", regularizers: Any = (), method: Any = method) -> Any:
            return solve(
                term, method(), 0.0, 1.0, None, y, w,
                stepsize_controller=controller, max_steps=256, throw=False, regularizers=regularizers, h_grad=h_grad,
            )  # fmt: skip

        def stock(w: Any, y: Any, method: Any = method) -> Any:
            return diffrax.diffeqsolve(
                term, method(), 0.0, 1.0, None, y, w, stepsize_controller=controller, max_steps=256, throw=False
            )

        forward = jax.jit(lambda w, y, f=ours: f(w, y).ys)
        stock_forward = jax.jit(lambda w, y, f=stock: f(w, y).ys)
        evaluations[name] = int(jax.jit(lambda w, y, f=ours: f(w, y).stats["nfe"])(weights, y0))
        functions[f"{name} forward"] = lambda f=forward: f(weights, y0)
        functions[f"{name} forward, diffrax"] = lambda f=stock_forward: f(weights, y0)
        for h_grad in ("exact", "frozen"):
            pull = jax.jit(jax.value_and_grad(lambda w, y, f=ours, h=h_grad: scalar(f(w, y, h, ("R_E",)))))
            functions[f"{name} gradient, {h_grad}"] = lambda f=pull: f(weights, y0)
        stock_pull = jax.jit(jax.value_and_grad(lambda w, y, f=stock: scalar(f(w, y))))
        functions[f"{name} gradient, diffrax"] = lambda f=stock_pull: f(weights, y0)
    if jax.device_count() > 1:
        functions |= _shared(weights, y0)
    peers = _torchdiffeq(inner, outer, images) if importlib.util.find_spec("torchdiffeq") else {}
    timing = interleaved({**functions, **peers}, repeats=9, settle=True)  # torchdiffeq gives back some 300 MB a call

    one = Timing(timing["field"].ms / LOOP, timing["field"].spread_ms / LOOP)
    rows = [row("one evaluation of the field, 512 x 784", one)]

    def over(name: str, label: str, key: str, floor: float, peer: str, peer_key: str) -> dict[str, Any]:
        text = f"{peer}, no regulariser" if "gradient" in key else peer
        return row(
            f"{name} {label}", timing[key], floor_ms=floor, peer=text, peer_timing=timing.get(peer_key),
            over_floor=round(timing[key].ms / floor, 3), nfe=evaluations[name],
        )  # fmt: skip

    for name in METHODS:
        floor = evaluations[name] * one.ms
        for kind, factor, variants in (
            ("forward", 1, {"forward": f"{name} forward"}),
            (
                "gradient",
                3,
                {f"value and gradient with R_E, {h}": f"{name} gradient, {h}" for h in ("exact", "frozen")},
            ),
        ):
            for label, key in variants.items():
                for peer, peer_key in (("diffrax", f"{name} {kind}, diffrax"), ("torchdiffeq", f"torch {kind}")):
                    if peer_key in timing and (peer == "diffrax" or name == "dopri5"):
                        rows.append(over(name, label, key, factor * floor, peer, peer_key))
    if jax.device_count() > 1:
        floor = evaluations["dopri5"] * timing["field, shared"].ms / LOOP
        shared = f"batch shared by {jax.device_count()} devices"
        for kind, label, factor in (("forward", "forward", 1), ("gradient", "value and gradient with R_E, exact", 3)):
            peer_key = f"torch {kind}"
            rows.append(
                over("dopri5", f"{label}, {shared}", f"{kind}, shared", factor * floor, "torchdiffeq", peer_key)
            )
    return rows + memory_rows(term, controller, weights, y0)


def _repeated(w: Any, y: Any) -> jax.Array:
    """LOOP evaluations of the field in one program: a call for each would add its dispatch to the floor."""
    return jax.lax.fori_loop(0, LOOP, lambda i, y: _field(i / LOOP, y, w), y)


def _shared(weights: tuple[jax.Array, jax.Array], y0: jax.Array) -> dict[str, Callable[[], Any]]:
    """Field, forward solve and gradient of Dopri5 where each device computes its share of the batch and all take the same steps."""
    mesh, whole, cut = device_mesh(), PartitionSpec(), PartitionSpec(AXIS)
    controller = diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE)

    def ours(w: Any, y: Any, regularizers: Any = ()) -> Any:
        return solve(
            diffrax.ODETerm(_field), diffrax.Dopri5(), 0.0, 1.0, None, y, w,
            stepsize_controller=controller, max_steps=256, throw=False, regularizers=regularizers, axis_name=AXIS,
        )  # fmt: skip

    def gradient(w: Any, y: Any) -> Any:
        share = jax.tree.map(lambda x: jax.lax.pcast(x, AXIS, to="varying"), w)
        found = jax.value_and_grad(lambda w: scalar(ours(w, y, ("R_E",))))(share)
        return jax.tree.map(lambda x: jax.lax.pmean(x, AXIS), found)

    place = partial(jax.shard_map, mesh=mesh, in_specs=(whole, cut))
    arguments = (replicate(weights, mesh), shard({"y0": y0}, mesh)["y0"])
    programs = {
        "field, shared": jax.jit(place(_repeated, out_specs=cut)),
        "forward, shared": jax.jit(place(lambda w, y: ours(w, y).ys, out_specs=cut)),
        "gradient, shared": jax.jit(place(gradient, out_specs=whole)),
    }
    return {name: partial(program, *arguments) for name, program in programs.items()}


def _torchdiffeq(inner: np.ndarray, outer: np.ndarray, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    """torchdiffeq's dopri5 on the same problem, with as many threads as JAX uses."""
    import torch  # pyright: ignore[reportMissingImports]
    from torchdiffeq import odeint  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(machine.threads())
    weights = [torch.tensor(w, requires_grad=True) for w in (inner, outer)]
    y0, times = torch.tensor(images), torch.tensor([0.0, 1.0])

    def field(t: Any, y: Any) -> Any:
        hidden = torch.tanh(y @ weights[0][:-1] + t * weights[0][-1])
        return torch.tanh(hidden @ weights[1][:-1] + t * weights[1][-1])

    def forward() -> None:
        with torch.no_grad():
            odeint(field, y0, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")

    def gradient() -> None:
        for w in weights:
            w.grad = None
        end = odeint(field, y0, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")[-1]
        (end**2).mean().backward()

    return {"torch forward": forward, "torch gradient": gradient}


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", machine.threads())
    print_rows(all_rows)
