"""Learning what GFN1-xTB lacks: E = E_GFN1 + E_linear + E_ML, trained on energies and on differences of conformers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from zoo.core.paths import cache_dir
from zoo.core.task import Batch, Monitor, Split
from zoo.orbnet.batch import ElementIndex, flatten
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.config import EnergyConfig
from zoo.orbnet.facts import Facts
from zoo.orbnet.labelled import Labelled, labelled
from zoo.orbnet.loss import conformer_loss
from zoo.orbnet.model import Network
from zoo.orbnet.records import EnergyRecords, Graphs, ready, split, without_unseen

_GRAPH = (
    "node_features",
    "node_type",
    "node_molecule",
    "edge_features",
    "edge_distance",
    "edge_u",
    "edge_v",
    "molecule_mask",
)
# Enough graphs to measure the scale of features on.
_MEASURED = 1024


class EnergyTask:
    """The Task of ``task: energy`` (see zoo.core.task.Task). Data is read when it is first asked for.

    Args:
        config: the typed experiment.
    """

    monitor = Monitor("mae", "min")

    def __init__(self, config: EnergyConfig) -> None:
        self.config = config
        self._facts: Facts | None = None
        self._records: dict[Split, EnergyRecords] = {}

    @property
    def cache(self) -> ConvergedCache:
        """Where converged quantities lie."""
        return ConvergedCache(cache_dir() / "orbnet" / "converged")

    @cached_property
    def _splits(self) -> dict[Split, Labelled]:
        data = self.config.data
        return split(ready(labelled(data), self.cache, data.workers), data)

    def _graphs(self, found: Labelled) -> Graphs:
        return Graphs(found, self.cache, self.config.model.kind, self.config.model.cutoff)

    @property
    def facts(self) -> Facts:
        """What the training split says of elements, charges, sizes and scales; a release brings its own."""
        if self._facts is None:
            graphs = self._graphs(self._splits[Split.TRAIN])
            found = graphs.found
            if found.absolute:
                own = [graphs[i] for i in range(len(graphs))]
                residuals = found.energies - np.array([g.energy for g in own])
            else:
                some = np.linspace(0, len(graphs) - 1, min(len(graphs), _MEASURED)).astype(int)
                own, residuals = [graphs[int(i)] for i in some], None
            self._facts = Facts.of(found.molecules, own, residuals)
        return self._facts

    def constants(self) -> dict[str, np.ndarray]:
        """What a release holds besides the parameters."""
        return self.facts.arrays()

    def restore(self, constants: Mapping[str, np.ndarray]) -> None:
        """Take a release's facts for the training set's."""
        self._facts = Facts.from_arrays(constants)

    def init(self, key: Array) -> Network:
        facts = self.facts
        return Network(self.config.model, ElementIndex(facts.elements), facts.normalisation, nnx.Rngs(key))

    def trainable(self) -> Any:
        return nnx.Param

    def records(self, split: Split) -> EnergyRecords:
        if split not in self._records:
            found = self._splits[split]
            if split is not Split.TRAIN:
                found = without_unseen(found, self.facts.elements, str(split))
            graphs, training = self._graphs(found), split is Split.TRAIN
            self._records[split] = EnergyRecords(graphs, self.facts, self.config.data.conformers, training=training)
        return self._records[split]

    def loss(self, model: Network, batch: Batch, *, step: Array, key: Array) -> tuple[Array, dict[str, Array]]:
        """The conformer-difference loss; each example is a group, and its structures share its weight."""
        mask = batch["molecule_mask"]
        rows, capacity = mask.shape
        error = (model(_graph(batch)) - batch["target"].reshape(-1)) * mask.reshape(-1)
        share = batch["weight"][:, None] * mask / jnp.maximum(mask.sum(1, keepdims=True), 1.0)
        settings = self.config.loss
        loss = conformer_loss(
            error,
            jnp.repeat(jnp.arange(rows), capacity),
            share.reshape(-1),
            rows,
            alpha=settings.alpha,
            delta_total=settings.delta_total,
            delta_difference=settings.delta_difference,
        )
        return loss, {}

    def evaluate(self, model: Network, batch: Batch) -> Array:
        """E_ML in kcal/mol, (batch, conformers)."""
        return model(_graph(batch)).reshape(batch["molecule_mask"].shape)

    def summarise(self, outputs: Iterable[tuple[Batch, Any]]) -> dict[str, float]:
        """Mean absolute errors in kcal/mol.

        ``mae`` chooses: that of energies centred within each group of two and more structures where there is one, else of
        total energies. ``gfn1_mae`` is the same of GFN1-xTB with the linear part. ``mae_total`` where total energies are known.
        """
        rows = []
        for batch, energy in outputs:
            real = (np.asarray(batch["molecule_mask"]) > 0) & (np.asarray(batch["weight"]) > 0)[:, None]
            rows.append(np.stack([np.asarray(x, np.float64)[real] for x in (batch["group"], batch["target"], energy)]))
        group, target, energy = np.concatenate(rows, 1)
        centred, zero = (_centred(error, group.astype(int)) for error in (energy - target, -target))
        absolute = self.config.data.source != "sets"
        found = {"structures": float(len(group)), "groups": float(len(np.unique(group)))}
        if absolute:
            found["mae_total"] = float(np.abs(energy - target).mean())
        if len(centred):
            return found | {"mae": float(np.abs(centred).mean()), "gfn1_mae": float(np.abs(zero).mean())}
        return found | {"mae": found.get("mae_total", float("nan")), "gfn1_mae": float(np.abs(target).mean())}


def _graph(batch: Batch) -> dict[str, Any]:
    return flatten({key: batch[key] for key in _GRAPH})


def _centred(error: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Errors minus the mean of their group, of groups of two and more."""
    count = np.bincount(group)
    mean = np.bincount(group, error) / np.maximum(count, 1)
    return (error - mean[group])[count[group] > 1]


def model_function(task: EnergyTask, params: nnx.State) -> Any:
    """The jitted function batch -> E_ML in kcal/mol, (n_molecules,), with ``params``."""
    graphdef, _, rest = nnx.split(task.init(jax.random.key(task.config.seed)), task.trainable(), ...)
    run = jax.jit(lambda params, rest, batch: nnx.merge(graphdef, params, rest)(batch))
    return lambda batch: run(params, rest, batch)
