"""A tiny fixed-step task for tests of the core: Euler's method on a two-layer field, with dropout so that keys matter.

Run as a program it trains in a folder, for tests that kill it: python tiny.py FOLDER [key=value ...]
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.core import distributed
from zoo.core.config import structure
from zoo.core.errors import ZooError
from zoo.core.precision import compute_in
from zoo.core.schema import BaseConfig
from zoo.core.task import Batch, Card, Family, Monitor, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyModel:
    width: int = 8
    dropout: float = 0.1
    freeze_first: bool = False
    dtype: Literal["float32", "float64"] = "float32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyData:
    size: int = 50
    poison: int = -1
    slow: float = 0.0
    dtype: Literal["float32", "float64"] = "float32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyConfig(BaseConfig):
    model: TinyModel
    data: TinyData


class Field(nnx.Module):
    def __init__(self, model: TinyModel, rngs: nnx.Rngs) -> None:
        dtype = jnp.dtype(model.dtype)
        self.first = nnx.Linear(3, model.width, param_dtype=dtype, rngs=rngs)
        self.second = nnx.Linear(model.width, 3, param_dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(model.dropout)

    def __call__(self, y: jax.Array, key: jax.Array | None) -> jax.Array:
        for i in range(2):
            hidden = jnp.tanh(self.first(y))
            if key is not None:
                hidden = self.dropout(hidden, deterministic=False, rngs=nnx.Rngs(jax.random.fold_in(key, i)))
            y = y + 0.5 * self.second(hidden)
        return y


class TinyRecords:
    def __init__(self, config: TinyData, split: Split) -> None:
        generator = np.random.default_rng({"train": 1, "valid": 2, "test": 3}[split])
        self.x = generator.normal(size=(config.size, 3)).astype(config.dtype)
        self.y = np.sin(self.x)
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
    precisions = ("float32", "bfloat16")

    def __init__(self, config: TinyConfig) -> None:
        self.config = config

    def init(self, key: jax.Array) -> Field:
        return Field(self.config.model, nnx.Rngs(key))

    def trainable(self) -> Any:
        if self.config.model.freeze_first:
            return nnx.All(nnx.Param, nnx.Not(nnx.PathContains("first")))
        return nnx.Param

    def records(self, split: Split) -> TinyRecords:
        return TinyRecords(self.config.data, split)

    def loss(self, model: Field, batch: Batch, *, step: jax.Array, key: jax.Array):
        use = key if self.config.model.dropout else None
        low, inputs = compute_in((model, dict(batch)["x"]), self.config.trainer.precision)
        error = jnp.mean((low(inputs, use).astype(batch["y"].dtype) - batch["y"]) ** 2, axis=-1)
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


FAMILY = Family(
    name="tiny",
    extra=None,
    title="a task for tests",
    config_types={"tiny": TinyConfig},
    build=TinyTask,
    card=lambda config: Card(data="random numbers", licence="none", limits=("It is a test.",)),
    predictor=lambda release: release,
    predict=lambda predictor, args: [],
)


def install_family(folder: Path) -> Path:
    """Make ``folder`` a place from which Python finds the tiny family, and return a config folder with its experiment."""
    facts = folder / "tiny_family-0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-family\nVersion: 0\n")
    (facts / "entry_points.txt").write_text("[zoo.families]\ntiny = tiny:FAMILY\n")
    experiment = folder / "configs" / "experiment" / "tiny"
    experiment.mkdir(parents=True)
    (experiment / "run.yaml").write_text(
        """\
# @package _global_
family: tiny
task: tiny
name: tiny/run
trainer: {steps: 6, batch_size: 8, eval_every: 3, log_every: 1}
optimizer: {name: adam, learning_rate: 0.01}
logger: {tensorboard: false}
model: {width: 4, dropout: 0.0}
data: {size: 24}
"""
    )
    (experiment / "other.yaml").write_text((experiment / "run.yaml").read_text().replace("tiny/run", "tiny/other"))
    return folder / "configs"


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


def main(folder: str, changes: dict[str, Any], environment: dict[str, str], errors: str | None = None) -> None:
    """Train in ``folder``, in a process of its own; what it says goes to the file ``errors``."""
    from zoo.core.loop import Interrupted, fit

    os.environ.update(environment)
    if limit := environment.get("ZOO_TEST_FILE_LIMIT"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if "JAX_ENABLE_X64" in environment:  # the libraries may be loaded already
        jax.config.update("jax_enable_x64", environment["JAX_ENABLE_X64"] == "1")
    if errors is not None:
        handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)
    distributed.initialise()
    try:
        fit(TinyTask(tiny_config(folder, **changes)))
    except ZooError as error:
        print(f"zoo: {error}", file=sys.stderr, flush=True)
        if not isinstance(error, Interrupted):
            distributed.leave(error.exit_code)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[2:])
    main(sys.argv[1], {k: json.loads(v) for k, v in given.items()}, {})
