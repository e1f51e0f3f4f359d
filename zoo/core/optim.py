"""optax optimisers and learning-rate schedules by the names of the configuration."""

from __future__ import annotations

from typing import Any

import optax

from zoo.core.schema import OptimizerConfig, TrainerConfig


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The learning rate of each step of a run of ``steps`` steps (see OptimizerConfig for the shapes)."""
    rate, after = config.learning_rate, max(steps - config.warmup_steps, 1)
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(rate, after, alpha=config.final_fraction)
    elif config.schedule == "linear":
        main = optax.linear_schedule(rate, rate * config.final_fraction, after)
    elif config.schedule == "exponential":
        main = optax.exponential_decay(rate, after, config.decay)
    elif config.schedule == "inverse":
        main = _inverse(rate, config.decay)
    else:
        main = optax.constant_schedule(rate)
    if not config.warmup_steps:
        return main
    warmup = optax.linear_schedule(0.0, rate, config.warmup_steps)
    return optax.join_schedules([warmup, main], [config.warmup_steps])


def _inverse(rate: float, decay: float) -> optax.Schedule:
    return lambda n: rate / (1.0 + decay * n)


def optimizer(config: OptimizerConfig, trainer: TrainerConfig) -> optax.GradientTransformation:
    """The gradient transformation: clipping by global norm if asked for, then the named optimiser."""
    rate = schedule(config, trainer.steps)
    adam: dict[str, Any] = {"b1": config.b1, "b2": config.b2, "eps": config.eps}
    match config.name:
        case "sgd":
            main = optax.sgd(rate)
        case "momentum":
            main = optax.sgd(rate, momentum=config.momentum, nesterov=config.nesterov)
        case "adam":
            main = optax.adam(rate, **adam)
        case "adamw":
            main = optax.adamw(rate, **adam, weight_decay=config.weight_decay)
        case "adamax":
            main = optax.adamax(rate, **adam)
        case "adabelief":
            main = optax.adabelief(rate, **adam)
        case "lion":
            main = optax.lion(rate, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay)
    return optax.chain(optax.clip_by_global_norm(trainer.grad_clip), main) if trainer.grad_clip else main
