"""Hutchison's conformers: the median over molecules of the squared correlation of conformer energies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.core.tables import Metric, Row, Table
from zoo.orbnet.datasets import hutchison as data
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.metrics import correlations, median_of_present
from zoo.orbnet.tables.common import (
    DENALI,
    FAILED,
    PAPER,
    Numbers,
    Predictor,
    energies_of,
    method_rows,
    numbers,
    write_csv,
    write_failed,
)

REFERENCES = {"": "wB97X-D", "_dlpno": "DLPNO-CCSD(T)"}
METRICS = (
    Metric("r2_median", "", "test.r2_median", 3),
    Metric("r2_median_dlpno", "", "test.r2_median_dlpno", 3),
    Metric("molecules", "", "test.molecules", 0),
    Metric("molecules_dlpno", "", "test.molecules_dlpno", 0),
    FAILED,
)
# Published energies of the data set that stand beside the rows computed here.
PUBLISHED = ("MP2", "wB97X-D", "B3LYP-D3BJ", "B97-3c", "PBE-D3BJ", "GFN1-xTB", "GFN2-xTB", "ANI-2x", "MMFF94")


def evaluate(predictor: Predictor) -> Numbers:
    """Correlations of a predictor's conformer energies with both references."""
    conformers = data.hutchison()
    energies, failed = energies_of(predictor, conformers.molecules)
    return measure(energies * HARTREE_KCAL, conformers, failed)


def measure(energies_kcal: np.ndarray, conformers: data.Conformers, failed: Mapping[str, str]) -> Numbers:
    """A row's numbers from energies of all conformers, kcal/mol, float64, (6995,)."""
    groups = [np.flatnonzero(conformers.group == i) for i in range(len(conformers.group_names))]
    found = {
        key: correlations(energies_kcal, conformers.energies_kcal[reference], groups)
        for key, reference in REFERENCES.items()
    }
    test = {f"r2_median{key}": median_of_present(r2) for key, r2 in found.items()}
    test |= {f"molecules{key}": float(np.isfinite(r2).sum()) for key, r2 in found.items()}
    return numbers(test, failed, r2=found)


def _published(method: str) -> Row:
    def compute() -> Numbers:
        conformers = data.published()
        found = measure(conformers.energies_kcal[method], conformers, {})
        itself = {key for key, reference in REFERENCES.items() if reference == method}
        test = {
            k: v for k, v in found["test"].items() if not any(k in (f"r2_median{i}", f"molecules{i}") for i in itself)
        }
        return {**found, "test": test}

    return Row(f"{method} (published)", compute=compute)


def artefacts(rows: Mapping[str, Numbers], folder: Path) -> list[Path]:
    """The correlation of each molecule, and what failed."""
    names = data.published().group_names
    base = folder / "orbnet" / "hutchison"
    head = ["molecule", *(f"{row} r2 vs {reference}" for row in rows for reference in REFERENCES.values())]
    columns = [one["r2"][key] for one in rows.values() for key in REFERENCES]
    lines = ([name, *(float(column[i]) for column in columns)] for i, name in enumerate(names))
    molecules = write_csv(base.with_name(f"{base.name}-molecules.csv"), head, lines)
    return [molecules, write_failed(rows, base.with_name(f"{base.name}-failed.csv"))]


def table() -> Table:
    """The paper's conformer benchmark."""
    return Table(
        name="orbnet/hutchison",
        title="Conformers of 708 drug-like molecules: median R2 against wB97X-D and DLPNO-CCSD(T)",
        paper_label="paper",
        source=f"{PAPER}, abstract; OrbNet-Equi: Qiao et al., PNAS 2022, 119, e2205221119. "
        "Data: Folmsbee and Hutchison, Int. J. Quantum Chem. 2021, e26381.",
        metrics=METRICS,
        rows=(
            Row(DENALI, {"r2_median": 0.97, "r2_median_dlpno": 0.90}),
            Row("OrbNet-Equi (236 k samples)", {"r2_median": 0.96, "r2_median_dlpno": 0.87}),
            *method_rows(evaluate),
            *(_published(method) for method in PUBLISHED),
        ),
        note="Rows marked (published) are computed here from the energies that come with the data set; the other rows are "
        "single points of our own. A molecule counts from three conformers on that both methods have.",
        evaluate=evaluate,
        artefacts=artefacts,
    )
