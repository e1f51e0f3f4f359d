"""What training reads: examples of a few structures of one group each, as padded rows of graphs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from zoo.core.errors import UserError
from zoo.core.progress import say
from zoo.core.task import Split
from zoo.orbnet.batch import ElementIndex, Sizes, collate, stack
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.config import EnergyDataConfig
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.facts import Facts
from zoo.orbnet.features import Kind, features
from zoo.orbnet.graph import MolecularGraph
from zoo.orbnet.labelled import Labelled, subset
from zoo.orbnet.prepare import prepare

# Graphs kept in memory; the others are rebuilt from the cache on disk, in milliseconds each.
_KEPT = 4096


class Graphs:
    """The graphs of some molecules, from the cache on disk.

    Args:
        found: molecules whose entries are on disk, see :func:`ready`.
        cache: where.
        kind, cutoff: of the features.
    """

    def __init__(self, found: Labelled, cache: ConvergedCache, kind: Kind, cutoff: float) -> None:
        self.found, self._cache, self._cutoff = found, cache, cutoff
        self._kind: Kind = kind
        self._memory: dict[int, MolecularGraph] = {}

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index: int) -> MolecularGraph:
        if index in self._memory:
            return self._memory[index]
        graph = features(self._cache.get(self.found.molecules[index]), self._kind, self._cutoff)
        if len(self._memory) < _KEPT:
            self._memory[index] = graph
        return graph


def ready(found: Labelled, cache: ConvergedCache, workers: int) -> Labelled:
    """Converge all molecules; those that fail are named on stderr and left out."""
    return subset(found, prepare(found.molecules, cache, workers=workers).ready)


def split(found: Labelled, config: EnergyDataConfig) -> dict[Split, Labelled]:
    """The three splits: molecules (or structures) in the order of a hash of their key.

    Raises:
        UserError: fewer than three molecules (or structures).
    """
    single = config.hold_out == "structure"
    keys = [f"{k}|{i}" for i, k in enumerate(found.keys)] if single else found.keys
    order = sorted(set(keys), key=lambda k: hashlib.sha256(k.encode()).digest())
    if len(order) < 3:
        mend = "give more structures" if single else "give more molecules, or set data.hold_out=structure"
        raise UserError(f"{len(order)} {config.hold_out}s cannot be split into training, validation and test: {mend}")
    valid, test = (max(1, round(share * len(order))) for share in (config.valid, config.test))
    valid, test = min(valid, len(order) - 2), min(test, len(order) - 2)
    test = min(test, len(order) - 1 - valid)
    side = dict.fromkeys(order, Split.TRAIN)
    side |= dict.fromkeys(order[:valid], Split.VALID) | dict.fromkeys(order[valid : valid + test], Split.TEST)
    indices: dict[Split, list[int]] = {s: [] for s in Split}
    for i, key in enumerate(keys):
        indices[side[key]].append(i)
    return {s: subset(found, own) for s, own in indices.items()}


def without_unseen(found: Labelled, seen: Sequence[int], name: str) -> Labelled:
    """Without molecules that hold an element that training never saw; UserError where none is left."""
    kept = [i for i, m in enumerate(found.molecules) if set(m.numbers.tolist()) <= set(seen)]
    if len(kept) < len(found):
        say(f"{name}: {len(found) - len(kept)} structures hold elements that training never saw and are left out")
    if not kept:
        raise UserError(f"no structure of the {name} split is made of the training split's elements: give more data")
    return subset(found, kept)


class EnergyRecords:
    """The examples of one split (see zoo.core.task.Records).

    Args:
        graphs: of the split.
        facts: of the training split.
        conformers: structures an example holds at most.
        training: leave out examples that say nothing (one structure whose total energy is not known).
    """

    def __init__(self, graphs: Graphs, facts: Facts, conformers: int, *, training: bool) -> None:
        found = graphs.found
        self.graphs, self._capacity = graphs, conformers
        self._elements = ElementIndex(facts.elements)
        groups = list(dict.fromkeys(found.groups))
        number = {g: i for i, g in enumerate(groups)}
        self._group = np.array([number[g] for g in found.groups], np.int32)
        self.targets = targets(graphs, facts)
        if not found.absolute:  # any constant of a group is no part of what is learned
            count = np.bincount(self._group)
            self.targets = self.targets - (np.bincount(self._group, self.targets) / count)[self._group]
        self._examples: list[np.ndarray] = []
        for i in range(len(groups)):
            own = np.flatnonzero(self._group == i)
            self._examples += np.array_split(own, -(-len(own) // conformers))
        if training and not found.absolute:
            self._examples = [e for e in self._examples if len(e) > 1]
        if not self._examples:
            raise UserError("no group has two structures whose energies can be compared: give more data")
        some = [graphs[int(i)] for i in np.linspace(0, len(graphs) - 1, min(len(graphs), 64)).astype(int)]
        # Coarser than for packed batches: here a new shape costs a compilation more often than padding costs time.
        self._sizes = dataclasses.replace(Sizes.for_graphs(some, conformers), ratio=1.6)

    def __len__(self) -> int:
        return len(self._examples)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of :func:`zoo.orbnet.batch.collate`, with ``target`` (kcal/mol) and ``group``, both (batch, conformers)."""
        chosen = [self._examples[int(i)] for i in indices]
        rows = [[self.graphs[int(i)] for i in example] for example in chosen]
        nodes = max(sum(g.n_nodes for g in row) for row in rows)
        edges = max(sum(g.n_edges for g in row) for row in rows)
        shape = self._sizes.shape(nodes, edges)
        batch = stack([collate(row, self._elements, shape, self._capacity) for row in rows])
        target = np.zeros((len(rows), self._capacity), np.float32)
        group = np.zeros((len(rows), self._capacity), np.int32)
        for r, example in enumerate(chosen):
            target[r, : len(example)] = self.targets[example]
            group[r, : len(example)] = self._group[example]
        return {**batch, "target": target, "group": group}

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for molecule, energy, group in zip(
            self.graphs.found.molecules, self.graphs.found.energies, self.graphs.found.groups
        ):
            digest.update(molecule.numbers.astype("<i8").tobytes() + molecule.positions_bohr.astype("<f8").tobytes())
            digest.update(f"{molecule.charge}|{molecule.spin}|{energy!r}|{group}".encode())
        return digest.hexdigest()


def targets(graphs: Graphs, facts: Facts) -> np.ndarray:
    """What the network is to give: reference minus GFN1-xTB minus the linear part, kcal/mol, float64, (n_molecules,)."""
    elements, linear = ElementIndex(facts.elements), facts.linear
    parts = [graphs[i].energy + float(linear(elements.composition(graphs[i]))) for i in range(len(graphs))]
    return (graphs.found.energies - np.array(parts)) * HARTREE_KCAL
