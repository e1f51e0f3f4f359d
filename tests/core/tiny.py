"""A tiny fixed-step task for tests of the core: Euler's method on a two-layer field, with dropout so that keys matter.

Run as a program it trains in a folder, for tests that kill it: python tiny.py FOLDER [key=value ...]
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.core.config import structure
from zoo.core.schema import BaseConfig
from zoo.core.task import Batch, Monitor, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyModel:
    width: int = 8
    dropout: float = 0.1
    freeze_first: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyData:
    size: int = 50
    poison: int = -1
    slow: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyConfig(BaseConfig):
    model: TinyModel
    data: TinyData


class Field(nnx.Module):
    def __init__(self, width: int, dropout: float, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(3, width, rngs=rngs)
        self.second = nnx.Linear(width, 3, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, y: jax.Array, key: jax.Array | None) -> jax.Array:
        for i in range(4):
            hidden = jnp.tanh(self.first(y))
            if key is not None:
                hidden = self.dropout(hidden, deterministic=False, rngs=nnx.Rngs(jax.random.fold_in(key, i)))
            y = y + 0.25 * self.second(hidden)
        return y


class TinyRecords:
    def __init__(self, config: TinyData, split: Split) -> None:
        generator = np.random.default_rng({"train": 1, "valid": 2, "test": 3}[split])
        self.x = generator.normal(size=(config.size, 3)).astype(np.float32)
        self.y = np.sin(self.x).astype(np.float32)
        if split == "train" and config.poison >= 0:
            self.x[config.poison] = np.nan
        self.slow = config.slow

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(self.slow)
        return {"x": self.x[indices], "y": self.y[indices]}

    def fingerprint(self) -> str:
        return hashlib.sha256(self.x.tobytes() + self.y.tobytes()).hexdigest()[:16]


class TinyTask:
    monitor = Monitor("loss", "min")

    def __init__(self, config: TinyConfig) -> None:
        self.config = config

    def init(self, key: jax.Array) -> Field:
        return Field(self.config.model.width, self.config.model.dropout, nnx.Rngs(key))

    def trainable(self) -> Any:
        if self.config.model.freeze_first:
            return nnx.All(nnx.Param, nnx.Not(nnx.PathContains("first")))
        return nnx.Param

    def records(self, split: Split) -> TinyRecords:
        return TinyRecords(self.config.data, split)

    def loss(self, model: Field, batch: Batch, *, step: jax.Array, key: jax.Array):
        use = key if self.config.model.dropout else None
        error = jnp.mean((model(batch["x"], use) - batch["y"]) ** 2, axis=-1)
        weight = batch["weight"].astype(error.dtype)
        return jnp.sum(error * weight) / jnp.sum(weight), {"step_seen": step}

    def evaluate(self, model: Field, batch: Batch) -> jax.Array:
        return jnp.mean((model(batch["x"], None) - batch["y"]) ** 2, axis=-1)

    def summarise(self, outputs: Iterable[tuple[Batch, Any]]) -> dict[str, float]:
        total = count = 0.0
        for batch, error in outputs:
            total += float((batch["weight"] * error).sum())
            count += float(batch["weight"].sum())
        return {"loss": total / count, "count": count}


def tiny_config(folder: Path | str, **changes: Any) -> TinyConfig:
    """The tiny experiment in ``folder``; ``changes`` are dotted keys with ``__`` for the dot."""
    plain: dict[str, Any] = {
        "family": "tiny", "task": "tiny", "name": "tiny/run", "seed": 0, "run": {"dir": str(folder)},
        "trainer": {"steps": 30, "batch_size": 8, "eval_every": 5, "checkpoint_every": 5, "log_every": 1},
        "optimizer": {"name": "adam", "learning_rate": 0.01}, "logger": {"tensorboard": False}, "model": {}, "data": {},
    }  # fmt: skip
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = plain
        for section in sections:
            place = place[section]
        place[last] = value
    return structure(plain, TinyConfig)


if __name__ == "__main__":
    from zoo.core.loop import fit

    given = dict(argument.split("=", 1) for argument in sys.argv[2:])
    fit(TinyTask(tiny_config(sys.argv[1], **{k: json.loads(v) for k, v in given.items()})))
