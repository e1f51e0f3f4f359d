"""GMTKN55's grammar, its counts, and the published sums over its sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")

from zoo.core.errors import DamagedError, MissingDataError, UserError
from zoo.orbnet.datasets import gmtkn55 as data
from zoo.orbnet.datasets.archive import xyz_atoms
from zoo.orbnet.datasets.reactions import Reaction, reaction_energies
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.metrics import wtmad1, wtmad2

SCRIPT = """\
if [ "$TMER" == "" ]
then
  tmer=tmer2++
fi
$tmer H_{ttt,g+t+g-}/$f x -1 1 $w 1.302
# $tmer off/$f on/$f x -1 1 $w 9
$tmer 03{A,B,}/$f  x  1 1 -1 $w    6.91
tmer2++\th/$f\tch3f/$f\thf/$f\tch3/$f\tx\t-1\t-1\t1\t1\t$w\t-26.32
$tmer {H2O20es,H2O}/$f  x -1 20  $w 209.7 edge sh
$tmer Thioether{,_TS}/$f   x -1 1 $w 74.2   #W2-F12
"""


def test_the_grammar_of_reactions() -> None:
    found = data.parse_reactions(SCRIPT, "a set")
    assert found == [
        ([-1, 1], ["H_ttt", "H_g+t+g-"], 1.302),
        ([1, 1, -1], ["03A", "03B", "03"], 6.91),
        ([-1, -1, 1, 1], ["h", "ch3f", "hf", "ch3"], -26.32),
        ([-1, 20], ["H2O20es", "H2O"], 209.7),
        ([-1, 1], ["Thioether", "Thioether_TS"], 74.2),
    ]


@pytest.mark.parametrize("line", ["$tmer a/$f b/$f x -1 $w 1.0", "$tmer a/$f x -1 1", "$tmer a/$f x -1 $w"])
def test_a_broken_reaction_is_named(line: str) -> None:
    with pytest.raises(DamagedError, match=r"^a set, line 1: "):
        data.parse_reactions(line, "a set")


def test_a_broken_geometry_is_named() -> None:
    with pytest.raises(DamagedError, match="A/b: not an XYZ frame"):
        xyz_atoms("3\n\nO 0 0 0\nH 0 0 1\n", "A/b")
    (symbols, positions), comment = xyz_atoms("1\nnote\nCL 0 0 1.5\n", "A/b")
    assert (symbols, positions.tolist(), comment) == (["Cl"], [[0, 0, 1.5]], "note")


def test_reaction_energies_are_sums_with_coefficients_and_nan_spreads() -> None:
    reactions = (Reaction("r", ((2.0, 0), (-1.0, 1)), 0.0), Reaction("s", ((1.0, 2),), 0.0))
    energies = np.array([-1.0, -2.5, np.nan])
    found = reaction_energies(reactions, energies)
    assert found[0] == pytest.approx(0.5 * HARTREE_KCAL)
    assert np.isnan(found[1])
    with pytest.raises(UserError, match="reaction r names a species outside the 1"):
        reaction_energies(reactions[:1], energies[:1])


def test_counts_of_the_archive(data_dir: Path) -> None:
    sets = data.gmtkn55()
    assert len(sets) == 55
    assert sum(len(s.reactions) for s in sets.values()) == 1505
    assert len({m.name for s in sets.values() for m in s.molecules}) == 2442
    assert {name: len(s.reactions) for name, s in sets.items()} == {n: f.reactions for n, f in data.subsets().items()}
    charged = {m.name: m for m in sets["AHB21"].molecules}
    assert {m.charge for m in charged.values()} == {0, -1}
    assert any(m.spin for m in sets["RSE43"].molecules)


def test_denali_completes_37_sets_and_its_sums_are_near_the_abstract_s(data_dir: Path) -> None:
    facts = data.subsets()
    means = {n: f.mean_reference_kcal for n, f in facts.items()}
    counts = {n: f.reactions for n, f in facts.items()}
    names = data.denali_sets()
    assert len(names) == 37
    assert sum(counts[n] for n in names) == 936
    left_out = (
        "AL2X6 ALKBDE10 BH76 BH76RC DC13 DIPCS10 G21EA G21IP G2RC HEAVY28 HEAVYSB11 MB16-43 RC21 RG18 RSE43 SIE4x4 "
        "W4-11 YBDE18"
    )
    assert sorted(set(facts) - set(names)) == sorted(left_out.split())
    expected = {
        "orbnet-denali": (7.20, 9.60),
        "gfn2-xtb": (11.45, 19.83),
        "pbe-d3bj": (6.04, 9.68),
        "wb97m-d3bj": (2.15, 3.80),
        "aimnet2-new": (8.64, 13.53),
        "mace-off23-L": (9.70, 16.46),
    }
    for method, values in expected.items():
        errors = {n: e for n, e in data.published(method).items() if n in names}
        assert (wtmad1(errors, means), wtmad2(errors, means, counts)) == pytest.approx(values, abs=0.006), method


def test_an_unknown_method_and_absent_data_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no published errors of 'denali'.*orbnet-denali"):
        data.published("denali")
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    with pytest.raises(MissingDataError, match="grimme-lab/GMTKN55"):
        data.gmtkn55()


def test_another_archive_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "orbnet/gmtkn55"
    folder.mkdir(parents=True)
    (folder / "grimme_gmtkn55_light.tar.gz").write_bytes(b"something else")
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    with pytest.raises(DamagedError, match="expected d09ccc42"):
        data.gmtkn55()
