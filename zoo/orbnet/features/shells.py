"""Shell-level features: one node an atomic shell, its features rotation invariants of the blocks.

Traces, Frobenius norms and the sigma, pi and delta channels of a block do not see which orbitals span a shell, so they
are exactly invariant, smooth, and keep the sign of a bond's sigma and pi components. No eigenvectors are needed,
besides those of S in S^1/2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.orbnet.features.harmonics import channels
from zoo.orbnet.features.kernels import gammas, host_populations, square_root
from zoo.orbnet.features.layout import Layout, PairGroup, Pairs
from zoo.orbnet.features.saao import Arrays, Operators

NODE_NAMES = ("F", "P", "H", "J", "K", "population", "F_anisotropy", "P_anisotropy", "FP_anisotropy")
EDGE_NAMES = (
    *("S_sigma", "S_pi", "H_sigma", "H_pi", "F_sigma", "F_pi", "F_rest", "P_sigma", "P_pi", "P_rest"),
    *("J", "K", "D", "bond_order", "bond_energy"),
)
# Rounds norms at zero, hartree or e: a norm has a kink there, its square has none.
EPS = 0.02


def shell_features(operators: Operators, positions: Any, layout: Layout, pairs: Pairs, xp: Any) -> Arrays:
    """Nine node features and fifteen edge features of every shell and pair of shells.

    Nodes: means of F, P, H0 over the shell; J and K of the shell with itself; Mulliken population an orbital; norms
    of the traceless parts of F and P and their inner product. Edges: sigma and pi (+ delta) channels of S, H0, F, P
    and what these leave of F and P; J, K; distance; bond order sum (PS)_uv (PS)_vu; bond energy sum P_uv H0_uv.

    Args:
        operators: the converged matrices.
        positions: bohr, (n_atoms, 3).
        layout, pairs: the basis, and the shell pairs within the cut-off.
        xp: numpy, or jax.numpy to differentiate by the operators and the positions.

    Returns:
        Arrays with one node a shell, in the basis order, and the edges in the order of :func:`shell_edges`.
    """
    root = square_root(operators.overlap, xp)
    hosts = host_populations(root, layout)
    gamma_j, gamma_k = gammas(layout, positions)
    members, sizes = layout.shell_members, layout.sizes.astype(np.float64)
    on_shells = layout.atom_members @ (root * root) @ members.T
    coulomb = (on_shells.T @ gamma_j @ on_shells) / np.outer(sizes, sizes)
    charges = operators.density @ operators.overlap
    # Every matrix that a block is taken of, the last index over matrices: one gather brings all of a pair's elements.
    stack = xp.stack(
        [operators.overlap, operators.core, operators.fock, operators.density, charges, charges.T, hosts, hosts.T], -1
    )

    nodes = _nodes(operators, xp.diagonal(charges), layout, xp)
    squares = members @ (hosts * hosts * layout.same_shell).sum(1)
    own = squares * xp.diagonal(gamma_k)[layout.shell_atom] / sizes**2
    nodes = xp.stack([*nodes[:3], xp.diagonal(coulomb), own, *nodes[3:]], -1)

    edges, distances = [xp.zeros((0, len(EDGE_NAMES)))], [xp.zeros(0)]
    for group in pairs.groups:
        blocks = stack[group.orbitals_a[:, :, None], group.orbitals_b[:, None, :]]
        size = blocks.shape[1] * blocks.shape[2]
        blocks = blocks.reshape(len(group.a), size, -1)
        components, distance = _components(group, blocks[..., :4], positions, layout, xp)
        exchange = _exchange(group, blocks[..., 6], blocks[..., 7], gamma_k, layout, xp) / size
        order = xp.einsum("pi,pi->p", blocks[..., 4], blocks[..., 5])
        energy = xp.einsum("pi,pi->p", blocks[..., 3], blocks[..., 1])
        j = coulomb[group.a, group.b]
        edges.append(xp.stack([*components, j, exchange, distance, order, energy], -1))
        distances.append(distance)
    return Arrays(nodes, xp.concatenate(edges), xp.concatenate(distances))


def shell_edges(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The shells u < v of every edge, in the order of :func:`shell_features`."""
    empty = np.zeros(0, np.int64)
    a = np.concatenate([empty, *(g.a for g in pairs.groups)])
    b = np.concatenate([empty, *(g.b for g in pairs.groups)])
    return np.minimum(a, b), np.maximum(a, b)


def _nodes(operators: Operators, populations: Any, layout: Layout, xp: Any) -> list[Any]:
    """The features of single shells besides J and K, each (n_shells,)."""
    members, sizes = layout.shell_members, layout.sizes.astype(np.float64)

    def mean(matrix: Any) -> Any:
        return members @ xp.diagonal(matrix) / sizes

    def inner(a: Any, b: Any) -> Any:
        return members @ (a * b * layout.same_shell).sum(1)

    fock, density = mean(operators.fock), mean(operators.density)
    mixed = inner(operators.fock, operators.density) - sizes * fock * density
    return [
        fock,
        density,
        mean(operators.core),
        members @ populations / sizes,
        _norm(inner(operators.fock, operators.fock) - sizes * fock**2, xp),
        _norm(inner(operators.density, operators.density) - sizes * density**2, xp),
        mixed,
    ]


def _components(group: PairGroup, blocks: Any, positions: Any, layout: Layout, xp: Any) -> tuple[list[Any], Any]:
    """The ten channel features, each (n_pairs,), and the distance.

    Args:
        blocks: of S, H0, F, P, (n_pairs, orbitals of a times orbitals of b, 4).
    """
    squares = xp.einsum("pik,pik->pk", blocks[..., 2:], blocks[..., 2:])
    zero = xp.zeros(len(group.a))
    if group.kind == "onsite":
        none = [zero, zero]
        return [*none, *none, *none, _norm(squares[:, 0], xp), *none, _norm(squares[:, 1], xp)], zero
    bond = positions[layout.shell_atom[group.b]] - positions[layout.shell_atom[group.a]]
    distance = xp.sqrt((bond * bond).sum(-1))
    weights = channels(group.la, group.lb, bond / distance[:, None], xp)
    parts = [xp.einsum("pik,pi->pk", blocks, w.reshape(len(bond), -1)) for w in weights]
    sigma, pi, left = parts[0], xp.zeros((len(bond), 4)), squares - parts[0][:, 2:] ** 2
    for part in parts[1:]:
        pi, left = pi + part, left - part[:, 2:] ** 2
    rest = _norm(left, xp)
    pure = [value[:, o] for o in range(3) for value in (sigma, pi)]
    return [*pure, rest[:, 0], sigma[:, 3], pi[:, 3], rest[:, 1]], distance


def _exchange(group: PairGroup, on_a: Any, on_b: Any, gamma_k: Any, layout: Layout, xp: Any) -> Any:
    """sum over the orbitals p, q of two shells of (pq|pq) with host populations (n_pairs, orbitals), (n_pairs,)."""
    atom_a, atom_b = layout.shell_atom[group.a], layout.shell_atom[group.b]
    own = gamma_k[atom_a, atom_a] * xp.einsum("pi,pi->p", on_a, on_a)
    if group.kind == "onsite":
        return own
    cross = gamma_k[atom_a, atom_b] * xp.einsum("pi,pi->p", on_a, on_b)
    return own + 2.0 * cross + gamma_k[atom_b, atom_b] * xp.einsum("pi,pi->p", on_b, on_b)


def _norm(square: Any, xp: Any) -> Any:
    return xp.sqrt(xp.maximum(square, 0.0) + EPS * EPS) - EPS
