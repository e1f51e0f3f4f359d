"""What the readers that use RDKit share."""

from __future__ import annotations

from typing import Any

from zoo.core.errors import UserError, one_line


def require_rdkit() -> None:
    """UserError with the mend where RDKit is not installed."""
    try:
        import rdkit  # noqa: F401
    except ImportError:
        raise UserError("SDF and SMILES need RDKit: pip install 'sci-model-zoo[orbnet]'") from None


def chemistry_problem(mol: Any) -> str | None:
    """Sanitise in place; the first thing wrong with the molecule's chemistry, or None."""
    from rdkit import Chem

    problems = Chem.DetectChemistryProblems(mol)
    if problems:
        return one_line(problems[0].Message())
    Chem.SanitizeMol(mol)
    return None


def stated_spin(mol: Any, spin: int | None) -> int | None:
    """The caller's spin; UserError where the drawing has unpaired electrons and the caller says nothing."""
    radicals = sum(a.GetNumRadicalElectrons() for a in mol.GetAtoms())
    if radicals and spin is None:
        raise UserError(f"{radicals} unpaired electrons are drawn, an open shell: give spin, their number")
    return spin
