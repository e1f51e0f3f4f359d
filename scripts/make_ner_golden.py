"""Make the golden files of tests/openmed_ner/golden: small random models of transformers and peft.

Needs torch, transformers and peft (the ``parity`` extra). Run it from the root of a checkout:

    python scripts/make_ner_golden.py tests/openmed_ner/golden

Each folder holds a model as transformers saves it and expected.npz: input_ids, attention_mask, token_type_ids, labels
(-100 where ignored), logits, loss, and the gradient of every parameter under its name. Settings are odd on purpose.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

COMMON = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 19,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.2,
    "initializer_range": 0.3,
    "layer_norm_eps": 1e-7,
}
O_LAST = {0: "B-CL", 1: "I-CL", 2: "GENE/PROTEIN", 3: "O"}

# name: (transformers class, config beyond COMMON, dtype of the file, bytes of a shard or None)
CASES: dict[str, tuple[str, dict[str, Any], str, int | None]] = {
    "bert_token": ("BertForTokenClassification", {"id2label": O_LAST}, "float32", None),
    "bert_bf16": ("BertForTokenClassification", {"id2label": O_LAST, "type_vocab_size": 1}, "bfloat16", None),
    "bert_sharded": (
        "BertForTokenClassification",
        {
            "vocab_size": 83,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu_new",
            "classifier_dropout": 0.1,
            "id2label": {0: "O", 1: "B", 2: "I"},
        },
        "float32",
        16_000,
    ),
    "bert_mlm": ("BertForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-5}, "float32", None),
    "electra_narrow": ("ElectraForTokenClassification", {"embedding_size": 10, "id2label": O_LAST}, "float32", None),
    "electra_same": (
        "ElectraForTokenClassification",
        {"embedding_size": 24, "type_vocab_size": 1, "id2label": {0: "I-X", 1: "O", 2: "B-X"}},
        "float32",
        None,
    ),
    "electra_mlm": ("ElectraForMaskedLM", {"embedding_size": 10}, "float32", None),
}


def build(name: str, seed: int = 0) -> Any:
    """The random model of a case, in float32 with the rounding of the case's dtype."""
    import torch
    import transformers

    class_name, extra, dtype, _ = CASES[name]
    kind = getattr(transformers, class_name)
    settings = {**COMMON, **extra}
    if "id2label" in settings:
        settings["label2id"] = {label: i for i, label in settings["id2label"].items()}
    torch.manual_seed(seed)
    model = kind(kind.config_class(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms start at constants: move them
            parameter.add_(0.1 * torch.randn_like(parameter))
            parameter.copy_(parameter.to(getattr(torch, dtype)).float())
    return model


def inputs(model: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch with padding, types and ignored labels for ``model``."""
    rng = np.random.default_rng(seed)
    config, batch, length = model.config, 4, 13
    ids = rng.integers(0, config.vocab_size, (batch, length))
    mask = np.ones_like(ids)
    mask[1, 7:] = 0
    mask[2, 1:] = 0
    types = rng.integers(0, config.type_vocab_size, (batch, length))
    n_out = config.vocab_size if type(model).__name__.endswith("MaskedLM") else config.num_labels
    labels = np.where((rng.random((batch, length)) < 0.3) | (mask == 0), -100, rng.integers(0, n_out, (batch, length)))
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "labels": labels}


def expected(model: Any, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Logits, loss (mean cross-entropy over labels that are not -100) and its gradients."""
    import torch

    model.zero_grad()
    out = model(**{k: torch.tensor(v) for k, v in batch.items()})
    out.loss.backward()
    grads = {f"grad.{n}": p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    return {**batch, "logits": out.logits.detach().numpy(), "loss": out.loss.detach().numpy(), **grads}


def adapted(seed: int = 3) -> Any:
    """bert_token with a peft adapter whose B is not zero, and a head of its own."""
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="TOKEN_CLS", r=3, lora_alpha=7, lora_dropout=0.05,
                        target_modules=["query", "value", "attention.output.dense", "intermediate.dense"])  # fmt: skip
    torch.manual_seed(seed)
    model = get_peft_model(build("bert_token"), config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def main(target: Path) -> None:
    """Write every case under ``target``."""
    import torch

    for name, (_, _, dtype, shard) in CASES.items():
        folder = target / name
        shutil.rmtree(folder, ignore_errors=True)
        model = build(name)
        values = expected(model, inputs(model))
        model.to(getattr(torch, dtype)).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        np.savez_compressed(folder / "expected.npz", **values)
    folder = target / "bert_adapter"
    shutil.rmtree(folder, ignore_errors=True)
    model = adapted()
    batch = inputs(model.base_model.model)
    values = expected(model, batch)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    np.savez_compressed(folder / "expected.npz", **values)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
