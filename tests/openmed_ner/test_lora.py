"""Adapters against peft's numbers (golden folder bert_adapter), algebra, and PEFT's files."""

import json
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from zoo.core.errors import DamagedError, UserError
from zoo.openmed_ner.convert import load_masked_lm, load_token_classifier
from zoo.openmed_ner.encoders import architecture
from zoo.openmed_ner.encoders.common import TokenClassifier, flatten
from zoo.openmed_ner.encoders.dropout import dropout
from zoo.openmed_ner.encoders.layers import apply_maps
from zoo.openmed_ner.lora import (
    LoraConfig,
    adapters,
    add_adapters,
    drop_adapters,
    linear_maps,
    merge_adapters,
    trainable,
    trainable_share,
    unmerge_adapters,
)
from zoo.openmed_ner.peft_files import load_adapter, save_adapter

GOLDEN = Path(__file__).parent / "golden"
ADAPTER = GOLDEN / "bert_adapter"


@partial(jax.jit, static_argnums=0)
def _call(graphdef, state, inputs):
    return nnx.merge(graphdef, state)(**inputs)


def call(model, batch, **extra):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    return np.asarray(_call(*nnx.split(model), {**inputs, **extra}))


def adapted():
    model = load_token_classifier(GOLDEN / "bert_token").model
    config = load_adapter(ADAPTER, model)
    return model, config, dict(np.load(ADAPTER / "expected.npz"))


def test_an_adapter_of_peft_gives_its_logits_and_gradients():
    model, config, want = adapted()
    assert config == LoraConfig(3, 7.0, 0.05, ("attention.output.dense", "intermediate.dense", "query", "value"))
    seen = want["attention_mask"] > 0
    inputs = {name: jnp.asarray(want[name]) for name in ("input_ids", "attention_mask", "token_type_ids")}
    graphdef, picked, rest = nnx.split(model, trainable(), ...)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def run(picked):
        logits = nnx.merge(graphdef, picked, rest)(**inputs)
        logp, labels = jax.nn.log_softmax(logits), want["labels"]
        each = jnp.take_along_axis(logp, jnp.maximum(labels, 0)[..., None], -1)[..., 0]
        return -(each * (labels >= 0)).sum() / (labels >= 0).sum(), logits

    (loss, logits), grads = run(picked)
    scale = np.abs(want["logits"][seen]).max()
    np.testing.assert_allclose(np.asarray(logits)[seen], want["logits"][seen], atol=1e-5 * scale)
    np.testing.assert_allclose(loss, want["loss"], rtol=1e-5)
    nnx.update(model, grads)
    prefix = "grad.base_model.model."
    theirs = {n.removeprefix(prefix).replace(".default", ""): g for n, g in want.items() if n.startswith(prefix)}
    ours = {}
    for name, adapter in adapters(model).items():
        ours[f"{name}.lora_A.weight"] = np.asarray(adapter.a[...]).T
        ours[f"{name}.lora_B.weight"] = np.asarray(adapter.b[...]).T
    ours["classifier.modules_to_save.weight"] = np.asarray(model.head.classifier.kernel[...]).T
    ours["classifier.modules_to_save.bias"] = np.asarray(model.head.classifier.bias[...])
    assert set(ours) == set(theirs)  # what is trained here is what peft trains
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-4 * max(1.0, np.abs(value).max()), err_msg=name)


def test_a_fresh_adapter_changes_nothing():
    model = load_token_classifier(GOLDEN / "bert_token").model
    want = dict(np.load(GOLDEN / "bert_token" / "expected.npz"))
    before = call(model, want)
    names = add_adapters(model, LoraConfig(rank=2), jax.random.key(0))
    assert len(names) == 8
    np.testing.assert_array_equal(call(model, want), before)
    drawn = [np.asarray(a.a[...]) for a in adapters(model).values()]
    assert all(np.abs(a).max() <= 1 / np.sqrt(24) for a in drawn)
    assert len({a.tobytes() for a in drawn}) == 8


def test_merging_changes_no_logits_and_can_be_undone():
    model, _, want = adapted()
    apart, base = call(model, want), {n: np.asarray(m.kernel[...]) for n, m in linear_maps(model).items()}
    merge_adapters(model)
    merge_adapters(model)  # twice is once
    np.testing.assert_allclose(call(model, want), apart, atol=2e-5)
    touched = {n for n, m in linear_maps(model).items() if not np.array_equal(m.kernel[...], base[n])}
    assert touched == set(adapters(model))
    unmerge_adapters(model)
    unmerge_adapters(model)
    for name, linear in linear_maps(model).items():
        np.testing.assert_allclose(linear.kernel[...], base[name], atol=1e-6)
    merge_adapters(model)
    drop_adapters(model)
    assert not adapters(model)
    np.testing.assert_allclose(call(model, want), apart, atol=2e-5)


def test_dropout_acts_on_the_adapter_branch_alone():
    model, _, want = adapted()
    quiet = load_token_classifier(GOLDEN / "bert_token").model
    for module in (model, quiet):  # the base's own dropouts off
        module.head.rate = 0.0
        module.encoder.embeddings.rate = 0.0
        for layer in module.encoder.layers:
            layer.config = type(layer.config)(
                **{**layer.config.to_json(), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            )
    assert not np.array_equal(call(model, want, key=jax.random.key(1)), call(model, want))
    np.testing.assert_array_equal(call(quiet, want, key=jax.random.key(1)), call(quiet, want))


def maps_of_one_input():
    """Query, key and value of a layer, adapters with a non-zero B on the first and the last."""
    layer = adapted()[0].encoder.layers[0]
    x = jax.random.normal(jax.random.key(0), (2, 5, layer.query.kernel.shape[0]))
    return (layer.query, layer.key, layer.value), x


def test_adapters_of_one_input_are_each_what_it_is_alone():
    maps, x = maps_of_one_input()
    assert [m.lora is None for m in maps] == [False, True, False]
    for found, m in zip(apply_maps(maps, x), maps):
        update = 0.0 if m.lora is None else m.lora.scale * (x @ m.lora.a[...]) @ m.lora.b[...]
        np.testing.assert_allclose(found, x @ m.kernel[...] + m.bias[...] + update, rtol=1e-5, atol=1e-5)
    maps[0].lora.merged = True  # its update is in the matrix, by its word
    plain = x @ maps[0].kernel[...] + maps[0].bias[...]
    np.testing.assert_allclose(apply_maps(maps, x)[0], plain, rtol=1e-5, atol=1e-5)


def test_adapters_of_one_input_share_its_dropout():
    maps, x = maps_of_one_input()
    key = jax.random.key(3)
    dropped = dropout(x, 0.05, key)
    assert not np.array_equal(dropped, x)
    for found, m in zip(apply_maps(maps, x, key), maps):
        update = 0.0 if m.lora is None else m.lora.scale * (dropped @ m.lora.a[...]) @ m.lora.b[...]
        np.testing.assert_allclose(found, x @ m.kernel[...] + m.bias[...] + update, rtol=1e-5, atol=1e-5)


# Paper page, section 1: trained share in percent, r = 16, 3 labels, for q,v / q,k,v / q,k,v,o.
SHAPES = {
    "MiniLM-L6": ((6, 384, 1536, 12), (0.65, 0.98, 1.30)),
    "BERT-base": ((12, 768, 3072, 12), (0.54, 0.81, 1.07)),
    "BERT-large": ((24, 1024, 4096, 16), (0.47, 0.70, 0.93)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_trained_shares_are_those_of_the_paper_page(name):
    (layers, hidden, wide, heads), percents = SHAPES[name]
    arch = architecture("bert")
    config = arch.config(
        model_type="bert",
        vocab_size=30522,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=wide,
        max_position_embeddings=512,
    )
    sets = [("query", "value"), ("query", "key", "value"), ("query", "key", "value", "attention.output.dense")]
    for targets, percent in zip(sets, percents):

        def make(targets=targets):
            model = TokenClassifier(arch, config, 3, rngs=nnx.Rngs(0))
            add_adapters(model, LoraConfig(targets=targets), jax.random.key(0))
            return model

        share = trainable_share(nnx.eval_shape(make))
        assert round(share.percent, 2) == pytest.approx(percent, abs=0.011)
        assert share.percent < 1.5
        assert "parameters trained" in str(share)


def test_the_filter_picks_adapters_and_head_only():
    model, _, _ = adapted()
    paths = {".".join(map(str, p)) for p, _ in nnx.to_flat_state(nnx.state(model, trainable()))}
    assert {"head.classifier.kernel", "head.classifier.bias"} < paths
    assert all(p.endswith((".lora.a", ".lora.b")) or p.startswith("head.") for p in paths)
    assert len(paths) == 2 + 2 * len(adapters(model))
    only = nnx.to_flat_state(nnx.state(model, trainable(head=False)))
    assert len(only) == len(paths) - 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rank": 0}, "rank=0"),
        ({"alpha": 0}, "alpha=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"targets": ()}, "targets are empty"),
        ({"targets": ("query", "q_proj")}, "targets q_proj: no such linear map"),
        ({"targets": ".*nothing.*"}, "no such linear map"),
    ],
)
def test_settings_that_are_refused(settings, says):
    model = load_token_classifier(GOLDEN / "bert_token").model
    with pytest.raises(UserError, match="lora") as error:
        add_adapters(model, LoraConfig(**settings), jax.random.key(0))
    assert says in str(error.value)
    assert not adapters(model)


def test_targets_follow_pefts_rule():
    model = load_token_classifier(GOLDEN / "bert_token").model
    chosen = add_adapters(model, LoraConfig(rank=2, targets=r".*layer\.1\..*(query|key)"), jax.random.key(0))
    assert chosen == [f"bert.encoder.layer.1.attention.self.{n}" for n in ("query", "key")]
    drop_adapters(model)
    assert len(add_adapters(model, LoraConfig(rank=2, targets=("dense",)), jax.random.key(0))) == 6
    with pytest.raises(UserError, match="already carries adapters"):
        add_adapters(model, LoraConfig(rank=2), jax.random.key(0))


def test_rank_stabilised_scale():
    assert LoraConfig(rank=16, alpha=8, rank_stabilised=True).scale == 2.0
    assert LoraConfig(rank=16, alpha=8).scale == 0.5


def test_files_round_trip_with_the_head(tmp_path):
    model, config, _ = adapted()
    save_adapter(tmp_path / "out", model, config, base_name="some/base")
    ours, theirs = (
        load_file(tmp_path / "out" / "adapter_model.safetensors"),
        load_file(ADAPTER / "adapter_model.safetensors"),
    )
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[n], theirs[n]) for n in theirs)
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (written["r"], written["lora_alpha"], written["task_type"]) == (3, 7.0, "TOKEN_CLS")
    assert written["base_model_name_or_path"] == "some/base"
    other = load_token_classifier(GOLDEN / "bert_token").model
    assert load_adapter(tmp_path / "out", other) == config
    left, right = flatten(model), flatten(other)
    assert all(np.array_equal(left[n][...], right[n][...]) for n in left)


def test_a_masked_lm_adapter_keeps_its_head(tmp_path):
    model = load_masked_lm(GOLDEN / "bert_token", key=jax.random.key(5)).model
    config = LoraConfig(rank=2)
    add_adapters(model, config, jax.random.key(0))
    save_adapter(tmp_path / "dapt", model, config)
    other = load_masked_lm(GOLDEN / "bert_token", key=jax.random.key(6)).model
    load_adapter(tmp_path / "dapt", other)
    left, right = flatten(model), flatten(other)
    assert all(np.array_equal(left[n][...], right[n][...]) for n in left)


@pytest.fixture
def folder(tmp_path):
    """A copy of peft's folder that a test may spoil."""
    shutil.copytree(ADAPTER, tmp_path / "adapter")
    return tmp_path / "adapter"


def spoil(folder, edit):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def refused(folder, match, error=UserError):
    model = load_token_classifier(GOLDEN / "bert_token").model
    before = {n: np.asarray(v[...]) for n, v in flatten(model).items()}
    with pytest.raises(error, match=match) as raised:
        load_adapter(folder, model)
    assert "\n" not in str(raised.value)
    after = flatten(model)
    assert set(after) == set(before)  # the model is as it was
    assert all(np.array_equal(after[n][...], before[n]) for n in before)


def test_an_adapter_without_its_head_is_refused(folder):
    def drop(tensors):
        for name in [n for n in tensors if "classifier" in n]:
            del tensors[name]

    spoil(folder, drop)
    refused(folder, "the head is absent")
    model, whole = (load_token_classifier(GOLDEN / "bert_token").model for _ in range(2))
    load_adapter(folder, model, head=False)
    load_adapter(ADAPTER, whole)
    for name, adapter in adapters(model).items():
        assert np.array_equal(adapter.a[...], adapters(whole)[name].a[...])


def test_every_mismatch_of_an_adapter_is_named(folder):
    def edit(tensors):
        first = "base_model.model.bert.encoder.layer.0.attention.self."
        del tensors[f"{first}query.lora_A.weight"]
        tensors[f"{first}key.lora_A.weight"] = np.zeros((3, 24), np.float32)
        tensors[f"{first}value.lora_B.weight"] = np.zeros((24, 4), np.float32)
        tensors["base_model.model.classifier.bias"] = np.full(4, np.inf, np.float32)

    spoil(folder, edit)
    refused(folder, r"missing .*query.*has shape .*not finite.*unknown .*key")


def test_files_that_are_absent_or_damaged(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    refused(folder, "not valid safetensors", DamagedError)
    path.unlink()
    refused(folder, "no such file")
    (folder / "adapter_config.json").unlink()
    refused(folder, "no such file")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"use_dora": True}, "use_dora=True is not implemented"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' is not implemented"),
        ({"bias": "all"}, "bias='all' is not implemented"),
        ({"rank_pattern": {"query": 4}}, "rank_pattern"),
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"target_modules": None}, "target_modules=None"),
        ({"r": None}, "r, lora_alpha or lora_dropout"),
        ({"r": 4}, "has shape"),
    ],
)
def test_settings_of_peft_that_are_refused(folder, change, says):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refused(folder, says)


def test_saving_needs_adapters_that_are_not_merged_and_their_settings(tmp_path):
    plain = load_token_classifier(GOLDEN / "bert_token").model
    with pytest.raises(UserError, match="carries no adapters"):
        save_adapter(tmp_path / "a", plain, LoraConfig())
    model, config, _ = adapted()
    with pytest.raises(UserError, match="has rank 3"):
        save_adapter(tmp_path / "a", model, LoraConfig(rank=4))
    merge_adapters(model)
    with pytest.raises(UserError, match="unmerge"):
        save_adapter(tmp_path / "a", model, config)
    assert not list(tmp_path.iterdir())


def test_an_mlm_adapter_for_another_embedding_is_refused(tmp_path):
    model = load_masked_lm(GOLDEN / "bert_mlm").model
    config = LoraConfig(rank=2)
    add_adapters(model, config, jax.random.key(0))
    save_adapter(tmp_path / "whole", model, config)
    save_adapter(tmp_path / "small", model, config, tied_output=False)
    name = "base_model.model.cls.predictions.decoder.weight"
    assert name in load_file(tmp_path / "whole" / "adapter_model.safetensors")
    assert name not in load_file(tmp_path / "small" / "adapter_model.safetensors")
    load_adapter(tmp_path / "small", load_masked_lm(GOLDEN / "bert_mlm").model)

    def edit(tensors):
        tensors[name] = tensors[name] + 1

    spoil(tmp_path / "whole", edit)
    with pytest.raises(UserError, match="untied output weights"):
        load_adapter(tmp_path / "whole", load_masked_lm(GOLDEN / "bert_mlm").model)
