"""Leakage found by molecules, groups of known differences, splits by molecule."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")
pytest.importorskip("rdkit", reason="molecules are compared with RDKit")

from zoo.core.errors import UserError
from zoo.orbnet import groups as grouping
from zoo.orbnet import leakage, trainsets
from zoo.orbnet.config import EnergyDataConfig
from zoo.orbnet.datasets import flexisol, torsions
from zoo.orbnet.elements import BOHR_ANGSTROM, HARTREE_KCAL
from zoo.orbnet.labelled import labelled
from zoo.orbnet.molecule import Molecule


def embedded(smiles: str, charge: int = 0) -> Molecule:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=11)
    AllChem.MMFFOptimizeMolecule(mol)
    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    return Molecule(numbers, mol.GetConformer().GetPositions() / BOHR_ANGSTROM, charge, 0, smiles)


def test_flat_smiles_forget_stereo_and_spelling() -> None:
    assert leakage.flat_smiles("C[C@H](N)C(=O)O") == leakage.flat_smiles("OC(=O)[C@@H](C)N")
    assert leakage.flat_smiles("c1ccccc1O") == leakage.flat_smiles("OC1=CC=CC=C1")
    assert leakage.flat_smiles("CCO") != leakage.flat_smiles("COC")
    with pytest.raises(UserError, match="'c1ccc' is no SMILES"):
        leakage.flat_smiles("c1ccc")


def test_skeletons_join_tautomers_and_part_isomers_and_charges() -> None:
    assert leakage.skeleton_of_smiles("O=c1cccc[nH]1") == leakage.skeleton_of_smiles("Oc1ccccn1")
    assert leakage.skeleton_of_smiles("CCO") != leakage.skeleton_of_smiles("COC")
    assert leakage.skeleton_of_smiles("CC(=O)[O-]") != leakage.skeleton_of_smiles("CC(=O)O")
    assert leakage.skeleton_of_smiles("C=C") != leakage.skeleton_of_smiles("CC")


@pytest.mark.parametrize(
    "smiles", ["CC(=O)Nc1ccc(O)cc1", "CS(=O)(=O)N1CCCC1", "C#CC(F)(F)Cl", "OB(O)c1ccccc1", "[H][H]", "O"]
)
def test_a_geometry_has_the_skeleton_of_its_smiles(smiles: str) -> None:
    molecule = embedded(smiles)
    assert leakage.skeleton_of_geometry(molecule) == leakage.skeleton_of_smiles(smiles)
    assert leakage.skeleton(smiles[:-3] or smiles, molecule) == leakage.skeleton_of_smiles(smiles)  # a cut SMILES


def test_geometry_and_smiles_agree_on_torsionnet500(data_dir: Path) -> None:
    scans = torsions.torsionnet500()
    firsts = [int(g[0]) for g in scans.groups()][::5]
    wrong = [
        scans.smiles[i]
        for i in firsts
        if leakage.skeleton_of_geometry(scans.molecules[i]) != leakage.skeleton_of_smiles(scans.smiles[i])
    ]
    assert wrong == []


@pytest.mark.slow
def test_overlaps_of_the_sets(data_dir: Path) -> None:
    found = {(o.first, o.second): (len(o.flat), len(o.skeleton)) for o in leakage.overlaps()}
    assert found == {
        ("TorsionNet500", "TorsionTest2000"): (6, 8),
        ("tautobase", "TorsionNet500"): (1, 1),
        ("tautobase", "TorsionTest2000"): (19, 21),
    }


@pytest.mark.slow
def test_no_training_scan_is_a_test_s_molecule(data_dir: Path) -> None:
    groups = trainsets.training_groups(["torsiontest2000"])
    assert len(groups) == 2070
    tests = frozenset().union(*leakage.test_skeletons().values())
    assert not {g.key for g in groups} & tests


def test_dimers_of_a_curve(data_dir: Path) -> None:
    groups = trainsets.training_groups(["ncia"])
    assert sum(len(g.parts) - 2 for g in groups) == 19565 - 468  # dimers whose monomers are a pair of S66 are left out
    group = next(g for g in groups if g.name == "IHB100x10:01.001")
    assert group.level == "CCSD(T)/CBS"  # the Atlas has no DFT for it
    *dimers, a, b = group.molecules
    assert len(dimers) == 10
    assert {m.charge for m in dimers} == {a.charge + b.charge} == {1}
    assert all(len(m) == len(a) + len(b) for m in dimers)
    energies = np.array([*np.arange(10.0), 100.0, 7.0])
    assert group.coefficients @ energies == pytest.approx(np.arange(10.0) - 107)
    assert group.targets_kcal[0] == pytest.approx(-13.295)
    assert next(g for g in groups if g.name.startswith("SH250")).level == "wB97X-D3BJ/def2-QZVP"


def test_reactions_keep_to_what_is_safe(data_dir: Path) -> None:
    groups = trainsets.training_groups(["gscdb138", "cyclo70"])
    assert {g.source for g in groups} == {"gscdb138", "cyclo70"}
    assert len([g for g in groups if g.source == "gscdb138"]) == 1175
    for group in groups[::50]:
        atoms = sum(c * len(m) for c, m in zip(group.coefficients[0], group.molecules))
        assert atoms == 0  # a reaction keeps its atoms
        assert sum(c * m.charge for c, m in zip(group.coefficients[0], group.molecules)) == 0
        assert group.elements == {int(z) for m in group.molecules for z in m.numbers}


def test_conformers_are_centred_and_holes_are_left_out(data_dir: Path) -> None:
    scans = torsions.torsionnet500()
    energies = np.array([1.0, np.nan, 3.0, 8.0])
    group = grouping.conformers("g", "s", "level", "k", scans.molecules, np.arange(4), energies)
    assert group is not None
    assert [p.structure for p in group.parts] == [0, 2, 3]
    assert group.targets_kcal == pytest.approx([-3, -1, 4])
    assert group.coefficients @ np.array([11.0, 13, 18]) == pytest.approx(group.targets_kcal)
    assert grouping.conformers("g", "s", "l", "k", scans.molecules, np.arange(4), np.array([1, *[np.nan] * 3])) is None


def test_a_molecule_falls_on_one_side_wherever_it_stands(data_dir: Path) -> None:
    groups = trainsets.training_groups(["cyclo70", "bh9"])
    train, valid = grouping.split(groups, 0.2)
    assert not {g.key for g in train} & {g.key for g in valid}
    assert len(train) + len(valid) == len(groups)
    assert 0.1 < len({g.key for g in valid}) / len({g.key for g in groups}) < 0.3
    again = grouping.split(groups[::-1][:300], 0.2)[1]
    assert {g.name for g in again} <= {g.name for g in valid}
    assert {g.name for g in grouping.split(groups, 0.2, salt="other")[1]} != {g.name for g in valid}


def test_geometries_are_labelled_by_a_method(data_dir: Path, monkeypatch) -> None:
    """Eight conformers at most of each, the method's failures left out, tests' molecules left out."""
    whole = flexisol.flexisol()
    assert (len(whole.molecules), len(whole.group_names)) == (25260, 710)  # 22 of 732 solutes are a test's
    place = {10: 0, 200: 1, 500: 2}  # three different solutes
    few = torsions.Scans(
        whole.name,
        whole.molecules,
        np.array([place.get(int(g), -1) for g in whole.group]),
        [whole.group_names[i] for i in place],
        whole.smiles,
        {},
    )
    keys = [leakage.skeleton_of_geometry(few.molecules[int(g[0])]) for g in few.groups()]
    monkeypatch.setattr(leakage, "test_skeletons", lambda: {"a test": frozenset({keys[1]})})

    def energies(molecules) -> np.ndarray:
        found = np.arange(float(len(molecules)))
        found[0] = np.nan
        return found

    groups = trainsets.labelled(few, "GFN2-xTB", SimpleNamespace(energies=energies))
    sizes = [min(8, len(g)) for g in few.groups()]
    assert [len(g.parts) for g in groups] == [sizes[0] - 1, sizes[2]]
    assert [g.key for g in groups] == [keys[0], keys[2]]
    assert groups[0].targets_kcal[1] - groups[0].targets_kcal[0] == pytest.approx(HARTREE_KCAL)
    with pytest.raises(UserError, match="per_molecule=1"):
        trainsets.labelled(few, "GFN2-xTB", None, per_molecule=1)


def test_what_is_no_set_or_share_is_refused() -> None:
    with pytest.raises(UserError, match="no training set 'torsiontest200': did you mean 'torsiontest2000'"):
        trainsets.training_groups(["torsiontest200"])
    with pytest.raises(UserError, match=r"valid=1\.5 must lie between"):
        grouping.split([], 1.5)


def test_sets_become_molecules_and_known_combinations(data_dir: Path) -> None:
    """Totals where a set has them, curves with shared monomers, a species of several reactions once."""
    config = EnergyDataConfig(source="sets", sets=("qm_theory_torsions", "hbc6", "w1_sn2_bh"), structures=5)
    found = labelled(config)
    kinds = {k.source: k.kind for k in found.known}
    assert kinds == {"qm_theory_torsions": "conformers", "hbc6": "reaction", "w1_sn2_bh": "reaction"}
    assert max(len(k.members) for k in found.known if k.source == "qm_theory_torsions") == 5
    own = [k for k in found.known if k.source == "w1_sn2_bh"]
    assert sum(len(k.members) for k in own) > len(np.unique(np.concatenate([k.members for k in own])))
    assert len(found.totals[0]) == 0
    for one in own[:5]:
        assert one.rows is not None
        balance = sum(
            c * np.bincount(found.molecules[m].numbers, minlength=120) for c, m in zip(one.rows[0], one.members)
        )
        assert not np.any(balance)
