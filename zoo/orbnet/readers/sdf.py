"""SDF and MOL files through RDKit, with the checks that RDKit leaves out: line numbers, 2D drawings, missing hydrogens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zoo.core.errors import UserError
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers.frame import Failure, Frame, agreed, attempt
from zoo.orbnet.readers.rdkit_tools import chemistry_problem, require_rdkit, stated_spin


def parse(text: str, source: str, charge: int | None, spin: int | None) -> Iterator[Frame | Failure]:
    """Entries of an SDF text; ``source`` names the file in errors."""
    require_rdkit()
    lines = text.splitlines()
    stem, start, index = source.rsplit(".", 1)[0], 0, 0
    while start < len(lines):
        end = next((i for i in range(start, len(lines)) if lines[i].startswith("$$$$")), len(lines))
        block = lines[start:end]
        if any(line.strip() for line in block):
            index += 1
            name = block[0].strip() or f"{stem}#{index}"
            where = f"{source}, line {start + 1}"
            yield attempt(lambda b=block, s=start, n=name: _entry(b, s, n, charge, spin), name, where)
        start = end + 1


def _entry(block: list[str], start: int, name: str, charge: int | None, spin: int | None) -> Frame:
    from rdkit import Chem, rdBase

    _check_lines(block, start)
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock("\n".join(block), sanitize=False, removeHs=False)
        if mol is None:
            raise UserError("RDKit cannot read this entry")
        problem = chemistry_problem(mol)
    if problem:
        raise UserError(problem)
    missing = sum(a.GetTotalNumHs() for a in mol.GetAtoms())
    if missing:
        raise UserError(f"{missing} hydrogen atoms are only implied: give all atoms with coordinates")
    if len(block) > 1 and block[1][20:22].upper() == "2D":
        raise UserError("a 2D drawing: give 3D coordinates")
    stated = Chem.GetFormalCharge(mol)
    molecule = Molecule.from_angstrom(
        [a.GetAtomicNum() for a in mol.GetAtoms()],
        mol.GetConformer().GetPositions(),
        agreed("charge", stated, charge) or 0,
        stated_spin(mol, spin),
        name,
    )
    return Frame(molecule, start + 1, _items(block))


def _check_lines(block: list[str], start: int) -> None:
    """The counts line and the atom lines of a V2000 block, with line numbers counted in the file."""
    if len(block) < 4:
        raise UserError(f"line {start + len(block)}: the entry ends before its counts line")
    counts = block[3]
    if "V3000" in counts:
        return
    try:
        atoms, bonds = int(counts[:3]), int(counts[3:6])
    except ValueError:
        raise UserError(f"line {start + 4}: {counts[:40].strip()!r} is not a counts line") from None
    if len(block) < 4 + atoms + bonds:
        raise UserError(
            f"line {start + len(block)}: the entry ends before its {atoms} atoms and {bonds} bonds are complete"
        )
    for i in range(4, 4 + atoms):
        try:
            [float(block[i][k : k + 10]) for k in (0, 10, 20)]
        except ValueError:
            raise UserError(
                f"line {start + i + 1}: {block[i][:34].strip()!r} is not an atom with coordinates"
            ) from None


def _items(block: list[str]) -> dict[str, str]:
    """Data items ``> <key>`` after the molecule, one line each."""
    items: dict[str, Any] = {}
    for i, line in enumerate(block[:-1]):
        if line.startswith(">") and "<" in line:
            items[line[line.index("<") + 1 : line.rindex(">")]] = block[i + 1].strip()
    return items
