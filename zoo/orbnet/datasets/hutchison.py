"""Hutchison's conformers: 6,995 conformers of 708 drug-like molecules (Folmsbee and Hutchison, Int. J. Quantum Chem. 2021, e26381)."""

from __future__ import annotations

import csv
import functools
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.core.data import locate
from zoo.core.errors import DamagedError
from zoo.orbnet.datasets.archive import members, xyz_atoms
from zoo.orbnet.datasets.files import FILES
from zoo.orbnet.molecule import Molecule

# The file's columns of the published methods (kcal/mol), by the name that tables give them. The columns are atomisation energies,
# which fall where the energy rises (seen against the raw energies of the repository); only the force fields' are energies.
METHODS = {
    "DLPNO-CCSD(T)": "dlpno",
    "MP2": "mp2",
    "wB97X-D": "wb97",
    "B97-3c": "b973c",
    "PBE-D3BJ": "pbe",
    "PBEh-3c": "pbeh3c",
    "B3LYP-D3BJ": "b3lypTZ",
    "GFN0-xTB": "gfn0",
    "GFN1-xTB": "gfn1",
    "GFN2-xTB": "gfn2",
    "PM7": "pm7E",
    "MMFF94": "mmff",
    "UFF": "uff",
    "GAFF": "gaff",
    "ANI-1x": "ani1x",
    "ANI-1ccx": "ani1cc",
    "ANI-2x": "ani2",
}
FORCE_FIELDS = ("MMFF94", "UFF", "GAFF")


@dataclass(frozen=True, eq=False)
class Conformers:
    """Conformers by molecule, with the published energies of many methods.

    Attributes:
        molecules: all conformers, named ``<molecule>/<conformer>``.
        group: index of each conformer's molecule, int64, (n_conformers,).
        group_names: molecules in order of first appearance, (n_groups,).
        energies_kcal: by method (see METHODS), float64, (n_conformers,), lower is more
            stable, each molecule on its own zero, NaN where absent.
    """

    molecules: Sequence[Molecule]
    group: np.ndarray
    group_names: Sequence[str]
    energies_kcal: dict[str, np.ndarray]


def hutchison() -> Conformers:
    """The set; charges from its list, neutral where it names none.

    Raises:
        MissingDataError, DamagedError: a file is absent or is another; a conformer has no geometry.
    """
    table, geometries = (locate(FILES[f"hutchison/{f}"]) for f in ("data-final.csv.gz", "geometries_xyz.tar.gz"))
    return _read(table, geometries)


def published() -> Conformers:
    """The published energies alone, without reading a geometry; ``molecules`` is empty."""
    rows = _rows(locate(FILES["hutchison/data-final.csv.gz"]))
    return _conformers(rows, ())


@functools.lru_cache(maxsize=1)
def _read(table: Path, geometries: Path) -> Conformers:
    files = members(geometries, (".xyz", "-charges.txt"))
    charges = _charges(files["geometries/CHG-charges.txt"])
    rows = _rows(table)
    molecules = []
    for row in rows:
        name, conformer = row["name"], row["geom"].removesuffix(".mol")
        inside = f"{name}/{conformer}.xyz"
        member = next(
            (f"geometries/{f}/{inside}" for f in ("Neutral_jobs", "CHG_jobs") if f"geometries/{f}/{inside}" in files),
            None,
        )
        if member is None:
            raise DamagedError(f"Hutchison's archive has no geometry of {inside}")
        (symbols, positions), _ = xyz_atoms(files[member], inside)
        charge = charges.get(name, 0) if "CHG_jobs" in member else 0
        molecules.append(Molecule.from_angstrom(symbols, positions, charge, 0, f"{name}/{conformer}"))
    return _conformers(rows, tuple(molecules))


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


def _conformers(rows: list[dict[str, str]], molecules: tuple[Molecule, ...]) -> Conformers:
    names = list(dict.fromkeys(row["name"] for row in rows))
    index = {name: i for i, name in enumerate(names)}
    group = np.array([index[row["name"]] for row in rows], np.int64)
    sign = {method: 1.0 if method in FORCE_FIELDS else -1.0 for method in METHODS}
    energies = {m: sign[m] * np.array([_number(row[key]) for row in rows]) for m, key in METHODS.items()}
    return Conformers(molecules, group, names, energies)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _charges(text: str) -> dict[str, int]:
    """``name CHARGE=-1``, one a line."""
    found = {}
    for line in text.splitlines():
        if line.strip():
            name, _, value = line.partition("CHARGE=")
            found[name.strip()] = int(value)
    return found
