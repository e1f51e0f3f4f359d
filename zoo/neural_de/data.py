"""Images as flat vectors in [0, 1]: scikit-learn's digits, MNIST and Fashion-MNIST."""

from __future__ import annotations

import functools
import gzip
import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zoo.core.data import DataFile, locate
from zoo.core.errors import UserError
from zoo.core.schema import require
from zoo.core.task import Split

_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

MNIST = DataFile(
    name="neural_de/mnist/mnist.npz",
    source="the MNIST database of LeCun, Cortes and Burges as one npz (x_train, y_train, x_test, y_test)",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    # The same arrays in two containers: tf.keras's file, and the four IDX originals repacked.
    sha256=(
        "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64",
    ),
    licence="CC BY-SA 3.0",
)


def _fashion_file(name: str, sha256: str) -> DataFile:
    return DataFile(
        name=f"neural_de/fashion_mnist/{name}-ubyte.gz",
        source="Fashion-MNIST, Zalando Research (github.com/zalandoresearch/fashion-mnist)",
        url=f"{_FASHION}{name}-ubyte.gz",
        sha256=sha256,
        licence="MIT",
    )


FASHION_MNIST = {
    "x_train": _fashion_file("train-images-idx3", "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"),
    "y_train": _fashion_file("train-labels-idx1", "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"),
    "x_test": _fashion_file("t10k-images-idx3", "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"),
    "y_test": _fashion_file("t10k-labels-idx1", "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"),
}

# Examples of the digits' test split; the other 1,437 are training and validation.
DIGITS_TEST = 360


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig:
    """Which images, and how the training images are split.

    ``valid`` images are taken out of the training set for choices; ``limit`` keeps only so many of the rest (a reduction that
    the results must state).
    """

    name: Literal["digits", "mnist", "fashion_mnist"]
    valid: int
    limit: int | None = None

    def __post_init__(self) -> None:
        require(self.valid >= 1, f"valid={self.valid}: at least 1 image is needed to choose by")
        require(self.limit is None or self.limit >= 1, f"limit={self.limit}: it must be at least 1, or null for all")


@dataclass(frozen=True)
class ImageRecords:
    """Images and classes.

    Attributes:
        images: float32, shape (n, pixels), in [0, 1].
        labels: int32, shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.images[indices], "label": self.labels[indices]}

    def fingerprint(self) -> str:
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()[:16]


def image_records(config: ImageDataConfig, split: Split) -> ImageRecords:
    """The images of one split.

    Test images are the data set's own (digits, which has none: a fixed fifth). Validation images are drawn from the
    training images by a fixed permutation that no seed changes.

    Raises:
        MissingDataError: the files are not there and cannot be fetched.
        UserError: ``valid`` leaves nothing to train on.
    """
    x_train, y_train, x_test, y_test = _arrays(config.name)
    if split is Split.TEST:
        return ImageRecords(x_test, y_test)
    order = np.random.Generator(np.random.Philox(20210718)).permutation(len(y_train))
    if config.valid >= len(order):
        raise UserError(f"data.valid={config.valid} leaves nothing of {len(order)} training images: lower it")
    chosen = order[: config.valid] if split is Split.VALID else order[config.valid :][: config.limit]
    return ImageRecords(x_train[chosen], y_train[chosen])


@functools.cache
def _arrays(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if name == "digits":
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images, labels = _scaled(images, 16.0), np.asarray(labels, np.int32)
        order = np.random.Generator(np.random.Philox(2021)).permutation(len(labels))
        test, train = order[:DIGITS_TEST], order[DIGITS_TEST:]
        return images[train], labels[train], images[test], labels[test]
    if name == "mnist":
        with np.load(locate(MNIST), allow_pickle=False) as file:
            raw = {k: file[k] for k in ("x_train", "y_train", "x_test", "y_test")}
    else:
        raw = {k: _idx(file) for k, file in FASHION_MNIST.items()}
    return (
        _scaled(raw["x_train"], 255.0),
        raw["y_train"].astype(np.int32),
        _scaled(raw["x_test"], 255.0),
        raw["y_test"].astype(np.int32),
    )


def _scaled(images: np.ndarray, top: float) -> np.ndarray:
    return (np.asarray(images, np.float32) / np.float32(top)).reshape(len(images), -1)


def _idx(file: DataFile) -> np.ndarray:
    """Read the IDX format: two zero bytes, a type (8: uint8), the rank, big-endian sizes, the data."""
    path = locate(file)
    with gzip.open(path, "rb") as stream:
        content = stream.read()
    rank = content[3]
    shape = tuple(np.frombuffer(content, ">u4", rank, 4).tolist())
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    if content[:3] != b"\0\0\x08" or data.size != int(np.prod(shape)):
        raise UserError(f"{path} is not an IDX file of bytes with shape {shape}: fetch it again from {file.source}")
    return data.reshape(shape)
