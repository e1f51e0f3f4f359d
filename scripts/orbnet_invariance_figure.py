"""Make docs/figures/orbnet_invariance.png: what plain SAAO features do in symmetric molecules, beside the two mended kinds.

Run from the repository root: python scripts/orbnet_invariance_figure.py (half a minute on one core).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from zoo.orbnet.features import features
from zoo.orbnet.gfn1 import converge
from zoo.orbnet.molecule import Molecule

KINDS = {
    "plain": ("plain SAAO (the paper's)", "#c0392b", "x"),
    "smooth": ("smooth SAAO", "#2471a3", "o"),
    "shells": ("shell invariants", "#1e8449", "s"),
}
TETRAHEDRON = np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], float)
OCTAHEDRON = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
ANGLE = np.arange(6) * np.pi / 3
RING = np.stack([np.cos(ANGLE), np.sin(ANGLE), 0 * ANGLE], 1)
MOLECULES = {
    "H$_2$O": ([8, 1, 1], [[0, 0, 0.2217], [0, 1.4309, -0.8867], [0, -1.4309, -0.8867]], 0),
    "H$_2$": ([1, 1], [[0, 0, 0], [0, 0, 1.4]], 0),
    "N$_2$": ([7, 7], [[0, 0, 0], [0, 0, 2.07]], 0),
    "CO$_2$": ([6, 8, 8], [[0, 0, 0], [0, 0, 2.2], [0, 0, -2.2]], 0),
    "CH$_4$": ([6, 1, 1, 1, 1], TETRAHEDRON * 1.19, 0),
    "NH$_4^+$": ([7, 1, 1, 1, 1], TETRAHEDRON * 1.12, 1),
    "C$_2$H$_2$": ([6, 6, 1, 1], [[0, 0, 1.137], [0, 0, -1.137], [0, 0, 3.15], [0, 0, -3.15]], 0),
    "C$_6$H$_6$": ([6] * 6 + [1] * 6, np.concatenate([RING * 2.63, RING * 4.69]), 0),
    "SF$_6$": ([16] + [9] * 6, OCTAHEDRON * 2.95, 0),
}


def molecule(name: str, turn: np.ndarray | None = None, displacement: np.ndarray | float = 0.0) -> Molecule:
    """One of MOLECULES, displaced (bohr) and then turned."""
    numbers, positions, charge = MOLECULES[name]
    positions = np.asarray(positions, float) + displacement
    return Molecule(np.array(numbers), positions if turn is None else positions @ turn.T, charge)


def rotations(n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Random orthogonal matrices, reflections among them."""
    return [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(n)]


def readout(nodes: np.ndarray, edges: np.ndarray) -> float:
    """A fixed smooth function of all features that ignores the order of nodes and edges."""
    rng = np.random.default_rng(1)
    w_nodes, w_edges = rng.normal(size=(nodes.shape[1], 6)), rng.normal(size=(edges.shape[1], 6))
    return float(np.tanh(3 * nodes @ w_nodes).sum() + np.tanh(3 * edges @ w_edges).sum())


def rotation_changes(name: str, kind: str, turns: list[np.ndarray]) -> float:
    """The largest change of a Fock feature (of a node, or of an edge's channels for shells) under ``turns``, hartree."""
    columns = (2, 3, 4, 5, 6) if kind == "shells" else (0,)

    def fock(m: Molecule) -> tuple[np.ndarray, np.ndarray]:
        graph = features(converge(m, accuracy=1e-5), kind)  # pyright: ignore[reportArgumentType]
        order = np.lexsort((graph.edge_v, graph.edge_u))
        return graph.node_features[:, 0], graph.edge_features[order][:, columns]

    reference = fock(molecule(name))
    changed = (fock(molecule(name, turn)) for turn in turns)
    return max(float(np.abs(a - b).max(initial=0.0)) for got in changed for a, b in zip(got, reference))


def path(name: str, kinds: list[str], t: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The readout along a random straight line through the symmetric geometry, by kind."""
    direction = np.random.default_rng(seed).normal(size=np.shape(MOLECULES[name][1]))
    direction /= np.linalg.norm(direction)
    values: dict[str, list[float]] = {kind: [] for kind in kinds}
    for x in t:
        converged = converge(molecule(name, displacement=x * direction), accuracy=1e-4)
        for kind in kinds:
            graph = features(converged, kind)  # pyright: ignore[reportArgumentType]
            values[kind].append(readout(graph.node_features, graph.edge_features))
    return {kind: np.array(v) for kind, v in values.items()}


def draw(target: Path) -> None:
    """Compute and save the figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.9), width_ratios=(1.35, 1, 1), layout="constrained")
    turns = rotations(6, np.random.default_rng(0))
    left = axes[0]
    for kind, (label, colour, marker) in KINDS.items():
        changes = [max(rotation_changes(name, kind, turns), 1e-16) for name in MOLECULES]
        left.semilogy(
            range(len(changes)), changes, marker, color=colour, label=label, markersize=7, mfc="none", mew=1.6
        )
    left.axhline(1e-6, color="0.6", lw=1, ls="--")
    left.text(0.05, 1.5e-6, "1 µHa", color="0.4", fontsize=8)
    left.set_xticks(range(len(MOLECULES)), list(MOLECULES), fontsize=8)
    left.set_ylim(1e-17, 10)
    left.set_ylabel("largest change of a Fock feature, hartree")
    left.set_title("Turning the molecule", fontsize=10)
    left.legend(fontsize=8, loc="center", bbox_to_anchor=(0.5, 0.33))
    t = np.linspace(-0.04, 0.04, 161)
    for axis, (name, title) in zip(
        axes[1:], (("CH$_4$", "Through T$_d$ methane"), ("CO$_2$", "Through linear CO$_2$"))
    ):
        for kind, values in path(name, list(KINDS), t, seed=1).items():
            label, colour, _ = KINDS[kind]
            curvature = np.abs(np.diff(values, 2)).max() / (t[1] - t[0]) ** 2
            scaled = (values - values.mean()) / np.ptp(values)
            axis.plot(t, scaled, color=colour, lw=1.4, label=f"{kind}: max |d²E/dx²| {curvature:,.0f}")
            print(name, kind, f"range {np.ptp(values):.3f}, largest second derivative {curvature:.1f}")
        axis.set_xlabel("displacement, bohr")
        axis.set_title(title, fontsize=10)
        axis.set_yticks([])
        axis.set_ylim(-0.85, 1.45)
        axis.legend(fontsize=7.5, loc="upper center")
    axes[1].set_ylabel("fixed readout of the features, scaled")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/figures/orbnet_invariance.png"))
    draw(parser.parse_args().out)
