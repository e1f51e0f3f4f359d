"""Features do not see how a molecule lies, in which order its atoms come, nor which basis spans a degenerate shell."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from zoo.orbnet.features import features
from zoo.orbnet.features.layout import Layout
from zoo.orbnet.gfn1 import converge
from zoo.orbnet.molecule import Molecule

SYMMETRIC = ("H", "H2", "N2", "CO2", "CH4", "NH4+", "C2H2", "benzene", "SF6")
TIGHT = 1e-5


def keyed(graph, atoms):
    """Node and edge features in an order fixed by the original atoms: ``atoms[i]`` is the original index of atom i."""
    counts: dict[tuple[int, int], int] = {}
    keys = []
    for atom, slot in zip(graph.node_atom, graph.node_slot):
        shell = (int(atoms[atom]), int(slot))
        counts[shell] = counts.get(shell, -1) + 1
        keys.append((*shell, counts[shell]))
    order = np.argsort([k[0] * 100 + k[1] * 10 + k[2] for k in keys])
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    u, v = rank[graph.edge_u], rank[graph.edge_v]
    low, high = np.minimum(u, v), np.maximum(u, v)
    edges = np.lexsort((high, low))
    return graph.node_features[order], graph.edge_features[edges], np.stack([low, high])[:, edges]


def largest_change(molecule, kind, trials=4, seed=0):
    rng = np.random.default_rng(seed)
    reference = keyed(features(converge(molecule, accuracy=TIGHT), kind), np.arange(len(molecule)))
    worst = 0.0
    for trial in range(trials):
        turn = Rotation.random(random_state=trial).as_matrix() * (-1) ** trial
        order = rng.permutation(len(molecule))
        positions = (molecule.positions_bohr @ turn.T + rng.normal(size=3))[order]
        moved = Molecule(molecule.numbers[order], positions, molecule.charge, molecule.spin)
        got = keyed(features(converge(moved, accuracy=TIGHT), kind), order)
        np.testing.assert_array_equal(got[2], reference[2])
        worst = max(worst, *(np.abs(a - b).max(initial=0.0) for a, b in zip(got[:2], reference[:2])))
    return worst


@pytest.mark.parametrize("kind", ["shells", "smooth"])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_molecules(molecule, name, kind):
    assert largest_change(molecule(name), kind) < 1e-9


@pytest.mark.parametrize("kind", ["shells", "smooth"])
def test_a_molecule_without_symmetry(drug_like, kind):
    assert largest_change(drug_like, kind, trials=2) < 2e-8  # SCF noise: the density is converged to 1e-9


def test_plain_orbitals_are_invariant_only_without_degeneracy(molecule):
    # |x| is the root of a square: a zero comes as 1e-8.
    assert largest_change(molecule("water"), "plain") < 1e-7
    for name in ("CH4", "CO2", "N2"):
        assert largest_change(molecule(name), "plain") > 1e-2


@pytest.mark.parametrize("kind", ["shells", "smooth"])
@pytest.mark.parametrize("name", ["CO2", "SF6", "water"])
def test_the_basis_of_a_shell_cannot_be_seen(molecule, name, kind):
    """Any orthogonal matrix within every shell, signs included; positions stay, so channels are compared by rotations."""
    converged = converge(molecule(name))
    layout = Layout.of(converged.molecule.numbers)
    rng = np.random.default_rng(3)
    turn = np.zeros((layout.n_orbitals, layout.n_orbitals))
    for start, size in zip(layout.shell_start, layout.sizes):
        block = slice(start, start + size)
        turn[block, block] = np.linalg.qr(rng.normal(size=(size, size)))[0] if kind == "smooth" else np.eye(size)
    if kind == "shells":  # a channel is tied to the axes: only the s shells may flip
        for shell in np.flatnonzero(layout.momenta == 0):
            turn[layout.shell_start[shell], layout.shell_start[shell]] = 1.0
    turned = type(converged)(
        converged.molecule,
        converged.energy,
        *(turn.T @ m @ turn for m in (converged.overlap, converged.core, converged.density, converged.fock)),
        converged.charges,
        converged.engine,
    )
    a, b = features(converged, kind), features(turned, kind)
    np.testing.assert_allclose(a.node_features, b.node_features, atol=1e-10)
    np.testing.assert_allclose(a.edge_features, b.edge_features, atol=1e-10)


@pytest.mark.parametrize("kind", ["shells", "smooth", "plain"])
def test_structure_of_the_graph(drug_like, kind):
    graph = features(converge(drug_like), kind, cutoff=9.0)
    layout = Layout.of(drug_like.numbers)
    assert graph.n_nodes == (layout.n_shells if kind == "shells" else layout.n_orbitals)
    assert (graph.edge_u < graph.edge_v).all()
    assert len(set(zip(graph.edge_u, graph.edge_v))) == graph.n_edges
    x = drug_like.positions_bohr
    distance = np.linalg.norm(x[graph.node_atom[graph.edge_u]] - x[graph.node_atom[graph.edge_v]], axis=1)
    np.testing.assert_allclose(graph.edge_distance, distance, atol=1e-12)
    u, v = np.triu_indices(graph.n_nodes, 1)
    within = np.linalg.norm(x[graph.node_atom[u]] - x[graph.node_atom[v]], axis=1) < 9.0
    assert set(zip(graph.edge_u, graph.edge_v)) == set(zip(u[within], v[within]))
    assert 0 < graph.n_edges < len(u)


@pytest.mark.parametrize("kind", ["shells", "smooth"])
def test_separated_molecules_do_not_see_each_other(molecule, kind):
    """Water beside water at 80 bohr: its features are those of one, up to the 1/R tail that GFN1 charges leave."""
    water = molecule("water")
    two = Molecule(
        np.tile(water.numbers, 2), np.concatenate([water.positions_bohr, water.positions_bohr + np.array([0, 80.0, 0])])
    )
    one, pair = features(converge(water), kind), features(converge(two), kind)
    assert (pair.n_nodes, pair.n_edges) == (2 * one.n_nodes, 2 * one.n_edges)
    np.testing.assert_allclose(pair.node_features[: one.n_nodes], one.node_features, atol=1e-3)
