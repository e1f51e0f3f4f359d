"""Live comparison of encoders, LoRA and files with transformers and peft (``make parity``)."""

import importlib.util
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="needs the parity extra")
transformers = pytest.importorskip("transformers", reason="needs the parity extra")
peft = pytest.importorskip("peft", reason="needs the parity extra")

from zoo.core.errors import UserError  # noqa: E402
from zoo.openmed_ner.base import find_base  # noqa: E402
from zoo.openmed_ner.convert import (  # noqa: E402
    export_tensors,
    load_encoder,
    load_masked_lm,
    load_token_classifier,
    save_model,
)
from zoo.openmed_ner.labels import LabelMap  # noqa: E402
from zoo.openmed_ner.lora import LoraConfig, adapters, add_adapters  # noqa: E402
from zoo.openmed_ner.peft_files import load_adapter, save_adapter  # noqa: E402
from zoo.openmed_ner.tokenize import Tokenizer  # noqa: E402

_spec = importlib.util.spec_from_file_location(
    "make_ner_golden", Path(__file__).parents[2] / "scripts" / "make_ner_golden.py"
)
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

MLM = ("bert_mlm", "electra_mlm")
try:
    MINILM = find_base(fetch=False)  # now: within a test the cache is an empty one
except UserError as error:
    MINILM = str(error)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@partial(jax.jit, static_argnums=0)
def _call(graphdef, state, inputs):
    return nnx.merge(graphdef, state)(**inputs)


def call(model, batch):
    return np.asarray(_call(*nnx.split(model), {name: batch[name] for name in INPUTS}))


def close(ours, theirs, mask, tolerance=1e-5):
    seen = mask > 0
    np.testing.assert_allclose(ours[seen], theirs[seen], atol=tolerance * max(1.0, np.abs(theirs[seen]).max()), rtol=0)


def read(folder, name):
    return load_masked_lm(folder) if name in MLM else load_token_classifier(folder)


@pytest.mark.parametrize("name", golden.CASES)
def test_logits_of_other_seeds(name, tmp_path):
    model = golden.build(name, seed=11)
    batch = golden.inputs(model, seed=12)
    want = golden.expected(model, batch)
    _, _, dtype, shard = golden.CASES[name]
    model.to(getattr(torch, dtype)).save_pretrained(tmp_path / "m", **({"max_shard_size": shard} if shard else {}))
    close(call(read(tmp_path / "m", name).model, batch), want["logits"], batch["attention_mask"])


@pytest.mark.parametrize("name", golden.CASES)
def test_transformers_loads_what_is_saved_here(name, tmp_path):
    model = golden.build(name, seed=21)
    model.save_pretrained(tmp_path / "theirs")
    loaded = read(tmp_path / "theirs", name)
    state = nnx.state(loaded.model)
    nnx.update(loaded.model, jax.tree.map(lambda x: x + 0.01, state))
    save_model(tmp_path / "ours", loaded.model, raw=loaded.raw, labels=loaded.labels)
    again, info = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.config.id2label == model.config.id2label
    batch = golden.inputs(model)
    with torch.no_grad():
        logits = again.eval()(**{n: torch.tensor(batch[n]) for n in INPUTS}).logits.numpy()
    close(call(loaded.model, batch), logits, batch["attention_mask"])


def test_peft_loads_an_adapter_saved_here(tmp_path):
    golden.build("bert_token").save_pretrained(tmp_path / "base")
    model = load_token_classifier(tmp_path / "base").model
    config = LoraConfig(rank=5, alpha=9, dropout=0.1)
    add_adapters(model, config, jax.random.key(0))
    for i, adapter in enumerate(adapters(model).values()):
        adapter.b[...] = 0.3 * jax.random.normal(jax.random.key(i), adapter.b.shape)
    model.head.classifier.bias[...] = model.head.classifier.bias[...] + 0.5
    save_adapter(tmp_path / "adapter", model, config, base_name=str(tmp_path / "base"))
    base = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    batch = golden.inputs(base)
    with torch.no_grad():
        logits = theirs(**{n: torch.tensor(batch[n]) for n in INPUTS}).logits.numpy()
    close(call(model, batch), logits, batch["attention_mask"])
    merged = theirs.merge_and_unload()
    with torch.no_grad():
        logits = merged(**{n: torch.tensor(batch[n]) for n in INPUTS}).logits.numpy()
    close(call(model, batch), logits, batch["attention_mask"], 2e-5)


@pytest.mark.parametrize("stabilised", [False, True])
def test_an_adapter_of_peft_loads_here(stabilised, tmp_path):
    base = golden.build("electra_narrow")
    base.save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(
        task_type="TOKEN_CLS", r=4, lora_alpha=6, target_modules=r".*(query|output\.dense)", use_rslora=stabilised
    )
    theirs = peft.get_peft_model(base, config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "adapter")
    model = load_token_classifier(tmp_path / "base").model
    load_adapter(tmp_path / "adapter", model)
    batch = golden.inputs(theirs.base_model.model)
    with torch.no_grad():
        logits = theirs(**{n: torch.tensor(batch[n]) for n in INPUTS}).logits.numpy()
    close(call(model, batch), logits, batch["attention_mask"])


def test_an_mlm_adapter_with_its_head_goes_to_peft_and_back(tmp_path):
    golden.build("bert_mlm").save_pretrained(tmp_path / "base")
    model = load_masked_lm(tmp_path / "base").model
    config = LoraConfig(rank=3, targets=("query", "value"))
    add_adapters(model, config, jax.random.key(0))
    for adapter in adapters(model).values():
        adapter.b[...] = adapter.b[...] + 0.1
    model.head.dense.kernel[...] = model.head.dense.kernel[...] * 1.5
    save_adapter(tmp_path / "adapter", model, config)
    base = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    batch = golden.inputs(base)
    with torch.no_grad():
        logits = theirs(**{n: torch.tensor(batch[n]) for n in INPUTS}).logits.numpy()
    close(call(model, batch), logits, batch["attention_mask"])
    theirs.save_pretrained(tmp_path / "back")
    back = load_masked_lm(tmp_path / "base").model
    load_adapter(tmp_path / "back", back)
    close(call(back, batch), logits, batch["attention_mask"])


def test_a_base_with_a_new_head_takes_an_adapter_made_by_peft_on_it(tmp_path):
    """The way of a release: base encoder + adapter folder that brings its own head."""
    base = golden.build("bert_mlm")
    base.save_pretrained(tmp_path / "base")
    labels = {0: "B-X", 1: "I-X", 2: "O"}
    body = transformers.AutoModelForTokenClassification.from_pretrained(
        tmp_path / "base", num_labels=3, id2label=labels, label2id={v: k for k, v in labels.items()}
    )
    theirs = peft.get_peft_model(body, peft.LoraConfig(task_type="TOKEN_CLS", target_modules=["query"])).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    ours = load_token_classifier(tmp_path / "base", LabelMap(("B-X", "I-X", "O")), key=jax.random.key(0)).model
    load_adapter(tmp_path / "adapter", ours)
    batch = golden.inputs(body)
    with torch.no_grad():
        logits = theirs(**{n: torch.tensor(batch[n]) for n in INPUTS}).logits.numpy()
    close(call(ours, batch), logits, batch["attention_mask"])
    assert set(export_tensors(load_token_classifier(tmp_path / "base", LabelMap(("O",)), key=jax.random.key(0)).model))


def test_minilm_itself():
    """The pretrained base, where it is in a cache: hidden states of real text, and pieces of transformers' own tokenizer."""
    folder = MINILM
    if not isinstance(folder, Path):
        pytest.skip(folder)
    texts = ["Ménière's disease and IL-2 (NF-kappa B) in 肺癌 😀", "Fever of unknown origin.", "x" * 300]
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    own = Tokenizer(folder)
    for text in texts:
        assert own.text(text)[0].ids.tolist() == theirs(text, add_special_tokens=False)["input_ids"]
    batch = {k: v.numpy() for k, v in theirs(texts, padding=True, return_tensors="pt").items()}
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        hidden = model(**{k: torch.tensor(v) for k, v in batch.items()}).last_hidden_state.numpy()
    close(call(load_encoder(folder).model, batch), hidden, batch["attention_mask"])
