"""Several graphs as one: flat lists of nodes and half edges, padded to one of a few sizes.

Padding is inert by construction: a padded edge lies at the cut-off, where the mollifier has made every message zero, and joins the
last node to itself; that node is always padding and belongs to a molecule that is not read out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.elements import ELEMENTS, SHELLS_PER_ATOM, symbols
from zoo.orbnet.graph import MolecularGraph

GraphBatch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sizes:
    """The few shapes that batches are padded to: (nodes, edges) grow together by a fixed ratio, so few programs compile.

    Attributes:
        nodes: capacity of the smallest shape.
        edges: likewise.
        ratio: between one shape and the next.
    """

    nodes: int
    edges: int
    ratio: float = 1.25

    @classmethod
    def for_graphs(cls, graphs: Sequence[MolecularGraph], molecules: int, fill: float = 1.15) -> Sizes:
        """Shapes among which an average batch of ``molecules`` graphs fits into one with a margin of ``fill``."""
        nodes = np.mean([g.n_nodes for g in graphs]) * molecules * fill
        edges = np.mean([g.n_edges for g in graphs]) * molecules * fill
        return cls(max(int(nodes), 8), max(int(edges), 8))

    def shape(self, nodes: int, edges: int) -> tuple[int, int]:
        """The smallest (nodes, edges) that holds that many and a padding node; multiples of 8."""
        need = max((nodes + 1) / self.nodes, edges / self.edges, 1e-9)
        # The shapes below the base exist too: a single molecule is not padded to a batch.
        power = int(np.ceil(np.log(need) / np.log(self.ratio) - 1e-9))
        scale = self.ratio**power
        padded = _multiple(self.nodes * scale), _multiple(self.edges * scale)
        return max(padded[0], _multiple(nodes + 1)), max(padded[1], _multiple(max(edges, 1)))


def _multiple(x: float) -> int:
    return int(np.ceil(x / 8)) * 8


@dataclass(frozen=True)
class ElementIndex:
    """The elements a model was made for, and the number each shell of each has.

    Attributes:
        numbers: atomic numbers, ascending.
    """

    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def n_types(self) -> int:
        """Types of nodes, with one more for padding."""
        return len(self.numbers) * SHELLS_PER_ATOM + 1

    @cached_property
    def _table(self) -> np.ndarray:
        table = np.full(len(ELEMENTS) + 1, -1)
        table[list(self.numbers)] = np.arange(len(self.numbers))
        return table

    def of(self, numbers: np.ndarray, label: str = "") -> np.ndarray:
        """Index of each atom's element, (n_atoms,); UserError for an element that is not among them."""
        index = self._table[numbers]
        if (index < 0).any():
            unknown, known = symbols(np.unique(numbers[index < 0])), symbols(self.numbers)
            raise UserError(f"{label}{unknown} is not among the elements of this model ({known})")
        return index

    def types(self, graph: MolecularGraph) -> np.ndarray:
        """The type of each node: its element and which of the element's shells it is, int64 (n_nodes,)."""
        elements = self.of(graph.numbers, f"{graph.name}: " if graph.name else "")
        return elements[graph.node_atom] * SHELLS_PER_ATOM + graph.node_slot

    def composition(self, graph: MolecularGraph) -> np.ndarray:
        """Atoms of each element and, last, the charge: what the linear part of the energy sees; float64 (n + 1,)."""
        counts = np.bincount(self.of(graph.numbers), minlength=len(self)).astype(np.float64)
        return np.append(counts, graph.charge)


def collate(
    graphs: Sequence[MolecularGraph],
    elements: ElementIndex,
    shape: tuple[int, int] | None = None,
    molecules: int | None = None,
    dtype: type = np.float32,
) -> GraphBatch:
    """One flat graph of several molecules.

    Args:
        graphs: of one kind and cut-off.
        elements: the model's.
        shape: (nodes, edges) to pad to, with room for one node of padding; None pads by that node alone.
        molecules: capacity for molecules; None takes their number.
        dtype: of features and distances.

    Returns:
        node_features (N, n), node_type (N,), node_molecule (N,), edge_features (E, m), edge_distance (E,), edge_u and
        edge_v (E,), molecule_mask (M,); padding nodes point at molecule M, which does not exist.

    Raises:
        UserError: no graphs, several kinds or cut-offs, an element outside the model's, or a shape that is too small.
    """
    if not graphs:
        raise UserError("a batch needs at least one molecule")
    if len({(g.kind, g.cutoff) for g in graphs}) > 1:
        raise UserError("a batch mixes features of several kinds or cut-offs: make them with one")
    nodes, edges = sum(g.n_nodes for g in graphs), sum(g.n_edges for g in graphs)
    n, e = shape or (nodes + 1, max(edges, 1))
    m = len(graphs) if molecules is None else molecules
    if n < nodes + 1 or e < edges or m < len(graphs):
        raise UserError(
            f"{len(graphs)} molecules with {nodes} nodes and {edges} edges do not fit into {m} molecules, {n} nodes "
            f"(one is padding) and {e} edges"
        )
    first = graphs[0]
    batch: GraphBatch = {
        "node_features": np.zeros((n, first.node_features.shape[1]), dtype),
        "node_type": np.full(n, elements.n_types - 1, np.int32),
        "node_molecule": np.full(n, m, np.int32),
        "edge_features": np.zeros((e, first.edge_features.shape[1]), dtype),
        "edge_distance": np.full(e, first.cutoff, dtype),
        "edge_u": np.full(e, n - 1, np.int32),
        "edge_v": np.full(e, n - 1, np.int32),
        "molecule_mask": (np.arange(m) < len(graphs)).astype(dtype),
    }
    at_node = at_edge = 0
    for i, graph in enumerate(graphs):
        own, bonds = slice(at_node, at_node + graph.n_nodes), slice(at_edge, at_edge + graph.n_edges)
        batch["node_features"][own] = graph.node_features
        batch["node_type"][own] = elements.types(graph)
        batch["node_molecule"][own] = i
        batch["edge_features"][bonds] = graph.edge_features
        batch["edge_distance"][bonds] = graph.edge_distance
        batch["edge_u"][bonds] = graph.edge_u + at_node
        batch["edge_v"][bonds] = graph.edge_v + at_node
        at_node, at_edge = own.stop, bonds.stop
    return batch


def stack(batches: Sequence[GraphBatch]) -> GraphBatch:
    """Batches of one shape along a new leading axis, as the training loop shards and accumulates them."""
    return {key: np.stack([b[key] for b in batches]) for key in batches[0]}


def flatten(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Stacked batches as one flat batch, so that micro-batches of a few rows run as one program.

    Args:
        rows: what :func:`stack` made, each array with a leading axis of B rows; NumPy or JAX.

    Returns:
        The same keys with that axis merged into the next; nodes and molecules are renumbered, padding stays padding.
    """
    b, n = rows["node_type"].shape
    m = rows["molecule_mask"].shape[1]
    row = np.arange(b, dtype=np.int32)[:, None]
    shifted = dict(rows)
    shifted["edge_u"], shifted["edge_v"] = rows["edge_u"] + row * n, rows["edge_v"] + row * n
    molecule = rows["node_molecule"]
    real = molecule < m
    # Padding of row r pointed at molecule m of that row; in the flat batch that is molecule 0 of the next one.
    shifted["node_molecule"] = real * (molecule + row * m) + (1 - real) * np.int32(b * m)
    return {key: value.reshape(-1, *value.shape[2:]) for key, value in shifted.items()}
