"""Torsion scans with energies at wB97X-D3BJ/def2-TZVPD: TorsionNet500 (test) and TorsionTest2000 (training).

TorsionNet500: Rai et al., J. Chem. Inf. Model. 2022, 62, 785; its structures and those of TorsionTest2000 as relaxed and
relabelled by Jacobson et al. Each scan has 24 structures.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.core.data import locate
from zoo.orbnet.datasets.files import FILES
from zoo.orbnet.datasets.structures import Structures, load_npz, structures

WB97X = "wB97X-D3BJ/def2-TZVPD"
DLPNO = "DLPNO-CCSD(T)/CBS"
_LEVELS = {"E[DLPNO-CCSD(T)](Ha)": DLPNO, "E[wB97X-D3BJ/def2-TZVPD](Ha)": WB97X}


@dataclass(frozen=True, eq=False)
class Scans:
    """Groups of structures of one molecule.

    Attributes:
        name: of the set.
        molecules: all structures.
        group: index of each structure's group, int, (n_structures,).
        group_names: (n_groups,).
        smiles: as the file has them: **cut at 40 characters** in some rows, (n_structures,).
        energies_hartree: total energies by level, float64, (n_structures,), NaN where absent.
    """

    name: str
    molecules: Structures
    group: np.ndarray
    group_names: Sequence[str]
    smiles: Sequence[str]
    energies_hartree: dict[str, np.ndarray]

    def groups(self) -> list[np.ndarray]:
        """Indices of the structures of each group, in order."""
        return [np.flatnonzero(self.group == g) for g in range(len(self.group_names))]


def torsionnet500() -> Scans:
    """500 scans of 24 structures, at wB97X-D3BJ/def2-TZVPD and DLPNO-CCSD(T)/CBS."""
    return read_scans(locate(FILES["torsion_mlff/TorsionNet500.npz"]), "TorsionNet500")


def torsiontest2000() -> Scans:
    """2,109 scans of 24 structures (50,616; charges 0, +1, -1), at wB97X-D3BJ/def2-TZVPD."""
    return read_scans(locate(FILES["torsion_mlff/TorsionTest2000.npz"]), "TorsionTest2000")


def tautobase() -> Scans:
    """1,499 pairs of tautomers, at wB97X-D3BJ/def2-TZVPD (from Wahl and Sander, J. Chem. Inf. Model. 2020, 60, 1085)."""
    return read_scans(locate(FILES["torsion_mlff/tautobase.npz"]), "tautobase")


@functools.lru_cache(maxsize=3)
def read_scans(path: Path, name: str) -> Scans:
    """The scans of a file of this grammar (flat atoms, ``group``, ``energies_hartree`` of ``energy_keys``)."""
    arrays = load_npz(path)
    titles = [str(t) for t in arrays["group_name"]]
    group = arrays["group"].astype(np.int64)
    starts = np.searchsorted(group, group)  # structures of a group stand together
    names = [f"{titles[g]}-{i - s}" for i, (g, s) in enumerate(zip(group, starts))]
    levels = {_LEVELS[str(k)]: arrays["energies_hartree"][:, i] for i, k in enumerate(arrays["energy_keys"])}
    return Scans(name, structures(arrays, names, name), group, titles, [str(s) for s in arrays["smiles"]], levels)
