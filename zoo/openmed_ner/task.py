"""Fine-tuning a tagger: a frozen base with adapters and a new head, or every parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from zoo.core.errors import UserError
from zoo.core.progress import say
from zoo.core.task import Batch, Monitor, Split
from zoo.openmed_ner.base import checked_base, settled
from zoo.openmed_ner.config import TaggerConfig
from zoo.openmed_ner.convert import check_length, load_token_classifier
from zoo.openmed_ner.corpora.catalogue import corpus
from zoo.openmed_ner.corpora.folder import read_folder
from zoo.openmed_ner.corpora.records import Sentence
from zoo.openmed_ner.encoders.common import TokenClassifier
from zoo.openmed_ner.energy import run_facts
from zoo.openmed_ner.examples import IGNORED, LengthSampler, TaggedRecords
from zoo.openmed_ner.joining import joined
from zoo.openmed_ner.labels import LabelMap
from zoo.openmed_ner.lora import add_adapters, trainable
from zoo.openmed_ner.model import adapt, find_adapter, set_dropout
from zoo.openmed_ner.scoring import f1_scores
from zoo.openmed_ner.tokenize import Tokenizer

_PROBLEMS_SHOWN = 5  # of a user's own file
_FILES = {Split.TRAIN: "train", Split.VALID: "devel", Split.TEST: "test"}


def fewer_empties(sentences: Sequence[Sentence], ratio: float) -> list[Sentence]:
    """The sentences with an entity, and of the others at most ``ratio`` times as many, spread evenly, in their order."""
    empty = [i for i, s in enumerate(sentences) if not s.entities]
    count = min(len(empty), round(ratio * (len(sentences) - len(empty))))
    kept = {empty[i * len(empty) // count] for i in range(count)}
    return [s for i, s in enumerate(sentences) if s.entities or i in kept]


class TaggerTask:
    """The Task of ``task: tag`` (see zoo.core.task.Task).

    Args:
        config: the typed experiment.

    Attributes:
        config: the same with ``model.base_sha256`` and ``data.types`` filled in, folders by their whole paths.

    Raises:
        UserError: the base cannot be had or is not the one that the configuration states, or the corpus cannot be read or has
            no entity.
    """

    monitor = Monitor("f1", "max")
    reported = (Split.VALID, Split.TEST)  # what was learnt by heart says little, and a corpus's training part is long
    run_facts = staticmethod(run_facts)

    def __init__(self, config: TaggerConfig) -> None:
        self.config = config
        self._read: dict[Split, list[Sentence]] = {}
        self.base, digest = checked_base(config.model.base, config.model.base_sha256, config.name)
        self.tokenizer = Tokenizer(self.base)
        types = config.data.types
        if types is None:
            types = tuple(sorted({kind for s in self._sentences(Split.TRAIN) for _, _, kind in s.entities}))
            if not types:
                raise UserError(f"{config.data.what}: its training sentences have no entity: raise data.limit")
            for split in self.reported:  # what cannot be read is said before hours of training, not after
                self._sentences(split)
        self.labels = LabelMap.of_types(types)
        self.adapter = None
        model = dataclasses.replace(config.model, base=settled(config.model.base, self.base), base_sha256=digest)
        if model.adapter is not None:
            self.adapter, adapter_digest = find_adapter(model.adapter, model.adapter_sha256, config.name)
            adapter = settled(model.adapter, self.adapter)
            model = dataclasses.replace(model, adapter=adapter, adapter_sha256=adapter_digest)
        data = dataclasses.replace(config.data, types=types)
        if data.folder is not None:
            data = dataclasses.replace(data, folder=str(Path(data.folder).expanduser().resolve()))
        # What is used without the corpus, and on another machine, is told by the configuration alone.
        self.config = dataclasses.replace(config, model=model, data=data)
        self._records: dict[Split, TaggedRecords] = {}

    def _sentences(self, split: Split) -> list[Sentence]:
        if split in self._read:
            return self._read[split]
        data = self.config.data
        name = _FILES[split]
        if data.folder is not None:
            sentences, report = read_folder(data.folder, name)
            if not report.clean:
                say(f"{data.folder}, {name}: {report}")
                for problem in report.problems[:_PROBLEMS_SHOWN]:
                    say(f"  {problem}")
        else:
            sentences, _ = corpus(str(data.corpus)).read(name)
        most = {Split.TRAIN: data.limit, Split.VALID: data.valid_limit}.get(split)
        kept = sentences[:most]
        if split is Split.TRAIN and data.empties is not None:
            kept = fewer_empties(kept, data.empties)
        self._read[split] = kept
        return kept

    def init(self, key: jax.Array) -> TokenClassifier:
        settings = self.config.model
        head_key, lora_key = jax.random.split(key)
        loaded = load_token_classifier(self.base, self.labels, key=head_key)
        model: TokenClassifier = loaded.model
        if self.adapter is not None:
            adapt(model, self.base, str(settings.base_sha256), self.adapter)
        if settings.dropout is not None:
            set_dropout(model, settings.dropout)
        if settings.train == "lora":
            add_adapters(model, settings.lora.config, lora_key)
        return model

    def trainable(self) -> Any:
        return trainable() if self.config.model.train == "lora" else nnx.Param

    def records(self, split: Split) -> TaggedRecords:
        if split not in self._records:
            sentences, length = self._sentences(split), self.config.data.max_length
            check_length(self.base, length, "data.max_length")
            if self.config.data.joined is not None:
                sentences = joined(sentences, self.tokenizer, self.config.data.joined)
            packed = self.config.data.packed
            self._records[split] = TaggedRecords(sentences, self.tokenizer, self.labels, length, split, packed=packed)
        return self._records[split]

    def sampler(self, size: int, batch_size: int, seed: int) -> LengthSampler:
        """Batches by length: the loop asks for it in place of its own."""
        return LengthSampler(self.records(Split.TRAIN).lengths, batch_size, seed)

    def loss(
        self, model: TokenClassifier, batch: Batch, *, step: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Cross-entropy of the labelled pieces, summed over an example and divided by the mean number of a corpus's example.

        So every labelled piece weighs the same, and the mean over examples is what the contract asks for.
        """
        logits = _logits(model, batch, key)
        labels = batch["labels"]
        each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
        each = jnp.where(labels == IGNORED, 0.0, each).sum(-1) / batch["mean_labels"]
        weight = batch["weight"]
        loss = (each * weight).sum() / jnp.maximum(weight.sum(), 1e-30)
        return loss, {}

    def evaluate(self, model: TokenClassifier, batch: Batch) -> jax.Array:
        return _logits(model, batch)

    def summarise(self, outputs: Iterable[tuple[Batch, Any]]) -> dict[str, float]:
        """precision, recall, f1 and f1_partial in percent, on the corpus's words."""
        kept = [(batch, np.asarray(batch["weight"]) > 0, np.asarray(logits)) for batch, logits in outputs]
        real = [(np.asarray(batch["index"])[seen], logits[seen]) for batch, seen, logits in kept]
        records = self.records(list(Split)[int(kept[0][0]["split"][0])])
        return f1_scores(zip((s.entities for s in records.sentences), records.predictions(real)))


def _logits(model: TokenClassifier, batch: Batch, key: jax.Array | None = None) -> jax.Array:
    shared = {name: batch[name] for name in ("position_ids", "segments") if name in batch}
    return model(batch["input_ids"], batch["attention_mask"], key=key, **shared)
