"""The same model and the same work in transformers, peft and torch: what ``zoo bench openmed_ner`` is held against."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core import machine

NAME = "transformers, peft, torch"
PACKAGES = ("torch", "transformers", "peft")
IGNORED = -100  # what torch's cross-entropy leaves out


def absent() -> tuple[str, ...]:
    """The packages of the peer that are not installed."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)


def use_threads() -> None:
    """As many threads as JAX uses here."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(machine.threads())


class Trainer:
    """A LoRA training step of peft: loss, gradient, clipping and AdamW on batches padded to their own longest row.

    Args:
        base: a Hugging Face folder.
        adapter: a folder in PEFT's files, with the head.
        n_labels: size of the head.
        batches: as :meth:`zoo.openmed_ner.examples.TaggedRecords.take` gives them; our padding is cut off.
        dropout: in place of the base's own, or None for those.
        learning_rate, weight_decay, clip: of the optimiser.
    """

    def __init__(
        self,
        base: Path,
        adapter: Path,
        n_labels: int,
        batches: Sequence[Mapping[str, np.ndarray]],
        *,
        dropout: float | None,
        learning_rate: float,
        weight_decay: float,
        clip: float,
    ) -> None:
        import peft  # pyright: ignore[reportMissingImports]
        import torch  # pyright: ignore[reportMissingImports]
        import transformers  # pyright: ignore[reportMissingImports]

        own = {} if dropout is None else {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        body = transformers.AutoModelForTokenClassification.from_pretrained(base, num_labels=n_labels, **own)
        self.model = peft.PeftModel.from_pretrained(body, adapter, is_trainable=True)
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(self._trained, lr=learning_rate, weight_decay=weight_decay)
        self._clip, self._torch = clip, torch
        self._batches = [self._tensors(batch) for batch in batches]

    def _tensors(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        longest = int(batch["attention_mask"].sum(-1).max())
        labels = np.where(batch["labels"] < 0, IGNORED, batch["labels"])
        arrays = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
        return {
            k: self._torch.as_tensor(np.ascontiguousarray(x[:, :longest]).astype(np.int64)) for k, x in arrays.items()
        }

    def logits(self, number: int) -> np.ndarray:
        """Scores of one batch without dropout, (batch, longest row, labels)."""
        self.model.eval()
        with self._torch.inference_mode():
            return self.model(**self._batches[number]).logits.numpy()

    def __call__(self) -> float:
        """One step on each batch; the last loss."""
        self.model.train()
        loss = None
        for batch in self._batches:
            self._optimiser.zero_grad()
            loss = self.model(**batch).loss
            loss.backward()
            self._torch.nn.utils.clip_grad_norm_(self._trained, self._clip)
            self._optimiser.step()
        assert loss is not None
        return float(loss)


class Labeller:
    """The best label of every piece of each text: batches sorted by length in inference mode, adapters merged.

    Args:
        folder: a token classifier with its tokenizer, as transformers saves it.
        limit: longest input in pieces.
        batch_size: texts of a batch.
    """

    def __init__(self, folder: Path, *, limit: int, batch_size: int = 32) -> None:
        import torch  # pyright: ignore[reportMissingImports]
        import transformers  # pyright: ignore[reportMissingImports]

        self._torch, self._limit, self._batch_size = torch, limit, batch_size
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self._model = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Label ids of the pieces of each text, special ones included; a text past the limit is cut."""
        encoded = self._tokenizer(list(texts), truncation=True, max_length=self._limit)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
        found: list[np.ndarray] = [np.zeros(0, np.int64)] * len(texts)
        with self._torch.inference_mode():
            for at in range(0, len(order), self._batch_size):
                chosen = order[at : at + self._batch_size]
                longest = len(encoded[chosen[-1]])
                ids = self._torch.zeros((len(chosen), longest), dtype=self._torch.long)
                mask = self._torch.zeros_like(ids)
                for row, i in enumerate(chosen):
                    n = len(encoded[i])
                    ids[row, :n], mask[row, :n] = self._torch.as_tensor(encoded[i]), 1
                best = self._model(input_ids=ids, attention_mask=mask).logits.argmax(-1).numpy()
                for row, i in enumerate(chosen):
                    found[i] = best[row, : len(encoded[i])]
        return found


def first_answer(folder: Path, text: Path) -> Sequence[str]:
    """The command of a fresh process that answers with transformers' own pipeline."""
    code = (
        "import sys, transformers\n"
        "tagger = transformers.pipeline('token-classification', model=sys.argv[1], aggregation_strategy='simple')\n"
        "print(tagger(open(sys.argv[2], encoding='utf-8').read()))\n"
    )
    return ("-c", code, str(folder), str(text))
