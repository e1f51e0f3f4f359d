"""The picture of a solve: what the step control did along time, for one classifier or two beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np

from zoo.core.errors import UserError
from zoo.neural_de.classifier import SOLVERS, rms_norm
from zoo.neural_de.predictor import ClassifierPredictor
from zoo.neural_de.solve.attempts import Attempts, attempts

SUFFIXES = (".png", ".pdf", ".svg")


def trajectory(predictor: ClassifierPredictor, images: np.ndarray) -> Attempts:
    """The attempts of a classifier's solve of one batch, under one step size for the whole batch.

    Args:
        predictor: the classifier.
        images: what its ``images`` takes.

    Raises:
        UserError: images that the classifier does not take.
    """
    solver, model = predictor.config.solver, predictor.model(predictor.params)
    controller = diffrax.PIDController(rtol=solver.rtol, atol=solver.atol, norm=rms_norm(None))
    return attempts(
        lambda t, y: model.field(t, y), SOLVERS[solver.name](), 0.0, solver.t1, jnp.asarray(predictor.images(images)),
        controller, max_steps=solver.max_steps,
    )  # fmt: skip


def check_path(path: Path) -> None:
    """Refuse a picture that could not be written, before anything is computed; UserError."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot {path}: give a file that ends in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"--plot {path}: there is no folder {path.parent}")


def draw(solves: Sequence[tuple[str, Attempts]], path: Path) -> None:
    """Step lengths, error over tolerance and stiffness of each attempt along time, a column for each solve.

    Args:
        solves: names and attempts; axes are shared, so that columns compare.
        path: the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from zoo.core.curves import COLOURS

    figure, axes = plt.subplots(
        3, len(solves), figsize=(1.6 + 4.4 * len(solves), 6.6), sharex=True, sharey="row", layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for column, (name, found) in enumerate(solves):
        kept = found.accepted
        middle = (found.start + found.end) / 2
        axes[0, column].set_title(
            f"{name}\n{kept.sum()} steps accepted, {(~kept).sum()} rejected", fontsize=10, loc="left"
        )
        rows = (
            ("step length h", found.end - found.start),
            ("error E over tolerance", found.error),
            ("stiffness S", found.stiffness),
        )
        for axis, (label, values) in zip(axes[:, column], rows):
            axis.plot(
                middle[kept], values[kept], color=COLOURS[0], linewidth=1, marker="o", markersize=4, label="accepted"
            )
            axis.plot(middle[~kept], values[~kept], "x", color=COLOURS[1], markersize=6, label="rejected")
            if column == 0:
                axis.set_ylabel(label)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        _steps(axes[0, column], found)
        axes[1, column].axhline(1.0, color="#888888", linewidth=0.8, linestyle=":")
        for axis in axes[:2, column]:
            axis.set_yscale("log")
        axes[2, column].set_xlabel("time")
    axes[0, 0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _steps(axis: Any, found: Attempts) -> None:
    """A tick on the time axis at the end of each accepted step."""
    for time in found.end[found.accepted]:
        axis.axvline(time, ymax=0.04, color="#555555", linewidth=0.8)
