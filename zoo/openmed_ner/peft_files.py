"""PEFT's adapter folders: adapter_config.json and adapter_model.safetensors, the head included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.core.errors import DamagedError, UserError, one_line
from zoo.openmed_ner.encoders import architecture
from zoo.openmed_ner.encoders.common import MaskedLM, Row, TokenClassifier, flatten
from zoo.openmed_ner.hf_folder import read_json, writing
from zoo.openmed_ner.lora import LoraConfig, adapters, add_adapters, drop_adapters

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
# Settings of PEFT that change the computation and that adapters here do not have; each with its neutral values.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "init_lora_weights": (
        True,
        False,
        "gaussian",
        "orthogonal",
        "eva",
        None,
    ),  # the others change the base's own weights
    "fan_in_fan_out": (False, None),
    "bias": ("none", None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layers_to_transform": (None, []),
    "layer_replication": (None, []),
    "exclude_modules": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, []),
    "lora_bias": (False, None),
    "alora_invocation_tokens": (None, []),
}


def save_adapter(
    folder: str | Path,
    model: TokenClassifier | MaskedLM,
    config: LoraConfig,
    *,
    base_name: str | None = None,
    tied_output: bool = True,
) -> None:
    """Write the adapters and the head of ``model`` as PEFT does.

    Args:
        folder: a new folder; it appears complete or not at all.
        model: carries adapters that are not merged.
        config: what they were made with.
        base_name: ``base_model_name_or_path``, what a reader loads the base by.
        tied_output: for a masked language model, write the output matrix too although it is the word embedding: PEFT asks
            for it (without it the file is small and PEFT refuses it).

    Raises:
        UserError: no adapters, merged ones, other settings than ``config``, or the folder exists.
    """
    from safetensors.numpy import save_file

    attached = adapters(model)
    if not attached:
        raise UserError("the model carries no adapters: nothing to save (save_model writes whole models)")
    for name, adapter in attached.items():
        if adapter.merged:
            raise UserError("the adapters are merged into the base: unmerge them before saving")
        if adapter.a.shape[1] != config.rank or adapter.scale != config.scale:
            raise UserError(
                f"adapter of {name} has rank {adapter.a.shape[1]} and scale {adapter.scale:g}, the configuration "
                f"{config.rank} and {config.scale:g}: save with the settings it was made with"
            )
    tensors: dict[str, np.ndarray] = {}
    for name, adapter in attached.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = np.ascontiguousarray(np.asarray(adapter.a[...]).T)
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = np.ascontiguousarray(np.asarray(adapter.b[...]).T)
    leaves = flatten(model)
    for row in _head_rows(model):
        value = np.asarray(leaves[row.path][...])
        value = np.ascontiguousarray(value.T) if row.transform == "transpose" else value
        tensors[_PREFIX + row.source] = value
    if isinstance(model, MaskedLM) and tied_output:
        for twin in architecture(model.config.model_type).tied:
            tensors[_PREFIX + twin] = _tied_value(model, twin)
    settings = {
        "peft_type": "LORA",
        "task_type": "TOKEN_CLS" if isinstance(model, TokenClassifier) else None,
        "base_model_name_or_path": base_name,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": config.targets if isinstance(config.targets, str) else list(config.targets),
        "use_rslora": config.rank_stabilised,
        "modules_to_save": sorted({row.source.split(".")[0] for row in _head_rows(model)}),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    with writing(folder) as work:
        save_file(tensors, work / TENSORS, metadata={"format": "pt"})
        (work / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_adapter_config(folder: str | Path) -> tuple[LoraConfig, Mapping[str, Any]]:
    """The settings of an adapter folder, typed and as they are.

    Raises:
        UserError: the file is absent, is no LoRA, or asks for what is not implemented.
    """
    raw = read_json(Path(folder) / CONFIG)
    where = f"{Path(folder) / CONFIG}"
    if raw.get("peft_type") != "LORA":
        raise UserError(f"{where}: peft_type={raw.get('peft_type')!r} is not implemented: only 'LORA' is")
    for name, neutral in _NEUTRAL.items():
        if raw.get(name) not in neutral:
            raise UserError(f"{where}: {name}={raw[name]!r} is not implemented: only {neutral[0]!r} is")
    targets = raw.get("target_modules")
    if not isinstance(targets, str | list) or not targets:
        raise UserError(f"{where}: target_modules={targets!r}: a name, a pattern or a list of names was expected")
    try:
        config = LoraConfig(
            rank=int(raw["r"]),
            alpha=float(raw["lora_alpha"]),
            dropout=float(raw.get("lora_dropout") or 0.0),
            targets=targets if isinstance(targets, str) else tuple(sorted(targets)),
            rank_stabilised=bool(raw.get("use_rslora")),
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = one_line(str(error))
        raise UserError(f"{where}: r, lora_alpha or lora_dropout is absent or no number ({reason})") from None
    return config, raw


def load_adapter(folder: str | Path, model: TokenClassifier | MaskedLM, *, head: bool = True) -> LoraConfig:
    """Attach the adapters of a folder to ``model`` in place and set its head.

    Args:
        folder: in PEFT's files.
        model: carries no adapters yet.
        head: False for the adapters alone; a head in the folder, of whatever task, is passed over.

    Raises:
        UserError: settings that are not implemented, tensors that do not fit the model, or a folder without the head,
            which would leave a random one in use without a word.
        DamagedError: the file is not valid safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    config, _ = read_adapter_config(folder)
    path = folder / TENSORS
    if not path.is_file():
        raise UserError(f"{path}: no such file: an adapter folder holds {CONFIG} and {TENSORS}")
    try:
        stored = {_plain(name): value for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise DamagedError(f"{path}: not valid safetensors ({one_line(str(error))}): get the file again") from None

    add_adapters(model, config, jax.random.key(0))
    attached, leaves = adapters(model), flatten(model)
    targets: dict[str, Any] = {}
    for name, adapter in attached.items():
        targets[f"{name}.lora_A.weight"] = (adapter.a, True)
        targets[f"{name}.lora_B.weight"] = (adapter.b, True)
    problems = []
    heads: dict[str, Any] = {}
    if head:
        heads = {row.source: (leaves[row.path], row.transform == "transpose") for row in _head_rows(model)}
        if not any(name in stored for name in heads):
            problems.append("the head is absent: save it with the adapter (modules_to_save)")
            heads = {}
    else:
        stored = {name: value for name, value in stored.items() if ".lora_" in name}
    values = {}
    for name, (leaf, transpose) in {**targets, **heads}.items():
        if name not in stored:
            problems.append(f"missing {name}")
            continue
        value = np.asarray(stored[name], np.float32)
        value = value.T if transpose else value
        if value.shape != leaf.shape:
            problems.append(f"{name} has shape {value.shape} where the model has {leaf.shape} (as stored here)")
        elif not np.isfinite(value).all():
            problems.append(f"{name} holds values that are not finite")
        values[name] = value
    known = {**targets, **heads}
    tied = architecture(model.config.model_type).tied if isinstance(model, MaskedLM) else {}
    for name in sorted(stored.keys() - known.keys()):
        if name not in tied:
            problems.append(f"unknown {name}")
        elif not np.array_equal(stored[name], values.get(tied[name], _tied_value(model, name))):
            problems.append(f"{name} differs from {tied[name]}: untied output weights are not implemented")
    if problems:
        drop_adapters(model)  # leave the model as it was
        raise UserError(f"{path} does not fit the model: {'; '.join(problems[:20])}")
    for name, (leaf, _) in known.items():
        leaf[...] = jnp.asarray(values[name])
    return config


def _head_rows(model: TokenClassifier | MaskedLM) -> list[Row]:
    arch = architecture(model.config.model_type)
    return [row for row in arch.rows(model.config, model.kind) if row.path.startswith("head.")]


def _tied_value(model: TokenClassifier | MaskedLM, name: str) -> np.ndarray:
    arch = architecture(model.config.model_type)
    source = arch.tied[name]
    path = next(row.path for row in arch.rows(model.config, "mlm") if row.source == source)
    return np.asarray(flatten(model)[path][...])


def _plain(name: str) -> str:
    """A tensor's name without PEFT's prefix, adapter name and wrapper of saved modules."""
    name = name.removeprefix(_PREFIX).replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")
    return name.replace(".lora_A.default.", ".lora_A.").replace(".lora_B.default.", ".lora_B.")
