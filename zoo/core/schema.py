"""The configuration keys that every family has: seed, run, trainer, optimizer, logger."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal


def require(ok: bool, text: str) -> None:
    """Refuse an impossible value; ``text`` starts with the field's name and says the limit and the mend."""
    if not ok:
        raise ValueError(text)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run lives. A run started again in a folder that holds a state goes on from it."""

    dir: str

    def __post_init__(self) -> None:
        require(self.dir.strip() != "", "dir is empty: name a folder")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """The training loop's settings.

    ``batch_size`` is the number of examples of one optimiser step, over all devices; ``accumulate`` splits it into that many
    micro-batches whose gradients are averaged. ``ema`` is the decay of the averaged parameters (0: off), which are then
    the ones evaluated and released. ``nan`` says what a loss or gradient that is not finite does: ``stop`` the run with the
    last good state kept, or ``skip`` the step and count it. ``patience`` counts evaluations without improvement (0: off).
    ``release`` says which parameters are released: those of the ``last`` step or those ``best`` on the validation data.
    ``precision`` is what the loss computes in, where the task allows it; parameters and optimiser stay float32.
    ``profile_steps`` steps are traced into ``<run>/profile`` (0: none).
    """

    steps: int
    batch_size: int
    eval_every: int
    checkpoint_every: int
    log_every: int = 50
    eval_batch_size: int = 512
    grad_clip: float | None = None
    ema: float = 0.0
    nan: Literal["stop", "skip"] = "stop"
    accumulate: int = 1
    patience: int = 0
    release: Literal["best", "last"] = "best"
    keep: int = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    profile_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_every", "checkpoint_every", "log_every", "eval_batch_size", "keep"):
            value = getattr(self, name)
            require(value >= 1, f"{name}={value}: it must be at least 1")
        require(self.accumulate >= 1, f"accumulate={self.accumulate}: it must be at least 1")
        require(
            self.batch_size % self.accumulate == 0,
            f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}: choose a divisor",
        )
        clip = self.grad_clip
        require(clip is None or clip > 0, f"grad_clip={clip}: it must be above 0, or null for no clipping")
        require(0 <= self.ema < 1, f"ema={self.ema}: a decay lies in [0, 1); 0 switches it off")
        require(self.patience >= 0, f"patience={self.patience}: it must be at least 0 (0 switches it off)")
        require(self.profile_steps >= 0, f"profile_steps={self.profile_steps}: it must be at least 0")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """An optax optimiser and its learning-rate schedule, by name.

    Schedules (n = step after the warm-up, N = steps left after it): ``constant``; ``cosine`` and ``linear`` fall to
    ``final_fraction`` of the learning rate at the last step; ``exponential`` multiplies by ``decay`` over the whole run, smoothly;
    ``inverse`` is learning_rate / (1 + decay * n). ``warmup_steps`` rise linearly from 0.
    """

    name: Literal["sgd", "momentum", "adam", "adamw", "adamax", "adabelief", "lion"]
    learning_rate: float
    schedule: Literal["constant", "cosine", "linear", "exponential", "inverse"] = "constant"
    warmup_steps: int = 0
    decay: float = 0.0
    final_fraction: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, f"learning_rate={self.learning_rate}: it must be above 0")
        require(self.warmup_steps >= 0, f"warmup_steps={self.warmup_steps}: it must be at least 0")
        require(self.weight_decay >= 0, f"weight_decay={self.weight_decay}: it must be at least 0")
        require(self.eps > 0, f"eps={self.eps}: it must be above 0")
        require(0 <= self.final_fraction <= 1, f"final_fraction={self.final_fraction}: it lies in [0, 1]")
        for name in ("momentum", "b1", "b2"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name}={value}: it lies in [0, 1)")
        if self.schedule == "exponential":
            require(0 < self.decay <= 1, f"decay={self.decay}: with schedule=exponential it lies in (0, 1]")
        elif self.schedule == "inverse":
            require(self.decay > 0, f"decay={self.decay}: with schedule=inverse it must be above 0")
        else:
            require(self.decay == 0, f"decay={self.decay} has no effect with schedule={self.schedule}: remove it")
        if self.weight_decay and self.name not in ("adamw", "lion"):
            require(False, f"weight_decay={self.weight_decay} has no effect with name={self.name}: use adamw or lion")


@dataclass(frozen=True, kw_only=True)
class WandbConfig:
    """Where in Weights & Biases the metrics go; ``offline`` writes files to upload later."""

    project: str
    entity: str | None = None
    mode: Literal["online", "offline"] = "online"

    def __post_init__(self) -> None:
        require(self.project.strip() != "", "project is empty: name a W&B project")


@dataclass(frozen=True, kw_only=True)
class LoggerConfig:
    """What is written beside metrics.jsonl, which always is."""

    tensorboard: bool = True
    wandb: WandbConfig | None = None


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """The root of every experiment; a family's own root adds ``model``, ``data`` and what else it needs."""

    family: str
    task: str
    name: str
    seed: int
    run: RunConfig
    trainer: TrainerConfig
    optimizer: OptimizerConfig
    model: Any
    data: Any
    logger: LoggerConfig = field(default_factory=LoggerConfig)

    def __post_init__(self) -> None:
        require(
            re.fullmatch(rf"{re.escape(self.family)}/[a-z0-9_-][a-z0-9._-]*", self.name) is not None
            and ".." not in self.name,
            f"name={self.name!r}: it becomes the release's name, {self.family}/<name> of a-z, 0-9, '_', '-' and '.'",
        )
        require(self.seed >= 0, f"seed={self.seed}: it must be at least 0")
        require(self.seed < 2**32, f"seed={self.seed}: it must be below 2**32")
        warmup, steps = self.optimizer.warmup_steps, self.trainer.steps
        require(
            warmup < steps,
            f"optimizer.warmup_steps={warmup} is not below trainer.steps={steps}: the warm-up must end within the run",
        )
