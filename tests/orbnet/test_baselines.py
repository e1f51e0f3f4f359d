"""The xTB baselines: energies on disk by content, resumed after a kill, failures named and left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")

from zoo.core.errors import UserError
from zoo.orbnet import baselines
from zoo.orbnet.baselines import XTB, EnergyStore, content_key
from zoo.orbnet.gfn1 import EngineError, single_point
from zoo.orbnet.molecule import Molecule


def run(tmp_path: Path, **more) -> XTB:
    return XTB("GFN1-xTB", folder=tmp_path, workers=1, progress=False, **more)


def test_energies_are_those_of_single_points_and_are_kept(tmp_path: Path, molecule, monkeypatch) -> None:
    molecules = [molecule("water"), molecule("CH4"), molecule("water")]
    expected = [single_point(m).energy for m in molecules]
    found = run(tmp_path).energies(molecules)
    assert found == pytest.approx(expected, abs=1e-12)

    def refuse(*_, **__):
        raise AssertionError("it was computed again")

    monkeypatch.setattr(baselines, "single_point", refuse)
    again = run(tmp_path).energies(molecules)
    assert (again == found).all()
    assert len((run(tmp_path).store.path).read_text().splitlines()) == 2  # the second water is the first


def test_the_two_methods_have_files_of_their_own(tmp_path: Path, molecule) -> None:
    other = XTB("GFN2-xTB", folder=tmp_path, workers=1, progress=False)
    assert other.store.path != run(tmp_path).store.path
    energy = other.energies([molecule("water")])[0]
    assert energy == pytest.approx(single_point(molecule("water"), "GFN2-xTB").energy, abs=1e-12)


def test_the_key_is_the_content(molecule) -> None:
    water = molecule("water")
    renamed = Molecule(water.numbers, water.positions_bohr, 0, 0, "another name")
    assert content_key(renamed) == content_key(water)
    moved = Molecule(water.numbers, water.positions_bohr + 1e-9, 0, 0, "water")
    triplet = Molecule(water.numbers, water.positions_bohr, 0, 2, "water")
    charged = Molecule(water.numbers, water.positions_bohr, 2, 0, "water")
    assert len({content_key(m) for m in (water, moved, triplet, charged)}) == 4


def test_a_failure_is_named_left_out_and_remembered(tmp_path: Path, molecule, monkeypatch) -> None:
    real = single_point

    def failing(one: Molecule, *args, **options):
        if one.formula == "CH4":
            raise EngineError(f"{one.label}{one.formula}: xTB failed: SCF not converged")
        return real(one, *args, **options)

    monkeypatch.setattr(baselines, "single_point", failing)
    molecules = [molecule("water"), molecule("CH4"), molecule("N2")]
    for _ in range(2):
        xtb = run(tmp_path)
        found = xtb.energies(molecules)
        assert np.isnan(found).tolist() == [False, True, False]
        assert list(xtb.failures) == ["CH4"]
        assert xtb.failures["CH4"].error == "CH4: CH4: xTB failed: SCF not converged"
        monkeypatch.setattr(baselines, "single_point", real)  # the second time it is read


def test_a_line_cut_by_a_kill_is_computed_again(tmp_path: Path, molecule) -> None:
    molecules = [molecule("water"), molecule("CH4")]
    expected = run(tmp_path).energies(molecules)
    path = run(tmp_path).store.path
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert (run(tmp_path).energies(molecules) == expected).all()
    assert len(EnergyStore(path).read()) == 2
    lines = path.read_text().splitlines()
    assert json.loads(lines[0])["energy"] == expected[0]
    assert json.loads(lines[-1])["energy"] == expected[1]


@pytest.mark.wrong_types
def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UserError, match="method='GFN0' is not one of"):
        XTB("GFN0")  # pyright: ignore[reportArgumentType]


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match="workers=0 and time_limit=600 must be positive"):
        XTB("GFN1-xTB", workers=0)


def test_workers_give_the_same_bits_and_a_slow_molecule_loses_itself_alone(tmp_path: Path, molecule) -> None:
    """A block of 700 waters cannot end within the second it is given: its worker is ended, the others are computed."""
    side = np.stack(np.meshgrid(*[np.arange(9)] * 3), -1).reshape(-1, 3)[:700] * 6.0
    water = molecule("water")
    block = Molecule(
        np.tile(water.numbers, 700), (side[:, None] + water.positions_bohr).reshape(-1, 3), 0, 0, "block of water"
    )
    molecules = [molecule("water"), block, molecule("CH4")]
    xtb = XTB("GFN1-xTB", folder=tmp_path, workers=2, time_limit=1, progress=False)
    found = xtb.energies(molecules)
    alone = XTB("GFN1-xTB", folder=tmp_path / "other", workers=1, progress=False).energies([molecules[0], molecules[2]])
    assert (found[[0, 2]] == alone).all()
    assert np.isnan(found[1])
    assert "took longer than 1 s" in xtb.failures["block of water"].error
