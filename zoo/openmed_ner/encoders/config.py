"""What an encoder needs to know about itself, read from a Hugging Face config.json."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The fields that all encoders of the BERT lineage share, named as in config.json.

    An architecture with more fields subclasses it. Instances are hashable: a module may keep one as static data.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = 0
    classifier_dropout: float | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
            if getattr(self, name) < 1:
                raise UserError(f"config.json: {name}={getattr(self, name)}: it must be at least 1")
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"config.json: num_attention_heads={self.num_attention_heads} does not divide "
                f"hidden_size={self.hidden_size}: choose a divisor"
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"config.json: {name}={value}: a dropout lies in [0, 1)")
        if self.layer_norm_eps <= 0:
            raise UserError(f"config.json: layer_norm_eps={self.layer_norm_eps}: it must be above 0")

    # Settings that change the computation and that this lineage does not have, with the only value accepted.
    required: typing.ClassVar[Mapping[str, Any]] = {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
    }

    @property
    def head_dropout(self) -> float:
        """Dropout before a token-classification head: ``classifier_dropout``, else ``hidden_dropout_prob``."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @property
    def max_length(self) -> int:
        """The longest input in pieces, special ones included."""
        return self.max_position_embeddings

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> EncoderConfig:
        """The typed configuration of a parsed config.json; keys that no computation here depends on are passed over.

        Raises:
            UserError: a field is missing or of the wrong type, or a setting is not implemented.
        """
        for name, only in cls.required.items():
            if raw.get(name, only) not in (only, None):
                raise UserError(f"config.json: {name}={raw[name]!r} is not implemented: only {only!r} is")
        values, missing, wrong = {}, [], []
        kinds = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if raw.get(field.name) is None:
                if field.default is dataclasses.MISSING:
                    missing.append(field.name)
                continue
            value, kind = raw[field.name], kinds[field.name]
            allowed = {int: (int,), str: (str,)}.get(kind, (int, float))
            if isinstance(value, bool) or not isinstance(value, allowed):
                wrong.append(f"{field.name}={value!r}")
            values[field.name] = value
        if missing or wrong:
            parts = [f"lacks {', '.join(missing)}"] if missing else []
            parts += [f"has wrong types: {', '.join(wrong)}"] if wrong else []
            raise UserError(f"config.json of a {raw.get('model_type')} model {' and '.join(parts)}: mend the file")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The fields as config.json holds them."""
        return dataclasses.asdict(self)
