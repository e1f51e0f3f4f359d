"""``zoo bench core``: what the loop, a save and the input pipeline cost beside their floors."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.bench import Timing, interleaved, row


def core_rows() -> list[dict[str, Any]]:
    """Rows: the loop around a step of about 20 ms against the bare jitted step; a save and a load of 40 MB against a plain
    write and read of the bytes; the input pipeline against plain NumPy slicing."""
    return [*_loop_rows(), *_state_rows(), *_pipeline_rows()]


def _loop_rows() -> list[dict[str, Any]]:
    import jax
    import jax.numpy as jnp

    from zoo.core.batches import ShuffleSampler, training_batches
    from zoo.core.checkpoint import Ledger
    from zoo.core.loop import Clock
    from zoo.core.mesh import data_mesh, shard

    steps, size, batch = 40, 4096, 256
    records = _Vectors(size, 512)
    weight = jnp.asarray(np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32) / 23)

    @jax.jit
    def step(state: Any, frozen: Any, batch: Any, key: Any) -> Any:
        x = batch["x"]
        return jax.lax.fori_loop(0, 12, lambda _, y: jnp.tanh(y @ state), x).mean() * 0 + state, {}

    fixed = {"x": jnp.asarray(records.x[:batch]), "weight": jnp.ones(batch)}
    jax.block_until_ready(step(weight, None, fixed, None))
    mesh = data_mesh(batch)

    def bare() -> Any:
        state = weight
        for _ in range(steps):
            state, _ = step(state, None, fixed, None)
        return state

    def looped() -> Any:
        state, clock = weight, Clock(Ledger())
        for data in training_batches(records, ShuffleSampler(size, batch, 0), 0, steps):
            del data["index"]
            state, _ = clock.step(step, state, None, shard(data, mesh), None)
        clock.pause(state)
        return state

    timing = interleaved({"bare": bare, "loop": looped}, repeats=7)
    per = {k: Timing(t.ms / steps, t.spread_ms / steps) for k, t in timing.items()}
    return [
        row(
            "a training step in the loop",
            per["loop"],
            floor_ms=per["bare"].ms,
            peer="bare jitted step",
            peer_timing=per["bare"],
        )
    ]


def _state_rows() -> list[dict[str, Any]]:
    from zoo.core import state

    tensors = {f"layer{i}": np.random.default_rng(i).normal(size=(1000, 1000)).astype(np.float32) for i in range(10)}
    content = b"".join(t.tobytes() for t in tensors.values())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = iter(range(10**6))

        def plain_write() -> None:
            with (folder / f"plain-{next(count)}").open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        state.save(folder / "kept", tensors, {})
        (folder / "plain").write_bytes(content)
        size = sum(p.stat().st_size for p in (folder / "kept").iterdir())
        timing = interleaved(
            {
                "save": lambda: state.save(folder / f"s-{next(count)}", tensors, {}),
                "write": plain_write,
                "load": lambda: state.load(folder / "kept"),
                "read": lambda: (folder / "plain").read_bytes(),
            },
            repeats=5,
        )
    ratio = size / len(content)
    return [
        row(
            "save 40 MB",
            timing["save"],
            peer="write and fsync the bytes",
            peer_timing=timing["write"],
            size_ratio=round(ratio, 4),
        ),
        row("load 40 MB, hashes checked", timing["load"], peer="read the bytes", peer_timing=timing["read"]),
    ]


def _pipeline_rows() -> list[dict[str, Any]]:
    from zoo.core.batches import ShuffleSampler, training_batches

    records, steps, batch = _Vectors(60_000, 784), 100, 512
    sampler = ShuffleSampler(len(records), batch, 0)

    def ours() -> None:
        for _ in training_batches(records, sampler, 0, steps):
            pass

    def slicing() -> None:
        order = np.random.default_rng(0).permutation(len(records))
        for n in range(steps):
            records.x[order[(n * batch) % 50_000 :][:batch]]

    timing = interleaved({"ours": ours, "numpy": slicing}, repeats=5)
    per = {k: Timing(t.ms / steps, t.spread_ms / steps) for k, t in timing.items()}
    return [row("a batch of 512 x 784 from the pipeline", per["ours"], peer="NumPy slicing", peer_timing=per["numpy"])]


class _Vectors:
    """Random vectors, as records."""

    def __init__(self, count: int, width: int) -> None:
        self.x = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"x": self.x[indices]}

    def fingerprint(self) -> str:
        return "random"
