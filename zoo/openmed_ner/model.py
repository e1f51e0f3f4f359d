"""What the tasks of the family do to a loaded model before training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from zoo.core import hub, state
from zoo.core.data import sha256_of
from zoo.core.errors import UserError
from zoo.core.release import read_release
from zoo.openmed_ner.convert import load_masked_lm
from zoo.openmed_ner.encoders.common import MaskedLM, TokenClassifier
from zoo.openmed_ner.lora import LoraConfig, add_adapters, drop_adapters, merge_adapters, trainable
from zoo.openmed_ner.peft_files import CONFIG, TENSORS, load_adapter


def set_dropout(model: TokenClassifier | MaskedLM, rate: float) -> None:
    """Replace every dropout of the base's own; adapters keep theirs."""
    config = dataclasses.replace(model.config, hidden_dropout_prob=rate, attention_probs_dropout_prob=rate)
    modules: list[Any] = [node for _, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)]
    for module in modules:
        if isinstance(getattr(module, "config", None), type(config)):
            module.config = config
        elif hasattr(module, "rate"):
            module.rate = rate


def find_adapter(name: str, stated: str | None, run: str) -> tuple[Path, str]:
    """The folder of a domain adapter and the SHA-256 of its tensors.

    Args:
        name: a release (task mlm) by name or folder, or a folder in PEFT's files.
        stated: the digest that a configuration states, or None before training.
        run: the run or release, for the message.

    Raises:
        UserError: there is none of this name, or it has other bytes than ``stated``.
    """
    folder = Path(name).expanduser()
    tensors = folder / TENSORS
    if not (folder / CONFIG).is_file():
        folder = hub.resolve(name)
        tensors = folder / state.WEIGHTS
    if not tensors.is_file():
        raise UserError(
            f"{folder} lacks {tensors.name}: name the release of a domain adapter, or a folder in PEFT's files"
        )
    digest = sha256_of(tensors)
    if stated not in (None, digest):
        raise UserError(
            f"adapter {name} at {folder} has SHA-256 {digest[:12]}, {run} was trained on {str(stated)[:12]}: put that adapter there"
        )
    return folder, digest


def adapted_encoder(base: Path, base_sha256: str, adapter: Path) -> Any:
    """The encoder of a base with a domain adapter merged into it.

    Args:
        base: the base's folder.
        base_sha256: its digest.
        adapter: see :func:`find_adapter`.

    Raises:
        UserError: the adapter was trained on another base, or is none.
    """
    model: MaskedLM = load_masked_lm(base, key=jax.random.key(0)).model
    if (adapter / CONFIG).is_file():
        load_adapter(adapter, model)
    else:
        model = _released_adapter(model, base_sha256, adapter)
    merge_adapters(model)
    drop_adapters(model)
    return model.encoder


def _released_adapter(model: MaskedLM, base_sha256: str, adapter: Path) -> MaskedLM:
    release = read_release(adapter)
    settings = release.info.config.get("model", {})
    if release.info.task != "mlm" or settings.get("train") != "lora":
        raise UserError(
            f"adapter {release.info.name} is of task {release.info.task}: name a domain adapter, of task mlm with model.train=lora"
        )
    if settings.get("base_sha256") != base_sha256:
        raise UserError(
            f"adapter {release.info.name} was trained on base {str(settings.get('base_sha256'))[:12]}, this one is {base_sha256[:12]}: "
            "choose an adapter of this base"
        )
    lora = settings["lora"]
    config = LoraConfig(lora["rank"], lora["alpha"], lora["dropout"], tuple(lora["targets"]))
    add_adapters(model, config, jax.random.key(0))
    graphdef, template, rest = nnx.split(model, trainable(), ...)
    params = state.unflatten({"params": template}, release.tensors, what=str(adapter))["params"]
    return nnx.merge(graphdef, params, rest)
