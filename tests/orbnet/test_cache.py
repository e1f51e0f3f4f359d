"""The cache gives back what was computed, notices damage, survives interruption and dying workers, and names what fails."""

import dataclasses
import os
import signal

import numpy as np
import pytest

from zoo.core.errors import DamagedError, UserError
from zoo.orbnet import cache as cache_module
from zoo.orbnet import gfn1, prepare
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.features import features
from zoo.orbnet.gfn1 import EngineError, converge
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.pack import pack, unpack

MATRICES = ("overlap", "core", "density", "fock")


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-10), ("float32", 3e-7)])
def test_an_entry_holds_all_matrices(drug_like, tmp_path, precision, tolerance):
    fresh = converge(drug_like)
    cache = ConvergedCache(tmp_path, precision)
    cache.store(fresh)
    loaded = cache.load(drug_like)
    assert loaded is not None
    assert loaded.energy == fresh.energy
    for name in MATRICES:
        np.testing.assert_allclose(getattr(loaded, name), getattr(fresh, name), atol=tolerance)
    a, b = features(fresh), features(loaded)
    np.testing.assert_allclose(a.edge_features, b.edge_features, atol=20 * tolerance)
    n = fresh.overlap.shape[0]
    width = 4 if precision == "float32" else 8
    assert cache.path(drug_like).stat().st_size < 0.4 * 4 * n * n * width + 2000


@pytest.mark.parametrize("name", ["H", "CO2", "SF6", "NH4+"])
def test_packing_needs_no_particular_molecule(molecule, name):
    fresh = converge(molecule(name))
    again = unpack(pack(fresh, "float64"), molecule(name), fresh.engine)
    for matrix in MATRICES:
        np.testing.assert_allclose(getattr(again, matrix), getattr(fresh, matrix), atol=1e-10)


def test_matrices_of_another_form_are_not_packed(molecule):
    fresh = converge(molecule("water"))
    broken = dataclasses.replace(fresh, fock=fresh.fock + 1e-4 * np.outer(np.arange(8), np.arange(8)))
    with pytest.raises(EngineError, match="differ from GFN1-xTB's form"):
        pack(broken)


def test_the_key_is_the_content(molecule, tmp_path, monkeypatch):
    cache, water = ConvergedCache(tmp_path), molecule("water")
    key = cache.key(water)
    assert cache.key(dataclasses.replace(water, name="other name")) == key
    others = [
        cache.key(molecule("water", 1e-12)),
        cache.key(dataclasses.replace(water, charge=2)),
        cache.key(dataclasses.replace(water, spin=2)),
        ConvergedCache(tmp_path, "float64").key(water),
        ConvergedCache(tmp_path, accuracy=1.0).key(water),
    ]
    monkeypatch.setattr(cache_module, "engine_version", lambda: "tblite 99")
    others.append(cache.key(water))
    assert len({key, *others}) == 7


def test_every_kind_of_damage_is_noticed(molecule, tmp_path):
    cache, water = ConvergedCache(tmp_path), molecule("water")
    cache.get(water)
    path = cache.path(water)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    broken = [b"", good[:-1], good[: len(good) // 2], good + b"\0"]
    for _ in range(60):
        flipped = bytearray(good)
        flipped[rng.integers(len(good))] ^= 1 << rng.integers(8)
        broken.append(bytes(flipped))
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(DamagedError, match="water: the cache entry"):
            cache.load(water)
    report = prepare.prepare([water], cache, progress=False)
    assert (report.ready, report.computed, report.recomputed) == ([0], 1, ["water"])
    assert path.read_bytes() == good


def test_an_interrupted_write_leaves_nothing(molecule, tmp_path, monkeypatch):
    cache, water = ConvergedCache(tmp_path), molecule("water")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.get(water)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert cache.load(water) is None


def test_what_is_there_is_not_computed_again(molecule, tmp_path, monkeypatch):
    cache = ConvergedCache(tmp_path)
    first = prepare.prepare([molecule("water"), molecule("H2")], cache, progress=False)
    assert (first.ready, first.computed) == ([0, 1], 2)
    monkeypatch.setattr(cache_module, "converge", lambda *_, **__: pytest.fail("computed again"))
    again = prepare.prepare([molecule("H2"), molecule("water")], cache, progress=False)
    assert (again.ready, again.computed, again.failures) == ([0, 1], 0, [])


def test_a_cache_that_cannot_be_written_is_one_line(molecule, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written: Not a directory: set ZOO_CACHE to another folder"):
        prepare.prepare([molecule("water")], ConvergedCache(tmp_path / "file" / "x"), progress=False)


def test_a_failing_molecule_is_named_and_left_out(molecule, tmp_path, capsys):
    water = molecule("water")
    filled = Molecule(water.numbers, water.positions_bohr, charge=-8, name="filled")
    report = prepare.prepare([water, filled, molecule("H2")], ConvergedCache(tmp_path))
    assert report.ready == [0, 2]
    assert [f.name for f in report.failures] == ["filled"]
    shown = capsys.readouterr()
    assert "left out: filled: H2O-8: GFN1-xTB gives" in shown.err
    assert "GFN1-xTB  3/3" in shown.err
    assert shown.out == ""


def test_a_failure_is_remembered_by_content(molecule, tmp_path, monkeypatch):
    water, calls = dataclasses.replace(molecule("water"), name="first"), []

    def fails(of, **_):
        calls.append(of.name)
        raise EngineError(f"{of.label}H2O: xTB failed: SCF not converged")

    monkeypatch.setattr(cache_module, "converge", fails)
    other = dataclasses.replace(water, name="second")
    for asked in (water, other):
        with pytest.raises(EngineError, match=f"^{asked.name}: H2O: xTB failed: SCF not converged$"):
            ConvergedCache(tmp_path).get(asked)
    assert calls == ["first"]
    report = prepare.prepare([other], ConvergedCache(tmp_path), progress=False)
    assert [f.error for f in report.failures] == ["second: H2O: xTB failed: SCF not converged"]
    monkeypatch.undo()
    assert ConvergedCache(tmp_path, "float64").get(water).energy < -5  # other settings, another entry
    next(tmp_path.rglob("*.failed")).unlink()
    assert ConvergedCache(tmp_path).get(water).energy < -5


@pytest.mark.wrong_types
def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(UserError, match="precision='half'"):
        ConvergedCache(tmp_path, "half")


def test_a_number_of_workers_is_checked(tmp_path, molecule):
    with pytest.raises(UserError, match="workers=0"):
        prepare.prepare([molecule("H2")], ConvergedCache(tmp_path), workers=0)


def test_an_engine_that_is_not_installed(monkeypatch, tmp_path, molecule):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    gfn1.engine_version.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match=r"pip install 'sci-model-zoo\[orbnet\]'"):
        ConvergedCache(tmp_path).key(molecule("H2"))
    gfn1.engine_version.cache_clear()


class DyingCache(ConvergedCache):
    """Kills its process at NH4+ and sleeps at N2, as a crash and a hang in compiled code would."""

    def get(self, molecule):
        import time

        if molecule.name == "NH4+":
            os.kill(os.getpid(), signal.SIGKILL)
        if molecule.name == "N2":
            time.sleep(60)
        return super().get(molecule)


def test_workers_that_die_or_hang_lose_one_molecule(molecule, tmp_path):
    pytest.importorskip("joblib")
    names = ["water", "NH4+", "H2", "N2", "CO2", "CH4"]
    report = prepare.prepare(
        [molecule(n) for n in names], DyingCache(tmp_path), workers=2, time_limit=12, progress=False
    )
    assert [names[i] for i in report.ready] == ["water", "H2", "CO2", "CH4"]
    errors = {f.name: f.error for f in report.failures}
    assert set(errors) == {"NH4+", "N2"}
    assert "ended its worker" in errors["NH4+"]
    assert "took longer than the limit of 12 s" in errors["N2"]
    again = prepare.prepare([molecule(n) for n in ("water", "CH4")], ConvergedCache(tmp_path), progress=False)
    assert again.computed == 0
    assert not list(tmp_path.rglob(".running-*"))
