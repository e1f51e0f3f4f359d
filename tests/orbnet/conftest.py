"""Molecules whose symmetry makes atomic shells degenerate, and one (water) whose symmetry does not."""

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")

from zoo.orbnet.elements import BOHR_ANGSTROM
from zoo.orbnet.molecule import Molecule

TETRAHEDRON = np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], float)
OCTAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
ANGLE = np.arange(6) * np.pi / 3
RING = np.stack([np.cos(ANGLE), np.sin(ANGLE), 0 * ANGLE], 1)


def line(*z: float) -> np.ndarray:
    return np.array([[0.0, 0.0, x] for x in z])


# name: atomic numbers, positions in bohr, charge, spin
GEOMETRIES = {
    "H": ([1], line(0), 0, 1),
    "H2": ([1, 1], line(0, 1.4), 0, 0),
    "N2": ([7, 7], line(0, 2.07), 0, 0),
    "CO2": ([6, 8, 8], line(0, 2.2, -2.2), 0, 0),
    "CH4": ([6, 1, 1, 1, 1], TETRAHEDRON * 1.19, 0, 0),
    "NH4+": ([7, 1, 1, 1, 1], TETRAHEDRON * 1.12, 1, 0),
    "C2H2": ([6, 6, 1, 1], line(1.137, -1.137, 3.15, -3.15), 0, 0),
    "benzene": ([6] * 6 + [1] * 6, np.concatenate([RING * 2.63, RING * 4.69]), 0, 0),
    "SF6": ([16] + [9] * 6, OCTAHEDRON * 2.95, 0, 0),
    "water": ([8, 1, 1], np.array([[0, 0, 0.2217], [0, 1.4309, -0.8867], [0, -1.4309, -0.8867]]), 0, 0),
}
SYMMETRIC = ("H", "H2", "N2", "CO2", "CH4", "NH4+", "C2H2", "benzene", "SF6")


def make(name: str, displacement: np.ndarray | float = 0.0) -> Molecule:
    numbers, positions, charge, spin = GEOMETRIES[name]
    return Molecule(np.array(numbers), positions + displacement, charge, spin, name)


@pytest.fixture(scope="session")
def molecule():
    """The function name -> Molecule, with a displacement in bohr as its second argument."""
    return make


@pytest.fixture
def drug_like() -> Molecule:
    """A sulfonamide with d shells and no symmetry, from RDKit's embedding with a fixed seed."""
    Chem = pytest.importorskip("rdkit.Chem")
    AllChem = pytest.importorskip("rdkit.Chem.AllChem")
    mol = Chem.AddHs(Chem.MolFromSmiles("CS(=O)(=O)Nc1ccc(Cl)cc1"))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    return Molecule(numbers, mol.GetConformer().GetPositions() / BOHR_ANGSTROM, name="sulfonamide")
