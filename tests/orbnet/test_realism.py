"""Molecules as they come: a sample of the training set, and sizes from one atom to three hundred."""

import numpy as np
import pytest

from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.features import features
from zoo.orbnet.gfn1 import converge
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.prepare import prepare


def test_fifty_structures_of_the_training_set(data_dir, tmp_path):
    path = data_dir / "orbnet" / "torsion_mlff" / "TorsionTest2000.npz"
    if not path.is_file():
        pytest.skip("TorsionTest2000.npz is not in ZOO_DATA_DIR")
    data = np.load(path)
    starts = np.concatenate([[0], np.cumsum(data["natoms"], dtype=np.int64)])
    chosen = np.random.default_rng(0).choice(len(data["natoms"]), 50, replace=False)
    molecules = []
    for i in chosen:
        atoms = slice(starts[i], starts[i + 1])
        numbers, positions = data["numbers"][atoms], data["coords_angstrom"][atoms]
        molecules.append(Molecule.from_angstrom(numbers, positions, int(data["charge"][i]), name=f"structure {i}"))
    cache = ConvergedCache(tmp_path)
    report = prepare(molecules, cache, progress=False)
    assert report.ready == list(range(50))
    for molecule in molecules:
        for kind in ("shells", "smooth"):
            graph = features(cache.get(molecule), kind)
            assert np.isfinite(graph.node_features).all()
            assert np.isfinite(graph.edge_features).all()
            assert np.abs(graph.edge_features[:, :-4]).max() < 10


def alkane(n: int) -> Molecule:
    """The all-trans chain of ``n`` carbon atoms (3 n + 2 atoms): C-C 1.53 A, C-H 1.09 A, ideal angles."""
    half = np.deg2rad(111.5 / 2)
    along, across = 1.53 * np.sin(half), 1.53 * np.cos(half)
    up, out = 1.09 * np.cos(np.deg2rad(53.5)), 1.09 * np.sin(np.deg2rad(53.5))
    carbon = np.array([[i * along, across * (i % 2), 0.0] for i in range(n)])
    side = np.where(np.arange(n) % 2, 1.0, -1.0)
    hydrogens = [carbon + np.stack([0 * side, up * side, s * out + 0 * side], 1) for s in (-1, 1)]
    first = carbon[0] - 1.09 / 1.53 * (carbon[1] - carbon[0]) * np.array([1, -1, 1])
    last = carbon[-1] + 1.09 / 1.53 * (carbon[-1] - carbon[-2]) * np.array([1, -1, 1])
    return Molecule.from_angstrom([6] * n + [1] * (2 * n + 2), np.concatenate([carbon, *hydrogens, [first, last]]))


def test_edges_grow_with_the_number_of_atoms():
    """Two chains, one twice as long: twice the edges, not four times."""
    short, long = (features(converge(alkane(n), accuracy=1.0), "shells") for n in (20, 40))
    assert long.n_edges < 2.3 * short.n_edges
    assert long.n_edges < long.n_nodes**2 / 4


@pytest.mark.slow
def test_three_hundred_atoms():
    converged = converge(alkane(99), accuracy=1.0)
    for kind in ("shells", "smooth", "plain"):
        graph = features(converged, kind)
        assert len(graph.numbers) == 299
        assert np.isfinite(graph.edge_features).all()
        assert np.isfinite(graph.node_features).all()
