"""Solves within jax.shard_map, on two devices of a process of its own, are those of the whole batch (see sharded.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from zoo.core.errors import UserError

from .problems import parameters, run

TWO = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    program = Path(__file__).with_name("sharded.py")
    done = subprocess.run(
        [sys.executable, program], env={**os.environ, **TWO}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_states_regularizers_and_steps_are_those_of_the_whole_batch(found: dict[str, Any]) -> None:
    assert found["devices"] == 2
    assert found["values"]["states"] < 1e-8
    assert found["values"]["regularizers and steps"] < 1e-7


@pytest.mark.parametrize(
    ("h_grad", "way"), [("exact", "within"), ("frozen", "within"), ("exact", "outside"), ("exact", "closed over")]
)
def test_gradients_are_those_of_the_whole_batch(found: dict[str, Any], h_grad: str, way: str) -> None:
    assert found[h_grad][way] < 1e-8


def test_without_an_axis_each_device_takes_its_own_steps(found: dict[str, Any]) -> None:
    assert found["alone"]["each its own"] < 1e-12
    assert found["alone"]["steps apart"] > 0


def test_solves_of_each_trajectory_need_no_axis(found: dict[str, Any]) -> None:
    assert found["trajectories"]["gradient"] < 1e-8


def test_loops_exchange_single_numbers_and_the_weights_gradient_is_summed_once(found: dict[str, Any]) -> None:
    within, all_sums = found["sums"]["in loops"], found["sums"]["in all"]
    assert within
    assert within == [[]] * len(within)
    shapes = sorted(list(w.shape) for w in parameters().values())
    assert sorted(shape for shape in all_sums if shape) == shapes


def over_one_device(function: Callable[[Any], Any]) -> Any:
    mesh, cut = Mesh(np.asarray(jax.devices()[:1]), ("data",)), PartitionSpec("data")
    return jax.shard_map(function, mesh=mesh, in_specs=cut, out_specs=cut)(jnp.ones((2, 4)))


def test_a_failure_cannot_stop_the_other_devices() -> None:
    with pytest.raises(UserError, match="throw=False and read the solution's result"):
        over_one_device(lambda y: run(parameters(), y).ys)


def test_an_axis_needs_the_engine_that_takes_its_mean() -> None:
    def heun(y: Any) -> Any:
        return run(parameters(), y, solver=diffrax.Heun(), h_grad="frozen", axis_name="data", throw=False).ys

    with pytest.raises(UserError, match="axis_name='data' needs Tsit5"):
        over_one_device(heun)


def test_an_axis_that_is_not_there_is_named() -> None:
    with pytest.raises(
        UserError, match=r"axis_name='date' is not an axis of a jax\.shard_map around this solve \(data\)"
    ):
        over_one_device(lambda y: run(parameters(), y, axis_name="date", throw=False).ys)
    with pytest.raises(UserError, match=r"axis_name='data' .*there is none"):
        run(parameters(), jnp.ones((2, 4)), axis_name="data")


def test_an_axis_of_a_vmap_is_refused() -> None:  # a gradient is taken outside of it, where there is no such axis
    with pytest.raises(UserError, match=r"axis_name='batch' .*there is none"):
        jax.vmap(lambda y: run(parameters(), y, axis_name="batch").ys, axis_name="batch")(jnp.ones((2, 4)))
