"""Graphs in files: the same as made in memory; found again; damage is seen; a failing molecule leaves nothing half-written."""

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")

from zoo.orbnet import store
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.features import features
from zoo.orbnet.gfn1 import EngineError
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.store import GraphStore, blocks

WATER = np.array([[0, 0, 0.117], [0, 0.757, -0.469], [0, -0.757, -0.469]])


@pytest.fixture(scope="module")
def molecules() -> list[Molecule]:
    moved = [Molecule.from_angstrom("OHH", WATER * (1 + 0.02 * i), name=f"water{i}") for i in range(4)]
    return [*moved, Molecule.from_angstrom("H", np.zeros((1, 3)), charge=1, name="proton"), *moved[:1]]


@pytest.fixture
def cache(tmp_path) -> ConvergedCache:
    return ConvergedCache(tmp_path / "converged")


def made(molecules, cache, folder, shares, **options) -> GraphStore:
    return GraphStore(molecules, shares, cache, "shells", 12.0, folder, **options)


def test_views_are_the_graphs_made_in_memory(molecules, cache, tmp_path) -> None:
    found = made(molecules, cache, tmp_path / "graphs", [np.array([0, 2]), np.array([4, 3])])
    assert len(found) == 4
    for i in (0, 2, 3, 4):
        graph, expected = found[i], features(cache.get(molecules[i]), "shells", 12.0)
        for name in ("node_features", "edge_features", "edge_distance", "charges"):
            np.testing.assert_allclose(getattr(graph, name), getattr(expected, name), rtol=1e-6, atol=1e-6)
        for name in ("edge_u", "edge_v", "node_atom", "node_slot", "numbers"):
            np.testing.assert_array_equal(getattr(graph, name), getattr(expected, name))
        assert (graph.energy, graph.charge, graph.name) == (expected.energy, expected.charge, expected.name)
        assert found.size(i) == (expected.n_nodes, expected.n_edges)
    with pytest.raises(KeyError):
        found[1]


def test_a_file_is_made_once_and_anew_where_it_is_damaged(molecules, cache, tmp_path, monkeypatch, capsys) -> None:
    folder, share = tmp_path / "graphs", [np.array([0, 1, 2])]
    reference = made(molecules, cache, folder, share)[1].edge_features.copy()
    calls = []
    monkeypatch.setattr(store, "features", lambda *a: calls.append(a) or features(*a))
    made(molecules, cache, folder, share)
    assert not calls
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-7] ^= 16
    path.write_bytes(content)
    np.testing.assert_array_equal(made(molecules, cache, folder, share)[1].edge_features, reference)
    assert len(calls) == 3
    assert "is damaged and is made anew" in capsys.readouterr().err
    made(molecules[::-1], cache, folder, share)  # other molecules, another file
    assert len(list(folder.iterdir())) == 2


def test_a_failure_leaves_no_file(molecules, cache, tmp_path, monkeypatch) -> None:
    def fails(*_):
        raise EngineError("no")

    monkeypatch.setattr(store, "features", fails)
    with pytest.raises(EngineError):
        made(molecules, cache, tmp_path / "graphs", [np.array([0])])
    assert not (tmp_path / "graphs").exists() or not list((tmp_path / "graphs").iterdir())


def test_workers_make_the_same_bytes(molecules, cache, tmp_path) -> None:
    shares = [np.array([0, 1]), np.array([2, 3])]
    made(molecules, cache, tmp_path / "a", shares)
    made(molecules, cache, tmp_path / "b", shares, workers=2)
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == [p.name for p in sorted((tmp_path / "b").iterdir())]


def test_blocks_keep_sets_apart(monkeypatch) -> None:
    monkeypatch.setattr(store, "BLOCK", 3)
    sources = ["a"] * 5 + ["b"] * 2
    found = blocks(np.array([0, 1, 2, 4, 5, 6]), sources)
    assert [b.tolist() for b in found] == [[0, 1, 2], [4], [5, 6]]
