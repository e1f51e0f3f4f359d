"""Features of symmetry-adapted atomic orbitals (SAAO; Qiao et al. 2020, arXiv 2007.08026), plain and smooth.

In each atomic shell the orbitals are eigenvectors y_i of the shell's block of the density matrix. Written with
projectors Pi_i, which are y_i y_i^T for the plain kind and pooled over near-degenerate partners for the smooth kind,
every feature is linear in the projectors of the orbitals it belongs to:

    diagonal       X_i   = tr(Pi_i X)                                   X of F, P, H
    off-diagonal   |X_ij| = sqrt(tr(Pi_i X Pi_j X^T) + eps^2) - eps     X of F, P, S, H
    Coulomb        J_ij  = sum_AB tr(Pi_i Q^A) gamma_AB tr(Pi_j Q^B)
    exchange       K_ij  = sum_AB gamma_AB tr(Pi_i Q^A Pi_j Q^B^T), A and B on the hosts of i and j

The sign of an eigenvector cannot enter. With the plain projectors the basis inside a degenerate shell is arbitrary and
the features change when the molecule turns; that kind is here for comparison.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from zoo.orbnet.features.kernels import gammas, host_populations, square_root
from zoo.orbnet.features.layout import Layout, PairGroup, Pairs

NODE_NAMES = ("F", "J", "K", "P", "H")
EDGE_NAMES = ("F", "J", "K", "D", "P", "S", "H")


class Operators(NamedTuple):
    """The converged matrices, float64, each (n_orbitals, n_orbitals): S, H0, P (with the factor 2) and F."""

    overlap: Any
    core: Any
    density: Any
    fock: Any


class Arrays(NamedTuple):
    """Features as arrays: nodes (n_nodes, n), edges (n_edges, m) and the edges' distances in bohr (n_edges,)."""

    nodes: Any
    edges: Any
    distance: Any


def plain_projectors(density: np.ndarray, layout: Layout) -> dict[int, np.ndarray]:
    """y_i y_i^T for the eigenvectors of each shell's density block, by angular momentum: (n, d, d, d)."""
    projectors = {}
    for ell, blocks in shell_blocks(density, layout).items():
        vectors = np.linalg.eigh(blocks)[1]
        projectors[ell] = np.einsum("nai,nbi->niab", vectors, vectors)
    return projectors


def shell_blocks(matrix: Any, layout: Layout) -> dict[int, Any]:
    """The diagonal block of every shell, by angular momentum: (n, d, d)."""
    blocks = {}
    for ell in np.unique(layout.momenta):
        orbitals = layout.orbitals(np.flatnonzero(layout.momenta == ell))
        blocks[int(ell)] = matrix[orbitals[:, :, None], orbitals[:, None, :]]
    return blocks


def saao_features(
    operators: Operators, positions: Any, layout: Layout, pairs: Pairs, projectors: dict[int, Any], eps: float, xp: Any
) -> Arrays:
    """Node features F, J, K, P, H and edge features F, J, K, D, P, S, H of every orbital and pair of orbitals.

    Args:
        operators: the converged matrices.
        positions: bohr, (n_atoms, 3).
        layout, pairs: the basis, and the shell pairs within the cut-off.
        projectors: Pi by angular momentum.
        eps: rounds the root of the off-diagonals at zero, hartree or e.
        xp: numpy, or jax.numpy to differentiate by the operators and the positions.

    Returns:
        Arrays with one node an orbital, in the basis order, and the edges in the order of :func:`orbital_edges`.
    """
    root = square_root(operators.overlap, xp)
    hosts = host_populations(root, layout)
    gamma_j, gamma_k = gammas(layout, positions)
    index = _index_in_momentum(layout)
    coulomb = _coulomb(root, gamma_j, layout, projectors, xp)
    stack = xp.stack([operators.fock, operators.density, operators.overlap, operators.core])

    nodes = [None] * len(pairs.selves)
    edges, distances = [], []
    for g, group in enumerate(pairs.selves + pairs.groups):
        pi_a = projectors[group.la][index[group.a]]
        pi_b = projectors[group.lb][index[group.b]]
        rows, columns = group.orbitals_a[:, :, None], group.orbitals_b[:, None, :]
        blocks = stack[:, rows, columns]
        off = _pooled(pi_a, _outer(blocks, blocks), pi_b)
        size = xp.sqrt(xp.maximum(off, 0.0) + eps * eps) - eps
        exchange = _exchange(group, hosts, gamma_k, layout, pi_a, pi_b)
        j = coulomb[rows, columns]
        if group.kind == "bond":
            difference = positions[layout.shell_atom[group.a]] - positions[layout.shell_atom[group.b]]
            distance = xp.broadcast_to(xp.sqrt((difference * difference).sum(-1))[:, None, None], j.shape)
        else:
            distance = xp.zeros(j.shape)
        features = xp.stack([size[0], j, exchange, distance, size[1], size[2], size[3]], -1)
        if group.kind == "self":
            diagonal = np.arange(2 * group.la + 1)
            means = xp.einsum("kiab,okab->oki", pi_a, blocks)
            own = [means[0], j[:, diagonal, diagonal], exchange[:, diagonal, diagonal], means[1], means[3]]
            nodes[g] = xp.stack(own, -1).reshape(-1, len(NODE_NAMES))
            upper = np.triu_indices(2 * group.la + 1, 1)
            features, distance = features[:, upper[0], upper[1]], distance[:, upper[0], upper[1]]
        edges.append(features.reshape(-1, len(EDGE_NAMES)))
        distances.append(distance.reshape(-1))
    order = np.argsort(np.concatenate([g.orbitals_a.ravel() for g in pairs.selves]))
    return Arrays(xp.concatenate(nodes)[order], xp.concatenate(edges), xp.concatenate(distances))


def orbital_edges(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The orbitals u < v of every edge, in the order of :func:`saao_features`."""
    left, right = [], []
    for group in pairs.selves + pairs.groups:
        shape = (len(group.a), 2 * group.la + 1, 2 * group.lb + 1)
        a = np.broadcast_to(group.orbitals_a[:, :, None], shape)
        b = np.broadcast_to(group.orbitals_b[:, None, :], shape)
        if group.kind == "self":
            upper = np.triu_indices(shape[1], 1)
            a, b = a[:, upper[0], upper[1]], b[:, upper[0], upper[1]]
        left.append(a.ravel())
        right.append(b.ravel())
    u, v = np.concatenate(left), np.concatenate(right)
    return np.minimum(u, v), np.maximum(u, v)


def _index_in_momentum(layout: Layout) -> np.ndarray:
    """The position of each shell among the shells of its angular momentum."""
    index = np.zeros(layout.n_shells, np.int64)
    for ell in np.unique(layout.momenta):
        chosen = layout.momenta == ell
        index[chosen] = np.arange(chosen.sum())
    return index


def _outer(x: Any, y: Any) -> Any:
    """x_ac y_a'c' as (..., a a', c c')."""
    product = x[..., :, None, :, None] * y[..., None, :, None, :]
    *lead, a, _, c, _ = product.shape
    return product.reshape(*lead, a * a, c * c)


def _pooled(pi_a: Any, products: Any, pi_b: Any) -> Any:
    """sum over aa'cc' of Pi_i[a, a'] Pi_j[c, c'] products[aa', cc']: (..., n, i, j)."""
    n, da, db = len(pi_a), pi_a.shape[1], pi_b.shape[1]
    return pi_a.reshape(n, da, da * da) @ products @ pi_b.reshape(n, db, db * db).swapaxes(1, 2)


def _exchange(group: PairGroup, hosts: Any, gamma_k: Any, layout: Layout, pi_a: Any, pi_b: Any) -> Any:
    atom_a, atom_b = layout.shell_atom[group.a], layout.shell_atom[group.b]
    rows, columns = group.orbitals_a[:, :, None], group.orbitals_b[:, None, :]
    on_a = hosts[rows, columns]
    own = gamma_k[atom_a, atom_a][:, None, None]
    if group.kind != "bond":
        return _pooled(pi_a, _outer(own * on_a, on_a), pi_b)
    on_b = hosts[columns, rows]
    other, cross = gamma_k[atom_b, atom_b][:, None, None], gamma_k[atom_a, atom_b][:, None, None]
    products = _outer(own * on_a + cross * on_b, on_a) + _outer(cross * on_a + other * on_b, on_b)
    return _pooled(pi_a, products, pi_b)


def _coulomb(root: Any, gamma_j: Any, layout: Layout, projectors: dict[int, Any], xp: Any) -> Any:
    """J of all pairs of orbitals, (n_orbitals, n_orbitals)."""
    populations, order = [], []
    for ell, pi in projectors.items():
        orbitals = layout.orbitals(np.flatnonzero(layout.momenta == ell))
        columns = root[:, orbitals]
        outer = columns[..., :, None] * columns[..., None, :]
        on_atoms = layout.atom_members @ outer.reshape(outer.shape[0], -1)
        on_atoms = on_atoms.reshape(-1, *outer.shape[1:])
        populations.append(xp.einsum("Anab,niab->Ani", on_atoms, pi).reshape(len(on_atoms), -1))
        order.append(orbitals.ravel())
    charges = xp.concatenate(populations, 1)[:, np.argsort(np.concatenate(order))]
    return charges.T @ gamma_j @ charges
