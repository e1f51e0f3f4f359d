"""The one contract between the shared core and a family."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import argparse

    import jax
    import numpy as np
    from flax import nnx

    from zoo.core.release import Release
    from zoo.core.schema import BaseConfig
    from zoo.core.tables import Table

# Named arrays that share their leading axis, the examples; the loop adds "weight" and "index" to each.
Batch = Mapping[str, Any]


class Split(enum.StrEnum):
    """The three parts of a data set. Choices are made on ``valid``; ``test`` is only reported."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


@dataclass(frozen=True)
class Monitor:
    """The evaluation metric that chooses the best state, and which way is better."""

    metric: str
    mode: Literal["min", "max"] = "min"

    def better(self, value: float, than: float | None) -> bool:
        if not math.isfinite(value):
            return False
        return than is None or (value < than if self.mode == "min" else value > than)


@runtime_checkable
class Records(Protocol):
    """Random access to the examples of one split."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The examples at ``indices`` (int64, shape (batch,)) as named arrays with a common leading axis.

        Arrays may be padded to one of a few shapes; each new shape compiles once.
        """
        ...

    def fingerprint(self) -> str:
        """A hash of the content: a resumed run refuses other data."""
        ...


@runtime_checkable
class Task(Protocol):
    """A model, its data and its loss, as the training loop sees them.

    All functions of the model are pure: no state besides parameters, and randomness only through ``key``. The loss of a
    batch is the mean over its examples, with ``batch["weight"]`` (float32, shape (batch,)) as their weights: rows of weight
    0 are padding and must change nothing.

    A task may also have, for what else the core does by itself:

    - ``sampler(count, batch_size, seed)``: which examples each step takes (default: ``ShuffleSampler``);
    - ``precisions``: the values of ``trainer.precision`` that it stands (default: float32 alone);
    - ``reported``: the splits whose metrics a release states (default: all three);
    - ``run_facts(seconds)``: further numbers of a run for its card, by the seconds it took;
    - ``seen()``: sentences for the card's limits that only the training set can tell;
    - ``not_finite(logs)``: of a step whose loss or gradient is not finite, by what it logged: cause and mend as the beginning of a
      sentence, or None where the task knows no better than the core.
    """

    config: Any  # the family's own subclass of BaseConfig
    monitor: Monitor

    def init(self, key: jax.Array) -> nnx.Module:
        """A freshly initialised model."""
        ...

    def trainable(self) -> Any:
        """The nnx filter of what is trained, nnx.Param for all parameters; the rest is frozen and saved once."""
        ...

    def records(self, split: Split) -> Records:
        """The examples of ``split``."""
        ...

    def loss(
        self, model: Any, batch: Batch, *, step: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The scalar loss of a training batch and scalars to log (each a mean over the batch).

        Args:
            model: the module to evaluate.
            batch: the family's arrays and ``weight``.
            step: int32 scalar, counted from 0, for schedules of coefficients.
            key: the step's own random key.
        """
        ...

    def evaluate(self, model: Any, batch: Batch) -> Any:
        """A PyTree of arrays for one evaluation batch, computed on the device; no randomness."""
        ...

    def summarise(self, outputs: Iterable[tuple[Batch, Any]]) -> dict[str, float]:
        """The metrics of a split from its batches and what :meth:`evaluate` gave for each, on the host."""
        ...


@runtime_checkable
class HasConstants(Protocol):
    """A task whose model needs what was measured on the training set: a release carries it, so that use needs no data."""

    def constants(self) -> dict[str, np.ndarray]:
        """Named arrays that a release holds besides the parameters."""
        ...

    def restore(self, constants: Mapping[str, np.ndarray]) -> None:
        """Take a release's constants, before anything else is asked of the task."""
        ...


@dataclass(frozen=True)
class Card:
    """What a family adds to the card of a release it trained."""

    data: str
    licence: str
    limits: tuple[str, ...]
    summary: str = ""


@dataclass(frozen=True)
class Family:
    """What a family package answers, registered under the entry-point group ``zoo.families``.

    Attributes:
        name: the package's name and the first half of its releases' names.
        extra: the pip extra that brings what it needs beyond the base install, or None.
        title: one line for ``zoo list``.
        config_types: the config dataclass of each task, by the config's ``task``.
        build: makes the Task of a typed config.
        card: what the card of a release says of data, licence and limits.
        predictor: what ``zoo.load`` returns for a release.
        predict: ``zoo predict``: (predictor, parsed arguments) -> JSON-ready rows, or text that is printed as it is.
        predict_arguments: adds the family's own options to the parser of ``zoo predict``.
        tables: the tables ``zoo reproduce`` makes, by name without the family.
        benches: what ``zoo bench`` measures, by name.
        measures: timings that ``zoo reproduce`` adds, of several releases interleaved: releases -> {metric: value} for each.
    """

    name: str
    extra: str | None
    title: str
    config_types: Mapping[str, type[BaseConfig]]
    build: Callable[[Any], Task]
    card: Callable[[Any], Card]
    predictor: Callable[[Release], Any]
    predict: Callable[[Any, argparse.Namespace], list[dict[str, Any]] | str]
    predict_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    tables: Mapping[str, Callable[[], Table]] = field(default_factory=dict)
    benches: Mapping[str, Callable[..., list[dict[str, Any]]]] = field(default_factory=dict)
    measures: Callable[[Sequence[Release]], list[dict[str, float]]] = lambda releases: [{} for _ in releases]

    def config_type(self, task: str) -> type[BaseConfig]:
        """The config dataclass of ``task``; ConfigError with the nearest name for an unknown one."""
        from zoo.core.config import nearest
        from zoo.core.errors import ConfigError

        if task not in self.config_types:
            known = ", ".join(self.config_types)
            raise ConfigError(
                f"task={task!r} is not one of family {self.name}{nearest(task, self.config_types)} (known: {known})"
            )
        return self.config_types[task]
