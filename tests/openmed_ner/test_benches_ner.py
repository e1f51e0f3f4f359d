"""What ``zoo bench openmed_ner`` stands on: the operations that are counted, the shapes, and rows without a peer."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.interpreters.partial_eval import dce_jaxpr

pytest.importorskip("tokenizers", reason="the tagger needs tokenizers")

from zoo.core import bench
from zoo.openmed_ner import benches, peer, timings
from zoo.openmed_ner.encoders.bert import BERT
from zoo.openmed_ner.encoders.common import TokenClassifier
from zoo.openmed_ner.encoders.config import EncoderConfig
from zoo.openmed_ner.flops import forward_flops, step_flops
from zoo.openmed_ner.lora import LoraConfig, add_adapters, trainable
from zoo.openmed_ner.windows import LENGTHS, Window, batches

CONFIG = EncoderConfig(
    model_type="bert", vocab_size=50, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=32,
)  # fmt: skip
ROWS, LENGTH, LABELS = 5, 12, 3


def counted(jaxpr) -> int:
    """Operations of the matrix products in a program, and in the programs inside it."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * int(np.prod(equation.outvars[0].aval.shape)) * int(np.prod([left[i] for i in contracted]))
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += counted(inner)
    return total


@pytest.mark.parametrize("rank", [2, 3])
def test_operations_are_those_of_the_program(rank):
    model = TokenClassifier(BERT, CONFIG, LABELS, rngs=nnx.Rngs(0))
    ids = jnp.ones((ROWS, LENGTH), jnp.int32)
    forward = jax.make_jaxpr(lambda: model(ids, ids))().jaxpr
    assert counted(forward) == forward_flops(CONFIG, ROWS, LENGTH, LABELS)
    add_adapters(model, LoraConfig(rank=rank), jax.random.key(0))
    graphdef, params, frozen = nnx.split(model, trainable(), ...)
    step = jax.make_jaxpr(jax.value_and_grad(lambda p: jnp.sum(nnx.merge(graphdef, p, frozen)(ids, ids) ** 2)))(params)
    used, _ = dce_jaxpr(step.jaxpr, [True] * len(step.jaxpr.outvars))
    assert counted(used) == step_flops(CONFIG, rank, ROWS, LENGTH, LABELS)


@pytest.mark.parametrize(("window", "tokens"), [(128, 4096), (100, 1000), (40, 64), (512, 512)])
def test_every_shape_of_tagging_is_among_those_counted(window, tokens):
    shapes = set()
    for pieces in range(1, window - 1):
        for copies in range(1, tokens // (pieces + 2) + 3):
            todo = [Window(0, 0, pieces, 0, pieces)] * copies
            made = batches(todo, [np.ones(window, np.int32)], cls=1, sep=2, pad=0, limit=window, tokens=tokens)
            shapes |= {batch.input_ids.shape for batch in made}
    assert len(shapes) <= timings.most_programs(window, tokens)
    assert len(shapes) > timings.most_programs(window, tokens) / 2
    assert {length for _, length in shapes} <= {*LENGTHS, window}


def test_batches_are_spread_over_the_lengths():
    made = timings.spread(103, 10, 5)
    assert made[:, 0].tolist() == [10, 30, 50, 70, 90]
    assert made.shape == (5, 10)
    assert (np.diff(made) == 1).all()


def test_a_peer_that_is_not_there_is_said(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(peer.importlib.util, "find_spec", lambda name: None if name == "peft" else found("json"))
    assert peer.absent() == ("peft",)
    ours = bench.Timing(2.0, 0.1)
    row = bench.row("x", ours, **timings._peer({"ours": ours}, 1))
    assert (row["peer"], row["peer_ms"], row["ratio"]) == ("N/A: peft not installed", None, None)
    row = bench.row("x", ours, **timings._peer({"ours": ours, "peer": bench.Timing(9.0, 0.3)}, 3))
    assert (row["peer_ms"], row["ratio"]) == (3.0, 1.5)


def test_the_bench_is_found_with_its_switch():
    assert bench.find("openmed_ner") is benches.openmed_ner_rows
    assert bench.switches(benches.openmed_ner_rows) == ["quick"]
