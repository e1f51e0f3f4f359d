"""What the tasks of the family do to a loaded model before training."""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import nnx

from zoo.openmed_ner.encoders.common import MaskedLM, TokenClassifier


def set_dropout(model: TokenClassifier | MaskedLM, rate: float) -> None:
    """Replace every dropout of the base's own; adapters keep theirs."""
    config = dataclasses.replace(model.config, hidden_dropout_prob=rate, attention_probs_dropout_prob=rate)
    modules: list[Any] = [node for _, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)]
    for module in modules:
        if isinstance(getattr(module, "config", None), type(config)):
            module.config = config
        elif hasattr(module, "rate"):
            module.rate = rate
