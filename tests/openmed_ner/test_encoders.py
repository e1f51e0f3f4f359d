"""Encoders against transformers' numbers (golden files of scripts/make_ner_golden.py) and invariances."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zoo.core.errors import UserError
from zoo.openmed_ner.convert import export_tensors, load_encoder, load_masked_lm, load_token_classifier
from zoo.openmed_ner.encoders import architecture
from zoo.openmed_ner.encoders.adapter import narrow_product
from zoo.openmed_ner.encoders.common import MaskedLM, TokenClassifier, check_batch
from zoo.openmed_ner.encoders.config import EncoderConfig
from zoo.openmed_ner.encoders.dropout import dropout
from zoo.openmed_ner.encoders.layers import gelu, softmax

GOLDEN = Path(__file__).parent / "golden"
TOKEN = ["bert_token", "bert_bf16", "bert_sharded", "electra_narrow", "electra_same"]
MLM = ["bert_mlm", "electra_mlm"]


def load(name):
    folder = GOLDEN / name
    loaded = load_masked_lm(folder) if name in MLM else load_token_classifier(folder)
    return loaded, dict(np.load(folder / "expected.npz"))


@partial(jax.jit, static_argnums=0)
def _call(graphdef, state, inputs):
    return nnx.merge(graphdef, state)(**inputs)


def call(model, **inputs):
    """The model, compiled: one compilation for all models of a shape."""
    return np.asarray(_call(*nnx.split(model), inputs))


def forward(model, batch, **extra):
    names = ("input_ids", "attention_mask", "token_type_ids")
    return call(model, **{name: batch[name] for name in names}, **extra)


def cross_entropy(logits, labels):
    logp = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(logp, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return -(picked * (labels >= 0)).sum() / (labels >= 0).sum()


@pytest.mark.parametrize("name", TOKEN + MLM)
def test_logits_and_gradients_are_those_of_transformers(name):
    loaded, want = load(name)
    seen = want["attention_mask"] > 0
    graphdef, params = nnx.split(loaded.model)
    inputs = {name: jnp.asarray(want[name]) for name in ("input_ids", "attention_mask", "token_type_ids")}

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def run(params):
        logits = nnx.merge(graphdef, params)(**inputs)
        return cross_entropy(logits, want["labels"]), logits

    (loss, logits), grads = run(params)
    assert logits.dtype == jnp.float32
    scale = max(1.0, np.abs(want["logits"][seen]).max())
    np.testing.assert_allclose(np.asarray(logits)[seen], want["logits"][seen], atol=1e-5 * scale, rtol=0)
    np.testing.assert_allclose(loss, want["loss"], rtol=1e-5)
    nnx.update(loaded.model, grads)  # the model's own names for its gradients
    ours = export_tensors(loaded.model)
    wanted = {n.removeprefix("grad."): g for n, g in want.items() if n.startswith("grad.")}
    assert set(wanted) <= set(ours)
    for tensor, value in wanted.items():
        if tensor.endswith("word_embeddings.weight"):  # torch's embedding passes no gradient to the padding row
            value, ours[tensor] = value[1:], ours[tensor][1:]
        np.testing.assert_allclose(ours[tensor], value, atol=1e-4 * max(1.0, np.abs(value).max()), err_msg=tensor)


@pytest.mark.parametrize("name", ["bert_token", "electra_narrow"])
def test_padding_and_neighbours_change_nothing(name):
    loaded, batch = load(name)
    ids, mask = batch["input_ids"][:1, :9], np.ones((1, 9), int)
    alone = call(loaded.model, input_ids=ids, attention_mask=mask)
    padded = np.full((3, 15), 5)
    padded[1, :9] = ids[0]
    long_mask = np.zeros((3, 15), int)
    long_mask[1, :9] = 1
    long_mask[0] = 1
    among = call(loaded.model, input_ids=padded, attention_mask=long_mask)
    np.testing.assert_allclose(among[1, :9], alone[0], atol=1e-5)
    assert np.isfinite(among).all()  # a row of padding alone gives numbers


def test_packed_texts_see_themselves_alone():
    loaded, batch = load("bert_token")
    ids = batch["input_ids"]
    one = call(loaded.model, input_ids=ids[:1, :5], attention_mask=np.ones((1, 5), int))
    two = call(loaded.model, input_ids=ids[3:4, :8], attention_mask=np.ones((1, 8), int))
    packed = np.concatenate([ids[:1, :5], ids[3:4, :8]], axis=1)
    where = {"position_ids": np.r_[0:5, 0:8][None], "segments": np.r_[[1] * 5, [2] * 8][None]}
    row = {"input_ids": packed, "attention_mask": np.ones((1, 13), int)}
    both = call(loaded.model, **row, **where)
    np.testing.assert_allclose(both[0, :5], one[0], atol=1e-5)
    np.testing.assert_allclose(both[0, 5:], two[0], atol=1e-5)
    apart = call(loaded.model, **row)
    assert np.abs(apart - both).max() > 1e-2  # without segments they do mix


def test_chosen_positions_give_the_same_scores():
    loaded, batch = load("electra_mlm")
    every = forward(loaded.model, batch)
    positions = np.array([[0, 12, 3], [6, 0, 1], [0, 0, 0], [5, 4, 3]])
    some = forward(loaded.model, batch, positions=positions)
    np.testing.assert_allclose(some, np.take_along_axis(every, positions[..., None], 1), atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(gelu, lambda x: jax.nn.gelu(x, approximate=False)), (softmax, jax.nn.softmax)]
)
def test_activations_and_their_gradients_are_those_of_jax(ours, theirs):
    x = jnp.asarray(np.random.default_rng(0).normal(scale=3.0, size=(7, 33)), jnp.float32)
    g = jnp.asarray(np.random.default_rng(1).normal(size=x.shape), jnp.float32)
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-6)
    slope, expected = (jax.jit(lambda x, f=f: jax.vjp(f, x)[1](g)[0])(x) for f in (ours, theirs))
    np.testing.assert_allclose(slope, expected, atol=2e-6)


@pytest.mark.parametrize(("n_in", "n_out"), [(30, 4), (4, 30), (8, 8)])
@pytest.mark.parametrize("rows", [(50,), (3, 20), (2, 3, 5), (0,)])
def test_a_narrow_products_gradients_are_those_of_a_product(rows, n_in, n_out):
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((*rows, n_in), (n_in, n_out)))
    g = jnp.asarray(rng.normal(size=(*rows, n_out)), jnp.float32)
    found, expected = (jax.jit(lambda x, w, f=f: jax.vjp(f, x, w)[1](g))(x, w) for f in (narrow_product, jnp.matmul))
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_no_key_means_no_dropout_and_a_key_decides_it():
    loaded, batch = load("bert_token")
    quiet = forward(loaded.model, batch)
    assert np.array_equal(quiet, forward(loaded.model, batch))
    one, again, other = (forward(loaded.model, batch, key=jax.random.key(k)) for k in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, quiet)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_dropout_keeps_the_mean_and_the_share(rate):
    dropped = dropout(jnp.ones((400, 500)), rate, jax.random.key(0))
    y = np.asarray(dropped)
    assert abs((y == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / y.size)
    np.testing.assert_allclose(y[y > 0], 1 / (1 - rate), rtol=1e-6)
    assert np.array_equal(dropout(dropped, 0.0, jax.random.key(0)), y)
    assert np.array_equal(dropout(dropped, rate, None), y)


def test_dropout_masks_are_independent():
    """Of neighbours in every direction, of each other across keys, and in the shares of rows and columns."""
    keys = [*jax.random.split(jax.random.key(7), 12), jax.random.key(0), jax.random.key(1)]
    masks = np.asarray([np.asarray(dropout(jnp.ones((64, 384)), 0.5, key)) == 0 for key in keys], float) - 0.5
    n = masks[0].size
    bound = 5 / np.sqrt(n)
    for lag in (1, 2, 3, 7, 16, 384, 385, 768, 4096):
        flat = masks.reshape(len(keys), -1)
        assert np.abs(4 * (flat[:, lag:] * flat[:, :-lag]).mean(1)).max() < bound
    across = 4 * masks.reshape(len(keys), -1) @ masks.reshape(len(keys), -1).T / n
    assert np.abs(across - np.eye(len(keys))).max() < bound
    for axis, size in ((1, 64), (2, 384)):
        spread = masks.mean(axis).std() / (0.5 / np.sqrt(size))
        assert 0.95 < spread < 1.05  # as binomial shares scatter


def test_no_random_state_in_a_model():
    loaded, _ = load("bert_token")
    assert not jax.tree.leaves(nnx.state(loaded.model, nnx.RngState))
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(loaded.model))} == {jnp.dtype("float32")}


def test_models_can_be_made_without_a_file():
    arch = architecture("electra")
    config = arch.config.from_json({**SMALL, "model_type": "electra", "embedding_size": 4})
    makers = (
        lambda: TokenClassifier(arch, config, 5, rngs=nnx.Rngs(0)),
        lambda: MaskedLM(arch, config, rngs=nnx.Rngs(0)),
    )
    for model in map(nnx.eval_shape, makers):
        graphdef, state = nnx.split(model)
        inputs = {"input_ids": np.ones((2, 3), int), "attention_mask": np.ones((2, 3), int)}
        out = jax.eval_shape(partial(_call, graphdef), state, inputs)
        assert out.shape == (2, 3, 5 if isinstance(model, TokenClassifier) else 7)


SMALL = {
    "model_type": "bert",
    "vocab_size": 7,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 6,
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"num_attention_heads": 3}, "num_attention_heads=3 does not divide hidden_size=8"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob=1.0"),
        ({"layer_norm_eps": 0}, "layer_norm_eps=0"),
        ({"hidden_size": "8"}, "hidden_size='8'"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"vocab_size": 0}, "vocab_size=0"),
    ],
)
def test_configurations_that_are_refused(change, says):
    with pytest.raises(UserError, match=r"config\.json") as error:
        EncoderConfig.from_json({**SMALL, **change})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_architecture_and_activation_are_refused():
    with pytest.raises(UserError, match="model_type='gpt2' is not implemented"):
        architecture("gpt2")
    config = EncoderConfig.from_json({**SMALL, "hidden_act": "mish"})
    with pytest.raises(UserError, match="hidden_act='mish'"):
        architecture("bert").encoder(config, rngs=nnx.Rngs(0))


def test_ids_outside_the_tables_are_refused():
    config = EncoderConfig.from_json(SMALL)
    check_batch(config, np.array([[0, 6]]), np.array([[0, 1]]))
    with pytest.raises(UserError, match="piece id 7 is outside"):
        check_batch(config, np.array([[0, 7]]))
    with pytest.raises(UserError, match="piece id -1 is outside"):
        check_batch(config, np.array([[-1, 3]]))
    with pytest.raises(UserError, match="7 pieces are more than the model's 6"):
        check_batch(config, np.zeros((1, 7), int))
    with pytest.raises(UserError, match="token type 2 is not below type_vocab_size=2"):
        check_batch(config, np.array([[0, 1]]), np.array([[0, 2]]))


def test_the_encoder_alone_from_a_file_with_a_head():
    loaded = load_encoder(GOLDEN / "bert_token")
    whole, batch = load("bert_token")
    hidden = forward(loaded.model, batch)
    np.testing.assert_allclose(whole.model.head(jnp.asarray(hidden)), forward(whole.model, batch), atol=1e-6)


def test_gelu_and_its_gradient_are_the_normal_distributions():
    from scipy.special import ndtr

    from zoo.openmed_ner.encoders.layers import gelu

    x = np.linspace(-12.0, 12.0, 20001, dtype=np.float32)
    exact = x.astype(np.float64)
    value, slope = exact * ndtr(exact), ndtr(exact) + exact * np.exp(-(exact**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(jax.jit(gelu)(x), value, atol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda x: gelu(x).sum()))(x), slope, atol=1e-6)
