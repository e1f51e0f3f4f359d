"""float32 means float32 on any device: what is asked of products, as the default of GPUs and TPUs is shorter."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jaxprs import product_precisions

sys.path.insert(0, str(Path(__file__).parent))
from tiny import TinyTask, tiny_config

from zoo.core.batches import ShuffleSampler, training_batches
from zoo.core.optim import optimizer
from zoo.core.precision import whole_float32
from zoo.core.step import initial_state, make_step
from zoo.core.task import Split


def square(x: jax.Array) -> jax.Array:
    return x @ x


def test_products_are_asked_for_in_whole_float32() -> None:
    x = jnp.ones((2, 2))
    assert product_precisions(jax.make_jaxpr(square)(x)) == {"None"}
    assert product_precisions(jax.make_jaxpr(whole_float32(square))(x)) == {"HIGHEST"}


def test_a_precision_that_the_user_set_stands() -> None:
    with jax.default_matmul_precision("tensorfloat32"):
        set_by_user = product_precisions(jax.make_jaxpr(square)(jnp.ones((2, 2))))
        assert product_precisions(jax.make_jaxpr(whole_float32(square))(jnp.ones((2, 2)))) == set_by_user
    assert set_by_user not in ({"None"}, {"HIGHEST"})


def test_a_training_step_has_no_shorter_product(tmp_path: Path) -> None:
    task = TinyTask(tiny_config(tmp_path))
    graphdef, params, frozen = nnx.split(task.init(jax.random.key(0)), nnx.Param, ...)
    tx = optimizer(task.config.optimizer, task.config.trainer)
    batch = next(training_batches(task.records(Split.TRAIN), ShuffleSampler(50, 8, 0), 0, 1))
    del batch["index"]
    state = initial_state(params, tx, task.config.trainer)
    traced = jax.make_jaxpr(make_step(task, graphdef, tx))(state, frozen, batch, jax.random.key(1))
    assert product_precisions(traced) == {"HIGHEST"}
