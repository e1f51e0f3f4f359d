"""The release that a training run starts from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from zoo.core import hub, release, state
from zoo.core.errors import UserError
from zoo.core.train import CONSTANTS
from zoo.orbnet.facts import Facts
from zoo.orbnet.model import Network, NetworkConfig


@dataclass(frozen=True)
class Origin:
    """What a run takes from a release.

    Attributes:
        facts: what it was trained on.
        params: its parameters, an nnx.State.
    """

    facts: Facts
    params: Any


def origin(name: str, model: NetworkConfig) -> Origin:
    """The release ``name`` (or its folder), whose network must have the shape ``model``.

    Raises:
        UserError: it is no energy model, or of another shape.
        NotFoundError: there is none.
    """
    loaded = release.read_release(hub.resolve(name))
    if loaded.info.family != "orbnet" or loaded.info.task != "energy":
        raise UserError(
            f"start={name}: it is a release of {loaded.info.family}/{loaded.info.task}, not of orbnet/energy"
        )
    own = loaded.info.config.get("model")
    wanted = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    for key, value in wanted.items():
        theirs = own.get(key, value) if isinstance(own, dict) else value
        theirs = tuple(theirs) if isinstance(theirs, list) else theirs
        if theirs != value:
            raise UserError(
                f"start={name}: its model.{key} is {theirs}, the run's is {value}: set model.{key}={theirs}"
            )
    prefix = f"{CONSTANTS}/"
    facts = Facts.from_arrays({n.removeprefix(prefix): x for n, x in loaded.tensors.items() if n.startswith(prefix)})
    network = nnx.eval_shape(lambda: Network(model, facts.index, facts.normalisation, nnx.Rngs(jax.random.key(0))))
    template = nnx.state(network, nnx.Param)
    tensors = {n: x for n, x in loaded.tensors.items() if not n.startswith(prefix)}
    return Origin(facts, state.unflatten({"params": template}, tensors, what=str(loaded.path))["params"])
