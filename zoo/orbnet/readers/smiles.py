"""Molecules from SMILES: RDKit's ETKDG embedding with a fixed seed, relaxed with a force field and then with GFN1-xTB."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers.frame import Failure, Frame, agreed, attempt
from zoo.orbnet.readers.rdkit_tools import chemistry_problem, require_rdkit, stated_spin


def parse(text: str, source: str, charge: int | None, spin: int | None) -> Iterator[Frame | Failure]:
    """Entries of a SMILES file, one ``SMILES [name]`` a line; ``source`` names the file in errors."""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=1)
        if not words or line.startswith("#"):
            continue
        name = words[1].strip() if len(words) > 1 else words[0]

        def make(smiles: str = words[0], name: str = name, number: int = number) -> Frame:
            return Frame(from_smiles(smiles, charge=charge, spin=spin, name=name)[0], number, {"smiles": smiles})

        yield attempt(make, name, f"{source}, line {number}")


def from_smiles(
    smiles: str,
    *,
    conformers: int = 1,
    seed: int = 0,
    charge: int | None = None,
    spin: int | None = None,
    name: str | None = None,
    relax: bool = True,
) -> list[Molecule]:
    """Three-dimensional conformers of a SMILES string.

    Args:
        smiles: the molecule; hydrogens are added.
        conformers: how many to embed.
        seed: of the embedding.
        charge: None takes the formal charge; another value than that is refused.
        spin: number of unpaired electrons; needed where the SMILES has radical centres.
        name: of the molecules, the SMILES by default; numbered where there are several.
        relax: with GFN1-xTB, see :func:`relaxed`; False leaves the force field's geometry (MMFF94's, or UFF's where that lacks types).

    Raises:
        UserError: a SMILES that is not valid, holds several molecules or cannot be embedded or relaxed, and all that
            :class:`Molecule` refuses.
    """
    require_rdkit()
    from rdkit import Chem, rdBase
    from rdkit.Chem import AllChem

    if conformers < 1:
        raise UserError(f"conformers={conformers} is not positive")
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles, sanitize=False)
        problem = "its syntax is broken" if mol is None else chemistry_problem(mol)
        if problem:
            raise UserError(f"SMILES {smiles!r} is not valid: {problem}")
        if mol.GetNumAtoms() == 0:
            raise UserError("the SMILES is empty")
        if (count := len(Chem.GetMolFrags(mol))) > 1:  # they would be embedded through one another
            raise UserError(f"SMILES {smiles!r} holds {count} molecules: give them one a line, or their coordinates")
        mol = Chem.AddHs(mol)
        parameters = AllChem.ETKDGv3()  # pyright: ignore[reportAttributeAccessIssue]
        parameters.randomSeed = seed
        parameters.useRandomCoords = mol.GetNumAtoms() > 60  # distance geometry from eigenvectors fails on large ones
        ids = list(AllChem.EmbedMultipleConfs(mol, conformers, parameters))  # pyright: ignore[reportAttributeAccessIssue]
        if len(ids) < conformers:
            raise UserError(f"SMILES {smiles!r} cannot be embedded in three dimensions: give coordinates instead")
        _force_field(mol)
    stated = agreed("charge", Chem.GetFormalCharge(mol), charge) or 0
    spin = stated_spin(mol, spin)
    numbers = [a.GetAtomicNum() for a in mol.GetAtoms()]
    label = smiles if name is None else name
    names = [label] if conformers == 1 else [f"{label}#{i + 1}" for i in range(conformers)]
    found = [
        Molecule.from_angstrom(numbers, mol.GetConformer(i).GetPositions(), stated, spin, each)
        for i, each in zip(ids, names)
    ]
    if not relax:
        return found
    from zoo.orbnet.readers.relax import relaxed  # ASE takes its time to import

    bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()], np.int64).reshape(-1, 2)
    return [relaxed(molecule, bonds) for molecule in found]


def _force_field(mol: object) -> None:
    """Relax all conformers with the better of the two force fields that knows every atom; neither: leave them as embedded."""
    from rdkit.Chem import rdForceFieldHelpers as fields

    if fields.MMFFHasAllMoleculeParams(mol):
        fields.MMFFOptimizeMoleculeConfs(mol, maxIters=1000)
    elif fields.UFFHasAllMoleculeParams(mol):
        fields.UFFOptimizeMoleculeConfs(mol, maxIters=1000)
