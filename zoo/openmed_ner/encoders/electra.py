"""ELECTRA (Clark et al. 2020): BERT's layers under embeddings of their own width; BioELECTRA is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.core.errors import UserError
from zoo.openmed_ner.encoders.bert import EMBEDDING_ROWS, LAYER_ROWS, Bert
from zoo.openmed_ner.encoders.common import Architecture, Row, TokenHead, linear_rows, norm_rows
from zoo.openmed_ner.encoders.config import EncoderConfig
from zoo.openmed_ner.encoders.layers import LayerNorm, Linear, activation


@dataclass(frozen=True, kw_only=True)
class ElectraConfig(EncoderConfig):
    """BERT's fields and the width of the embeddings."""

    embedding_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_size < 1:
            raise UserError(f"config.json: embedding_size={self.embedding_size}: it must be at least 1")


class Electra(Bert):
    """The ELECTRA encoder: where ``embedding_size`` differs from ``hidden_size``, a linear map joins them.

    Args:
        config: its configuration.
        rngs: the source of the initial values.
    """

    def __init__(self, config: ElectraConfig, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        narrow, wide = config.embedding_size, config.hidden_size
        self.projected = narrow != wide
        if self.projected:
            self.project = Linear(narrow, wide, scale=config.initializer_range, rngs=rngs)

    @staticmethod
    def embedding_size(config: ElectraConfig) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        return config.embedding_size

    def embed(self, input_ids, token_type_ids, position_ids, key) -> jax.Array:
        x = super().embed(input_ids, token_type_ids, position_ids, key)
        return self.project(x) if self.projected else x


class ElectraMLMHead(nnx.Module):
    """The generator's head: dense to the embedding's width, GELU, layer norm, then the word embedding plus a bias."""

    def __init__(self, config: ElectraConfig, *, rngs: nnx.Rngs) -> None:
        n = config.embedding_size
        self.dense = Linear(config.hidden_size, n, scale=config.initializer_range, rngs=rngs)
        self.norm = LayerNorm(n, config.layer_norm_eps)
        self.bias = nnx.Param(jnp.zeros((config.vocab_size,), jnp.float32))

    def __call__(self, hidden: jax.Array, word_embedding: jax.Array) -> jax.Array:
        # transformers fixes this GELU whatever hidden_act says.
        return self.norm(activation("gelu")(self.dense(hidden))) @ word_embedding.T + self.bias[...]


class _ElectraArchitecture(Architecture):
    """Leaves the projection out of the table where the encoder has none."""

    def rows(self, config: EncoderConfig, kind: Literal["encoder", "token", "mlm"]) -> list[Row]:
        rows = super().rows(config, kind)
        if isinstance(config, ElectraConfig) and config.embedding_size == config.hidden_size:
            rows = [row for row in rows if "embeddings_project" not in row.source]
        return rows


ELECTRA = _ElectraArchitecture(
    model_type="electra",
    prefix="electra",
    config=ElectraConfig,
    encoder=Electra,
    token_head=TokenHead,
    mlm_head=ElectraMLMHead,
    encoder_rows=EMBEDDING_ROWS + linear_rows("embeddings_project", "project") + LAYER_ROWS,
    token_rows=linear_rows("classifier", "classifier"),
    mlm_rows=(
        *linear_rows("generator_predictions.dense", "dense"),
        *norm_rows("generator_predictions.LayerNorm", "norm"),
        Row("generator_lm_head.bias", "bias"),
    ),
    tied={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    unused=("embeddings.position_ids", "embeddings.token_type_ids", "discriminator_predictions."),
    class_names={"encoder": "ElectraModel", "token": "ElectraForTokenClassification", "mlm": "ElectraForMaskedLM"},
)
