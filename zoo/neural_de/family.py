"""The family's answers to the shared core (see zoo.core.task.Family)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.core import hub
from zoo.core.bench import interleaved
from zoo.core.errors import UserError
from zoo.core.release import Release, read_release
from zoo.core.task import Card, Family, Split
from zoo.neural_de.config import NodeClassifierConfig
from zoo.neural_de.data import image_records
from zoo.neural_de.predictor import ClassifierPredictor, predict_rows, read_images
from zoo.neural_de.tables import TABLES
from zoo.neural_de.task import NodeClassifierTask

DATA = {
    "digits": "scikit-learn's digits (UCI optical recognition of handwritten digits, test part; 1,797 images of 8 x 8, CC BY 4.0)",
    "mnist": "MNIST (LeCun, Cortes, Burges; 70,000 images of 28 x 28, CC BY-SA 3.0)",
    "fashion_mnist": "Fashion-MNIST (Zalando Research; 70,000 images of 28 x 28, MIT)",
}


def card(config: NodeClassifierConfig) -> Card:
    """What a classifier's card says."""
    shared_step = config.solver.control == "batch"
    limits = [
        f"Takes images as in {config.data.name}, pixels scaled to [0, 1]; anything else gets a class all the same.",
        "One step size is chosen for a whole batch, so a prediction depends, within the solver's tolerance, on the batch it is in."
        if shared_step
        else "Each image has its own step size.",
        f"Tolerance {config.solver.rtol:g} lies below float32's precision (1.2e-7): part of the error estimate is round-off."
        if config.solver.rtol < 1.2e-7
        else f"Solved to a tolerance of {config.solver.rtol:g}.",
    ]
    summary = "Neural ODE image classifier after Pal, Ma, Shah and Rackauckas, Opening the Blackbox (ICML 2021)."
    return Card(data=DATA[config.data.name], licence="Apache-2.0", limits=tuple(limits), summary=summary)


def measures(releases: Sequence[Release]) -> list[dict[str, float]]:
    """Seconds to predict one batch of the test set (at most 512 images), warm, releases interleaved, medians of 15."""
    functions = {}
    for i, release in enumerate(releases):
        predictor = ClassifierPredictor(release)
        images = image_records(predictor.config.data, Split.TEST).images[:512]
        functions[str(i)] = lambda predictor=predictor, images=images: predictor.solve(images).logits
    timings = interleaved(functions, repeats=15)
    return [{"predict_seconds": timings[str(i)].ms / 1e3} for i in range(len(releases))]


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """The family's options of ``zoo predict``."""
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the solve: accepted and rejected steps, error and stiffness"
    )
    parser.add_argument("--beside", metavar="MODEL", help="with --plot: another model whose solve is drawn beside")


def predict(predictor: ClassifierPredictor, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row an image, and the picture where it was asked for; UserError for what :mod:`zoo.neural_de.trajectory` refuses."""
    if args.beside is not None and args.plot is None:
        raise UserError(f"--beside {args.beside} goes with --plot FILE")
    if args.plot is None:
        return predict_rows(predictor, read_images(args.input))
    from zoo.neural_de.trajectory import check_path, draw, trajectory

    check_path(args.plot)
    others = [] if args.beside is None else [_classifier(args.beside)]
    images = read_images(args.input)
    rows = predict_rows(predictor, images)
    draw([(p.info.name, trajectory(p, images)) for p in (predictor, *others)], args.plot)
    return rows


def _classifier(name: str) -> ClassifierPredictor:
    found = read_release(hub.resolve(name))
    if found.info.family != "neural_de":
        raise UserError(f"--beside {name}: it is a model of {found.info.family}, not of neural_de")
    return ClassifierPredictor(found)


def _bench() -> list[dict[str, Any]]:
    from zoo.neural_de.benches import neural_de_rows  # here: nothing else needs it

    return neural_de_rows()


FAMILY = Family(
    name="neural_de",
    extra=None,
    title="neural differential equations regularised by their own solver (Opening the Blackbox)",
    config_types={"classify": NodeClassifierConfig},
    build=NodeClassifierTask,
    card=card,
    predictor=ClassifierPredictor,
    predict=predict,
    predict_arguments=predict_arguments,
    tables=TABLES,
    benches={"neural_de": _bench},
    measures=measures,
)
