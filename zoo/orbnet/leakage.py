"""What training must not contain: molecules of the tests, compared as molecules and not as text.

Two identities. *Flat SMILES*: RDKit's canonical SMILES without stereo marks. *Skeleton*: the graph of heavy atoms without bond
orders, with the formula and the charge; tautomers and resonance forms share it, and it can be read off a geometry, which serves
where a SMILES is cut or absent. Training leaves out by skeleton, the wider of the two.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.datasets import gmtkn55, hutchison, torsions
from zoo.orbnet.datasets.torsions import Scans
from zoo.orbnet.molecule import Molecule, formula
from zoo.orbnet.readers.rdkit_tools import require_rdkit

# GMTKN55's sets of conformers, whose molecules a set of conformers could share.
CONFORMER_SETS = ("ACONF", "Amino20x4", "BUT14DIOL", "ICONF", "MCONF", "PCONF21", "SCONF", "UPU23")


@dataclass(frozen=True)
class Overlap:
    """Molecules that two sets share.

    Attributes:
        first: name of a set.
        second: name of another.
        flat: molecules shared by flat SMILES.
        skeleton: molecules shared by skeleton.
    """

    first: str
    second: str
    flat: tuple[str, ...]
    skeleton: tuple[str, ...]


def flat_smiles(smiles: str) -> str:
    """Canonical SMILES without stereo marks; UserError for a text that is no SMILES."""
    from rdkit import Chem

    return Chem.MolToSmiles(_parsed(smiles), isomericSmiles=False)


def skeleton_of_smiles(smiles: str) -> str:
    """The skeleton of a SMILES; UserError for a text that is no SMILES."""
    from rdkit import Chem

    mol = _parsed(smiles)
    whole = Chem.AddHs(mol)
    numbers = np.array([atom.GetAtomicNum() for atom in whole.GetAtoms()])
    return _skeleton(whole, numbers, Chem.GetFormalCharge(mol))


def skeleton_of_geometry(molecule: Molecule) -> str:
    """The skeleton of a molecule as its distances give it."""
    require_rdkit()
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    atoms = (f"{s} {x:.6f} {y:.6f} {z:.6f}" for s, (x, y, z) in zip(molecule.symbols, molecule.positions_angstrom))
    mol = Chem.MolFromXYZBlock(f"{len(molecule)}\n\n" + "\n".join(atoms) + "\n")
    rdDetermineBonds.DetermineConnectivity(mol)
    return _skeleton(mol, molecule.numbers, molecule.charge)


def skeleton(smiles: str, molecule: Molecule) -> str:
    """The skeleton of a structure that has a SMILES: from its geometry where the SMILES is cut or of other atoms."""
    try:
        found = skeleton_of_smiles(smiles)
    except UserError:
        return skeleton_of_geometry(molecule)
    stated = found.partition("|")[2]
    return found if stated == formula(molecule.numbers, molecule.charge) else skeleton_of_geometry(molecule)


def scan_skeletons(scans: Scans) -> list[str]:
    """The skeleton of each group's first structure."""
    firsts = (int(group[0]) for group in scans.groups())
    return [skeleton(scans.smiles[i], scans.molecules[i]) for i in firsts]


@functools.cache
def test_skeletons() -> dict[str, frozenset[str]]:
    """The molecules of the test sets, by set: TorsionNet500, tautobase, Hutchison's, GMTKN55's sets of conformers."""
    tautomers = torsions.tautobase()
    conformers = hutchison.hutchison()
    firsts = np.unique(conformers.group, return_index=True)[1]
    sets = gmtkn55.gmtkn55()
    return {
        "TorsionNet500": frozenset(scan_skeletons(torsions.torsionnet500())),
        "tautobase": frozenset(skeleton(s, m) for s, m in zip(tautomers.smiles, tautomers.molecules)),
        "Hutchison": frozenset(skeleton_of_geometry(conformers.molecules[int(i)]) for i in firsts),
        "GMTKN55 conformers": frozenset(
            skeleton_of_geometry(m) for name in CONFORMER_SETS for m in sets[name].molecules
        ),
    }


def in_tests(skeletons: Sequence[str]) -> np.ndarray:
    """Whether each skeleton is a test's, bool, (n,)."""
    tests = frozenset[str]().union(*test_skeletons().values())
    return np.array([s in tests for s in skeletons], bool)


def overlaps() -> list[Overlap]:
    """What TorsionTest2000 shares with TorsionNet500, and tautobase with both."""
    sets = {s.name: s for s in (torsions.torsiontest2000(), torsions.torsionnet500(), torsions.tautobase())}
    rows = {
        name: list(range(len(s.molecules))) if name == "tautobase" else [int(g[0]) for g in s.groups()]
        for name, s in sets.items()
    }
    flat = {name: {flat_smiles(sets[name].smiles[i]) for i in own} for name, own in rows.items()}
    wide = {name: {skeleton(sets[name].smiles[i], sets[name].molecules[i]) for i in own} for name, own in rows.items()}
    pairs = (("TorsionNet500", "TorsionTest2000"), ("tautobase", "TorsionNet500"), ("tautobase", "TorsionTest2000"))
    return [Overlap(a, b, _both(flat[a], flat[b]), _both(wide[a], wide[b])) for a, b in pairs]


def _both(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(first) & set(second)))


def _parsed(smiles: str) -> Any:
    require_rdkit()
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise UserError(f"{smiles!r} is no SMILES that RDKit reads")
    return mol


def _skeleton(mol: Any, numbers: np.ndarray, charge: int) -> str:
    """Canonical SMILES of the graph whose bonds are all single and whose atoms carry no charges or hydrogens, then the formula."""
    from rdkit import Chem

    bare: Any = Chem.RWMol()
    place = {}
    heavy = [a for a in mol.GetAtoms() if a.GetAtomicNum() > 1] or list(mol.GetAtoms())
    for atom in heavy:
        fresh = Chem.Atom(atom.GetAtomicNum())
        fresh.SetNoImplicit(True)
        place[atom.GetIdx()] = bare.AddAtom(fresh)
    for bond in mol.GetBonds():
        ends = (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        if all(end in place for end in ends):
            bare.AddBond(*(place[end] for end in ends), Chem.BondType.SINGLE)
    return f"{Chem.MolToSmiles(bare.GetMol(), isomericSmiles=False)}|{formula(numbers, charge)}"
