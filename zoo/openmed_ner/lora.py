"""Low-rank adapters (Hu et al. 2021): W x + (alpha / r) B A x with W frozen and A, B trained.

Adapters hang on the linear maps of an encoder, so the base's leaves keep their names. The trained part of a model is an
nnx filter: :func:`trainable`, used for gradients, optimiser and files alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from zoo.core.errors import UserError
from zoo.openmed_ner.encoders import architecture
from zoo.openmed_ner.encoders.adapter import Adapter, LoRAParam
from zoo.openmed_ner.encoders.common import MaskedLM, TokenClassifier
from zoo.openmed_ner.encoders.layers import Linear

# Attention only: with the feed-forward maps the trained share passes the paper's 1.5 %.
ATTENTION = ("query", "key", "value", "attention.output.dense")


@dataclass(frozen=True)
class LoraConfig:
    """The paper's settings by default (section 1: r 16, alpha 32, dropout 0.05, attention layers).

    Attributes:
        rank: r.
        alpha: the update is scaled by alpha / r (alpha / sqrt(r) with ``rank_stabilised``).
        dropout: of the adapter's input, in training.
        targets: the maps that get an adapter, by Hugging Face name: equal to it, or its end after a dot. One string is
            a regular expression for the whole name. The rule is PEFT's.
        rank_stabilised: PEFT's ``use_rslora``.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: tuple[str, ...] | str = ATTENTION
    rank_stabilised: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"lora rank={self.rank}: it must be at least 1")
        if self.alpha <= 0:
            raise UserError(f"lora alpha={self.alpha}: it must be above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"lora dropout={self.dropout}: it lies in [0, 1)")
        if not self.targets:
            raise UserError("lora targets are empty: name at least one linear map, for example query")

    @property
    def scale(self) -> float:
        """The factor of the update."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def matches(self, name: str) -> bool:
        """Whether the linear map that Hugging Face calls ``name`` gets an adapter."""
        if isinstance(self.targets, str):
            return re.fullmatch(self.targets, name) is not None
        return any(name == target or name.endswith(f".{target}") for target in self.targets)


def linear_maps(model: TokenClassifier | MaskedLM) -> dict[str, Linear]:
    """The linear maps of the encoder by their Hugging Face names, ``bert.encoder.layer.0.attention.self.query`` for example."""
    return {name: module for name, (_, module) in placed_maps(model).items()}


def placed_maps(model: TokenClassifier | MaskedLM) -> dict[str, tuple[str, Linear]]:
    """The same with the place of each in the module, ``encoder.layers.0.query`` for example."""
    arch = architecture(model.config.model_type)
    found = {}
    for row in arch.rows(model.config, model.kind):
        if row.path.startswith("encoder.") and row.path.endswith(".kernel"):
            place = row.path.removesuffix(".kernel")
            module: Any = model
            for part in place.split("."):
                module = module[int(part)] if part.isdigit() else getattr(module, part)
            if isinstance(module, Linear):
                found[row.source.removesuffix(".weight")] = place, module
    return found


def adapters(model: TokenClassifier | MaskedLM) -> dict[str, Adapter]:
    """The attached adapters by the Hugging Face name of their map."""
    return {name: m.lora for name, m in linear_maps(model).items() if isinstance(m.lora, Adapter)}


def add_adapters(model: TokenClassifier | MaskedLM, config: LoraConfig, key: jax.Array) -> list[str]:
    """Attach fresh adapters in place and return the names of their maps.

    Raises:
        UserError: a target names no linear map of the encoder, or the model has adapters already.
    """
    maps = linear_maps(model)
    if adapters(model):
        raise UserError("the model already carries adapters: merge and drop them before adding others")
    if isinstance(config.targets, tuple):
        lost = [t for t in config.targets if not any(n == t or n.endswith(f".{t}") for n in maps)]
    else:
        lost = [] if any(map(config.matches, maps)) else [config.targets]
    if lost:
        layer = [n.split(".0.", 1)[1] for n in maps if ".0." in n]
        have = ", ".join(layer)
        raise UserError(f"lora targets {', '.join(lost)}: no such linear map in the encoder (a layer has {have})")
    chosen = [name for name in maps if config.matches(name)]
    for name, this in zip(chosen, jax.random.split(key, len(chosen))):
        n_in, n_out = maps[name].kernel.shape
        maps[name].lora = Adapter(n_in, n_out, rank=config.rank, scale=config.scale, rate=config.dropout, key=this)
    return chosen


def merge_adapters(model: TokenClassifier | MaskedLM) -> None:
    """Add every update to its frozen matrix in place; the adapters stay: :func:`unmerge_adapters` undoes it."""
    for linear, adapter in _pairs(model):
        if not adapter.merged:
            linear.kernel[...] = updated(linear, adapter.a[...], adapter.b[...], adapter.scale)
            adapter.merged = True


def updated(linear: Linear, a: ArrayLike, b: ArrayLike, scale: float) -> jax.Array:
    """W + scale A B of a map, (n_in, n_out).

    On the host: a program for each shape would take as long to compile as all else of a tagger's first answer.
    """
    kernel, a, b = (np.asarray(x) for x in (linear.kernel[...], a, b))
    return jax.device_put(kernel + np.float32(scale) * (a @ b))


def unmerge_adapters(model: TokenClassifier | MaskedLM) -> None:
    """Undo :func:`merge_adapters`, up to the rounding of one addition and one subtraction."""
    for linear, adapter in _pairs(model):
        if adapter.merged:
            linear.kernel[...] = updated(linear, adapter.a[...], adapter.b[...], -adapter.scale)
            adapter.merged = False


def drop_adapters(model: TokenClassifier | MaskedLM) -> None:
    """Take the adapters off. What was not merged before is lost."""
    for linear, _ in _pairs(model):
        linear.lora = nnx.data(None)


def trainable(*, head: bool = True) -> Any:
    """The nnx filter of what is trained beside a frozen base: adapters and, with ``head``, the head."""
    return nnx.Any(LoRAParam, nnx.PathContains("head")) if head else LoRAParam


@dataclass(frozen=True)
class Share:
    """How much of a model is trained.

    Attributes:
        trained: number of trained parameters.
        total: number of all.
    """

    trained: int
    total: int

    @property
    def percent(self) -> float:
        """100 trained / total."""
        return 100.0 * self.trained / self.total

    def __str__(self) -> str:
        return f"{self.trained:,} of {self.total:,} parameters trained ({self.percent:.2f} %)"


def trainable_share(model: nnx.Module, chosen: Any = None) -> Share:
    """Count what the filter ``chosen`` (default: :func:`trainable`) picks among the parameters of ``model``."""
    picked, rest = nnx.state(model, trainable() if chosen is None else chosen), nnx.state(model, nnx.Param)
    return Share(*(sum(x.size for x in jax.tree.leaves(state)) for state in (picked, rest)))


def _pairs(model: TokenClassifier | MaskedLM) -> Iterator[tuple[Linear, Adapter]]:
    for linear in linear_maps(model).values():
        if isinstance(linear.lora, Adapter):
            yield linear, linear.lora
