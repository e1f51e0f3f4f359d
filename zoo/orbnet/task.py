"""Learning what GFN1-xTB lacks: E = E_GFN1 + E_linear + E_ML, trained on totals and on known differences of energies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array

from zoo.core.paths import cache_dir
from zoo.core.task import Batch, Monitor, Split
from zoo.orbnet.batch import flatten
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.config import EnergyConfig
from zoo.orbnet.facts import Facts
from zoo.orbnet.known import KINDS
from zoo.orbnet.labelled import Labelled, labelled
from zoo.orbnet.loss import combination_loss
from zoo.orbnet.model import Network, as_function
from zoo.orbnet.origin import Origin, origin
from zoo.orbnet.records import EnergyRecords, ready, split, without_unseen
from zoo.orbnet.sampling import SizedSampler
from zoo.orbnet.store import GraphStore, blocks

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
    reported = (Split.VALID, Split.TEST)  # training sets are long, and their structures come in several examples each

    def __init__(self, config: EnergyConfig) -> None:
        self.config = config
        self._facts: Facts | None = None
        self._training = True
        self._records: dict[Split, EnergyRecords] = {}

    @property
    def cache(self) -> ConvergedCache:
        """Where converged quantities lie."""
        return ConvergedCache(cache_dir() / "orbnet" / "converged")

    @cached_property
    def _ready(self) -> Labelled:
        data = self.config.data
        found = labelled(data)
        split(found, data)  # too few molecules to split are refused before GFN1-xTB converges for them
        return ready(found, self.cache, data.workers)

    @cached_property
    def _splits(self) -> dict[Split, Labelled]:
        return split(self._ready, self.config.data)

    @cached_property
    def _graphs(self) -> GraphStore:
        found, model = self._ready, self.config.model
        shares = blocks(found.used, found.sources)
        folder = cache_dir() / "orbnet" / "graphs"
        return GraphStore(
            found.molecules, shares, self.cache, model.kind, model.cutoff, folder, self.config.data.workers
        )

    @property
    def facts(self) -> Facts:
        """What the training split says of elements, charges, sizes and scales; a release brings its own."""
        if self._facts is None:
            found, graphs = self._splits[Split.TRAIN], self._graphs
            used, (members, energies) = found.used, found.totals
            some = used[np.linspace(0, len(used) - 1, min(len(used), _MEASURED)).astype(int)]
            measured, fitted = ([graphs[int(i)] for i in own] for own in (some, members))
            residuals = energies - np.array([g.energy for g in fitted])
            start = None if self._origin is None else self._origin.facts
            self._facts = Facts.of([found.molecules[int(i)] for i in used], measured, fitted, residuals, start)
        return self._facts

    @cached_property
    def _origin(self) -> Origin | None:
        """The release that the run starts from."""
        start = self.config.start
        return None if start is None else origin(start, self.config.model)

    def constants(self) -> dict[str, np.ndarray]:
        """What a release holds besides the parameters."""
        return self.facts.arrays()

    def seen(self) -> tuple[str, ...]:
        """What the card says of the training set."""
        return (self.facts.stated(),)

    def restore(self, constants: Mapping[str, np.ndarray]) -> None:
        """Take a release's facts for the training set's; its parameters come from the release too."""
        self._training = False
        self._facts = Facts.from_arrays(constants)

    def init(self, key: Array) -> Network:
        facts = self.facts
        network = Network(self.config.model, facts.index, facts.normalisation, nnx.Rngs(key))
        if self._training and self._origin is not None:
            nnx.update(network, self._origin.params)
        return network

    def trainable(self) -> Any:
        return nnx.Param

    def records(self, split: Split) -> EnergyRecords:
        if split not in self._records:
            found, training = self._splits[split], split is Split.TRAIN
            if not training:
                found = without_unseen(found, self.facts.elements, str(split))
            data = self.config.data
            self._records[split] = EnergyRecords(
                found, self._graphs, self.facts, data.conformers, self.config.loss, data.rounds if training else 1
            )
        return self._records[split]

    def sampler(self, size: int, batch_size: int, seed: int) -> SizedSampler:
        """Batches of examples of like size."""
        return SizedSampler(self.records(Split.TRAIN).sizes, batch_size, seed)

    def loss(self, model: Network, batch: Batch, *, step: Array, key: Array) -> tuple[Array, dict[str, Array]]:
        """The loss of known combinations (see :mod:`zoo.orbnet.known`)."""
        energy = self.evaluate(model, batch)
        rows = (batch[name] for name in ("rows", "target", "share", "delta", "weight"))
        return combination_loss(energy, *rows), {}

    def evaluate(self, model: Network, batch: Batch) -> Array:
        """E_ML in kcal/mol, (batch, molecules)."""
        return model(_graph(batch)).reshape(batch["molecule_mask"].shape)

    def summarise(self, outputs: Iterable[tuple[Batch, Any]]) -> dict[str, float]:
        """Mean absolute errors in kcal/mol, each beside that of GFN1-xTB with the linear part (``gfn1_...``).

        ``mae`` chooses: that of energies centred within each group of two and more structures where there is one, else of
        total, interaction or reaction energies. ``mae_total``, ``mae_dimers`` and ``mae_reactions`` where such are known.
        """
        singles: list[np.ndarray] = []
        combined: dict[str, list[np.ndarray]] = {"dimers": [], "reaction": []}
        for batch, energy in outputs:
            energy = np.asarray(energy, np.float64)
            kind, real = np.asarray(batch["kind"]), np.asarray(batch["weight"]) > 0
            one = (np.asarray(batch["molecule_mask"]) > 0) & (real & (kind < 2))[:, None]
            group = np.broadcast_to(np.asarray(batch["group"])[:, None], one.shape)
            residual = np.asarray(batch["residual"], np.float64)
            singles.append(
                np.stack([x[one] for x in (group, residual, energy, np.broadcast_to(kind[:, None], one.shape))])
            )
            error = np.einsum("etm,em->et", batch["rows"], energy) - batch["target"]
            for name, own in combined.items():
                known = (np.asarray(batch["rows"]) != 0).any(-1)  # whatever it weighs in the loss
                chosen = known & (real & (kind == KINDS.index(name)))[:, None]
                own.append(np.stack([error[chosen], -np.asarray(batch["target"])[chosen]]))
        group, residual, energy, kind = np.concatenate(singles, 1)
        found = {"structures": float(len(group)), "groups": float(len(np.unique(group)))}
        rest: dict[str, float] = {}
        if (total := kind == KINDS.index("total")).any():
            rest |= _both("total", np.stack([energy - residual, -residual])[:, total])
        for name, label in (("dimers", "dimers"), ("reaction", "reactions")):
            pairs = np.concatenate(combined[name], 1)
            if pairs.size:
                rest |= _both(label, pairs)
        centred = [_centred(error, group.astype(int)) for error in (energy - residual, -residual)]
        if len(centred[0]):
            first = {"mae": float(np.abs(centred[0]).mean()), "gfn1_mae": float(np.abs(centred[1]).mean())}
        else:
            label = next(iter(rest)).removeprefix("mae_")
            first = {"mae": rest[f"mae_{label}"], "gfn1_mae": rest[f"gfn1_mae_{label}"]}
        return found | rest | first


def _both(label: str, errors: np.ndarray) -> dict[str, float]:
    ours, gfn1 = np.abs(errors).mean(1)
    return {f"mae_{label}": float(ours), f"gfn1_mae_{label}": float(gfn1)}


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
    return as_function(graphdef, params, rest)
