"""Tautobase: energy differences of tautomer pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.core.tables import Metric, Row, Table
from zoo.orbnet.datasets import torsions
from zoo.orbnet.elements import HARTREE_KCAL
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

METRICS = (
    Metric("mae", "kcal/mol", "test.mae", 2),
    Metric("median_error", "kcal/mol", "test.median_error", 2),
    Metric("rmse", "kcal/mol", "test.rmse", 2),
    Metric("order_right", "%", "test.order_right", 1),
    Metric("pairs", "", "test.pairs", 0),
    FAILED,
)


def evaluate(predictor: Predictor) -> Numbers:
    """Differences of a predictor, second tautomer minus first."""
    pairs = torsions.tautobase()
    energies, failed = energies_of(predictor, list(pairs.molecules))
    predicted, reference = (differences(e) for e in (energies, pairs.energies_hartree[torsions.WB97X]))
    return numbers(summary(predicted, reference), failed, errors=predicted - reference)


def differences(energies_hartree: np.ndarray) -> np.ndarray:
    """Second minus first of each pair, kcal/mol, (n_pairs,), from energies of first, second, first, second, ..."""
    return (energies_hartree[1::2] - energies_hartree[::2]) * HARTREE_KCAL


def summary(predicted: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Errors of the pairs that both have; ``order_right`` is the share, in percent, whose sign is right."""
    present = np.isfinite(predicted + reference)
    if not present.any():
        return {"pairs": 0.0}
    ours, theirs = predicted[present], reference[present]
    error = ours - theirs
    return {
        "mae": float(np.abs(error).mean()),
        "median_error": float(np.median(np.abs(error))),
        "rmse": float(np.sqrt((error**2).mean())),
        "order_right": float(100 * (np.sign(ours) == np.sign(theirs)).mean()),
        "pairs": float(present.sum()),
    }


def artefacts(rows: Mapping[str, Numbers], folder: Path) -> list[Path]:
    """The error of each pair, and what failed."""
    pairs = torsions.tautobase()
    base = folder / "orbnet" / "tautobase"
    head = ["pair", "first", "second", *(f"{row} error (kcal/mol)" for row in rows)]
    lines = (
        [name, *pairs.smiles[2 * i : 2 * i + 2], *(float(one["errors"][i]) for one in rows.values())]
        for i, name in enumerate(pairs.group_names)
    )
    by_pair = write_csv(base.with_name(f"{base.name}-pairs.csv"), head, lines)
    return [by_pair, write_failed(rows, base.with_name(f"{base.name}-failed.csv"))]


def table() -> Table:
    """Tautomer pairs at the training level."""
    return Table(
        name="orbnet/tautobase",
        title="Tautobase: energy differences of 1,499 tautomer pairs, against wB97X-D3BJ/def2-TZVPD",
        paper_label="paper",
        source=f"{PAPER}; this set is not in its abstract. Data: Wahl and Sander, J. Chem. Inf. Model. 2020, 60, 1085, "
        "relabelled by Jacobson et al.",
        metrics=METRICS,
        rows=(Row(DENALI), *method_rows(evaluate)),
        evaluate=evaluate,
        artefacts=artefacts,
    )
