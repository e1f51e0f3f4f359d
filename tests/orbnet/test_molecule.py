"""Every bad input is one line that names the value; every good one is kept as given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.core.errors import UserError
from zoo.orbnet.elements import ELEMENTS, element
from zoo.orbnet.molecule import Molecule, formula

WATER = ([8, 1, 1], [[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]])


def refused(*words: str, atoms=WATER[0], positions=WATER[1], **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        Molecule.from_angstrom(atoms, positions, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    return text


def test_a_good_molecule_is_kept_and_read_only():
    m = Molecule.from_angstrom(["O", "H", "h"], WATER[1], name="water")
    assert (m.formula, m.charge, m.spin, m.n_electrons, m.n_orbitals, len(m)) == ("H2O", 0, 0, 8, 8, 3)
    np.testing.assert_allclose(m.positions_angstrom, WATER[1], atol=1e-15)
    with pytest.raises(ValueError, match="read-only"):
        m.positions_bohr[0, 0] = 1.0


def test_the_callers_array_is_copied():
    positions = np.array(WATER[1])
    m = Molecule(np.array(WATER[0]), positions * 2)
    positions[:] = 0
    assert np.abs(m.positions_bohr).max() > 0.9


def test_near_and_coincident_atoms():
    refused("atoms 1 (H) and 2 (H)", "0.0100 A", "0.25 A", atoms=[1, 1], positions=[[0, 0, 0], [0, 0, 0.01]])
    refused("0.0000 A", atoms=[6, 6], positions=[[1, 1, 1], [1, 1, 1]])


def test_charges_no_molecule_carries():
    refused("charge=+10 leaves -2 valence electrons on H2O", "8 available", charge=10)
    refused("leaves 0 valence electrons", charge=8)
    refused("8 orbitals hold 16", charge=-9)


@pytest.mark.wrong_types
def test_charges_that_are_not_whole():
    refused("charge=0.5", charge=0.5)
    refused("charge=nan", charge=float("nan"))


def test_bare_cations_are_atoms():
    assert Molecule.from_angstrom(["H"], [[0, 0, 0]], charge=1).n_electrons == 0
    assert Molecule.from_angstrom(["Na"], [[0, 0, 0]], charge=1).n_electrons == 0


def test_open_shells_need_a_spin_and_spins_need_the_parity():
    methyl = {"atoms": [6, 1, 1, 1], "positions": [[0, 0, 0], [1.08, 0, 0], [-0.54, 0.935, 0], [-0.54, -0.935, 0]]}
    refused("open shell", "give spin", **methyl)
    assert Molecule.from_angstrom(methyl["atoms"], methyl["positions"], spin=1).spin == 1
    refused("spin=2", "parity", spin=2, **methyl)
    refused("spin=1", "parity", spin=1)
    refused("spin=-2", spin=-2)
    refused("spin=10", spin=10)
    refused("orbitals", atoms=["He"], positions=[[0, 0, 0]], spin=2)
    assert Molecule.from_angstrom(["O"], [[0, 0, 0]], spin=2).spin == 2


def test_empty_unknown_and_not_finite():
    refused("no atoms", atoms=[], positions=np.zeros((0, 3)))
    refused("atom 2", "92", atoms=[8, 92, 1])
    refused("atomic number 0", atoms=[8, 0, 1])
    refused("'Xx'", atoms=["O", "Xx", "H"])
    refused("atomic numbers must be", atoms=np.array([8, 1.5, 1]))
    refused("atom 3 (H)", "nan", positions=[*WATER[1][:2], [0, float("nan"), 0]])
    refused("atom 1 (O)", "inf", positions=[[float("inf"), 0, 0], *WATER[1][1:]])
    refused("(2, 3)", "(3, 3)", positions=WATER[1][:2])
    refused("shape (n_atoms, 3)", positions=[[0, 0], [1, 1], [2, 2, 2]])
    refused("bohr", positions=np.array(WATER[1]) * 1e8)


def test_errors_carry_the_name():
    assert refused(charge=10, name="conf 7").startswith("conf 7: ")


def test_elements_agree_with_an_independent_table():
    data = pytest.importorskip("ase.data")
    for e in ELEMENTS:
        assert data.atomic_numbers[e.symbol] == e.number
        assert abs(data.covalent_radii[e.number] - e.radius_angstrom) < 1e-9
    assert element("CL") is element(17)


@pytest.mark.parametrize("z", [1, 6, 16, 26, 30, 53, 58, 86])
def test_valence_and_shells_agree_with_the_engine(z):
    from tblite.interface import Calculator

    e = ELEMENTS[z - 1]
    calculator = Calculator("GFN1-xTB", np.array([z]), np.zeros((1, 3)), 0.0, e.valence % 2)
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    assert tuple(calculator.get("angular-momenta")) == e.shells
    assert abs(result.get("orbital-occupations").sum() - e.valence) < 1e-9


@given(st.lists(st.integers(1, 86), min_size=1, max_size=12))
def test_a_formula_counts_every_atom(numbers):
    import re

    parts = re.findall(r"([A-Z][a-z]?)(\d*)", formula(np.array(numbers)))
    counted = {element(s).number: int(n or 1) for s, n in parts}
    assert counted == {z: numbers.count(z) for z in numbers}
    assert formula(np.array(numbers), -2).endswith("-2")
