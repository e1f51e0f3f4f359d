"""``zoo train`` and ``zoo evaluate`` as functions: configuration in, release and metrics out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from zoo.core import distributed, hub, machine, release, state
from zoo.core.config import compose, config_hash, nearest, structure, unstructure
from zoo.core.errors import ConfigError, UserError
from zoo.core.families import families, family
from zoo.core.loop import Evaluator, FitResult, fit
from zoo.core.schema import BaseConfig
from zoo.core.task import Family, HasConstants, Split, Task

# Before the names of a release's constants.
CONSTANTS = "constants"


def typed(plain: dict[str, Any]) -> BaseConfig:
    """The frozen dataclass of a composed configuration; ConfigError for whatever does not fit."""
    for key in ("family", "task"):
        if not isinstance(plain.get(key), str):
            raise ConfigError(f"{key}={plain.get(key)!r}: it must be text, the name of a {key}")
    if plain["family"] not in families():
        known = ", ".join(families())
        raise ConfigError(
            f"family={plain['family']!r} is unknown{nearest(plain['family'], families())} (known: {known})"
        )
    return structure(plain, family(plain["family"]).config_type(plain["task"]))


def train(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> dict[str, Any]:
    """Train an experiment to its end and write its release.

    Args:
        overrides: Hydra overrides, see :func:`zoo.core.config.compose`.
        config_dirs: the user's own config folders.

    Returns:
        {"name", "run_dir", "release", "steps", "already_finished", "metrics", "config_hash"}, JSON-ready.
    """
    return run(typed(compose(overrides, config_dirs)), "zoo train " + " ".join(overrides))


def run(config: BaseConfig, command: str) -> dict[str, Any]:
    """:func:`train` for a typed configuration; ``command`` is what the release's card says made it."""
    distributed.initialise()
    member = family(config.family)
    task = member.build(config)
    result = fit(task)
    folder = result.folder / "release"
    (written,) = distributed.from_primary(
        [distributed.primary() and result.already and _describes(folder, task, result)]
    )
    if not written:
        # A task may spare the release a split that is dear to evaluate.
        splits = getattr(task, "reported", tuple(Split))
        metrics = evaluate_params(task, result.params, splits)
        distributed.primary_does(lambda: write(folder, member, task, result, metrics, command))
    info = release.read_release(folder).info
    return {
        "name": config.name,
        "run_dir": str(result.folder),
        "release": str(folder),
        "steps": result.ledger.step,
        "already_finished": result.already,
        "metrics": info.metrics,
        "config_hash": config_hash(info.config),
    }


def _describes(folder: Path, task: Task, result: FitResult) -> bool:
    """Whether ``folder`` holds the release of just this finished run, and of the step that is asked for now (trainer.release)."""
    if not (folder / "model.json").is_file():
        return False
    info = release.read_release(folder).info
    stated, which = info.metrics.get("run", {}), task.config.trainer.release
    steps = {"steps": result.ledger.step, "released_step": _released_step(task, result)}
    return info.config.get("trainer", {}).get("release") == which and steps.items() <= stated.items()


def _released_step(task: Task, result: FitResult) -> int | None:
    return result.ledger.best_step if task.config.trainer.release == "best" else result.ledger.step


def write(folder: Path, member: Family, task: Task, result: FitResult, metrics: dict[str, Any], command: str) -> None:
    """Write the release of a finished run: weights, model.json, card."""
    config, ledger, card = task.config, result.ledger, member.card(task.config)
    run_facts = {
        "steps": ledger.step,
        "released_step": _released_step(task, result),
        "train_seconds": round(ledger.train_seconds, 3),
        "compile_seconds": round(ledger.compile_seconds, 3),
        "skipped_steps": result.skipped,
    }
    if more := getattr(task, "run_facts", None):  # what a family states of its runs besides
        run_facts |= more(ledger.train_seconds + ledger.compile_seconds)
    seen = getattr(task, "seen", None)  # what only the training set can tell of limits
    facts = machine.facts()
    info = release.ReleaseInfo(
        name=config.name,
        family=config.family,
        task=config.task,
        config=_without_folder(unstructure(config)),
        metrics={**metrics, "run": run_facts},
        command=" ".join(w for w in command.split() if not w.startswith("run.dir=")),
        seed=config.seed,
        versions=facts["versions"],
        machine={k: v for k, v in facts.items() if k != "versions"},
        data=card.data,
        licence=card.licence,
        summary=card.summary,
        limits=[*card.limits, *(seen() if seen else ())],
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
    )
    tree: dict[str, Any] = {"params": result.params}
    if isinstance(task, HasConstants):
        tree[CONSTANTS] = task.constants()
    release.write_release(folder, state.flatten(tree), info, replace=True)


def _without_folder(config: dict[str, Any]) -> dict[str, Any]:
    """A release says what was computed, not where on somebody's machine (nor does its command): the folder is the name alone."""
    return {**config, "run": {"dir": f"runs/{config['name']}/seed-{config['seed']}"}}


def evaluate_params(task: Task, params: nnx.State, splits: Sequence[Split]) -> dict[str, dict[str, float]]:
    """Metrics of each split for ``params``."""
    graphdef, _, frozen = nnx.split(task.init(jax.random.key(task.config.seed)), task.trainable(), ...)
    evaluator = Evaluator(task, graphdef, frozen)
    return {str(split): evaluator(params, split) for split in splits}


def load_params(task: Task, loaded: release.Release) -> nnx.State:
    """The parameters of a release in the structure of its task's model."""
    _, template, _ = nnx.split(task.init(jax.random.key(task.config.seed)), task.trainable(), ...)
    tensors = {name: x for name, x in loaded.tensors.items() if not name.startswith(f"{CONSTANTS}/")}
    return state.unflatten({"params": template}, tensors, what=str(loaded.path))["params"]


def load_task(loaded: release.Release) -> Task:
    """The task a release was trained for, from its own configuration."""
    info = loaded.info
    if info.config.get("family") != info.family:
        raise UserError(
            f"{loaded.path}: its configuration is of family {info.config.get('family')!r}, not {info.family!r}"
        )
    task = family(info.family).build(typed(info.config))
    if isinstance(task, HasConstants):
        prefix = f"{CONSTANTS}/"
        task.restore({n.removeprefix(prefix): x for n, x in loaded.tensors.items() if n.startswith(prefix)})
    return task


def evaluate(name: str, splits: Sequence[str] = ("test",), **options: Any) -> dict[str, Any]:
    """Compute a release's metrics anew, and say what its card states.

    Returns:
        {"name", "path", "metrics": {split: {metric: value}}, "stated": the same from the card, "agrees": bool}: metrics agree
        where they differ by at most 1e-3 relative (another machine's round-off), timings apart.
    """
    loaded = release.read_release(hub.resolve(name, **options))
    task = load_task(loaded)
    wanted = [_split(s) for s in splits]
    metrics = evaluate_params(task, load_params(task, loaded), wanted)
    stated = {s: loaded.info.metrics.get(s, {}) for s in metrics}
    agrees = all(
        abs(value - stated[s][k]) <= 1e-3 * max(abs(stated[s][k]), 1e-6)
        for s, values in metrics.items()
        for k, value in values.items()
        if k in stated[s]
    )
    return {"name": loaded.info.name, "path": str(loaded.path), "metrics": metrics, "stated": stated, "agrees": agrees}


def _split(text: str) -> Split:
    try:
        return Split(text)
    except ValueError:
        raise UserError(f"split {text!r}: it must be one of {', '.join(Split)}") from None
