"""Counts of evaluations against stock diffrax, image by image and in double precision."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.core.task import Split
from zoo.neural_de.counts import batch_counts, numbers, sample_counts
from zoo.neural_de.data import image_records
from zoo.neural_de.predictor import ClassifierPredictor


@pytest.fixture(scope="module")
def predictor() -> ClassifierPredictor:
    return zoo.load("neural_de/digits-er")


@pytest.fixture(scope="module")
def images(predictor: ClassifierPredictor) -> np.ndarray:
    return image_records(predictor.config.data, Split.TEST).images[:24]


def stock_steps(predictor: ClassifierPredictor, images: np.ndarray, dtype: object) -> int:
    """Attempts of diffrax on one batch, weights and images cast to ``dtype``."""
    model = predictor.model(jax.tree.map(lambda x: jnp.asarray(x, dtype), predictor.params))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: model.field(t, y)),
        diffrax.Tsit5(), jnp.asarray(0, dtype), jnp.asarray(1, dtype), None, jnp.asarray(images, dtype),
        stepsize_controller=diffrax.PIDController(rtol=1.4e-8, atol=1.4e-8),
    )  # fmt: skip
    return int(solution.stats["num_steps"])


def test_double_precision_takes_what_diffrax_takes(predictor: ClassifierPredictor, images: np.ndarray) -> None:
    found = batch_counts(predictor, images, float64=True)
    with jax.enable_x64(True):
        steps = stock_steps(predictor, images, jnp.float64)
    assert found.shape == (24,)
    assert set(found) == {1 + 6 * steps}
    assert jnp.zeros(()).dtype == jnp.float32  # the precision was the count's own


def test_single_precision_is_what_a_prediction_reports(predictor: ClassifierPredictor, images: np.ndarray) -> None:
    assert set(batch_counts(predictor, images)) == {float(predictor.solve(images).nfe)}


def test_each_image_is_counted_by_itself(predictor: ClassifierPredictor, images: np.ndarray) -> None:
    found = sample_counts(predictor, images)
    alone = [float(predictor.solve(image).nfe) for image in images[:6]]
    # float32 at 1.4e-8: the error estimate is partly round-off, which another compilation moves: an attempt more or less.
    assert np.abs(found[:6] - alone).max() <= 12
    assert found.mean() == pytest.approx(np.mean([float(predictor.solve(image).nfe) for image in images]), abs=3)
    assert set(found % 6) == {1.0}


def test_numbers_are_the_test_split_s_and_the_card_s(predictor: ClassifierPredictor) -> None:
    found = numbers(predictor)
    assert found["test"]["accuracy"] == pytest.approx(predictor.info.metrics["test"]["accuracy"], abs=1e-6)
    assert found["train"] == predictor.info.metrics["train"]
    assert found["counts"]["float64"] < found["test"]["nfe"]  # half of what it takes in float32 is round-off
    assert found["counts"]["sample_std"] > 0
