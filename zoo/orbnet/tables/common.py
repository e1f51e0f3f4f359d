"""What the tables share: energies of anything that answers as a predictor, the rows of methods, lists of what failed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from zoo.core.errors import UserError, ZooError
from zoo.core.tables import Metric, Row
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.predictor import EnergyPredictor

PAPER = "Paper: Christensen et al., OrbNet Denali, J. Chem. Phys. 2021, 155, 204103 (arXiv 2107.00299)"
RELEASE = "orbnet/torsions"
DENALI = "OrbNet Denali"
FAILED = Metric("failed", "molecules", "test.failed", 0)

Numbers = Mapping[str, Any]


@runtime_checkable
class Predictor(Protocol):
    """A baseline or a release."""

    def energies(self, molecules: Sequence[Molecule], /) -> np.ndarray:
        """Energies in hartree, float64, (n_molecules,), NaN where one failed."""
        ...


def energies_of(predictor: Predictor, molecules: Sequence[Molecule]) -> tuple[np.ndarray, dict[str, str]]:
    """Energies in hartree, NaN for what failed, and the reason by the molecule's name.

    A predictor that refuses the whole list because of one molecule is asked for each alone.

    Raises:
        UserError: a predictor that returns another number of energies than molecules.
        ZooError: what the predictor raises, where it answers for none of them.
    """
    reasons: dict[str, str] = {}
    if isinstance(predictor, EnergyPredictor):  # it says itself what it refuses, in one pass
        answers = predictor.answers(molecules)
        reasons = {m.name or m.formula: a.error for m, a in zip(molecules, answers) if not np.isfinite(a.energy)}
        if reasons and not any(np.isfinite(a.energy) for a in answers):
            raise UserError(next(iter(reasons.values())))
        return np.array([a.energy for a in answers], np.float64), reasons
    try:
        energies = np.asarray(predictor.energies(molecules), np.float64)
    except ZooError:
        energies = np.array([_alone(predictor, molecule, reasons) for molecule in molecules], np.float64)
        if not np.isfinite(energies).any():
            raise  # it is not the molecules
    if energies.shape != (len(molecules),):
        raise UserError(f"{predictor} gave energies of shape {energies.shape} for {len(molecules)} molecules")
    told = getattr(predictor, "failures", {})
    for index in map(int, np.flatnonzero(~np.isfinite(energies))):
        name = molecules[index].name or molecules[index].formula
        failure = told.get(name) if isinstance(told, Mapping) else None
        reasons.setdefault(name, getattr(failure, "error", "no energy"))
    return np.where(np.isfinite(energies), energies, np.nan), reasons


def _alone(predictor: Predictor, molecule: Molecule, reasons: dict[str, str]) -> float:
    try:
        return float(predictor.energies([molecule])[0])
    except ZooError as error:
        reasons[molecule.name or molecule.formula] = str(error)
        return float("nan")


def numbers(test: Mapping[str, float], failed: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """A row's numbers: its metrics, what failed, and whatever the table's further files are made of."""
    finite = {name: value for name, value in test.items() if np.isfinite(value)}
    return {"test": {**finite, "failed": float(len(failed))}, "failed": dict(failed), **more}


def method_rows(evaluate: Callable[[Predictor], Numbers]) -> tuple[Row, ...]:
    """GFN1-xTB, GFN2-xTB and our release, measured by the same code."""
    from zoo.orbnet.baselines import XTB

    packaged = Path(__file__).parent.parent / "pretrained" / RELEASE.partition("/")[2]
    return (
        Row("GFN1-xTB", compute=lambda: evaluate(XTB("GFN1-xTB"))),
        Row("GFN2-xTB", compute=lambda: evaluate(XTB("GFN2-xTB"))),
        Row(RELEASE, experiment=RELEASE, release=RELEASE if packaged.is_dir() else None),
    )


def write_failed(rows: Mapping[str, Numbers], path: Path) -> Path:
    """``row, molecule, reason`` of every molecule that a row could not answer; the head alone where there is none."""
    lines = ([row, name, why] for row, one in rows.items() for name, why in one.get("failed", {}).items())
    return write_csv(path, ["row", "molecule", "reason"], lines)


def write_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[Any]]) -> Path:
    """A CSV file; floats to 6 significant digits, None and NaN as empty cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([_shown(value) for value in line] for line in lines)
    return path


def _shown(value: Any) -> Any:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
