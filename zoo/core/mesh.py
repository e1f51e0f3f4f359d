"""Data parallelism: one mesh over all devices of all processes, the batch sharded, the parameters replicated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo.core.errors import ConfigError

TreeT = TypeVar("TreeT")
AXIS = "data"


def device_mesh() -> Mesh:
    """A one-axis mesh over every device of every process."""
    return Mesh(np.asarray(jax.devices()), (AXIS,))


def data_mesh(batch_size: int, accumulate: int = 1) -> Mesh:
    """The mesh of a training run, over every device.

    Raises:
        ConfigError: the micro-batch cannot be divided evenly over the devices.
    """
    count = len(jax.devices())
    micro = batch_size // accumulate
    if micro % count:
        raise ConfigError(
            f"trainer.batch_size={batch_size} in {accumulate} micro-batches of {micro} does not divide over "
            f"{count} devices: use a multiple of {count * accumulate}"
        )
    return device_mesh()


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of values that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: TreeT, mesh: Mesh) -> TreeT:
    """The same values on every device; with several processes each must hold them already."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(x: Any) -> Any:  # device_put reaches this process's own devices only
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place, tree)


def shard(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, jax.Array]:
    """Host arrays cut along their leading axis over the devices; every process holds the whole batch and places its share."""

    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    host = {name: np.asarray(x) for name, x in batch.items()}
    if jax.process_count() == 1:
        return jax.device_put(host, sharding)  # one call for all arrays: this is on the path of every step
    return {name: jax.make_array_from_callback(x.shape, sharding, lambda i, x=x: x[i]) for name, x in host.items()}
