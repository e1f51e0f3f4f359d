"""The picture of a table's runs: a metric over training, one line a row, the seeds as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.metrics import read_rows

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
LABELS = {"accuracy": "validation accuracy (%)", "nfe": "evaluations of the field (NFE)"}


def draw(runs: Mapping[str, Sequence[Path]], metrics: Sequence[str], title: str, path: Path) -> Path:
    """Draw validation ``metrics`` of each row's runs (its seeds) over training steps into a PNG.

    Args:
        runs: run folders by row name.
        metrics: names in the validation rows of metrics.jsonl.
        title: over the picture.
        path: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(metrics), figsize=(5.2 * len(metrics), 3.8), squeeze=False, layout="constrained")
    for axis, metric in zip(axes[0], metrics):
        for colour, (name, folders) in zip(COLOURS, runs.items()):
            series = [_series(folder, metric) for folder in folders]
            steps = series[0][0]
            values = np.stack([v for _, v in series])
            axis.plot(steps, values.mean(0), color=colour, label=name, linewidth=1.8)
            if len(series) > 1:
                axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)
        axis.set_xlabel("training step")
        axis.set_ylabel(LABELS.get(metric, metric))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False, loc="best")
    seeds = max(len(f) for f in runs.values())
    figure.suptitle(f"{title} (mean of {seeds} seeds, band: all of them)" if seeds > 1 else title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _series(folder: Path, metric: str) -> tuple[np.ndarray, np.ndarray]:
    rows: list[dict[str, Any]] = [
        r for r in read_rows(folder / "metrics.jsonl") if r["split"] == "valid" and metric in r
    ]
    return np.asarray([r["step"] for r in rows]), np.asarray([float(r[metric]) for r in rows])
