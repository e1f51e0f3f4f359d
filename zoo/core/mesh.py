"""Data parallelism: one mesh over all devices of all processes, the batch sharded, the parameters replicated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo.core.errors import ConfigError

TreeT = TypeVar("TreeT")
AXIS = "data"


def data_mesh(batch_size: int, accumulate: int = 1) -> Mesh:
    """A one-axis mesh over every device.

    Raises:
        ConfigError: the micro-batch cannot be divided evenly over the devices.
    """
    devices = np.asarray(jax.devices())
    micro = batch_size // accumulate
    if micro % devices.size:
        raise ConfigError(
            f"trainer.batch_size={batch_size} in {accumulate} micro-batches of {micro} does not divide over "
            f"{devices.size} devices: use a multiple of {devices.size * accumulate}"
        )
    return Mesh(devices, (AXIS,))


def replicate(tree: TreeT, mesh: Mesh) -> TreeT:
    """The same values on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, jax.Array]:
    """Host arrays cut along their leading axis over the devices; every process holds the whole batch and places its share."""

    def place(x: Any) -> jax.Array:
        x = np.asarray(x)
        sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return {name: place(x) for name, x in batch.items()}
