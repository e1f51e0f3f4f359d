"""The published labels of OrbNet Denali, where a user has them (figshare 14883867; Christensen et al. 2021).

A folder with ``denali_labels.csv`` and ``xyz_files/<mol_id>/<sample_id>.xyz``, as the two archives unpack. Energies are
wB97X-D3/def2-TZVP, hartree. Structures of one ``mol_id`` are conformers, protomers or the like of one molecule.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers import Failure, read_frames

LABELS, STRUCTURES = "denali_labels.csv", "xyz_files"
_NEEDED = ("sample_id", "mol_id", "charge", "dft_energy")
# Columns that begin so mark what the paper kept for its tests.
_TEST = "test_set"


@dataclass(frozen=True, eq=False)
class Labels:
    """What was read.

    Attributes:
        molecules: structures with their charge.
        energies: wB97X-D3/def2-TZVP, hartree, float64, (n,).
        groups: the molecule each is of: ``mol_id`` and charge, (n,).
        left_out: rows that the paper's own flags keep for tests.
    """

    molecules: list[Molecule]
    energies: np.ndarray
    groups: list[str]
    left_out: int


def denali(folder: Path, limit: int | None = None) -> Labels:
    """The training structures of the first ``limit`` molecules, all if None.

    Raises:
        UserError: a file or a column that is absent, a row or a structure that is broken; with file and line.
    """
    path = folder / LABELS
    if not path.is_file():
        raise UserError(f"{path} is not there: data.folder is the folder that holds {LABELS} and {STRUCTURES}/")
    molecules, energies, groups, taken, left_out = [], [], [], set(), 0
    for line, row in _rows(path):
        if any(value.strip().lower() == "true" for name, value in row.items() if name.startswith(_TEST)):
            left_out += 1
            continue
        where = f"{path.name}, line {line}"
        charge, energy = _number(row, "charge", where), _number(row, "dft_energy", where)
        if charge != round(charge):
            raise UserError(f"{where}: charge={row['charge']} is not an integer")
        if row["mol_id"] not in taken:
            if limit is not None and len(taken) >= limit:
                continue
            taken.add(row["mol_id"])
        molecules.append(_structure(folder, row, round(charge), where))
        energies.append(energy)
        groups.append(f"{row['mol_id']} {round(charge):+d}")
    if not molecules:
        raise UserError(f"{path}: no row is left to train on ({left_out} are kept for tests)")
    return Labels(molecules, np.array(energies), groups, left_out)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(f for f in reader.fieldnames or () if f)
            raise UserError(f"{path.name} has no column {missing[0]} (it has {found}): take the published file")
        for row in reader:
            if None in row.values() or None in row:
                raise UserError(
                    f"{path.name}, line {reader.line_num}: it has another number of columns than the first line"
                )
            yield reader.line_num, row


def _number(row: dict[str, str], name: str, where: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UserError(f"{where}: {name}={row[name]} is not a finite number")
    return value


def _structure(folder: Path, row: dict[str, str], charge: int, where: str) -> Molecule:
    for name in ("mol_id", "sample_id"):
        if not row[name] or Path(row[name]).name != row[name]:
            raise UserError(f"{where}: {name}={row[name]} is no name of a file")
    path = folder / STRUCTURES / row["mol_id"] / f"{row['sample_id']}.xyz"
    if not path.is_file():
        raise UserError(f"{where}: {path.relative_to(folder)} is not there")
    frames = list(read_frames(path, charge=charge))
    if len(frames) != 1:
        raise UserError(f"{where}: {path.relative_to(folder)} holds {len(frames)} structures, one is expected")
    (frame,) = frames
    if isinstance(frame, Failure):
        raise UserError(f"{where}: {frame.error}")
    return frame.molecule
