"""What every architecture answers, and the two models on it: a token classifier and a masked language model.

An architecture is one file beside this one that defines an encoder module, its heads and its mapping table, and one
line in the registry (``encoders/__init__.py``). Nothing else in the family knows which architectures exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.core.errors import UserError
from zoo.openmed_ner.encoders.config import EncoderConfig
from zoo.openmed_ner.encoders.dropout import dropout, split_key
from zoo.openmed_ner.encoders.layers import Linear


@dataclass(frozen=True)
class Row:
    """One line of a mapping table: a tensor of a Hugging Face file and the leaf that it fills.

    ``{i}`` in both names stands for the layer's number. ``transpose`` turns torch's (out, in) into our (in, out).
    """

    source: str
    path: str
    transform: Literal["copy", "transpose"] = "copy"


def linear_rows(source: str, path: str) -> tuple[Row, Row]:
    """The two rows of a linear map."""
    return Row(f"{source}.weight", f"{path}.kernel", "transpose"), Row(f"{source}.bias", f"{path}.bias")


def norm_rows(source: str, path: str) -> tuple[Row, Row]:
    """The two rows of a layer norm."""
    return Row(f"{source}.weight", f"{path}.scale"), Row(f"{source}.bias", f"{path}.bias")


@dataclass(frozen=True)
class Architecture:
    """One architecture: its modules and how Hugging Face names their tensors.

    Attributes:
        model_type: config.json's ``model_type``.
        prefix: what a model with a head puts before the encoder's tensor names; a bare encoder has none.
        config: reads config.json.
        encoder: makes the encoder from (config, rngs).
        token_head: makes the token-classification head from (config, number of labels, rngs).
        mlm_head: makes the masked-language-model head from (config, rngs).
        encoder_rows: the encoder's mapping table.
        token_rows: that of the token-classification head; sources carry no prefix.
        mlm_rows: that of the masked-language-model head, whose output matrix is the word embedding.
        tied: names of tensors that repeat the word embedding or the output bias, to the source that they must equal.
        unused: beginnings of names of known tensors that these models do not have (poolers, other heads, buffers).
        class_names: transformers' class for each model: encoder, token, mlm.
    """

    model_type: str
    prefix: str
    config: type[EncoderConfig]
    encoder: Callable[..., nnx.Module]
    token_head: Callable[..., nnx.Module]
    mlm_head: Callable[..., nnx.Module]
    encoder_rows: tuple[Row, ...]
    token_rows: tuple[Row, ...]
    mlm_rows: tuple[Row, ...]
    tied: Mapping[str, str]
    unused: tuple[str, ...]
    class_names: Mapping[str, str]

    def rows(self, config: EncoderConfig, kind: Literal["encoder", "token", "mlm"]) -> list[Row]:
        """The whole table of one model, layers written out, sources as a file of that model has them."""

        def by_layer(rows: tuple[Row, ...]) -> list[Row]:
            layers = range(config.num_hidden_layers)
            return [
                Row(row.source.replace("{i}", str(i)), row.path.replace("{i}", str(i)), row.transform)
                for row in rows
                for i in (layers if "{i}" in row.source else [0])
            ]

        body = by_layer(self.encoder_rows)
        if kind == "encoder":
            return body
        head = by_layer(self.token_rows if kind == "token" else self.mlm_rows)
        return [Row(f"{self.prefix}.{r.source}", f"encoder.{r.path}", r.transform) for r in body] + [
            Row(r.source, f"head.{r.path}", r.transform) for r in head
        ]


class TokenHead(nnx.Module):
    """Dropout and one linear map: the token-classification head of BERT, ELECTRA, RoBERTa and DeBERTa.

    Args:
        config: the encoder's configuration.
        n_labels: number of labels.
        rngs: the source of the initial values.
    """

    def __init__(self, config: EncoderConfig, n_labels: int, *, rngs: nnx.Rngs) -> None:
        self.classifier = Linear(config.hidden_size, n_labels, scale=config.initializer_range, rngs=rngs)
        self.rate = config.head_dropout

    def __call__(self, hidden: jax.Array, key: jax.Array | None = None) -> jax.Array:
        return self.classifier(dropout(hidden, self.rate, key))


class TokenClassifier(nnx.Module):
    """An encoder with a label head on every piece.

    Args:
        architecture: which encoder.
        config: its configuration.
        n_labels: number of labels.
        rngs: the source of the initial values.
    """

    kind: Literal["encoder", "token", "mlm"] = "token"

    def __init__(self, architecture: Architecture, config: EncoderConfig, n_labels: int, *, rngs: nnx.Rngs) -> None:
        self.encoder = architecture.encoder(config, rngs=rngs)
        self.head = architecture.token_head(config, n_labels, rngs=rngs)
        self.config, self.n_labels = config, n_labels

    def __call__(
        self,
        input_ids: jax.Array,
        attention_mask: jax.Array,
        token_type_ids: jax.Array | None = None,
        *,
        position_ids: jax.Array | None = None,
        segments: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Label scores before the softmax.

        Args:
            input_ids: int32, (batch, length).
            attention_mask: int32, (batch, length), 0 at padding.
            token_type_ids: int32, (batch, length), or None for all 0.
            position_ids: int32, (batch, length), or None for 0, 1, 2, ...
            segments: int32, (batch, length); where several texts share a row each sees itself alone.
            key: random key of the dropouts, or None for none.

        Returns:
            float32, (batch, length, n_labels).
        """
        body, top = split_key(key, 2)
        extra = {"position_ids": position_ids, "segments": segments, "key": body}
        return self.head(self.encoder(input_ids, attention_mask, token_type_ids, **extra), top)  # pyright: ignore


class MaskedLM(nnx.Module):
    """An encoder with a vocabulary head; its output matrix is the word embedding itself.

    Args:
        architecture: which encoder.
        config: its configuration.
        rngs: the source of the initial values.
    """

    kind: Literal["encoder", "token", "mlm"] = "mlm"

    def __init__(self, architecture: Architecture, config: EncoderConfig, *, rngs: nnx.Rngs) -> None:
        self.encoder = architecture.encoder(config, rngs=rngs)
        self.head = architecture.mlm_head(config, rngs=rngs)
        self.config = config

    def __call__(
        self,
        input_ids: jax.Array,
        attention_mask: jax.Array,
        token_type_ids: jax.Array | None = None,
        *,
        positions: jax.Array | None = None,
        position_ids: jax.Array | None = None,
        segments: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Vocabulary scores before the softmax, at every piece or at chosen ones.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, segments, key: as for :class:`TokenClassifier`.
            positions: int32, (batch, chosen), indices along the length; None for all. The vocabulary is the dearest
                product of the model, so training asks for the masked positions alone.

        Returns:
            float32, (batch, length or chosen, vocab_size).
        """
        extra = {"position_ids": position_ids, "segments": segments, "key": key}
        hidden = self.encoder(input_ids, attention_mask, token_type_ids, **extra)  # pyright: ignore
        if positions is not None:
            hidden = jnp.take_along_axis(hidden, positions[:, :, None], axis=1, mode="clip")
        return self.head(hidden, self.encoder.word_embedding)  # pyright: ignore


def check_batch(config: EncoderConfig, input_ids: np.ndarray, token_type_ids: np.ndarray | None = None) -> None:
    """Refuse ids that the tables do not have, on the host and before they are clipped on the device.

    Raises:
        UserError: an id outside the vocabulary, a type outside ``type_vocab_size``, or a row past ``max_length``.
    """
    if input_ids.size and not 0 <= (low := int(input_ids.min())) <= (high := int(input_ids.max())) < config.vocab_size:
        wrong = low if low < 0 else high
        raise UserError(
            f"piece id {wrong} is outside the model's vocabulary of {config.vocab_size}: use its own tokenizer"
        )
    if input_ids.shape[-1] > config.max_length:
        raise UserError(
            f"{input_ids.shape[-1]} pieces are more than the model's {config.max_length}: use shorter windows"
        )
    if (
        token_type_ids is not None
        and token_type_ids.size
        and int(token_type_ids.max()) >= max(config.type_vocab_size, 1)
    ):
        raise UserError(f"token type {int(token_type_ids.max())} is not below type_vocab_size={config.type_vocab_size}")


def flatten(model: nnx.Module) -> dict[str, Any]:
    """The parameters of ``model`` by dotted path: the names that mapping tables use, adapters included."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(map(str, path)): leaf for path, leaf in flat}
