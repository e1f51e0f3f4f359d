"""Kernels and channels against their formulas written out with dense sums, and against the engine's own integrals."""

import numpy as np
import pytest

from zoo.orbnet.features import features
from zoo.orbnet.features.harmonics import channels, harmonic
from zoo.orbnet.features.kernels import gamma, gammas, host_populations, square_root
from zoo.orbnet.features.layout import Layout, find_pairs
from zoo.orbnet.gfn1 import converge


def orbital_truth(converged):
    """F, J, K, P, S, H of the plain SAAOs by dense sums over all indices; K with all atoms and with the two hosts."""
    m = converged.molecule
    layout = Layout.of(m.numbers)
    n, atoms = layout.n_orbitals, layout.orbital_atom
    basis = np.zeros((n, n))
    for start, size in zip(layout.shell_start, layout.sizes):
        block = slice(start, start + size)
        basis[block, block] = np.linalg.eigh(converged.density[block, block])[1]
    values, vectors = np.linalg.eigh(converged.overlap)
    half = (vectors * values**0.5) @ vectors.T @ basis
    q = np.stack([half[atoms == a].T @ half[atoms == a] for a in range(len(m))])
    distance = np.linalg.norm(m.positions_bohr[:, None] - m.positions_bohr, axis=-1)
    eta = 0.5 * (layout.hardness[:, None] + layout.hardness)
    gamma_j, gamma_k = ((distance**y + (1 / eta) ** y) ** (-1 / y) for y in (4, 10))
    integrals = {"J": np.einsum("Auu,AB,Bvv->uv", q, gamma_j, q), "K_all": np.einsum("Auv,AB,Buv->uv", q, gamma_k, q)}
    hosts = np.zeros((n, n))
    for u in range(n):
        for v in range(n):
            for a in {atoms[u], atoms[v]}:
                for b in {atoms[u], atoms[v]}:
                    hosts[u, v] += q[a, u, v] * gamma_k[a, b] * q[b, u, v]
    integrals["K"] = hosts
    for name, matrix in zip("FPSH", (converged.fock, converged.density, converged.overlap, converged.core)):
        integrals[name] = basis.T @ matrix @ basis
    return integrals


def test_plain_features_are_the_formulas(molecule):
    # Water's shells are not degenerate: the basis is unique up to signs, which the absolute values remove.
    converged = converge(molecule("water"))
    truth, graph = orbital_truth(converged), features(converged, "plain")
    for column, name in enumerate(("F", "J", "K", "P", "H")):
        np.testing.assert_allclose(graph.node_features[:, column], np.diag(truth[name]), atol=1e-12)
    for column, name in ((0, "F"), (1, "J"), (2, "K"), (4, "P"), (5, "S"), (6, "H")):
        expected = np.abs(truth[name][graph.edge_u, graph.edge_v])
        # |x| comes as the root of a square, so a zero comes as 1e-8.
        np.testing.assert_allclose(graph.edge_features[:, column], expected, atol=2e-8)
    assert graph.n_edges == 8 * 7 // 2
    # What the two hosts leave out of the exchange is a tenth of its largest element (0.010 of 0.109 hartree).
    off = ~np.eye(8, dtype=bool)
    assert np.abs(truth["K_all"] - truth["K"])[off].max() < 0.12 * truth["K_all"][off].max()


def test_shell_coulomb_is_the_mean_over_orbitals(drug_like):
    converged = converge(drug_like)
    layout, truth = Layout.of(drug_like.numbers), orbital_truth(converged)
    graph = features(converged, "shells", cutoff=100.0)
    members = layout.shell_members / layout.sizes[:, None]
    for column, name in ((10, "J"), (11, "K")):
        mean = members @ truth[name] @ members.T
        np.testing.assert_allclose(graph.edge_features[:, column], mean[graph.edge_u, graph.edge_v], atol=1e-12)
        np.testing.assert_allclose(graph.node_features[:, 3 + column - 10], np.diag(mean), atol=1e-12)


def test_gamma_has_the_limits_of_its_formula():
    assert gamma(0.0, 0.4, 4) == pytest.approx(0.4, abs=1e-15)
    assert gamma(100.0**2, 0.4, 10) == pytest.approx(1 / 100.0, rel=1e-9)


def test_populations_sum_to_the_overlap(drug_like):
    converged = converge(drug_like)
    layout = Layout.of(drug_like.numbers)
    root = square_root(converged.overlap, np)
    np.testing.assert_allclose(root @ root, converged.overlap, atol=1e-12)
    hosts = host_populations(root, layout)
    direct = np.zeros_like(hosts)
    for p in range(len(hosts)):
        own = layout.orbital_atom == layout.orbital_atom[p]
        direct[p] = root[own, p] @ root[own]
    np.testing.assert_allclose(hosts, direct, atol=1e-13)
    assert all((g == g.T).all() for g in gammas(layout, drug_like.positions_bohr))


def test_overlap_and_core_are_pure_channels(drug_like):
    """Two-centre integrals have no component outside sigma, pi, delta: this proves the engine's orbital order too."""
    converged = converge(drug_like)
    layout = Layout.of(drug_like.numbers)
    seen = set()
    for group in find_pairs(layout, drug_like.positions_bohr, 30.0).groups:
        if group.kind == "onsite":
            continue
        seen.add((group.la, group.lb))
        bond = (
            drug_like.positions_bohr[layout.shell_atom[group.b]] - drug_like.positions_bohr[layout.shell_atom[group.a]]
        )
        weights = channels(group.la, group.lb, bond / np.linalg.norm(bond, axis=1)[:, None], np)
        for matrix in (converged.overlap, converged.core):
            block = matrix[group.orbitals_a[:, :, None], group.orbitals_b[:, None, :]]
            rebuilt = sum((block * w).sum((1, 2))[:, None, None] * w for w in weights)
            np.testing.assert_allclose(rebuilt, block, atol=1e-10)
    assert seen == {(a, b) for a in range(3) for b in range(a, 3)}


def test_channel_weights_are_orthonormal():
    n = np.random.default_rng(0).normal(size=(20, 3))
    n /= np.linalg.norm(n, axis=1)[:, None]
    for la in range(3):
        np.testing.assert_allclose((harmonic(la, n, np) ** 2).sum(1), 1.0, atol=1e-14)
        for lb in range(la, 3):
            weights = channels(la, lb, n, np)
            assert len(weights) == la + 1
            for i, a in enumerate(weights):
                for j, b in enumerate(weights):
                    np.testing.assert_allclose((a * b).sum((1, 2)), float(i == j), atol=1e-13)


def test_sums_of_bond_orders_and_energies(molecule):
    """Shell bond orders and energies add up to the matrix sums they split."""
    converged = converge(molecule("benzene"))
    graph = features(converged, "shells", cutoff=100.0)
    charges = converged.density @ converged.overlap
    layout = Layout.of(converged.molecule.numbers)
    members = layout.shell_members
    orders, energies = (
        members @ (charges * charges.T) @ members.T,
        members @ (converged.density * converged.core) @ members.T,
    )
    np.testing.assert_allclose(graph.edge_features[:, 13], orders[graph.edge_u, graph.edge_v], atol=1e-12)
    np.testing.assert_allclose(graph.edge_features[:, 14], energies[graph.edge_u, graph.edge_v], atol=1e-12)
    populations = graph.node_features[:, 5] * layout.sizes
    assert populations.sum() == pytest.approx(30.0, abs=1e-9)
