"""What ``zoo.load("neural_de/...")`` returns for a classifier."""

from __future__ import annotations

import csv
import io
import itertools
import math
import sys
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.core.errors import UserError, one_line
from zoo.core.release import Release
from zoo.core.train import load_params, load_task
from zoo.neural_de.classifier import Forward, forward
from zoo.neural_de.models import NodeClassifier


class ClassifierPredictor:
    """A trained neural-ODE image classifier.

    Args:
        release: the checked release.

    Attributes:
        info, config: the release's card and its experiment's configuration, as data.
        params: its parameters.
        model: makes the module of parameters.
        size: number of pixels it expects.
    """

    def __init__(self, release: Release) -> None:
        task = load_task(release)
        self.info, self.config = release.info, task.config
        graphdef, _, rest = nnx.split(task.init(jax.random.key(self.config.seed)), task.trainable(), ...)
        self.params = load_params(task, release)
        self.size = int(nnx.to_pure_dict(self.params)["head"]["kernel"].shape[0])
        self.model = lambda params: cast(NodeClassifier, nnx.merge(graphdef, params, rest))
        self._forward = jax.jit(lambda params, images: forward(self.model(params), images, task.config.solver))

    def images(self, x: Any) -> np.ndarray:
        """Images as the model takes them, float32, shape (n, pixels).

        Args:
            x: images in [0, 1], shape (n, pixels), (n, rows, columns) or (pixels,) for one; booleans, integers or floats.

        Raises:
            UserError: anything but real numbers, no image, another shape, values outside [0, 1] or not finite.
        """
        try:
            given = np.asarray(x)
        except ValueError as error:
            raise UserError(
                f"images are no array ({one_line(str(error))}): give one of shape (n, {self.size})"
            ) from None
        if given.dtype.kind not in "biuf" and not jnp.issubdtype(given.dtype, jnp.floating):
            raise UserError(f"images of dtype {given.dtype}: give real numbers in [0, 1], such as float32")
        if given.ndim == 0 or given.size == 0:
            raise UserError(
                f"images of shape {given.shape}: no images in it; {self.info.name} takes shape (n, {self.size})"
            )
        if given.ndim == 1:
            given = given[None]
        with np.errstate(over="ignore"):  # what is too large becomes inf, and is refused as such
            images = given.reshape(len(given), math.prod(given.shape[1:])).astype(np.float32)
        if images.shape[1] != self.size:
            raise UserError(
                f"images of {images.shape[1]} values: {self.info.name} takes {self.size} pixels each, shape (n, {self.size})"
            )
        bad = ~np.isfinite(images) | (images < 0) | (images > 1)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise UserError(
                f"image {row}, pixel {column} is {images[row, column]}: pixels lie in [0, 1], divide by the largest grey value"
            )
        return images

    def solve(self, x: Any) -> Forward:
        """Logits and the solver's statistics; see :meth:`images` for x and the errors."""
        return jax.block_until_ready(self._forward(self.params, jnp.asarray(self.images(x))))

    def predict_proba(self, x: Any) -> np.ndarray:
        """Class probabilities, float32, shape (n, classes); see :meth:`images` for x and the errors.

        Raises:
            UserError: also where the solve of an image failed (step limit reached or state not finite).
        """
        out = self.solve(x)
        if not bool(out.ok.all()):
            failed = np.flatnonzero(~np.asarray(out.ok))
            raise UserError(
                f"the solve of image {failed[0]} ({failed.size} in all) did not reach its end in "
                f"{self.config.solver.max_steps} steps: such an image is far from the training data"
            )
        return np.asarray(jax.nn.softmax(out.logits, axis=-1))

    def predict(self, x: Any) -> np.ndarray:
        """The most probable class of each image, int64, shape (n,); see :meth:`predict_proba`."""
        return self.predict_proba(x).argmax(-1)


def read_images(source: str) -> np.ndarray:
    """Images from a .npy file, as it is (see ClassifierPredictor.images), a CSV file of one image a line, or CSV on stdin (``-``).

    Returns:
        the .npy file's array; of CSV float64, shape (n, pixels).

    Raises:
        UserError: the file is missing, cannot be read or holds nothing, or a line does not hold numbers; the line is named.
    """
    if source.endswith(".npy"):
        try:
            with open(source, "rb") as file:  # np.load would also take an .npz, which is no array
                return np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            raise UserError(f"{source}: not a readable .npy file of numbers ({one_line(str(error))})") from None
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: cannot be read as CSV or .npy ({error})") from None
    rows: list[list[float]] = []
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff")))  # which spreadsheets put before UTF-8
    for number in itertools.count(1):
        try:
            fields = next(lines, None)
            if fields is None:
                break
            if not fields:
                continue
            rows.append([float(f) for f in fields])
        except (ValueError, csv.Error) as error:
            raise UserError(
                f"{source}, line {number}: {error}; expected one image a line, comma-separated pixels"
            ) from None
        if len(rows[-1]) != len(rows[0]):
            raise UserError(f"{source}, line {number}: {len(rows[-1])} values where the first image has {len(rows[0])}")
    if not rows:
        raise UserError(f"{source}: no images in it; expected one image a line, comma-separated pixels")
    return np.asarray(rows)


def predict_rows(predictor: ClassifierPredictor, images: np.ndarray) -> list[dict[str, Any]]:
    """``zoo predict``: one row an image."""
    probabilities = predictor.predict_proba(images)
    return [
        {"index": i, "class": int(p.argmax()), "probability": round(float(p.max()), 6)}
        for i, p in enumerate(probabilities)
    ]
