"""``zoo compare``: what differs between the configurations of runs or releases, and their metrics side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.core import hub, release, state
from zoo.core.checkpoint import STEP
from zoo.core.config import flatten
from zoo.core.errors import UserError
from zoo.core.metrics import read_rows


@dataclass(frozen=True)
class Side:
    """One of the things compared.

    Attributes:
        what: as it was named.
        status: ``released``, or ``at step n`` for a run that is not finished.
        config: its plain configuration.
        metrics: numbers by split.
    """

    what: str
    status: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]


def compare(names: Sequence[str]) -> dict[str, Any]:
    """Set runs and releases side by side.

    Args:
        names: at least two run folders, release folders or release names.

    Returns:
        {"runs": [{"name", "status"}], "config": {key: [value of each]}, "metrics": {"split metric": [number of each]}},
        JSON-ready: the keys that differ (the run folder apart), all metrics; null where one lacks it.

    Raises:
        UserError: fewer than two, or one that is neither a run nor a release.
        DamagedError: one of them is damaged.
    """
    if len(names) < 2:
        raise UserError(f"zoo compare {' '.join(names)}: name at least two runs or releases")
    sides = [side(name) for name in names]
    configs = [{k: v for k, v in flatten(s.config).items() if not k.startswith("run.")} for s in sides]
    metrics = [_numbers(s.metrics) for s in sides]
    keys = dict.fromkeys(key for config in configs for key in config)
    values = {key: [config.get(key) for config in configs] for key in keys}
    return {
        "runs": [{"name": s.what, "status": s.status} for s in sides],
        "config": {key: row for key, row in values.items() if any(v != row[0] for v in row)},
        "metrics": {n: [m.get(n) for m in metrics] for n in dict.fromkeys(n for m in metrics for n in m)},
    }


def side(name: str) -> Side:
    """A run folder by its newest state, or by its release where that is of the same step; a release by its card's data."""
    folder = Path(name)
    newest = state.latest(folder / "states", STEP) if (folder / "states").is_dir() else None
    released = folder / "release" if (folder / "release" / release.MANIFEST).is_file() else None
    if newest is None:
        info = release.read_release(released or hub.resolve(name)).info
        return Side(name, "released", info.config, info.metrics)
    meta = state.read_manifest(newest)["meta"]
    step = meta["ledger"]["step"]
    if released is not None:
        info = release.read_release(released).info
        if info.metrics.get("run", {}).get("steps") == step:
            return Side(name, "released", info.config, info.metrics)
    last: dict[str, Any] = {}
    for row in read_rows(folder / "metrics.jsonl", tolerate_torn=True):
        if row["step"] <= step:
            last[row["split"]] = {k: v for k, v in row.items() if k != "split"}
    return Side(name, f"at step {step} of {meta['config']['trainer']['steps']}", meta["config"], last)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    order = {"test": 0, "valid": 1, "train": 2}
    splits = sorted((s for s in metrics if isinstance(metrics[s], Mapping)), key=lambda s: order.get(s, 3))
    return {
        f"{split} {name}": value
        for split in splits
        for name, value in metrics[split].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
