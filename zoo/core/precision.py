"""Precision of products, and mixed precision: parameters and optimiser in float32, a loss in what ``trainer.precision`` says."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from zoo.core.errors import ConfigError
from zoo.core.task import Task

TreeT = TypeVar("TreeT")
Given = ParamSpec("Given")
Made = TypeVar("Made")


def whole_float32(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """``function``, in which float32 products are computed in float32 on any device.

    JAX's default on a GPU is TF32, whose mantissa has 10 bits, and bfloat16 on a TPU: energies, and the errors that a solver
    estimates, would be round-off from the third digit on. A precision that the user set (``jax_default_matmul_precision``, or
    JAX_DEFAULT_MATMUL_PRECISION in the environment) stands. It acts where ``function`` is traced: decorate what is jitted, and
    what is differentiated together with the taking of the gradient.
    """

    @functools.wraps(function)
    def traced(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        if jax.config.jax_default_matmul_precision is not None:  # pyright: ignore[reportAttributeAccessIssue]
            return function(*args, **kwargs)
        with jax.default_matmul_precision("float32"):
            return function(*args, **kwargs)

    return traced


def compute_in(tree: TreeT, precision: str, *, keep: tuple[str, ...] = ("weight",)) -> TreeT:
    """``tree`` with its float32 leaves in ``precision``; gradients through it come back in float32.

    A task whose ``precisions`` name more than float32 calls it in its loss on the model and on the batch, and brings what
    the model gives back to float32 before the loss and its mean.

    Args:
        tree: an nnx module or state, or a batch.
        precision: ``trainer.precision``.
        keep: top-level names of a batch that stay as they are, the weights of the mean among them.
    """
    if precision == "float32":
        return tree
    dtype = jnp.dtype(precision)

    def cast(path: Any, leaf: Any) -> Any:
        kept = bool(path) and getattr(path[0], "key", None) in keep
        return leaf.astype(dtype) if not kept and getattr(leaf, "dtype", None) == jnp.float32 else leaf

    return jax.tree_util.tree_map_with_path(cast, tree)


def require_allowed(task: Task) -> None:
    """ConfigError where ``trainer.precision`` is not among the task's ``precisions`` (float32 alone unless it says more)."""
    wanted, allowed = task.config.trainer.precision, getattr(task, "precisions", ("float32",))
    if wanted not in allowed:
        raise ConfigError(
            f"trainer.precision={wanted}: {task.config.family} task {task.config.task!r} trains in {' or '.join(allowed)} only"
        )
