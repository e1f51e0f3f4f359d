"""What training reads: examples of a few molecules and known combinations of their energies, as padded rows of graphs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from zoo.core.errors import UserError
from zoo.core.progress import say
from zoo.core.task import Split
from zoo.orbnet.batch import Sizes, collate, stack
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.config import EnergyDataConfig, EnergyLossConfig
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.facts import Facts
from zoo.orbnet.known import Known, examples
from zoo.orbnet.labelled import Labelled
from zoo.orbnet.prepare import prepare
from zoo.orbnet.store import GraphStore


def ready(found: Labelled, cache: ConvergedCache, workers: int) -> Labelled:
    """Converge all molecules; those that fail are named on stderr and left out with what needs them.

    Raises:
        UserError: nothing is left.
    """
    used = found.used
    report = prepare([found.molecules[int(i)] for i in used], cache, workers=workers)
    there = np.zeros(len(found.molecules), bool)
    there[used[report.ready]] = True
    left = found.only(there)
    if not left.known:
        raise UserError("GFN1-xTB converged for no molecule that an energy is known of: check geometries and charges")
    return left


def split(found: Labelled, config: EnergyDataConfig) -> dict[Split, Labelled]:
    """The three splits: molecules (or structures) in the order of a hash of their key.

    Raises:
        UserError: fewer than three molecules (or structures).
    """
    single = config.hold_out == "structure"
    known = [one for k in found.known for one in _singly(k)] if single else found.known
    keys = [f"{k.key}|{k.members[0]}" if single else k.key for k in known]
    order = sorted(set(keys), key=lambda k: hashlib.sha256(k.encode()).digest())
    if len(order) < 3:
        mend = "give more structures" if single else "give more molecules, or set data.hold_out=structure"
        raise UserError(f"{len(order)} {config.hold_out}s cannot be split into training, validation and test: {mend}")
    valid, test = (max(1, round(share * len(order))) for share in (config.valid, config.test))
    valid, test = min(valid, len(order) - 2), min(test, len(order) - 2)
    test = min(test, len(order) - 1 - valid)
    side = dict.fromkeys(order, Split.TRAIN)
    side |= dict.fromkeys(order[:valid], Split.VALID) | dict.fromkeys(order[valid : valid + test], Split.TEST)
    parts: dict[Split, list[Known]] = {s: [] for s in Split}
    for key, one in zip(keys, known):
        parts[side[key]].append(one)
    if single:
        parts = {s: _together(own) for s, own in parts.items()}
    return {s: dataclasses.replace(found, known=own) for s, own in parts.items()}


def _singly(known: Known) -> list[Known]:
    """The total energies of a group, one by one."""
    if known.kind != "total":
        raise UserError(
            f"data.hold_out=structure needs total energies, {known.source} holds {known.kind}: hold out molecules"
        )
    return [
        dataclasses.replace(known, members=known.members[i : i + 1], values=known.values[i : i + 1])
        for i in range(len(known.members))
    ]


def _together(known: list[Known]) -> list[Known]:
    """The undoing of :func:`_singly`."""
    own: dict[str, list[Known]] = {}
    for one in known:
        own.setdefault(one.name, []).append(one)
    return [
        dataclasses.replace(
            some[0],
            members=np.concatenate([k.members for k in some]),
            values=np.concatenate([k.values for k in some]),
        )
        for some in own.values()
    ]


def without_unseen(found: Labelled, seen: Sequence[int], name: str) -> Labelled:
    """Without molecules that hold an element that training never saw; UserError where nothing is left."""
    there = np.array([set(m.numbers.tolist()) <= set(seen) for m in found.molecules])
    gone = int((~there[found.used]).sum())
    if not gone:
        return found
    say(f"{name}: {gone} structures hold elements that training never saw and are left out")
    left = found.only(there)
    if not left.known:
        raise UserError(f"no structure of the {name} split is made of the training split's elements: give more data")
    return left


class EnergyRecords:
    """The examples of one split (see zoo.core.task.Records).

    Args:
        found: what is known of the split.
        graphs: of its molecules.
        facts: of the training split.
        size: molecules of an example, see :func:`zoo.orbnet.known.examples`.
        loss: how much totals, differences, dimers and reactions count.
        rounds: how often conformers are dealt out anew; 1 for evaluation.
    """

    def __init__(
        self,
        found: Labelled,
        graphs: GraphStore,
        facts: Facts,
        size: int,
        loss: EnergyLossConfig,
        rounds: int = 1,
    ) -> None:
        self.found, self.graphs = found, graphs
        self._elements = facts.index
        self._baseline = baselines(found, graphs, facts)
        self._examples = [(g, e) for g, k in enumerate(found.known) for e in examples(k, size, loss, rounds)]
        if not self._examples:
            raise UserError("no group has two structures whose energies can be compared: give more data")
        some = [[graphs.size(int(m)) for m in e.members] for _, e in self._examples]
        self._sizes = np.array([np.sum(row, 0) for row in some])
        if rounds == 1:  # in the order of size: a batch of evaluation is padded little
            order = np.argsort(self._sizes[:, 1], kind="stable")
            self._examples, self._sizes = [self._examples[int(i)] for i in order], self._sizes[order]
        self._molecules = max(len(e.members) for _, e in self._examples)
        self._rows = max(len(e.values) for _, e in self._examples)
        nodes, edges = np.median(self._sizes, 0)
        self._shapes = Sizes(max(int(nodes), 8), max(int(edges), 8), ratio=1.25)

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def sizes(self) -> np.ndarray:
        """Half edges of each example, (n_examples,)."""
        return self._sizes[:, 1]

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of :func:`zoo.orbnet.batch.collate` with what the loss and the metrics need.

        Returns:
            Besides the graphs: rows (b, t, m), target, share and delta (b, t) of :func:`zoo.orbnet.loss.combination_loss`
            for E_ML; kind and group (b,); residual (b, m), what E_ML should be for each molecule of a known total or relative
            energy.
        """
        chosen = [self._examples[int(i)] for i in indices]
        shape = self._shapes.shape(*(int(n) for n in self._sizes[indices].max(0)))
        graphs = [[self.graphs[int(m)] for m in e.members] for _, e in chosen]
        batch = stack([collate(row, self._elements, shape, self._molecules) for row in graphs])
        b, t, m = len(chosen), self._rows, self._molecules
        rows = np.zeros((b, t, m), np.float32)
        target, share, delta = (np.zeros((b, t), np.float32) for _ in range(3))
        delta += 1.0
        residual = np.zeros((b, m), np.float32)
        for r, (group, example) in enumerate(chosen):
            n, k = len(example.members), len(example.values)
            baseline = self._baseline[example.members]
            rows[r, :k, :n] = example.rows
            target[r, :k] = example.values - example.rows @ baseline
            share[r, :k], delta[r, :k] = example.shares, example.deltas
            known = self.found.known[group]
            if known.rows is None:
                residual[r, :n] = known.values[_positions(known.members, example.members)] - baseline
        kind = np.array([e.kind for _, e in chosen], np.int32)
        group = np.array([g for g, _ in chosen], np.int32)
        extra = {"rows": rows, "target": target, "share": share, "delta": delta, "kind": kind, "group": group}
        return {**batch, **extra, "residual": residual}

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for known in self.found.known:
            digest.update(f"{known.name}|{known.kind}".encode() + known.values.astype("<f8").tobytes())
            if known.rows is not None:
                digest.update(known.rows.astype("<f8").tobytes())
            for i in known.members:
                molecule = self.found.molecules[int(i)]
                digest.update(
                    molecule.numbers.astype("<i8").tobytes() + molecule.positions_bohr.astype("<f8").tobytes()
                )
                digest.update(f"{molecule.charge}|{molecule.spin}".encode())
        return digest.hexdigest()


def _positions(members: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Where ``chosen`` stand among ``members``."""
    order = np.argsort(members, kind="stable")
    return order[np.searchsorted(members[order], chosen)]


def baselines(found: Labelled, graphs: GraphStore, facts: Facts) -> np.ndarray:
    """GFN1-xTB plus the linear part, kcal/mol, float64, (n_molecules,); NaN for molecules that nothing is known of."""
    elements, linear = facts.index, facts.linear
    values = np.full(len(found.molecules), np.nan)
    for i in found.used.tolist():
        graph = graphs[i]
        values[i] = (graph.energy + float(linear(elements.composition(graph)))) * HARTREE_KCAL
    return values
