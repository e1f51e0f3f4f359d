"""FlexiSol's conformers of 732 drug-like solutes: geometries without usable energies, for pretraining on labels made here."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from zoo.core.data import locate
from zoo.orbnet.datasets.files import FILES
from zoo.orbnet.datasets.structures import load_npz, structures
from zoo.orbnet.datasets.torsions import Scans


def flexisol() -> Scans:
    """25,260 conformers without energies, in groups of 710 solutes; the 22 that the set flags as a test's are in no group."""
    return _read(locate(FILES["flexisol_geometries/flexisol_geometries.npz"]))


@functools.lru_cache(maxsize=1)
def _read(path: Path) -> Scans:
    arrays = load_npz(path)
    names = [str(n) for n in arrays["name"]]  # <phase>/<solvent>/<solute>_chrg<q>_t<tautomer>_c<conformer>
    solutes = [n.rpartition("/")[2].rpartition("_chrg")[0] for n in names]
    titles = sorted({s for s, tested in zip(solutes, arrays["molecule_in_tests"]) if not tested})
    index = {title: i for i, title in enumerate(titles)}
    group = np.array([index.get(s, -1) for s in solutes], np.int64)
    return Scans("FlexiSol", structures(arrays, names, "FlexiSol"), group, titles, [""] * len(names), {})
