"""Domain adaptation as a task: adapters and a tied vocabulary head on a frozen base."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from zoo.core import hub, state
from zoo.core.errors import UserError
from zoo.core.progress import say
from zoo.core.release import read_release
from zoo.core.task import Batch, Monitor, Split
from zoo.openmed_ner.base import checked_base, settled
from zoo.openmed_ner.convert import check_length, load_masked_lm
from zoo.openmed_ner.encoders.common import MaskedLM
from zoo.openmed_ner.energy import run_facts
from zoo.openmed_ner.lora import add_adapters, trainable
from zoo.openmed_ner.mlm.config import DomainConfig
from zoo.openmed_ner.mlm.rows import TextRecords, mask_row, pack
from zoo.openmed_ner.mlm.text import TestSentences, blocks, collection, file_passages, place, training_sentences
from zoo.openmed_ner.model import set_dropout
from zoo.openmed_ner.tokenize import NO_PIECE, Tokenizer

_HELD_OUT_KEY = 17  # held-out rows are hidden the same way in every run


class DomainTask:
    """The Task of ``task: mlm`` (see zoo.core.task.Task).

    Args:
        config: the typed experiment.

    Attributes:
        config: the same with ``model.base_sha256`` filled in, folders and files by their whole paths.

    Raises:
        UserError: the base cannot be had, is not the one that the configuration states, or its tokenizer has no [MASK]; the text
            cannot be read.
    """

    monitor = Monitor("perplexity", "min")
    reported = (Split.VALID, Split.TEST)  # the training text is a hundred times as long
    run_facts = staticmethod(run_facts)

    def __init__(self, config: DomainConfig) -> None:
        self.base, digest = checked_base(config.model.base, config.model.base_sha256, config.name)
        model = dataclasses.replace(config.model, base=settled(config.model.base, self.base), base_sha256=digest)
        files = tuple(str(Path(name).expanduser().resolve()) for name in config.data.files)
        self.config = dataclasses.replace(config, model=model, data=dataclasses.replace(config.data, files=files))
        self.tokenizer = Tokenizer(self.base)
        if self.tokenizer.mask == NO_PIECE:
            raise UserError(f"base {config.model.base}: its tokenizer has no [MASK]: choose another base")
        self._rows: dict[str, np.ndarray] = {}

    def init(self, key: jax.Array) -> MaskedLM:
        settings = self.config.model
        head_key, lora_key = jax.random.split(key)
        model: MaskedLM = load_masked_lm(self.base, key=head_key).model
        if self._rows:  # only training begins anywhere: a release brings its own head
            self._begin(model)
        if settings.dropout is not None:
            set_dropout(model, settings.dropout)
        if settings.train == "lora":
            add_adapters(model, settings.lora.config, lora_key)
        return model

    def _begin(self, model: MaskedLM) -> None:
        """The head of ``model.start``, or a bias that says how frequent each piece is, which Adam would take long to learn."""
        start = self.config.model.start
        if start is None:
            counts = (
                np.bincount(self._rows["train"].ravel(), minlength=model.config.vocab_size).astype(np.float64) + 0.1
            )
            bias: Any = model.head
            bias.bias[...] = jnp.asarray(np.log(counts / counts.sum()), jnp.float32)
            return
        release = read_release(hub.resolve(start))
        before = release.info.config.get("model", {}).get("base_sha256")
        if release.info.task != "mlm" or before != self.config.model.base_sha256:
            raise UserError(
                f"model.start={start}: task {release.info.task} on base {str(before)[:12]}, where a head of task mlm on base "
                f"{str(self.config.model.base_sha256)[:12]} is needed: name another"
            )
        graphdef, head, rest = nnx.split(model, nnx.PathContains("head"), ...)
        tensors = {name: x for name, x in release.tensors.items() if name.startswith("params/head/")}
        head = state.unflatten({"params": head}, tensors, what=str(release.path))["params"]
        nnx.update(model, head)
        del graphdef, rest

    def trainable(self) -> Any:
        return trainable() if self.config.model.train == "lora" else nnx.PathContains("head")

    def records(self, split: Split) -> TextRecords:
        if not self._rows:
            self._rows = self._packed()
        return TextRecords(self._rows[str(split)], split)

    def passages(self) -> dict[str, list[str]]:
        """The passages of each split, those that hold a test sentence of a corpus left out."""
        data = self.config.data
        sources = [(name, collection) for name in data.collections]
        sources += [(name, training_sentences) for name in data.corpora]
        sources += [(name, file_passages) for name in data.files]
        tests = TestSentences(data.exclude)
        seen: set[str] = set()
        out: dict[str, list[str]] = {str(split): [] for split in Split}
        dropped = 0
        chosen = []
        for name, read in sources:
            for block in blocks(read(name), data.limit):
                kept = [p for p in block if p not in seen and not tests.within(p)]
                dropped += len(block) - len(kept)
                seen.update(kept)
                if kept:
                    chosen.append(kept)
        for block in chosen:
            out[place(block, data.held_out)] += block
        say(f"{self.config.name}: {len(seen):,} passages of text; {dropped:,} doubled or with test sentences left out")
        return out

    def _packed(self) -> dict[str, np.ndarray]:
        check_length(self.base, self.config.data.length, "data.length")
        found = self.passages()
        return {split: pack(texts, self.tokenizer, self.config.data.length) for split, texts in found.items()}

    def _nll(self, model: MaskedLM, ids: jax.Array, keys: jax.Array, key: jax.Array | None):
        """Negative log-likelihood (batch, chosen) of the hidden pieces, which of them count, and which were guessed right."""
        t = self.tokenizer
        hide = functools.partial(
            mask_row,
            chosen=self.config.data.chosen,
            special=(t.cls, t.sep, t.pad),
            mask=t.mask,
            vocab=model.config.vocab_size,
        )
        hidden, positions, counts = jax.vmap(hide)(keys, ids)
        scores = model(hidden, jnp.ones_like(hidden), positions=positions, key=key)
        wanted = jnp.take_along_axis(ids, positions, axis=1)
        nll = optax.softmax_cross_entropy_with_integer_labels(scores, wanted)
        return nll * counts, counts, (scores.argmax(-1) == wanted) * counts

    def loss(
        self, model: MaskedLM, batch: Batch, *, step: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Mean negative log-likelihood of the hidden pieces of a row, hidden anew at every step."""
        ids, weight = batch["input_ids"], batch["weight"]
        masking, dropout = jax.random.split(key)
        nll, counts, _ = self._nll(model, ids, jax.random.split(masking, ids.shape[0]), dropout)
        each = nll.sum(-1) / jnp.maximum(counts.sum(-1), 1.0)
        return (each * weight).sum() / jnp.maximum(weight.sum(), 1e-30), {}

    def evaluate(self, model: MaskedLM, batch: Batch) -> dict[str, jax.Array]:
        keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.key(_HELD_OUT_KEY), row))(batch["row"])
        nll, counts, right = self._nll(model, batch["input_ids"], keys, None)
        return {"nll": nll.sum(-1), "count": counts.sum(-1), "right": right.sum(-1)}

    def summarise(self, outputs: Iterable[tuple[Batch, Any]]) -> dict[str, float]:
        """perplexity, exp of the mean negative log-likelihood of the hidden pieces, and accuracy in percent."""
        total = {"nll": 0.0, "count": 0.0, "right": 0.0}
        for batch, out in outputs:
            weight = np.asarray(batch["weight"], np.float64)
            for name in total:
                total[name] += float((np.asarray(out[name], np.float64) * weight).sum())
        count = max(total["count"], 1.0)
        return {"perplexity": float(np.exp(total["nll"] / count)), "accuracy": 100.0 * total["right"] / count}
