"""A molecule as the network sees it: nodes, and half edges u < v in a flat list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class MolecularGraph:
    """Features of one molecule.

    Attributes:
        kind: "shells", "smooth" or "plain": what a node is and how its features were made.
        node_features: float64 (n_nodes, n); columns named by ``zoo.orbnet.features.NODE_NAMES[kind]``.
        node_atom: the atom of each node, int64 (n_nodes,).
        node_slot: its shell within the atom, 0 to 2, int64 (n_nodes,).
        edge_features: float64 (n_edges, m), symmetric in u and v; columns ``EDGE_NAMES[kind]``.
        edge_u, edge_v: nodes of each half edge, u < v, sorted by (u, v), int64 (n_edges,).
        edge_distance: distance of their atoms, bohr, float64 (n_edges,); 0 within an atom.
        cutoff: bohr; pairs of atoms at least this far apart have no edge, and a network's mollifier must vanish there.
        numbers: atomic numbers, int64 (n_atoms,).
        charges: Mulliken charges, e, float64 (n_atoms,).
        charge: total charge, e.
        energy: GFN1-xTB energy, hartree.
        name: the molecule's.
    """

    kind: str
    node_features: np.ndarray
    node_atom: np.ndarray
    node_slot: np.ndarray
    edge_features: np.ndarray
    edge_u: np.ndarray
    edge_v: np.ndarray
    edge_distance: np.ndarray
    cutoff: float
    numbers: np.ndarray
    charges: np.ndarray
    charge: int
    energy: float
    name: str = ""

    @property
    def n_nodes(self) -> int:
        return len(self.node_atom)

    @property
    def n_edges(self) -> int:
        return len(self.edge_u)
