"""What the tasks of the family do to a loaded model before training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from zoo.core import hub, state
from zoo.core.data import sha256_of
from zoo.core.errors import UserError
from zoo.core.release import Release, read_release
from zoo.openmed_ner.convert import load_masked_lm
from zoo.openmed_ner.encoders.common import MaskedLM, TokenClassifier
from zoo.openmed_ner.lora import LoraConfig, drop_adapters, merge_adapters, placed_maps, updated
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
    """The folder of an adapter to begin from and the SHA-256 of its tensors.

    Args:
        name: a release, a domain adapter (task mlm) or another corpus's tagger, by name or folder, or a folder in PEFT's files.
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
        raise UserError(f"{folder} lacks {tensors.name}: name the release of an adapter, or a folder in PEFT's files")
    digest = sha256_of(tensors)
    if stated not in (None, digest):
        raise UserError(
            f"adapter {name} at {folder} has SHA-256 {digest[:12]}, {run} was trained on {str(stated)[:12]}: put that adapter there"
        )
    return folder, digest


def adapt(model: TokenClassifier, base: Path, base_sha256: str, adapter: Path) -> None:
    """Merge an adapter into the encoder of a token classifier, in place.

    Args:
        model: as loaded from the base.
        base: the base's folder.
        base_sha256: its digest.
        adapter: see :func:`find_adapter`.

    Raises:
        UserError: the adapter was trained on another base, or is none, or is not of the base's shape.
    """
    if (adapter / CONFIG).is_file():
        body = load_masked_lm(base, key=jax.random.key(0)).model
        load_adapter(adapter, body, head=False)
        merge_adapters(body)
        drop_adapters(body)
        model.encoder = body.encoder
        return
    release = _checked(adapter, base_sha256)
    lora = release.info.config["model"]["lora"]
    config = LoraConfig(lora["rank"], lora["alpha"], lora["dropout"], tuple(lora["targets"]))
    left = {name: x for name, x in release.tensors.items() if "/lora/" in name}
    for name, (place, linear) in placed_maps(model).items():
        if not config.matches(name):
            continue
        a, b = (left.pop(f"params/{place.replace('.', '/')}/lora/{side}", np.zeros((0, 0))) for side in "ab")
        n_in, n_out = linear.kernel.shape
        if (a.shape[0], *b.shape) != (n_in, a.shape[1], n_out):
            raise UserError(
                f"adapter {release.info.name}: {place} has {a.shape} and {b.shape} for a map {(n_in, n_out)}"
            )
        linear.kernel[...] = updated(linear, a, b, config.scale)
    if left:
        raise UserError(f"adapter {release.info.name}: no such map in this base: {', '.join(sorted(left)[:4])}")


def _checked(adapter: Path, base_sha256: str) -> Release:
    release = read_release(adapter)
    settings, name = release.info.config.get("model", {}), release.info.name
    if release.info.task not in ("mlm", "tag") or settings.get("train") != "lora":
        raise UserError(
            f"adapter {name} (task {release.info.task}, model.train={settings.get('train')}) holds no adapters: "
            "name a domain adapter or a tagger that was trained with model.train=lora"
        )
    if settings.get("base_sha256") != base_sha256:
        raise UserError(
            f"adapter {name} was trained on base {str(settings.get('base_sha256'))[:12]}, this one is {base_sha256[:12]}: "
            "choose an adapter of this base"
        )
    if settings.get("adapter") is not None:
        raise UserError(
            f"adapter {name} stands on another one, {settings['adapter']}: name one that was trained on the base alone"
        )
    return release
