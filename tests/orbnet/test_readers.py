"""Files are read as written, and every broken line is named; the entries around it survive."""

import io

import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.orbnet.readers import Failure, Frame, read_frames, read_molecules
from zoo.orbnet.readers.smiles import from_smiles

WATER = "3\nwater\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n"


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_plain_xyz(write):
    (m,) = read_molecules(write("water.xyz", WATER))
    assert (m.formula, m.name, m.charge) == ("H2O", "water#1", 0)
    np.testing.assert_allclose(m.positions_angstrom[1], [0, 0.7572, -0.4692], atol=1e-12)


def test_extended_xyz_written_by_another_program(tmp_path):
    ase = pytest.importorskip("ase")
    io = pytest.importorskip("ase.io")
    atoms = ase.Atoms(
        "OH", positions=[[0, 0, 0], [0, 0, 0.97]], info={"charge": -1, "name": "hydroxide", "energy": -75.5}
    )
    atoms.arrays["forces"] = np.array([[0, 0, 0.25], [0, 0, -0.25]])
    path = tmp_path / "ions.extxyz"
    io.write(path, [atoms, atoms], format="extxyz")
    frames = list(read_frames(path))
    assert len(frames) == 2
    for frame in frames:
        assert isinstance(frame, Frame)
        assert (frame.molecule.charge, frame.molecule.name, frame.molecule.formula) == (-1, "hydroxide", "HO-")
        assert float(frame.info["energy"]) == -75.5
        np.testing.assert_allclose(frame.arrays["forces"], atoms.arrays["forces"])
        np.testing.assert_allclose(frame.molecule.positions_angstrom, atoms.positions, atol=1e-7)


def test_charge_and_multiplicity_of_a_comment(write):
    (m,) = read_molecules(write("a.xyz", WATER.replace("\nwater\n", "\ncharge=1 multiplicity=2\n")))
    assert (m.charge, m.spin) == (1, 1)
    with pytest.raises(UserError, match="file says charge=1, the argument says charge=0"):
        read_molecules(write("b.xyz", WATER.replace("\nwater\n", "\ncharge=1 spin=1\n")), charge=0)
    (m,) = read_molecules(write("c.xyz", WATER), charge=-1, spin=1)
    assert (m.charge, m.spin) == (-1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WATER.replace("0.7572 -0.4692\nH", "0.75x2 -0.4692\nH"), "line 4: '0.75x2' in pos is not a number"),
        (WATER.replace("H 0 0.7572 -0.4692\n", "H 0 0.7572\n"), "line 4: an atom needs 4 columns"),
        (WATER.replace("O 0", "Qq 0"), "'Qq' is not an element"),
        (WATER.replace("O 0", "120 0"), "atomic number 120"),
        (WATER.replace("3\n", "three\n"), "expected a frame's number of atoms, not 'three'"),
        (WATER.replace("3\n", "5\n"), "5 atoms are announced and the file ends after 3"),
        (WATER.replace("3\n", "2\n"), "line 5: expected a frame's number of atoms"),
        (WATER.replace("water", "charge=half"), "charge=half in the comment is not an integer"),
        (WATER.replace("water", "Properties=species:S:1:pos:R"), "is not a list of name:type:count"),
        (WATER.replace("water", "Properties=pos:R:3"), "lacks species:S:1"),
        (WATER.replace("0.1173", "nan"), "nan"),
        (
            WATER.replace("water", 'Lattice="9 0 0 0 9 0 0 0 9" pbc="T T T"'),
            'line 2: the frame is periodic (pbc="T T T")',
        ),
        (WATER.replace("water", 'pbc="F F T"'), "energies are of molecules in vacuum"),
        (WATER.replace("water", 'Lattice="9 0 0 0 9 0 0 0 9"'), "periodic (Lattice without pbc)"),
        ("0\nnothing\n", "no atoms"),
    ],
)
def test_broken_xyz(write, text, message):
    with pytest.raises(UserError) as caught:
        read_molecules(write("bad.xyz", text))
    assert message in str(caught.value)
    assert "bad.xyz, line" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lattice_that_does_not_repeat_and_a_byte_order_mark_are_read(tmp_path):
    text = WATER.replace("water", 'Lattice="9 0 0 0 9 0 0 0 9" pbc="F F F"')
    (tmp_path / "a.xyz").write_text(text, encoding="utf-8-sig")
    assert read_molecules(tmp_path / "a.xyz")[0].formula == "H2O"


def test_stdin_is_read_as_what_it_is_said_to_hold(monkeypatch):
    def given(text):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    given(WATER)
    (frame,) = read_frames("-", read_as="xyz")
    assert (frame.molecule.formula, frame.molecule.name) == ("H2O", "stdin#1")
    given(WATER.replace("O 0", "Qq 0"))
    (failure,) = read_frames("-", read_as="xyz")
    assert failure.error.startswith("stdin, line 1: 'Qq'")
    with pytest.raises(UserError, match="add --read-as xyz, sdf or smi"):
        read_frames("-")
    with pytest.raises(UserError, match="read_as='pdb' is not one of xyz, sdf, smi"):
        read_frames("-", read_as="pdb")


def test_good_frames_survive_a_bad_one(write):
    bad = WATER.replace("O 0 0 0.1173", "O 0 0 -0.4692").replace("0.7572", "0.0001")
    entries = list(read_frames(write("many.xyz", WATER + bad + "\n" + WATER)))
    assert [type(e) for e in entries] == [Frame, Failure, Frame]
    assert entries[1].name == "many#2"
    assert entries[1].error.startswith("many.xyz, line 6: atoms ")


def test_files_that_are_not_there(write, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_molecules(tmp_path / "none.xyz")
    with pytest.raises(UserError, match=r"a \.pdb is not read"):
        read_molecules(write("a.pdb", "ATOM"))
    with pytest.raises(UserError, match="is empty"):
        read_molecules(write("a.xyz", "\n"))
    (tmp_path / "b.xyz").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as text"):
        read_molecules(tmp_path / "b.xyz")


Chem = pytest.importorskip("rdkit.Chem")


def sdf_block(smiles, hydrogens=True, embed=True):
    AllChem = pytest.importorskip("rdkit.Chem.AllChem")
    mol = Chem.MolFromSmiles(smiles)
    mol = Chem.AddHs(mol) if hydrogens else mol
    if embed:
        AllChem.EmbedMolecule(mol, randomSeed=1)
    else:
        AllChem.Compute2DCoords(mol)
    mol.SetProp("_Name", smiles)
    return Chem.MolToMolBlock(mol), mol.GetConformer().GetPositions()


def test_sdf_charge_and_positions(write):
    block, positions = sdf_block("CC(=O)[O-]")
    text = block + "> <energy>\n-227.5\n\n$$$$\n"
    frames = list(read_frames(write("a.sdf", text * 2)))
    assert len(frames) == 2
    assert isinstance(frames[0], Frame)
    m = frames[1].molecule
    assert (m.formula, m.charge, m.name) == ("C2H3O2-", -1, "CC(=O)[O-]")
    assert frames[0].info["energy"] == "-227.5"
    np.testing.assert_allclose(m.positions_angstrom, positions, atol=1e-4)


def test_broken_sdf(write):
    block, _ = sdf_block("CO")
    lines = block.split("\n")

    def error(text):
        with pytest.raises(UserError) as caught:
            read_molecules(write("bad.sdf", text))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "line 6: " in error("\n".join([*lines[:5], lines[5].replace(".", "x", 1), *lines[6:]]))
    assert "not a counts line" in error("\n".join([*lines[:3], "abc", *lines[4:]]))
    assert "line 8: the entry ends before its 6 atoms" in error("\n".join(lines[:8]))
    assert "ends before its counts line" in error("only a name\n")
    assert "only implied" in error(sdf_block("CO", hydrogens=False)[0])
    assert "2D drawing" in error(sdf_block("CO", embed=False)[0])
    entries = list(read_frames(write("mixed.sdf", "broken\n$$$$\n" + block + "$$$$\n")))
    assert [type(e) for e in entries] == [Failure, Frame]


def test_smiles(write):
    ions = read_molecules(write("ions.smi", "CC[NH3+] ethylammonium\n# a comment\nC#N\n"))
    assert [(m.name, m.formula, m.charge) for m in ions] == [("ethylammonium", "C2H8N+", 1), ("C#N", "CHN", 0)]
    again = read_molecules(write("ions.smi", "CC[NH3+]"))[0]
    np.testing.assert_array_equal(again.positions_bohr, ions[0].positions_bohr)
    assert [m.name for m in from_smiles("CCCO", conformers=3, name="propanol")] == [f"propanol#{i}" for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("smiles", "lengths"),  # measured, angstrom, by the pair of atoms
    [
        ("N#N", {(0, 1): 1.098}),
        ("O=C=O", {(0, 1): 1.162}),
        ("S=C=S", {(0, 1): 1.553}),
        ("O=S=O", {(0, 1): 1.431}),
        ("[N-]=[N+]=O", {(0, 1): 1.127, (1, 2): 1.185}),
        ("O=C=S", {(0, 1): 1.156, (1, 2): 1.561}),
        ("N#CC#N", {(0, 1): 1.157, (1, 2): 1.389}),
        ("FB(F)F", {(0, 1): 1.307}),
        ("c1ccccc1", {(0, 1): 1.397}),
        ("C[N+](=O)[O-]", {(0, 1): 1.489, (1, 2): 1.224}),
    ],
)
def test_bonds_of_smiles_are_those_of_the_molecule(smiles, lengths):
    pytest.importorskip("tblite")
    (m,) = from_smiles(smiles)
    for (i, j), length in lengths.items():
        assert np.linalg.norm(m.positions_angstrom[i] - m.positions_angstrom[j]) == pytest.approx(length, rel=0.025)


def test_smiles_that_have_no_sound_geometry_are_refused(write):
    pytest.importorskip("tblite")
    found = list(read_frames(write("a.smi", "c1ccccc1.O benzene and water\n[Na+].[Cl-]\nFS(F)(F)(F)(F)F\nO\n")))
    errors = [e.error if isinstance(e, Failure) else None for e in found]
    for error in errors[:2]:
        assert "holds 2 molecules: give them one a line, or their coordinates" in error
    assert "the bond of atoms 1 and 2 (F-S) breaks" in errors[2]
    assert errors[3] is None


def test_broken_smiles(write):
    entries = list(read_frames(write("bad.smi", "C1CC\nCC(C)(C)(C)C\nCCO\n[CH3]\nC1#CC1.C#C#C\n")))
    errors = [e.error if isinstance(e, Failure) else None for e in entries]
    assert "bad.smi, line 1: SMILES 'C1CC' is not valid" in errors[0]
    assert "line 2" in errors[1]
    assert "valence" in errors[1]
    assert errors[2] is None
    assert "1 unpaired electrons are drawn" in errors[3]
    assert errors[4] is not None
    assert read_molecules(write("r.smi", "[CH3]"), spin=1)[0].spin == 1
    with pytest.raises(UserError, match="cannot be embedded"):
        from_smiles("C1#CC1")
    with pytest.raises(UserError, match="charge=2"):
        from_smiles("CC[NH3+]", charge=2)
