"""What ``zoo.load("openmed_ner/...")`` returns, and what ``zoo predict`` does with it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from zoo.core import hub, state
from zoo.core.config import nearest
from zoo.core.data import sha256_of
from zoo.core.errors import UserError
from zoo.core.progress import say
from zoo.core.release import Release, read_release
from zoo.core.train import load_task
from zoo.openmed_ner.formats import FORMATS, Tagged, check_target, write
from zoo.openmed_ner.lora import drop_adapters, merge_adapters, trainable_share
from zoo.openmed_ner.mlm.predictor import ReleasedMaskedLM, predict_rows
from zoo.openmed_ner.pipeline import Entity, Tagger
from zoo.openmed_ner.sources import READ_AS, Source, iter_sources, read_sources
from zoo.openmed_ner.streaming import stream_jsonl
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
        weights_sha256: of the release's tensors.

    Raises:
        UserError: the base cannot be had or is another than the release was trained on.
        DamagedError: the release's tensors do not fit its configuration.
    """

    def __init__(self, release: Release, **settings: Any) -> None:
        task = load_task(release)
        assert isinstance(task, TaggerTask)
        self.info, self.weights_sha256 = release.info, sha256_of(release.path / state.WEIGHTS)
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
    parser.add_argument(
        "--threshold-of",
        action="append",
        default=[],
        metavar="TYPE=X",
        help="the threshold of one type; may be repeated",
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="MODEL",
        help="one more tagger for the same texts; may be repeated",
    )
    parser.add_argument("--out", type=Path, help="a new file for --format, or with brat a new folder")
    parser.add_argument(
        "--resume", action="store_true", help="with --format jsonl --out: go on where a run was stopped"
    )


def predict(tagger: ReleasedTagger | ReleasedMaskedLM, args: argparse.Namespace) -> list[dict[str, Any]] | str:
    """Tag a file, or the texts of a folder: rows {"id", "start", "end", "label", "text", "score"}, or with ``--format`` its text.

    With ``--format jsonl --out`` memory is bounded, and a run that was stopped goes on with ``--resume``. With ``--also`` the
    entities of all taggers stand together, each with its "model".

    Raises:
        UserError: options that exclude each other, a threshold outside [0, 1] or of a type that no model has, an input that cannot
            be read, or an output that cannot be written.
    """
    _check(args)
    if isinstance(tagger, ReleasedMaskedLM):
        for option in ("format", "out", "also", "threshold", "threshold_of"):
            if getattr(args, option):
                given = option.replace("_", "-")
                raise UserError(f"--{given} is for taggers: {tagger.info.name} fills gaps and measures perplexity")
        return predict_rows(tagger, read_sources(args.input, args.read_as))
    several = Taggers([tagger, *(_also(name) for name in args.also)], args.threshold, args.threshold_of)
    if args.out and args.format == "jsonl":
        sources = iter_sources(args.input, args.read_as)
        done = stream_jsonl(sources, several.tag, args.out, settings=several.settings, resume=args.resume)
        return f"written: {args.out}" + (f" ({done} texts tagged now)" if args.resume else "")
    sources = read_sources(args.input, args.read_as)
    if args.out:
        check_target(args.format, [s.id for s in sources], args.out)
    elif args.format == "brat" and len(sources) > 1:
        raise UserError(f"brat: {len(sources)} texts do not fit into one .ann file: name a folder with --out")
    tagged = several.tag(sources)
    if args.out:
        write(args.format, tagged, args.out)
        return f"written: {args.out}"
    if args.format:
        return FORMATS[args.format](tagged)
    rows = [{"id": t.id, **several.row(e)} for t in tagged for e in t.entities]
    if not rows:
        say(f"no entity in {len(tagged)} text{'s' if len(tagged) > 1 else ''}")
    return rows


def _check(args: argparse.Namespace) -> None:
    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold {args.threshold:g}: a score lies in [0, 1]")
    if args.format and args.json:
        raise UserError(f"--format {args.format} and --json exclude each other: leave one out")
    if args.out and not args.format:
        raise UserError(f"--out {args.out} needs a --format: {', '.join(FORMATS)}")
    if args.resume and not (args.out and args.format == "jsonl"):
        raise UserError("--resume needs --format jsonl and --out: only such a run can go on")
    if args.also and args.format not in (None, "jsonl"):
        raise UserError(
            f"--also and --format {args.format}: entities of several models overlap: use jsonl, or no format"
        )


def _also(name: str) -> ReleasedTagger:
    release = read_release(hub.resolve(name))
    if (release.info.family, release.info.task) != ("openmed_ner", "tag"):
        raise UserError(
            f"--also {name}: {release.info.name} is no tagger (family {release.info.family}): name a tagger"
        )
    return ReleasedTagger(release)


class Taggers:
    """One or several taggers on the same texts.

    Args:
        models: the taggers.
        threshold: entities with a lower score are left out.
        by_type: ``TYPE=X``, the threshold of one type.

    Attributes:
        settings: what the answers depend on.

    Raises:
        UserError: a threshold that is no number in [0, 1], or of a type that no model has; a model given twice.
    """

    def __init__(self, models: Sequence[ReleasedTagger], threshold: float = 0.0, by_type: Sequence[str] = ()) -> None:
        self.models, self._least, self._by_type = models, threshold, {}
        digests = [f"{m.info.name} {m.weights_sha256}" for m in models]
        if len(set(digests)) < len(digests):
            twice = next(m.info.name for m, d in zip(models, digests) if digests.count(d) > 1)
            raise UserError(f"--also {twice}: it is there already: name another tagger")
        names = [m.info.name for m in models]  # two seeds of one experiment share a name
        self._names = [n if names.count(n) == 1 else f"{n}@{m.weights_sha256[:8]}" for n, m in zip(names, models)]
        types = sorted({kind for m in models for kind in m.labels.types})
        for given in by_type:
            kind, equals, number = given.rpartition("=")
            if not equals:
                raise UserError(f"--threshold-of {given}: no number: write {given}=0.8")
            if kind not in types:
                raise UserError(
                    f"--threshold-of {given}: no type {kind!r}{nearest(kind, types)} (types: {', '.join(types)})"
                )
            try:
                self._by_type[kind] = float(number)
            except ValueError:
                raise UserError(f"--threshold-of {given}: {number!r} is no number: write TYPE=0.8") from None
            if not 0 <= self._by_type[kind] <= 1:
                raise UserError(f"--threshold-of {given}: a score lies in [0, 1]")
        self.settings = [*digests, str(threshold), *(f"{k}={x}" for k, x in sorted(self._by_type.items()))]

    def tag(self, sources: Sequence[Source]) -> list[Tagged]:
        """The entities of each text: of one model in order of place, of several by place and then in the models' order."""
        found: list[list[Entity]] = [[] for _ in sources]
        for model, name in zip(self.models, self._names):
            for here, entities in zip(found, model([s.text for s in sources])):
                kept = (e for e in entities if e.score >= self._by_type.get(e.label, self._least))
                here += kept if len(self.models) == 1 else (replace(e, model=name) for e in kept)
        return [Tagged(s.id, s.text, tuple(sorted(here, key=lambda e: e.start))) for s, here in zip(sources, found)]

    def row(self, entity: Entity) -> dict[str, Any]:
        """An entity as a line of a table."""
        columns = ("start", "end", "label", "text", "score", *(["model"] if len(self.models) > 1 else []))
        return {c: getattr(entity, c) for c in columns}
