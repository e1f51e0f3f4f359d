"""``zoo reproduce``: a paper's table from packaged releases, from runs trained for it, or from methods that need neither."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.core import curves, hub, machine, release, tables
from zoo.core.config import compose, config_hash
from zoo.core.errors import UserError
from zoo.core.families import family
from zoo.core.progress import say
from zoo.core.train import evaluate, run, typed
from zoo.core.writing import require_writable


def reproduce(
    name: str,
    *,
    rows: Sequence[str] | None = None,
    seeds: int = 1,
    train: bool = False,
    scale: tables.Scale = "quick",
    out: Path = Path("results"),
    runs: Path = Path("runs/reproduce"),
    picture: Path | None = None,
) -> dict[str, Any]:
    """Make a table: evaluate each row's release by the path a user calls, training it first if asked to.

    Args:
        name: ``<family>/<table>``.
        rows: names of the rows to make, all if None; those that ``out`` holds already stay there as they are. A row of the paper alone
            is shown beside the others.
        seeds: number of seeds (0, 1, ...) trained for each row; a packaged release is one seed.
        train: train the rows' experiments; else their packaged releases answer.
        scale: ``quick`` (what two cores can do; the rows say what was reduced) or ``paper`` (the paper's own setting).
        out: folder of the CSV, Markdown and JSON files, of each scale its own.
        runs: folder of the runs trained here; a run found there half done goes on.
        picture: PNG of the curves over training, where ``train``.

    Returns:
        {"table", "scale", "rows": [...]} as in the contract of ``zoo reproduce``, and "files" that were written.

    Raises:
        UserError: unknown table or row, a row that has no release or experiment, seeds below 1, results in ``out`` that cannot be read, or
            a folder that cannot be written.
    """
    table = tables.find(name)
    chosen = table.select(rows)
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: the count must be at least 1")
    if not train and seeds > 1:
        raise UserError(f"--seeds {seeds} needs --train: a packaged release is one seed")

    former = tables.former_results(table, out, scale)  # before hours of training, for it may be refused
    if train:
        _require_writable(table, out, picture)
    parts: list[tuple[tables.Row, str]] = []  # (row, release folder or name), one for each seed
    folders: dict[str, list[Path]] = {}
    without: list[str] = []  # rows that no release answers for
    for row in chosen:
        if row.compute is not None or row.paper_only:
            continue
        if train:
            folders[row.name] = [_trained(table, row, seed, scale, runs) for seed in range(seeds)]
            parts += [(row, str(folder / "release")) for folder in folders[row.name]]
        elif (packaged := table.answering(row, scale)) is not None:
            parts.append((row, packaged))
        else:
            without.append(row.name)
    if not parts and not any(row.compute is not None for row in chosen):
        other = next((s for s in tables.SCALES if any(table.answering(row, s) for row in chosen)), None)
        raise UserError(
            f"none of the rows asked for has a packaged release of scale {scale}: add --train to make them ({name})"
            + (f", or --scale {other}, of which some have one" if other else "")
        )
    if without:
        say(f"no packaged release answers for {', '.join(without)}: left out (train them with --train)")
    if picture is not None and not folders:
        raise UserError("--picture draws the training of the rows: it needs --train")
    _require_writable(table, out, picture)

    answers = _of_releases(table, parts) | _of_methods(chosen)
    document: dict[str, Any] = {"table": table.name, "scale": scale, "rows": []}
    for row in chosen:
        if row.name not in answers:
            continue
        answer = answers[row.name]
        command = _command(table, row, seeds, train, scale)
        entry = tables.row_document(table, row, answer.numbers, release=answer.release, command=command, scale=scale)
        document["rows"].append({**entry, "config_hash": answer.config_hash, "machine": _machines(answer)})
    whole = tables.with_former(table, document, former)
    written = [str(tables.write_results(table, whole, out))]
    first = {row: answer.numbers[0] for row, answer in answers.items() if answer.numbers}
    if table.artefacts is not None and any(row["seeds"] and row["name"] not in first for row in whole["rows"]):
        say(
            f"{table.name}: its further files are left as they are, for they need all rows (leave --rows out to write them)"
        )
    elif table.artefacts is not None:
        written += [str(path) for path in table.artefacts(first, out)]
    if table.chart is not None:
        written += [str(path) for path in table.chart(whole, tables.stem(table, scale, out))]
    if picture is not None:
        written.append(str(curves.draw(folders, table.curves, table.title, picture)))
    return {**document, "files": written}


def _require_writable(table: tables.Table, out: Path, picture: Path | None) -> None:
    require_writable((out / table.name).parent, "name another folder with --out")
    if picture is not None:
        require_writable(picture.parent, "name another file with --picture")


@dataclass(frozen=True)
class _Answer:
    """What a row's numbers come from: a mapping for each seed; ``trained_on``: the machine of each release."""

    numbers: Sequence[Mapping[str, Any]]
    release: str | None = None
    config_hash: str = ""
    trained_on: tuple[str, ...] = ()


def _of_releases(table: tables.Table, parts: Sequence[tuple[tables.Row, str]]) -> dict[str, _Answer]:
    """Rows that releases answer for: their metrics, facts of the run, and timings of all of them interleaved."""
    if not parts:
        return {}
    loaded = [release.read_release(hub.resolve(where)) for _, where in parts]
    timings = family(table.name.partition("/")[0]).measures(loaded)
    answers: dict[str, _Answer] = {}
    for (row, where), one, timing in zip(parts, loaded, timings):
        say(f"{row.name}: evaluating {where}")
        if table.evaluate is None:
            found = evaluate(where, ("train", "valid", "test"))["metrics"]
        else:
            found = table.evaluate(family(one.info.family).predictor(one))
        numbers = {**found, "run": one.info.metrics.get("run", {}), "measured": timing}
        before = answers.get(row.name, _Answer((), where, config_hash(one.info.config)))
        trained_on = (*before.trained_on, one.info.machine.get("summary", ""))
        answers[row.name] = replace(before, numbers=(*before.numbers, numbers), trained_on=trained_on)
    return answers


def _machines(answer: _Answer) -> str:
    """This machine, and those that its releases were trained on where they were others."""
    return "; trained on ".join(dict.fromkeys([machine.facts()["summary"], *filter(None, answer.trained_on)]))


def _of_methods(rows: Sequence[tables.Row]) -> dict[str, _Answer]:
    """Rows that are computed without a release, and rows of the paper alone, which have no numbers."""
    answers: dict[str, _Answer] = {}
    for row in rows:
        if row.compute is not None:
            say(f"{row.name}: computing")
            answers[row.name] = _Answer((row.compute(),))
        elif row.paper_only:
            answers[row.name] = _Answer(())
    return answers


def _trained(table: tables.Table, row: tables.Row, seed: int, scale: str, runs: Path) -> Path:
    if row.experiment is None:
        raise UserError(f"row {row.name!r} of {table.name} has no experiment to train")
    variant = re.sub(r"[^a-z0-9]+", "-", row.name.lower()).strip("-") if row.overrides else ""
    folder = runs / scale / row.experiment / variant / f"seed-{seed}"
    overrides = [row.experiment, f"seed={seed}", *table.overrides.get(scale, ()), *row.overrides]
    config = typed(compose([*overrides, f"run.dir={folder}"]))
    result = run(config, "zoo train " + " ".join(shlex.quote(o) for o in overrides))
    if result["already_finished"]:
        say(f"{row.name}, seed {seed}: found finished in {folder} (remove it to train anew)")
    return folder


def _command(table: tables.Table, row: tables.Row, seeds: int, train: bool, scale: str) -> str:
    words = ["zoo", "reproduce", table.name, "--rows", row.name, "--scale", scale]
    return shlex.join([*words, "--train", "--seeds", str(seeds)] if train else words)
