"""What ``zoo.load("openmed_ner/...")`` returns, and what ``zoo predict`` does with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from zoo.core import state
from zoo.core.errors import UserError
from zoo.core.release import Release
from zoo.core.train import load_task
from zoo.openmed_ner.formats import FORMATS, Tagged, check_target, write
from zoo.openmed_ner.lora import drop_adapters, merge_adapters, trainable_share
from zoo.openmed_ner.mlm.predictor import ReleasedMaskedLM, predict_rows
from zoo.openmed_ner.pipeline import Tagger
from zoo.openmed_ner.sources import READ_AS, read_sources
from zoo.openmed_ner.task import TaggerTask


class ReleasedTagger(Tagger):
    """The tagger of a release: its adapters and head on the base that it names, with the window it was trained with.

    The base is looked for, and a known one fetched, by :func:`zoo.openmed_ner.base.find_base`; the corpus is not needed.

    Args:
        release: the checked release.
        **settings: those of :class:`zoo.openmed_ner.pipeline.Tagger`.

    Attributes:
        info: the release's card as data.
        share: how many of its parameters were trained.

    Raises:
        UserError: the base cannot be had or is another than the release was trained on.
        DamagedError: the release's tensors do not fit its configuration.
    """

    def __init__(self, release: Release, **settings: Any) -> None:
        task = load_task(release)
        assert isinstance(task, TaggerTask)
        self.info = release.info
        model = task.init(jax.random.key(task.config.seed))
        graphdef, template, rest = nnx.split(model, task.trainable(), ...)
        params = state.unflatten({"params": template}, release.tensors, what=str(release.path))["params"]
        model = nnx.merge(graphdef, params, rest)
        self.share = trainable_share(model, task.trainable())
        merge_adapters(model)  # one matrix product where two were
        drop_adapters(model)
        window = min(task.config.data.max_length, model.config.max_length)
        super().__init__(model, task.tokenizer, task.labels, **{"window": window, **settings})


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that ``zoo predict`` takes for a tagger."""
    parser.add_argument("--format", choices=list(FORMATS), help="what to write; without it a table of entities")
    parser.add_argument(
        "--read-as", choices=READ_AS, help="text: one text; lines: one a line; jsonl: objects with id and text"
    )
    parser.add_argument("--threshold", type=float, default=0.0, help="leave out entities with a lower score")
    parser.add_argument("--out", type=Path, help="a new file for --format, or with brat a new folder")


def predict(tagger: ReleasedTagger | ReleasedMaskedLM, args: argparse.Namespace) -> list[dict[str, Any]] | str:
    """Tag a file: rows {"id", "start", "end", "label", "text", "score"}, or with ``--format`` its text.

    Raises:
        UserError: options that exclude each other, a threshold outside [0, 1], an input that cannot be read, or an output that
            cannot be written.
    """
    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold {args.threshold:g}: a score lies in [0, 1]")
    if args.format and args.json:
        raise UserError(f"--format {args.format} and --json exclude each other: leave one out")
    if args.out and not args.format:
        raise UserError(f"--out {args.out} needs a --format: {', '.join(FORMATS)}")
    if isinstance(tagger, ReleasedMaskedLM):
        for option in ("format", "out"):
            if getattr(args, option):
                raise UserError(f"--{option} is for taggers: {tagger.info.name} fills gaps and measures perplexity")
        return predict_rows(tagger, read_sources(args.input, args.read_as))
    sources = read_sources(args.input, args.read_as)
    if args.out:
        check_target(args.format, [s.id for s in sources], args.out)
    elif args.format == "brat" and len(sources) > 1:
        raise UserError(f"brat: {len(sources)} texts do not fit into one .ann file: name a folder with --out")
    found = tagger([s.text for s in sources])
    tagged = [
        Tagged(s.id, s.text, tuple(e for e in entities if e.score >= args.threshold))
        for s, entities in zip(sources, found)
    ]
    if args.out:
        write(args.format, tagged, args.out)
        return f"written: {args.out}"
    if args.format:
        return FORMATS[args.format](tagged)
    columns = ("start", "end", "label", "text", "score")
    return [{"id": t.id, **{c: getattr(e, c) for c in columns}} for t in tagged for e in t.entities]
