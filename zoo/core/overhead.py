"""``zoo bench core``: what the loop, a save and the input pipeline cost beside their floors."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.bench import Timing, interleaved, row, summary

STEP_MS, STEPS, WARM, ROUNDS = 20.0, 60, 12, 7


def core_rows() -> list[dict[str, Any]]:
    """Rows: the loop around a step of about 20 ms against the bare jitted step; a save and a load of 40 MB against a plain
    write and read of the bytes; the input pipeline against plain NumPy slicing."""
    return [*_loop_rows(), *_state_rows(), *_pipeline_rows()]


def _loop_rows() -> list[dict[str, Any]]:
    """fit() itself, stamped where it asks for batches, in turn with the same jitted step in a bare Python loop."""
    import jax
    from flax import nnx

    from zoo.core.loop import fit
    from zoo.core.optim import optimizer
    from zoo.core.progress import quiet
    from zoo.core.step import initial_state, make_step

    depth = _Work.depth_of(STEP_MS)
    ours, bare, processor = [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder, quiet():
            task = _Work(folder, depth)
            fit(task)
        seconds, busy = task.seconds_a_step()
        ours.append(1e3 * seconds)
        graphdef, params, frozen = nnx.split(task.init(jax.random.key(0)), nnx.Param, ...)
        tx = optimizer(task.config.optimizer, task.config.trainer)
        state, step = initial_state(params, tx, task.config.trainer), make_step(task, graphdef, tx)
        batch = jax.device_put(task.batch())
        state, _ = jax.block_until_ready(step(state, frozen, batch, jax.random.key(0)))
        began, busy_before = time.perf_counter(), time.process_time()
        for _ in range(STEPS):
            state, _ = step(state, frozen, batch, jax.random.key(0))
        jax.block_until_ready(state)
        bare.append(1e3 * (time.perf_counter() - began) / STEPS)
        processor.append(busy * STEPS / (time.process_time() - busy_before))
    pairs = [a / b for a, b in zip(ours, bare)]
    return [
        row(
            f"a training step in the loop, the median of {ROUNDS} runs of {STEPS} steps",
            summary(ours),
            floor_ms=summary(bare).ms,
            peer="bare jitted step",
            peer_timing=summary(bare),
            overhead_percent=round(100 * (statistics.median(pairs) - 1), 2),
            # All threads, the pipeline's included: an upper bound that a busy machine does not blur.
            overhead_cpu_percent=round(100 * (statistics.median(processor) - 1), 2),
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


class _Work:
    """A task whose step takes as long as asked: a chain of matrix products; its sampler notes when the loop asks for batches."""

    precisions = ("float32",)

    def __init__(self, folder: str, depth: int) -> None:
        from zoo.core.config import structure
        from zoo.core.schema import BaseConfig
        from zoo.core.task import Monitor

        steps = STEPS + WARM
        self.depth, self.monitor, self._asked = depth, Monitor("loss"), np.zeros((steps, 2))
        self.config = structure(
            {
                "family": "bench", "task": "work", "name": "bench/work", "seed": 0, "run": {"dir": folder}, "model": None, "data": None,
                "trainer": {"steps": steps, "batch_size": 256, "eval_every": steps, "checkpoint_every": steps, "log_every": 10},
                "optimizer": {"name": "adam", "learning_rate": 1e-3}, "logger": {"tensorboard": True},
            },
            BaseConfig,
        )  # fmt: skip
        self._records = _Vectors(4096, 512)

    @classmethod
    def depth_of(cls, milliseconds: float) -> int:
        """How many products make a step of about ``milliseconds`` here."""
        import jax
        import jax.numpy as jnp

        x = jnp.ones((256, 512))
        product = jax.jit(lambda x, w: jax.lax.fori_loop(0, 30, lambda _, y: jnp.tanh(y @ w), x))
        weight = jnp.ones((512, 512)) / 512
        took = interleaved({"x": lambda: product(x, weight)}, repeats=9)["x"].ms / 30
        return max(1, round(milliseconds / (3 * took)))  # forward, and twice as much backward

    def init(self, key: Any) -> Any:
        from flax import nnx

        return nnx.Linear(512, 512, rngs=nnx.Rngs(key))

    def trainable(self) -> Any:
        from flax import nnx

        return nnx.Param

    def records(self, split: Any) -> Any:
        return self._records

    def batch(self) -> dict[str, np.ndarray]:
        return {**self._records.take(np.arange(256)), "weight": np.ones(256, np.float32)}

    def sampler(self, size: int, batch_size: int, seed: int) -> Any:
        from zoo.core.batches import ShuffleSampler

        inner = ShuffleSampler(size, batch_size, seed)

        def stamped(step: int) -> np.ndarray:
            self._asked[step] = time.perf_counter(), time.process_time()
            return inner(step)

        return stamped

    def seconds_a_step(self) -> tuple[float, float]:
        """Wall-clock and processor seconds: the pipeline is a fixed number of batches ahead, so the loop asks as often as it
        steps once the queue is full."""
        wall, busy = (self._asked[-1] - self._asked[WARM]) / (len(self._asked) - 1 - WARM)
        return float(wall), float(busy)

    def loss(self, model: Any, batch: Any, *, step: Any, key: Any) -> Any:
        import jax
        import jax.numpy as jnp

        y = jax.lax.scan(lambda y, _: (jnp.tanh(model(y)), None), batch["x"], None, length=self.depth)[0]
        return jnp.mean(y**2), {}

    def evaluate(self, model: Any, batch: Any) -> Any:
        return batch["weight"]

    def summarise(self, outputs: Any) -> dict[str, float]:
        return {"loss": float(sum(weight.sum() for _, weight in outputs))}
