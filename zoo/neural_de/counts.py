"""How many evaluations of the field a classifier takes: for a batch under one step size, in float64, and image by image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from zoo.core.task import Split
from zoo.core.train import evaluate_params
from zoo.neural_de.classifier import forward
from zoo.neural_de.data import image_records
from zoo.neural_de.predictor import ClassifierPredictor
from zoo.neural_de.task import NodeClassifierTask

BATCH = 512


def batch_counts(predictor: ClassifierPredictor, images: np.ndarray, *, float64: bool = False) -> np.ndarray:
    """NFE of each batch of at most 512 images under the experiment's own step control.

    Args:
        predictor: the classifier.
        images: float32, shape (n, pixels), in [0, 1].
        float64: solve in double precision, weights and images being the same numbers. A tolerance below float32's precision asks for
            more than single precision can give, so that the two differ by what round-off costs or hides.

    Returns:
        float64, shape (n,): the count of each image's batch.
    """
    with jax.enable_x64(float64):
        dtype = jnp.float64 if float64 else jnp.float32
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), predictor.params)
        count = jax.jit(lambda params, batch: forward(predictor.model(params), batch, predictor.config.solver).nfe)
        parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        return np.concatenate([np.full(len(p), float(count(params, jnp.asarray(p, dtype)))) for p in parts])


def sample_counts(predictor: ClassifierPredictor, images: np.ndarray) -> np.ndarray:
    """NFE of each image with a step size of its own, in float32, shape (n,)."""

    def alone(params: object, image: jax.Array) -> jax.Array:
        return forward(predictor.model(params), image[None], predictor.config.solver).nfe

    count = jax.jit(jax.vmap(alone, in_axes=(None, 0)))
    parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return np.concatenate([np.asarray(count(predictor.params, jnp.asarray(p)), np.float64) for p in parts])


def numbers(predictor: ClassifierPredictor) -> dict[str, dict[str, float]]:
    """A table's numbers of one classifier: test metrics by the path of ``zoo evaluate``, and the counts on all test images.

    The accuracy on training and validation images is the card's: ``zoo evaluate RELEASE --split train`` repeats it.
    """
    task = NodeClassifierTask(predictor.config)
    images = image_records(predictor.config.data, Split.TEST).images
    alone = sample_counts(predictor, images)
    counts = {
        "float64": float(batch_counts(predictor, images, float64=True).mean()),
        "sample": float(alone.mean()),
        "sample_std": float(alone.std()),
    }
    stated = {split: predictor.info.metrics.get(split, {}) for split in ("train", "valid")}
    return {**stated, **evaluate_params(task, predictor.params, (Split.TEST,)), "counts": counts}
