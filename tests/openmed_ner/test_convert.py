"""Reading and writing Hugging Face folders: bits kept, every mismatch named at once, damage refused."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from zoo.core.errors import DamagedError, UserError
from zoo.openmed_ner.convert import export_tensors, load_encoder, load_masked_lm, load_token_classifier, save_model
from zoo.openmed_ner.encoders.common import flatten
from zoo.openmed_ner.hf_folder import writing
from zoo.openmed_ner.labels import LabelMap
from zoo.openmed_ner.lora import LoraConfig, add_adapters

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def folder(tmp_path):
    """A copy of a golden model that a test may spoil."""
    target = tmp_path / "model"
    shutil.copytree(GOLDEN / "bert_token", target)
    return target


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["bert_token", "electra_narrow", "electra_same", "bert_sharded"])
def test_what_is_written_is_what_was_read(name, tmp_path):
    loaded = load_token_classifier(GOLDEN / name)
    save_model(tmp_path / "out", loaded.model, raw=loaded.raw, labels=loaded.labels)
    again = load_token_classifier(tmp_path / "out")
    assert again.labels == loaded.labels
    assert again.config == loaded.config
    ours, twin = flatten(loaded.model), flatten(again.model)
    assert set(ours) == set(twin)
    assert all(np.array_equal(ours[n][...], twin[n][...]) for n in ours)
    if name != "bert_sharded":
        stored, theirs = (
            load_file(tmp_path / "out" / "model.safetensors"),
            load_file(GOLDEN / name / "model.safetensors"),
        )
        assert set(stored) == set(theirs)
        assert all(np.array_equal(stored[n], theirs[n]) for n in theirs)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == json.loads((GOLDEN / name / "config.json").read_text())["architectures"]
    assert config["dtype"] == "float32"


def test_half_precision_is_read_without_rounding_and_reported():
    loaded = load_token_classifier(GOLDEN / "bert_bf16")
    assert loaded.report.dtypes == {"bfloat16": 39}
    bits = np.asarray(loaded.model.head.classifier.kernel[...]).view(np.uint32)
    assert not (bits & 0xFFFF).any()  # a bfloat16 is a float32 whose lower half is zero
    assert bits.any()


def test_labels_of_the_file_keep_their_ids():
    loaded = load_token_classifier(GOLDEN / "bert_token")
    assert loaded.labels.names == ("B-CL", "I-CL", "GENE/PROTEIN", "O")
    assert loaded.labels.outside == 3


def test_a_new_head_on_any_body():
    labels = LabelMap.of_types(["Disease"])
    for name in ("bert_mlm", "bert_token", "electra_mlm"):
        loaded = load_token_classifier(GOLDEN / name, labels, key=jax.random.key(0))
        assert loaded.model.head.classifier.kernel.shape == (24, 3)
        assert loaded.report.initialised == ("head.classifier.bias", "head.classifier.kernel")
        assert loaded.report.passed_over  # the head of the file, named
    with pytest.raises(UserError, match="no token-classification head"):
        load_token_classifier(GOLDEN / "bert_mlm")
    with pytest.raises(UserError, match="needs a random key"):
        load_token_classifier(GOLDEN / "bert_mlm", labels)


def test_a_masked_lm_on_a_body_without_such_a_head():
    with pytest.raises(UserError, match="no masked-language-model head"):
        load_masked_lm(GOLDEN / "bert_token")
    loaded = load_masked_lm(GOLDEN / "bert_token", key=jax.random.key(0))
    assert "head.dense.kernel" in loaded.report.initialised
    assert load_masked_lm(GOLDEN / "bert_mlm").report.initialised == ()


def test_a_bare_encoder_file_loads_into_every_model(folder):
    def bare(tensors):
        for name in list(tensors):
            value = tensors.pop(name)
            if name.startswith("bert."):
                tensors[name.removeprefix("bert.")] = value
        tensors["pooler.dense.weight"] = np.zeros((24, 24), np.float32)
        tensors["embeddings.position_ids"] = np.arange(19)[None]

    change(folder, bare)
    whole = export_tensors(load_token_classifier(GOLDEN / "bert_token").model)
    fresh = load_token_classifier(folder, LabelMap.of_types(["X"]), key=jax.random.key(0))
    assert fresh.report.passed_over == ("embeddings.position_ids", "pooler.dense.weight")
    body = {n: v for n, v in export_tensors(fresh.model).items() if n.startswith("bert.")}
    assert all(np.array_equal(v, whole[n]) for n, v in body.items())
    load_encoder(folder)
    load_masked_lm(folder, key=jax.random.key(0))


def test_layer_norms_named_gamma_and_beta(folder):
    def old(tensors):
        for name in list(tensors):
            new = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[new] = tensors.pop(name)

    change(folder, old)
    assert not load_token_classifier(folder).report.passed_over


def test_all_mismatches_are_named_at_once(folder):
    def spoil(tensors):
        del tensors["bert.encoder.layer.0.attention.self.query.weight"]
        tensors["bert.encoder.layer.1.output.dense.bias"] = np.zeros(7, np.float32)
        tensors["bert.encoder.layer.2.output.dense.bias"] = np.zeros(24, np.float32)
        tensors["bert.embeddings.LayerNorm.bias"] = np.zeros(24, np.int32)
        tensors["classifier.bias"][1] = np.nan

    change(folder, spoil)
    with pytest.raises(UserError, match="weights do not fit a bert token model") as error:
        load_token_classifier(folder)
    text = str(error.value)
    for part in (
        "missing bert.encoder.layer.0.attention.self.query.weight",
        "bert.encoder.layer.1.output.dense.bias has shape (7,) where the config asks for (24,)",
        "unknown bert.encoder.layer.2.output.dense.bias",
        "bert.embeddings.LayerNorm.bias is int32",
        "classifier.bias holds values that are not finite",
    ):
        assert part in text
    assert "\n" not in text


def test_untied_output_weights_are_refused(tmp_path):
    target = tmp_path / "mlm"
    shutil.copytree(GOLDEN / "bert_mlm", target)
    name = "cls.predictions.decoder.weight"

    def tie(tensors):
        tensors[name] = tensors["bert.embeddings.word_embeddings.weight"].copy()

    change(target, tie)
    load_masked_lm(target)

    def untie(tensors):
        tensors[name][3, 4] += 1

    change(target, untie)
    with pytest.raises(UserError, match=r"differs from bert\.embeddings\.word_embeddings\.weight: untied"):
        load_masked_lm(target)


def test_folders_that_are_no_models(folder, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_encoder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        load_encoder(tmp_path / "empty")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="is a pickle"):
        load_encoder(folder)
    (folder / "config.json").write_text('{"model_type": "bert", ')
    with pytest.raises(DamagedError, match="not JSON"):
        load_encoder(folder)


@pytest.mark.parametrize("size", [0, 4, 100, 40_000])
def test_a_cut_file_is_damage(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedError, match="not valid safetensors"):
        load_encoder(folder)


def test_shards_that_are_absent_or_swapped(tmp_path):
    target = tmp_path / "model"
    shutil.copytree(GOLDEN / "bert_sharded", target)
    _, second, third = sorted(target.glob("model-*.safetensors"))
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(UserError, match=r"the index names model-00002-of-00003\.safetensors"):
        load_token_classifier(target)
    shutil.copyfile(third, second)
    with pytest.raises(DamagedError, match="the index promises"):
        load_token_classifier(target)
    second.write_bytes(content)
    load_token_classifier(target)


def test_writing_needs_a_plain_model_its_labels_and_a_free_folder(tmp_path):
    loaded = load_token_classifier(GOLDEN / "bert_token")
    with pytest.raises(UserError, match="the head has 4 labels"):
        save_model(tmp_path / "a", loaded.model, labels=LabelMap.of_types(["X"]))
    with pytest.raises(UserError, match="the head has 4 labels"):
        save_model(tmp_path / "a", loaded.model)
    add_adapters(loaded.model, LoraConfig(rank=2), jax.random.key(0))
    with pytest.raises(UserError, match="carries adapters"):
        save_model(tmp_path / "a", loaded.model, labels=loaded.labels)
    assert not list(tmp_path.iterdir())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_text("kept")
    with pytest.raises(UserError, match="already exists"):
        save_model(tmp_path / "b", load_masked_lm(GOLDEN / "bert_mlm").model)
    assert (tmp_path / "b" / "file").read_text() == "kept"


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def half():
        with writing(tmp_path / "x") as work:
            (work / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert not list(tmp_path.iterdir())
