"""TorsionNet500: torsion profiles in both alignments, and barriers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.core.tables import Metric, Row, Table
from zoo.orbnet.datasets import torsions
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.metrics import ProfileErrors, profile_errors
from zoo.orbnet.tables import pictures
from zoo.orbnet.tables.common import (
    DENALI,
    FAILED,
    PAPER,
    RELEASE,
    Numbers,
    Predictor,
    energies_of,
    method_rows,
    numbers,
    write_csv,
    write_failed,
)

METRICS = (
    Metric("mae_centred", "kcal/mol", "test.mae_centred", 3),
    Metric("mae_min_zeroed", "kcal/mol", "test.mae_min_zeroed", 3),
    Metric("barrier_mae", "kcal/mol", "test.barrier_mae", 3),
    Metric("mae_centred_dlpno", "kcal/mol", "test.mae_centred_dlpno", 3),
    Metric("mae_min_zeroed_dlpno", "kcal/mol", "test.mae_min_zeroed_dlpno", 3),
    Metric("barrier_mae_dlpno", "kcal/mol", "test.barrier_mae_dlpno", 3),
    Metric("profiles", "", "test.profiles", 0),
    FAILED,
)
DFT = "wB97X-D3BJ/def2-TZVPD"


def evaluate(predictor: Predictor) -> Numbers:
    """Profiles of a predictor against wB97X-D3BJ and DLPNO-CCSD(T)."""
    scans = torsions.torsionnet500()
    energies, failed = energies_of(predictor, list(scans.molecules))
    return measure(energies * HARTREE_KCAL, failed)


def level() -> Numbers:
    """The training level itself: no error against wB97X-D3BJ, so only its own against DLPNO-CCSD(T)."""
    energies = torsions.torsionnet500().energies_hartree[torsions.WB97X] * HARTREE_KCAL
    found = dict(measure(energies, {}))
    found["test"] = {k: v for k, v in found["test"].items() if k.endswith("_dlpno") or k in ("profiles", "failed")}
    return found


def measure(energies_kcal: np.ndarray, failed: Mapping[str, str]) -> Numbers:
    """A row's numbers from energies of all structures, kcal/mol, float64, (12000,)."""
    scans = torsions.torsionnet500()
    profiles = scans.groups()
    errors = {
        key: profile_errors(energies_kcal, scans.energies_hartree[level] * HARTREE_KCAL, profiles)
        for key, level in (("", torsions.WB97X), ("_dlpno", torsions.DLPNO))
    }
    test = {f"{name}{key}": value for key, one in errors.items() for name, value in one.summary().items()}
    test.pop("profiles_dlpno", None)
    return numbers(test, failed, errors=errors[""], energies_kcal=energies_kcal)


def artefacts(rows: Mapping[str, Numbers], folder: Path) -> list[Path]:
    """Errors of each fragment, profiles of the best, median and worst fragment, and what failed."""
    scans = torsions.torsionnet500()
    methods = {name: one["errors"] for name, one in rows.items() if name != DFT}
    base = folder / "orbnet" / "torsionnet500"
    written = [write_failed(rows, base.with_name(f"{base.name}-failed.csv"))]
    if not methods:
        return written
    written.append(_fragments(methods, scans, base.with_name(f"{base.name}-fragments.csv")))
    shown = RELEASE if RELEASE in methods else next(iter(methods))
    lines = {DFT: scans.energies_hartree[torsions.WB97X] * HARTREE_KCAL}
    lines |= {name: rows[name]["energies_kcal"] for name in methods}
    picture = base.with_name(f"{base.name}-profiles.png")
    written.append(pictures.profiles(scans, lines, methods[shown].centred, shown, picture))
    return written


def _fragments(methods: Mapping[str, ProfileErrors], scans: torsions.Scans, path: Path) -> Path:
    kinds = ("centred", "min_zeroed", "barrier")
    head = ["fragment", "smiles", *(f"{name} {kind} (kcal/mol)" for name in methods for kind in kinds)]
    first = [group[0] for group in scans.groups()]
    lines = (
        [
            name,
            scans.smiles[first[i]],
            *(float(getattr(errors, kind)[i]) for errors in methods.values() for kind in kinds),
        ]
        for i, name in enumerate(scans.group_names)
    )
    return write_csv(path, head, lines)


def table() -> Table:
    """Figure and text of the paper on TorsionNet500."""
    return Table(
        name="orbnet/torsionnet500",
        title="TorsionNet500: relative energies along 500 torsion scans, against wB97X-D3BJ/def2-TZVPD and DLPNO-CCSD(T)/CBS",
        paper_label="paper",
        source=f"{PAPER}, abstract: mean error of 0.12 kcal/mol against its own level, wB97X-D3/def2-TZVP.",
        metrics=METRICS,
        rows=(
            Row(DENALI, {"mae_centred": 0.12, "mae_min_zeroed": 0.12}),
            Row(DFT, compute=level),
            *method_rows(evaluate),
        ),
        note="Centred: each profile minus its mean; min_zeroed: each profile minus its minimum. The abstract does not say which "
        "the paper takes, so its figure stands under both. Means over the profiles whose 24 points all have an energy.",
        evaluate=evaluate,
        artefacts=artefacts,
    )
