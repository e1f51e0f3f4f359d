"""S66x10: interaction energies along dissociation curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.core.tables import Metric, Row, Table
from zoo.orbnet.datasets import s66
from zoo.orbnet.datasets.reactions import reaction_energies
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

DISTANCES = ("0.7", "0.8", "0.9", "0.95", "1.0", "1.05", "1.1", "1.25", "1.5", "2.0")
METRICS = (
    Metric("mae", "kcal/mol", "test.mae", 3),
    Metric("mae_equilibrium", "kcal/mol", "test.mae_equilibrium", 3),
    Metric("max_error", "kcal/mol", "test.max_error", 2),
    Metric("points", "", "test.points", 0),
    FAILED,
)


def evaluate(predictor: Predictor) -> Numbers:
    """Interaction energies of a predictor."""
    data = s66.s66x10()
    energies, failed = energies_of(predictor, data.molecules)
    errors = reaction_energies(data.reactions, energies) - data.references
    return numbers(summary(errors, [r.name.rpartition("_")[2] for r in data.reactions]), failed, errors=errors)


def summary(errors: np.ndarray, distances: list[str]) -> dict[str, float]:
    """Mean absolute error of all points and of those at the minimum, the largest one, and how many points there are.

    Args:
        errors: predicted minus reference, kcal/mol, float64, (n_points,), NaN where a species has no energy.
        distances: of each point, relative to the minimum's, as in DISTANCES.
    """
    present = np.isfinite(errors)
    if not present.any():
        return {"points": 0.0}
    at_minimum = present & (np.array(distances) == "1.0")
    absolute = np.abs(errors)
    return {
        "mae": float(absolute[present].mean()),
        "mae_equilibrium": float(absolute[at_minimum].mean()) if at_minimum.any() else float("nan"),
        "max_error": float(absolute[present].max()),
        "points": float(present.sum()),
    }


def artefacts(rows: Mapping[str, Numbers], folder: Path) -> list[Path]:
    """The mean absolute error at each distance, and what failed."""
    reactions = s66.s66x10().reactions
    distances = np.array([r.name.rpartition("_")[2] for r in reactions])
    base = folder / "orbnet" / "s66x10"
    head = ["distance", *(f"{row} MAE (kcal/mol)" for row in rows)]
    lines = (
        [d, *(summary(one["errors"][distances == d], [d] * 66).get("mae", float("nan")) for one in rows.values())]
        for d in DISTANCES
    )
    by_distance = write_csv(base.with_name(f"{base.name}-distances.csv"), head, lines)
    return [by_distance, write_failed(rows, base.with_name(f"{base.name}-failed.csv"))]


def table() -> Table:
    """The paper's test of non-covalent interactions."""
    return Table(
        name="orbnet/s66x10",
        title="S66x10: interaction energies of 66 dimers at ten distances, against CCSD(T)/CBS",
        paper_label="paper",
        source=f"{PAPER}. Data: Smith et al., J. Phys. Chem. Lett. 2016, 7, 2197.",
        metrics=METRICS,
        rows=(Row(DENALI), *method_rows(evaluate)),
        note="The abstract says chemical accuracy (1 kcal/mol) for Denali and gives no figure.",
        evaluate=evaluate,
        artefacts=artefacts,
    )
