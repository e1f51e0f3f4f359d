"""E = E_GFN1 + E_linear + E_ML of graphs, whoever asks: a predictor, a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.orbnet.batch import GraphBatch, Sizes, collate
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.facts import Facts
from zoo.orbnet.features import features
from zoo.orbnet.gfn1 import Converged, EngineError
from zoo.orbnet.graph import MolecularGraph
from zoo.orbnet.model import NetworkConfig

# The smallest of the padded shapes (nodes, edges): one organic molecule of about ten atoms.
_SIZES = Sizes(24, 256)


@dataclass(frozen=True, eq=False)
class EnergyModel:
    """A network with all that an energy takes besides.

    Attributes:
        config: the network's shape and its kind of features.
        facts: elements and linear part; nothing is refused here.
        network: batch -> E_ML in kcal/mol, (n_molecules,), jitted, with its parameters.
    """

    config: NetworkConfig
    facts: Facts
    network: Callable[[Any], Any]

    def graph(self, converged: Converged) -> MolecularGraph:
        """The features the network was made for."""
        return features(converged, self.config.kind, self.config.cutoff)

    def batch(self, graph: MolecularGraph) -> GraphBatch:
        """One molecule, padded to one of a few shapes.

        One at a time: an energy cannot depend on its company, to the last bit, and the network is a tenth of the time that
        GFN1-xTB takes, so sharing its calls would gain a few hundredths.
        """
        return collate([graph], self.facts.index, _SIZES.shape(graph.n_nodes, graph.n_edges), 1)

    def learned(self, graph: MolecularGraph) -> float:
        """E_ML in kcal/mol."""
        return float(np.asarray(self.network(self.batch(graph)))[0])

    def energy(self, graph: MolecularGraph) -> float:
        """E in hartree; EngineError where it is not finite, UserError for an element that is not the model's."""
        linear = float(self.facts.linear(self.facts.index.composition(graph)))
        energy = graph.energy + linear + self.learned(graph) / HARTREE_KCAL
        if not np.isfinite(energy):
            label = f"{graph.name}: " if graph.name else ""
            raise EngineError(f"{label}the network's energy is not finite: check the geometry")
        return energy
