"""Three kinds of features under one interface.

``features(converged, kind)`` gives a :class:`~zoo.orbnet.graph.MolecularGraph`:

- ``shells``: one node an atomic shell, rotation invariants of the blocks; exact, smooth, the fastest.
- ``smooth``: one node an orbital, SAAOs pooled over near-degenerate partners; exact and smooth.
- ``plain``: the paper's SAAOs, for comparison; they depend on how a molecule with degenerate shells is turned.

``feature_arrays`` is the same as a pure function of the converged arrays, which JAX differentiates for the first two.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any, Literal

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.blas import one_thread
from zoo.orbnet.features import saao, shells, smooth
from zoo.orbnet.features.layout import Layout, Pairs, find_pairs
from zoo.orbnet.features.saao import Arrays, Operators
from zoo.orbnet.gfn1 import Converged
from zoo.orbnet.graph import MolecularGraph

Kind = Literal["shells", "smooth", "plain"]
NODE_NAMES = {"shells": shells.NODE_NAMES, "smooth": saao.NODE_NAMES, "plain": saao.NODE_NAMES}
EDGE_NAMES = {"shells": shells.EDGE_NAMES, "smooth": saao.EDGE_NAMES, "plain": saao.EDGE_NAMES}
# Rounds the roots of smooth off-diagonals at zero, hartree or e.
EPS_SMOOTH = 1e-3
CUTOFF = 12.0


def features(converged: Converged, kind: Kind = "shells", cutoff: float = CUTOFF) -> MolecularGraph:
    """The graph of a converged molecule, in float64 NumPy.

    Args:
        converged: what :func:`zoo.orbnet.gfn1.converge` gave.
        kind: "shells", "smooth" or "plain".
        cutoff: bohr; atoms at least this far apart share no edge.

    Raises:
        UserError: an unknown kind, or a cut-off that is not positive.
    """
    check_kind(kind)
    if not cutoff > 0:
        raise UserError(f"cutoff={cutoff!r} bohr is not positive")
    molecule = converged.molecule
    layout = Layout.of(molecule.numbers)
    pairs = find_pairs(layout, molecule.positions_bohr, cutoff)
    operators = Operators(converged.overlap, converged.core, converged.density, converged.fock)
    with one_thread(layout.n_orbitals):
        arrays = feature_arrays(kind, operators, molecule.positions_bohr, layout, pairs, np)
    atom, slot = layout.shell_atom, layout.shell_slot
    if kind != "shells":
        atom, slot = layout.orbital_atom, slot[layout.orbital_shell]
    u, v, order = _edges(kind == "shells", pairs)
    return MolecularGraph(
        kind=kind,
        node_features=arrays.nodes,
        node_atom=atom,
        node_slot=slot,
        edge_features=arrays.edges[order],
        edge_u=u,
        edge_v=v,
        edge_distance=arrays.distance[order],
        cutoff=cutoff,
        numbers=molecule.numbers,
        charges=converged.charges,
        charge=molecule.charge,
        energy=converged.energy,
        name=molecule.name,
    )


@lru_cache(maxsize=16)
def _edges(of_shells: bool, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The half edges u < v sorted by (u, v), and the place of each in the features' own order."""
    u, v = shells.shell_edges(pairs) if of_shells else saao.orbital_edges(pairs)
    order = np.lexsort((v, u))
    edges = u[order], v[order], order
    for array in edges:
        array.setflags(write=False)  # shared by the graphs of one molecule
    return edges


def feature_arrays(
    kind: Kind, operators: Operators, positions: Any, layout: Layout, pairs: Pairs, xp: ModuleType
) -> Arrays:
    """Features as a pure function of converged arrays.

    Args:
        kind: "shells", "smooth" or "plain".
        operators: S, H0, P, F; float64, (n_orbitals, n_orbitals) each.
        positions: bohr, (n_atoms, 3).
        layout: the basis of the molecule.
        pairs: the shell pairs, found beforehand at these positions.
        xp: ``numpy``, or ``jax.numpy`` (64 bit scoped by the caller) to differentiate; not for "plain", whose
            derivative does not exist in symmetric molecules.
    """
    check_kind(kind)
    if kind == "shells":
        return shells.shell_features(operators, positions, layout, pairs, xp)
    if kind == "smooth":
        projectors = smooth.projectors(operators.density, layout, xp)
        return saao.saao_features(operators, positions, layout, pairs, projectors, EPS_SMOOTH, xp)
    if xp is not np:
        raise UserError('kind="plain" has no derivative where shells are degenerate: use "shells" or "smooth"')
    return saao.saao_features(
        operators, positions, layout, pairs, saao.plain_projectors(operators.density, layout), 0.0, np
    )


def check_kind(kind: str) -> None:
    """UserError for a kind of features that does not exist."""
    if kind not in NODE_NAMES:
        raise UserError(f"kind={kind!r} is not one of {', '.join(NODE_NAMES)}")
