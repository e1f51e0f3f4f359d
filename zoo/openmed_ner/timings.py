"""The rows of ``zoo bench openmed_ner`` that one process measures with its number of threads (see benches.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.core import hub
from zoo.core.bench import Timing, interleaved, print_rows, row
from zoo.core.config import compose
from zoo.core.errors import ZooError
from zoo.core.optim import optimizer
from zoo.core.progress import say
from zoo.core.release import read_release
from zoo.core.step import initial_state, make_step
from zoo.core.task import Split
from zoo.core.train import typed
from zoo.openmed_ner import peer, pipeline
from zoo.openmed_ner.base import find_base
from zoo.openmed_ner.convert import save_model
from zoo.openmed_ner.corpora.catalogue import corpus
from zoo.openmed_ner.examples import TaggedRecords
from zoo.openmed_ner.flops import forward_flops, step_flops
from zoo.openmed_ner.peft_files import save_adapter
from zoo.openmed_ner.predictor import ReleasedTagger
from zoo.openmed_ner.task import TaggerTask
from zoo.openmed_ner.windows import most_rows, padded_length, row_lengths

EXPERIMENT = "openmed_ner/ncbi-disease-minilm"
# The paper's adapters, whose operations step_flops counts.
STEP_EXPERIMENT = "openmed_ner/ncbi-disease-minilm-attention"
# What the benchmark is meant to reach.
STEP_RATIO, TAGGING_RATIO, STEP_OVER_FLOOR, FIRST_ANSWER_MS = 1.2, 1.5, 1.6, 3000.0
TEXT = (
    "Familial hemiplegic migraine is an autosomal dominant disorder; in half of the families the gene lies on chromosome 19p13, "
    "as that of episodic ataxia type 2 does. Ménière's disease was found in none of the 14 patients with cerebellar atrophy.\n"
)
# Sentences of a batch of the peer's, which has no rows that sentences share.
PEER_BATCH = 16
# Where scores of ours and of the peer's must agree, relative to the largest: else not the same work is timed.
AGREEMENT = 1e-4


def spread(size: int, batch_size: int, count: int) -> np.ndarray:
    """Examples of ``count`` batches out of ``size``, from the shortest to the longest in equal shares, (count, batch_size)."""
    numbers = ((np.arange(count) + 0.5) * (size // batch_size) / count).astype(int)  # examples are sorted by length
    return numbers[:, None] * batch_size + np.arange(batch_size)


def apart(records: TaggedRecords, rows: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """The sentences of packed rows as a trainer without packing takes them: each in a row of its own, in batches of one length."""
    single = TaggedRecords(records.sentences, records.tokenizer, records.labels, records.max_length, records.split)
    number = {window: i for i, (window,) in enumerate(single.rows)}
    chosen = np.sort([number[window] for row in rows for window in records.rows[row]])  # examples are sorted by length
    return [dict(single.take(chosen[at : at + PEER_BATCH])) for at in range(0, len(chosen), PEER_BATCH)]


def step_rows(count: int, repeats: int, warmup: int) -> list[dict[str, Any]]:
    """A LoRA training step on real batches of NCBI-Disease beside peft's on the same sentences and beside its operations.

    The first rounds still find a heap that grows, ours and the peer's in it, hence more than one of ``warmup``.
    """
    config = typed(compose([STEP_EXPERIMENT]))
    task = TaggerTask(config)  # pyright: ignore[reportArgumentType]
    model, settings, trainer = task.config.model, task.config.optimizer, task.config.trainer
    lora = model.lora.config
    records = task.records(Split.TRAIN)
    rows = spread(len(records), trainer.batch_size, count)
    made = [dict(records.take(chosen)) for chosen in rows]
    graphdef, params, frozen = nnx.split(task.init(jax.random.key(0)), task.trainable(), ...)
    tx = optimizer(settings, trainer)
    step, key = make_step(task, graphdef, tx), jax.random.key(0)
    weight = np.ones(trainer.batch_size, np.float32)
    batches = [{k: jnp.asarray(x) for k, x in {**batch, "weight": weight}.items()} for batch in made]
    held = [initial_state(params, tx, trainer)]

    def ours() -> Any:
        logs: Any = None
        for batch in batches:
            held[0], logs = step(held[0], frozen, batch, key)
        return logs

    merged = nnx.merge(graphdef, params, frozen)
    encoder = merged.config
    shapes = [batch["input_ids"].shape for batch in made]
    flops = sum(step_flops(encoder, lora.rank, rows, length, task.labels.size) for rows, length in shapes)
    product, product_flops = _product(encoder)
    functions: dict[str, Callable[[], Any]] = {"ours": ours, "product": product}
    if not peer.absent():
        single = apart(records, rows.ravel().tolist())
        with tempfile.TemporaryDirectory() as name:
            adapter = Path(name) / "adapter"
            save_adapter(adapter, merged, lora, base_name=str(task.base))
            clip = float("inf") if trainer.grad_clip is None else trainer.grad_clip
            theirs = peer.Trainer(
                task.base, adapter, task.labels.size, single, dropout=model.dropout,
                learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, clip=clip,
            )  # fmt: skip
        _same(task, merged, single[0], theirs)
        functions["peer"] = theirs
    timing = interleaved(functions, repeats=repeats, warmup=warmup)
    rate = product_flops / timing["product"].ms  # operations a millisecond
    floor = flops / rate / count
    pieces = sum(int(batch["attention_mask"].sum()) for batch in made)
    one = _share(timing["ours"], count)
    return [
        row(
            f"LoRA training step, NCBI-Disease, {pieces / count:.0f} pieces", one, floor_ms=floor, **_peer(timing, count),
            tokens_per_second=_rate(pieces, timing["ours"]), peer_tokens_per_second=_rate(pieces, timing.get("peer")),
            over_floor=round(one.ms / floor, 3), gflops=round(rate / 1e6, 1), programs=len(set(shapes)),
            target_ratio=STEP_RATIO, target_over_floor=STEP_OVER_FLOOR,
        )
    ]  # fmt: skip


def tagging_rows(limit: int | None, repeats: int) -> list[dict[str, Any]]:
    """Tagging NCBI-Disease's test sentences, texts in and entities out, beside the best labels of transformers."""
    tagger = ReleasedTagger(read_release(hub.resolve(EXPERIMENT)))
    sentences, _ = corpus("ncbi_disease").read("test")
    texts = [" ".join(s.words) for s in sentences[:limit]]
    lengths = [len(tagger.tokenizer.text(text)[0]) + 2 for text in texts]
    pieces = sum(lengths)
    before = pipeline.compiled_programs()
    tagger(texts)
    programs = pipeline.compiled_programs() - before
    product, product_flops = _product(tagger.config)
    functions: dict[str, Callable[[], Any]] = {"ours": lambda: tagger(texts), "product": product}
    with tempfile.TemporaryDirectory() as name:
        if not peer.absent():
            folder = Path(name) / "model"
            save_released(tagger, folder)
            labeller = peer.Labeller(folder, limit=tagger.window)
            functions["peer"] = lambda: labeller(texts)
        timing = interleaved(functions, repeats=repeats, warmup=1)
    rate = product_flops / timing["product"].ms
    flops = sum(forward_flops(tagger.config, 1, min(n, tagger.window), tagger.labels.size) for n in lengths)
    floor = flops / rate
    return [
        row(
            f"tagging, NCBI-Disease test, {len(texts)} sentences", timing["ours"], floor_ms=floor, **_peer(timing, 1),
            tokens_per_second=_rate(pieces, timing["ours"]), peer_tokens_per_second=_rate(pieces, timing.get("peer")),
            over_floor=round(timing["ours"].ms / floor, 3), gflops=round(rate / 1e6, 1), programs=programs,
            programs_at_most=most_programs(tagger.window, tagger.batch_tokens), target_ratio=TAGGING_RATIO,
        )
    ]  # fmt: skip


def first_answer_rows(repeats: int) -> list[dict[str, Any]]:
    """A fresh process that tags one short text, its compiled programs on disk, beside a fresh one of transformers' pipeline."""
    with tempfile.TemporaryDirectory() as name:
        text = Path(name) / "text.txt"
        text.write_text(TEXT, encoding="utf-8")
        commands: dict[str, Sequence[str]] = {"ours": ("-m", "zoo.cli", "predict", EXPERIMENT, str(text), "--json")}
        if not peer.absent():
            folder = Path(name) / "model"
            save_released(ReleasedTagger(read_release(hub.resolve(EXPERIMENT))), folder)
            commands["peer"] = peer.first_answer(folder, text)
        functions = {who: lambda words=words: _process(words) for who, words in commands.items()}
        timing = interleaved(functions, repeats=repeats, warmup=1)
    return [
        row(
            "first answer of a fresh process, compiled programs on disk", timing["ours"], **_peer(timing, 1),
            target_ms=FIRST_ANSWER_MS,
        )
    ]  # fmt: skip


def most_programs(window: int, batch_tokens: int) -> int:
    """How many shapes tagging can ask for with that window and batch: rows alone of every length, and two or more of a few lengths."""
    alone = len({padded_length(n, window) for n in range(1, window + 1)})
    return alone + sum(most_rows(length, batch_tokens).bit_length() - 1 for length in row_lengths(window))


def save_released(tagger: ReleasedTagger, folder: Path) -> None:
    """Write a released tagger, adapters merged, as a folder that transformers loads."""
    base = find_base(tagger.info.config["model"]["base"])
    raw = json.loads((base / "config.json").read_text(encoding="utf-8"))
    save_model(folder, tagger.model(), raw=raw, labels=tagger.labels, tokenizer_from=base)


def _product(config: Any) -> tuple[Callable[[], Any], int]:
    """The encoder's largest matrix products on 2,048 pieces, some over, and their operations: the rate of this machine."""
    times, pieces, n, wide = 5, 2048, config.hidden_size, config.intermediate_size
    x, kernel = jnp.ones((pieces, n)), jnp.full((n, wide), 1e-3)

    @jax.jit
    def repeated(x: jax.Array, kernel: jax.Array) -> jax.Array:
        for _ in range(times):
            x = (x @ kernel) @ kernel.T
        return x

    return (lambda: repeated(x, kernel)), times * 2 * 2 * pieces * n * wide


def _same(task: TaggerTask, model: Any, batch: Mapping[str, np.ndarray], theirs: peer.Trainer) -> None:
    graphdef, state = nnx.split(model)
    ours = np.asarray(jax.jit(lambda s: task.evaluate(nnx.merge(graphdef, s), dict(batch)))(state))
    found = theirs.logits(0)
    seen = np.asarray(batch["attention_mask"])[:, : found.shape[1]] > 0
    off = np.abs(ours[:, : found.shape[1]] - found)[seen].max() / max(1.0, np.abs(found).max())
    if not off <= AGREEMENT:
        raise ZooError(f"the peer's scores differ by {off:.1e}, more than {AGREEMENT:g}: it is not the same model")


def _process(words: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ZooError(f"{' '.join(words[:3])} ended with status {done.returncode}: {done.stderr[-300:]}")


def _share(timing: Timing, count: int) -> Timing:
    return replace(timing, ms=timing.ms / count, spread_ms=timing.spread_ms / count)


def _rate(pieces: int, timing: Timing | None) -> float | None:
    return None if timing is None else round(1e3 * pieces / timing.ms, 1)


def _peer(timing: Mapping[str, Timing], count: int) -> dict[str, Any]:
    if "peer" not in timing:
        return {"peer": f"N/A: {', '.join(peer.absent())} not installed"}
    return {"peer": peer.NAME, "peer_timing": _share(timing["peer"], count)}


def all_rows(*, quick: bool = False) -> list[dict[str, Any]]:
    """Everything, with as many threads as the process has; ``quick`` takes few batches and texts once, for tests."""
    if not peer.absent():
        peer.use_threads()
    say("training step")
    rows = step_rows(1, 1, 1) if quick else step_rows(16, 9, 4)
    say("tagging")
    rows += tagging_rows(8 if quick else None, 1 if quick else 5)
    say("first answer")
    return [*rows, *first_answer_rows(1 if quick else 5)]


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    print_rows(lambda: all_rows(quick="--quick" in sys.argv))
