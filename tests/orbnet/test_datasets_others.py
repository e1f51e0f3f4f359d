"""Torsion scans, tautomers, conformers, S66x10: grammar, counts, and values that others published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")

from zoo.core.errors import DamagedError
from zoo.orbnet.datasets import hutchison, s66, torsions
from zoo.orbnet.datasets.structures import structures
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.gfn1 import single_point
from zoo.orbnet.metrics import correlations, median_of_present, profile_errors

DIN = """\
## comment
1
a_1.0_dimer
-1
a_A
-1
a_B
0
-4.5
1
b
0
2
"""


def test_flat_arrays_become_molecules() -> None:
    arrays = {
        "numbers": np.array([1, 1, 8, 1, 1], np.uint8),
        "coords_angstrom": np.array([[0, 0, 0], [0, 0, 0.74], [0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], np.float32),
        "natoms": np.array([2, 3], np.uint16),
        "charge": np.array([0, 0], np.int8),
    }
    found = structures(arrays, ["h2", "water"], "toy")
    assert [m.formula for m in found] == ["H2", "H2O"]
    assert found[-1].name == "water"
    assert found[-1].positions_angstrom == pytest.approx(arrays["coords_angstrom"][2:])
    assert found.part(1, 0, 2, -1, "OH-").formula == "HO-"
    with pytest.raises(IndexError):
        found[2]
    with pytest.raises(DamagedError, match="toy: 6 atoms are announced, 5 numbers"):
        structures({**arrays, "natoms": np.array([2, 4])}, ["h2", "water"], "toy")


def test_the_grammar_of_din() -> None:
    assert s66.parse_din(DIN, "x.din") == [([(1, "a_1.0_dimer"), (-1, "a_A"), (-1, "a_B")], -4.5), ([(1, "b")], 2.0)]
    with pytest.raises(DamagedError, match=r"x\.din: it ends inside reaction 3"):
        s66.parse_din(DIN + "1\nc\n", "x.din")
    with pytest.raises(DamagedError, match="after 2 reactions, 'c' and 'd' are no pair"):
        s66.parse_din(DIN + "c\nd\n", "x.din")
    with pytest.raises(DamagedError, match="after 2 reactions, '1' and None"):
        s66.parse_din(DIN + "1\n", "x.din")


def test_s66x10(data_dir: Path) -> None:
    data = s66.s66x10()
    assert len(data.reactions) == 660
    assert len(data.molecules) == 66 * 12
    water = next(r for r in data.reactions if r.name == "S66by10_1_1.0")
    assert water.reference_kcal == pytest.approx(-4.98, abs=0.1)  # water dimer, CCSD(T)/CBS
    for reaction in data.reactions:
        (c, dimer), (_, a), (_, b) = reaction.stoichiometry
        assert c == 1
        assert len(data.molecules[dimer]) == len(data.molecules[a]) + len(data.molecules[b])


def test_torsionnet500_and_its_level_against_dlpno(data_dir: Path) -> None:
    scans = torsions.torsionnet500()
    assert (len(scans.molecules), len(scans.group_names)) == (12000, 500)
    assert {len(g) for g in scans.groups()} == {24}
    dft, reference = (scans.energies_hartree[k] * HARTREE_KCAL for k in (torsions.WB97X, torsions.DLPNO))
    found = profile_errors(dft, reference, scans.groups()).summary()
    assert found["mae_min_zeroed"] == pytest.approx(0.161, abs=5e-4)
    assert found["barrier_mae"] == pytest.approx(0.26, abs=5e-3)


def test_torsiontest2000_and_tautobase(data_dir: Path) -> None:
    training = torsions.torsiontest2000()
    assert (len(training.molecules), len(training.group_names)) == (50616, 2109)
    charges = {int(q): int((training.molecules.charges == q).sum()) for q in (0, 1, -1)}
    assert charges == {0: 47664, 1: 2904, -1: 48}
    for group in training.groups()[::200]:
        atoms = [training.molecules.atoms(int(i)) for i in group]
        assert all((a == atoms[0]).all() for a in atoms)
    pairs = torsions.tautobase()
    assert (len(pairs.molecules), len(pairs.group_names)) == (2998, 1499)
    assert all(a.formula == b.formula for a, b in zip(pairs.molecules[:200:2], pairs.molecules[1:200:2]))


def test_hutchison(data_dir: Path) -> None:
    """Median R2 of published energies: GFN1 0.622 / 0.658, GFN2 0.637 / 0.700, MP2 0.964 / 0.900."""
    data = hutchison.published()
    assert (len(data.group), len(data.group_names)) == (6995, 708)
    groups = [np.flatnonzero(data.group == i) for i in range(708)]
    expected = {"GFN1-xTB": (0.622, 0.658), "GFN2-xTB": (0.637, 0.700), "MP2": (0.964, 0.900), "MMFF94": (0.332, 0.382)}
    for method, values in expected.items():
        for reference, value in zip(("DLPNO-CCSD(T)", "wB97X-D"), values):
            r2 = correlations(data.energies_kcal[method], data.energies_kcal[reference], groups)
            assert median_of_present(r2) == pytest.approx(value, abs=6e-4), (method, reference)


@pytest.mark.slow
def test_hutchison_s_geometries_carry_their_charges(data_dir: Path) -> None:
    data = hutchison.hutchison()
    counts = {q: sum(m.charge == q for m in data.molecules) for q in (-1, 0, 1, 2)}
    assert counts == {-1: 98, 0: 6219, 1: 638, 2: 40}


def test_hutchison_s_gfn1_energies_are_those_of_our_engine(data_dir: Path) -> None:
    """Relative energies of ten conformers, published (another program's GFN1-xTB) and live: geometry, charge and sign fit."""
    data = hutchison.hutchison()
    group = np.flatnonzero(data.group == list(data.group_names).index("omegapdb_1xge"))
    ours = np.array([single_point(data.molecules[int(i)]).energy for i in group]) * HARTREE_KCAL
    theirs = data.energies_kcal["GFN1-xTB"][group]
    assert ours - ours.mean() == pytest.approx(theirs - theirs.mean(), abs=0.02)
    assert np.ptp(ours) > 0.5
    better = data.energies_kcal["wB97X-D"][group]
    assert np.corrcoef(better, ours)[0, 1] > 0.9
    assert np.corrcoef(better, data.energies_kcal["MMFF94"][group])[0, 1] > 0
