"""BERT (Devlin et al. 2019): the encoder of BERT-base, PubMedBERT and MiniLM, its heads and its mapping table."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.openmed_ner.encoders.common import Architecture, Row, TokenHead, linear_rows, norm_rows
from zoo.openmed_ner.encoders.config import EncoderConfig
from zoo.openmed_ner.encoders.dropout import dropout, split_key
from zoo.openmed_ner.encoders.layers import (
    Embedding,
    LayerNorm,
    Linear,
    activation,
    apply_maps,
    attention,
    attention_bias,
)


class Embeddings(nnx.Module):
    """Word + position + type embedding, layer norm, dropout.

    Args:
        config: the encoder's configuration.
        size: width of the embeddings; ELECTRA's may differ from ``hidden_size``.
        rngs: the source of the initial values.
    """

    def __init__(self, config: EncoderConfig, size: int, *, rngs: nnx.Rngs) -> None:
        scale = config.initializer_range
        self.word = Embedding(config.vocab_size, size, scale=scale, rngs=rngs)
        self.position = Embedding(config.max_position_embeddings, size, scale=scale, rngs=rngs)
        self.type = Embedding(config.type_vocab_size, size, scale=scale, rngs=rngs)
        self.norm = LayerNorm(size, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob

    def __call__(
        self,
        input_ids: jax.Array,
        token_type_ids: jax.Array | None,
        position_ids: jax.Array | None,
        key: jax.Array | None,
    ) -> jax.Array:
        length = input_ids.shape[1]
        position = self.position.table[...][:length] if position_ids is None else self.position(position_ids)
        kind = self.type.table[...][0] if token_type_ids is None else self.type(token_type_ids)
        return dropout(self.norm(self.word(input_ids) + position + kind), self.rate, key)


class Layer(nnx.Module):
    """Self-attention and feed-forward network, each followed by dropout, a residual sum and a layer norm."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs) -> None:
        n, wide, scale = config.hidden_size, config.intermediate_size, config.initializer_range
        self.query, self.key, self.value, self.output = (Linear(n, n, scale=scale, rngs=rngs) for _ in range(4))
        self.attention_norm = LayerNorm(n, config.layer_norm_eps)
        self.up = Linear(n, wide, scale=scale, rngs=rngs)
        self.down = Linear(wide, n, scale=scale, rngs=rngs)
        self.norm = LayerNorm(n, config.layer_norm_eps)
        self.config = config

    def __call__(self, x: jax.Array, bias: jax.Array, key: jax.Array | None) -> jax.Array:
        config, rate = self.config, self.config.hidden_dropout_prob
        keys = split_key(key, 7)
        q, k, v = apply_maps((self.query, self.key, self.value), x, keys[0])
        mixed = attention(
            q,
            k,
            v,
            bias,
            heads=config.num_attention_heads,
            rate=config.attention_probs_dropout_prob,
            key=keys[1],
        )
        x = self.attention_norm(x + dropout(self.output(mixed, keys[2]), rate, keys[3]))
        wide = activation(config.hidden_act)(self.up(x, keys[4]))
        return self.norm(x + dropout(self.down(wide, keys[5]), rate, keys[6]))


class Bert(nnx.Module):
    """The BERT encoder without pooler.

    Args:
        config: its configuration.
        rngs: the source of the initial values.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs) -> None:
        activation(config.hidden_act)  # refuse an unknown one now
        self.embeddings = Embeddings(config, self.embedding_size(config), rngs=rngs)
        self.layers = nnx.List([Layer(config, rngs=rngs) for _ in range(config.num_hidden_layers)])

    @staticmethod
    def embedding_size(config: EncoderConfig) -> int:
        """Width of the embeddings."""
        return config.hidden_size

    @property
    def word_embedding(self) -> jax.Array:
        """The word embedding, (vocab_size, embedding_size)."""
        return self.embeddings.word.table[...]

    def embed(self, input_ids, token_type_ids, position_ids, key) -> jax.Array:
        """What the first layer sees, (batch, length, hidden_size)."""
        return self.embeddings(input_ids, token_type_ids, position_ids, key)

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
        """The last hidden states, float32, (batch, length, hidden_size); arguments as for ``TokenClassifier``."""
        keys = split_key(key, len(self.layers) + 1)
        bias = attention_bias(attention_mask, segments)
        x = self.embed(input_ids, token_type_ids, position_ids, keys[0])
        for layer, layer_key in zip(self.layers, keys[1:]):
            x = layer(x, bias, layer_key)
        return x


class BertMLMHead(nnx.Module):
    """Dense, activation, layer norm, then the word embedding as output matrix plus a bias."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs) -> None:
        n = config.hidden_size
        self.dense = Linear(n, n, scale=config.initializer_range, rngs=rngs)
        self.norm = LayerNorm(n, config.layer_norm_eps)
        self.bias = nnx.Param(jnp.zeros((config.vocab_size,), jnp.float32))
        self.hidden_act = config.hidden_act

    def __call__(self, hidden: jax.Array, word_embedding: jax.Array) -> jax.Array:
        x = self.norm(activation(self.hidden_act)(self.dense(hidden)))
        return x @ word_embedding.T + self.bias[...]


EMBEDDING_ROWS = (
    Row("embeddings.word_embeddings.weight", "embeddings.word.table"),
    Row("embeddings.position_embeddings.weight", "embeddings.position.table"),
    Row("embeddings.token_type_embeddings.weight", "embeddings.type.table"),
    *norm_rows("embeddings.LayerNorm", "embeddings.norm"),
)
LAYER_ROWS = (
    *linear_rows("encoder.layer.{i}.attention.self.query", "layers.{i}.query"),
    *linear_rows("encoder.layer.{i}.attention.self.key", "layers.{i}.key"),
    *linear_rows("encoder.layer.{i}.attention.self.value", "layers.{i}.value"),
    *linear_rows("encoder.layer.{i}.attention.output.dense", "layers.{i}.output"),
    *norm_rows("encoder.layer.{i}.attention.output.LayerNorm", "layers.{i}.attention_norm"),
    *linear_rows("encoder.layer.{i}.intermediate.dense", "layers.{i}.up"),
    *linear_rows("encoder.layer.{i}.output.dense", "layers.{i}.down"),
    *norm_rows("encoder.layer.{i}.output.LayerNorm", "layers.{i}.norm"),
)

BERT = Architecture(
    model_type="bert",
    prefix="bert",
    config=EncoderConfig,
    encoder=Bert,
    token_head=TokenHead,
    mlm_head=BertMLMHead,
    encoder_rows=EMBEDDING_ROWS + LAYER_ROWS,
    token_rows=linear_rows("classifier", "classifier"),
    mlm_rows=(
        *linear_rows("cls.predictions.transform.dense", "dense"),
        *norm_rows("cls.predictions.transform.LayerNorm", "norm"),
        Row("cls.predictions.bias", "bias"),
    ),
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    unused=("embeddings.position_ids", "embeddings.token_type_ids", "pooler.", "cls.seq_relationship."),
    class_names={"encoder": "BertModel", "token": "BertForTokenClassification", "mlm": "BertForMaskedLM"},
)
