"""Hugging Face weights to our modules and back: one table per architecture, checked in full before anything is used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx

from zoo.core.errors import UserError
from zoo.openmed_ner.encoders import architecture
from zoo.openmed_ner.encoders.common import Architecture, MaskedLM, Row, TokenClassifier, flatten
from zoo.openmed_ner.encoders.config import EncoderConfig
from zoo.openmed_ner.hf_folder import TensorFiles, copy_tokenizer, read_json, writing
from zoo.openmed_ner.labels import LabelMap

Kind = Literal["encoder", "token", "mlm"]
FLOATS = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True)
class LoadReport:
    """What loading did beyond copying.

    Attributes:
        dtypes: number of tensors by the dtype of the file; all become float32.
        passed_over: known tensors that the model has no place for (poolers, other heads).
        initialised: leaves that the file lacks and that were set at random: a new head.
    """

    dtypes: Mapping[str, int] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
    initialised: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A model read from a folder.

    Attributes:
        model: the module, float32.
        config: its typed configuration.
        raw: config.json as it was.
        labels: the label map of a token classifier, else None.
        report: what loading did.
        folder: where it came from.
    """

    model: Any
    config: EncoderConfig
    raw: Mapping[str, Any]
    labels: LabelMap | None
    report: LoadReport
    folder: Path


def load_token_classifier(
    folder: str | Path, labels: LabelMap | None = None, *, key: jax.Array | None = None
) -> Loaded:
    """Read a token classifier, or any model of a known architecture as the body of a new one.

    Args:
        folder: config.json and safetensors weights.
        labels: None for the labels and the head of the file; otherwise a new head for these is made from ``key``.
        key: random key of a new head.

    Raises:
        UserError: the folder has no head and ``labels`` is None, or weights and architecture do not match.
    """
    folder = Path(folder)
    raw, arch, config = _read_config(folder)
    files = TensorFiles(folder)
    head_there = all(row.source in files.names() for row in arch.token_rows)
    if labels is None:
        if not head_there:
            raise UserError(f"{folder}: no token-classification head in its weights: give labels for a new one")
        labels = LabelMap.from_config(raw, n_rows=files.read(arch.token_rows[-1].source).shape[0])
        key = None
    elif key is None:
        raise UserError("a new head needs a random key: give key")
    n = labels.size
    model = nnx.eval_shape(lambda: TokenClassifier(arch, config, n, rngs=nnx.Rngs(0)))
    report = _load(model, arch, config, "token", files, fresh_head=key is not None)
    if key is not None:
        model.head = arch.token_head(config, n, rngs=nnx.Rngs(params=key))
    return Loaded(model, config, raw, labels, report, folder)


def load_masked_lm(folder: str | Path, *, key: jax.Array | None = None) -> Loaded:
    """Read a masked language model; where the file has no such head a new one is made from ``key``.

    Raises:
        UserError: there is no head and no key, or weights and architecture do not match.
    """
    folder = Path(folder)
    raw, arch, config = _read_config(folder)
    files = TensorFiles(folder)
    if any(row.source in files.names() for row in arch.mlm_rows):
        key = None
    elif key is None:
        raise UserError(f"{folder}: no masked-language-model head in its weights: give a random key for a new one")
    model = nnx.eval_shape(lambda: MaskedLM(arch, config, rngs=nnx.Rngs(0)))
    report = _load(model, arch, config, "mlm", files, fresh_head=key is not None)
    if key is not None:
        model.head = arch.mlm_head(config, rngs=nnx.Rngs(params=key))
    return Loaded(model, config, raw, None, report, folder)


def check_length(folder: str | Path, length: int, key: str) -> None:
    """Refuse rows that are longer than a base has positions for.

    Args:
        folder: the base's.
        length: pieces of a row.
        key: what the configuration calls it.

    Raises:
        UserError: ``length`` is above the base's limit.
    """
    _, _, config = _read_config(Path(folder))
    if length > config.max_length:
        raise UserError(f"{key}={length}: the base at {folder} takes {config.max_length} pieces at most")


def load_encoder(folder: str | Path) -> Loaded:
    """Read the encoder alone, whatever head the file has."""
    folder = Path(folder)
    raw, arch, config = _read_config(folder)
    model = nnx.eval_shape(lambda: arch.encoder(config, rngs=nnx.Rngs(0)))
    report = _load(model, arch, config, "encoder", TensorFiles(folder), fresh_head=False)
    return Loaded(model, config, raw, None, report, folder)


def save_model(
    folder: str | Path,
    model: TokenClassifier | MaskedLM,
    *,
    raw: Mapping[str, Any] | None = None,
    labels: LabelMap | None = None,
    tokenizer_from: str | Path | None = None,
) -> None:
    """Write a folder that transformers loads: model.safetensors (float32), config.json, the tokenizer's files.

    Args:
        folder: a new folder; it appears complete or not at all.
        model: the module; adapters must have been merged and dropped.
        raw: config.json of the base, whose other keys are kept.
        labels: label map of a token classifier.
        tokenizer_from: a folder whose tokenizer files are copied.

    Raises:
        UserError: adapters are attached, the labels do not fit the head, or the folder exists.
    """
    from safetensors.numpy import save_file

    config, kind = model.config, model.kind
    arch = architecture(config.model_type)
    written = {**(raw or {}), **config.to_json(), "architectures": [arch.class_names[kind]], "dtype": "float32"}
    written.pop("torch_dtype", None)
    if isinstance(model, TokenClassifier):
        if labels is None or labels.size != model.n_labels:
            given = "none" if labels is None else str(labels.size)
            raise UserError(
                f"the head has {model.n_labels} labels and the label map {given}: give the map of this head"
            )
        written.update(labels.to_config())
    tensors = export_tensors(model)
    with writing(folder) as work:
        save_file(tensors, work / "model.safetensors", metadata={"format": "pt"})
        (work / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if tokenizer_from is not None:
            copy_tokenizer(tokenizer_from, work)


def export_tensors(model: TokenClassifier | MaskedLM) -> dict[str, np.ndarray]:
    """The model's tensors under Hugging Face names, float32.

    Raises:
        UserError: adapters are attached: they have their own file, or are merged and dropped first.
    """
    arch = architecture(model.config.model_type)
    leaves = flatten(model)
    rows = arch.rows(model.config, model.kind)
    if extra := sorted(set(leaves) - {row.path for row in rows}):
        raise UserError(
            f"the model carries adapters ({extra[0]}, ...): merge and drop them, or save them as PEFT files"
        )
    return {row.source: _transform(row, np.asarray(leaves[row.path][...])) for row in rows}


def _read_config(folder: Path) -> tuple[dict[str, Any], Architecture, EncoderConfig]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: give the folder of a Hugging Face model")
    raw = read_json(folder / "config.json")
    arch = architecture(str(raw.get("model_type")))
    return raw, arch, arch.config.from_json(raw)


def _transform(row: Row, value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(value.T) if row.transform == "transpose" else value


def _modern(name: str) -> str:
    """Layer norms of files converted from TensorFlow say gamma and beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _load(
    model: nnx.Module, arch: Architecture, config: EncoderConfig, kind: Kind, files: TensorFiles, *, fresh_head: bool
) -> LoadReport:
    """Fill every leaf of an abstract ``model``; with ``fresh_head`` the leaves of its head are left to the caller."""
    stored = {_modern(name): name for name in files.names()}
    prefix = f"{arch.prefix}."
    if not any(name.startswith(prefix) for name in stored):  # a bare encoder: give it the names of one with a head
        encoder_only = {row.source for row in arch.rows(config, "encoder")}
        headless = {n for n in stored if n in encoder_only or n.startswith(arch.unused)}
        stored = {prefix + n if n in headless else n: original for n, original in stored.items()}

    def with_prefix(row: Row) -> Row:
        return Row(prefix + row.source, row.path, row.transform) if kind == "encoder" else row

    rows = [with_prefix(row) for row in arch.rows(config, kind)]
    if fresh_head:
        rows = [row for row in rows if not row.path.startswith("head.")]
    wanted = {row.source for row in rows}
    other_heads = {r.source for r in (*arch.token_rows, *arch.mlm_rows)}

    problems, dtypes, passed_over = [], Counter(), []
    leaves = flatten(model)
    values: dict[str, jax.Array] = {}
    for row in rows:
        if row.source not in stored:
            problems.append(f"missing {row.source}")
            continue
        value = files.read(stored[row.source])
        dtypes[str(value.dtype)] += 1
        if str(value.dtype) not in FLOATS:
            problems.append(f"{row.source} is {value.dtype}, not a float")
            continue
        value = _transform(row, np.asarray(value, np.float32))
        shape = leaves[row.path].shape
        if value.shape != shape:
            problems.append(f"{row.source} has shape {value.shape} where the config asks for {shape} (as stored here)")
        elif not np.isfinite(value).all():
            problems.append(f"{row.source} holds values that are not finite")
        else:
            values[row.path] = jax.device_put(value)  # jnp.asarray would compile a copy for each shape
    for name, original in sorted(stored.items()):
        if name in wanted:
            continue
        twin = arch.tied.get(name)
        if twin is not None and kind == "mlm" and not fresh_head:
            if twin in stored and not np.array_equal(files.read(original), files.read(stored[twin])):
                problems.append(f"{name} differs from {twin}: untied output weights are not implemented")
        elif name in other_heads or twin is not None or name.removeprefix(prefix).startswith(arch.unused):
            passed_over.append(original)
        else:
            problems.append(f"unknown {original}")
    if problems:
        shown = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
        raise UserError(f"weights do not fit a {arch.model_type} {kind} model: {shown}")

    initialised = tuple(sorted(set(leaves) - set(values)))
    state = nnx.state(model, nnx.Param)
    flat = []
    for path, leaf in nnx.to_flat_state(state):
        value = values.get(".".join(map(str, path)))
        flat.append((path, leaf if value is None else leaf.replace(value)))
    nnx.update(model, nnx.from_flat_state(flat))
    return LoadReport(dict(dtypes), tuple(passed_over), initialised)
