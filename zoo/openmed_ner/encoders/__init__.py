"""Encoders by config.json's ``model_type``. A new one is a file in this room and a line in the registry below."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.openmed_ner.encoders.common import Architecture

REGISTRY = {
    "bert": ("zoo.openmed_ner.encoders.bert", "BERT"),
    "electra": ("zoo.openmed_ner.encoders.electra", "ELECTRA"),
}


def architecture(model_type: str) -> Architecture:
    """The architecture that config.json calls ``model_type``; UserError for one that is not there."""
    from zoo.core.errors import UserError

    if model_type not in REGISTRY:
        raise UserError(f"config.json: model_type={model_type!r} is not implemented (known: {', '.join(REGISTRY)})")
    module, name = REGISTRY[model_type]
    return getattr(import_module(module), name)
