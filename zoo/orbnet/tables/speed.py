"""Speed: seconds for the energy of one molecule, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.tables import Metric, Row, Table
from zoo.orbnet.datasets import hutchison
from zoo.orbnet.gfn1 import Method, single_point
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.tables.common import DENALI, PAPER, RELEASE, Numbers, Predictor, method_rows, numbers, write_csv

METRICS = (
    Metric("predict_seconds", "s", "test.predict_seconds", 4),
    Metric("largest_seconds", "s", "test.largest_seconds", 4),
    Metric("molecules", "", "test.molecules", 0),
)
MOLECULES, REPEATS, WARM_UP = 9, 5, 1


def molecules() -> list[Molecule]:
    """Nine neutral molecules of Hutchison's set at the deciles of size, from the smallest tenth to the largest."""
    conformers = hutchison.hutchison()
    firsts = [
        conformers.molecules[int(np.flatnonzero(conformers.group == g)[0])] for g in range(len(conformers.group_names))
    ]
    by_size = sorted((m for m in firsts if m.charge == 0), key=lambda m: (m.n_orbitals, m.name))
    return [by_size[round(q * (len(by_size) - 1))] for q in np.linspace(0.1, 0.9, MOLECULES)]


def evaluate(predictor: Predictor) -> Numbers:
    """Time a predictor molecule by molecule."""
    return time_each(lambda molecule: predictor.energies([molecule]))


def xtb(method: Method) -> Numbers:
    """Time tblite's own single point; nothing is read from disk."""
    return time_each(lambda molecule: single_point(molecule, method).energy)


def time_each(energy: Callable[[Molecule], Any]) -> Numbers:
    """The median over repeats of each molecule's seconds, after a warm-up; a metric is the median, or the largest, over molecules."""
    seconds = {}
    for molecule in molecules():
        for _ in range(WARM_UP):
            energy(molecule)
        samples = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            energy(molecule)
            samples.append(time.perf_counter() - began)
        seconds[molecule.name] = float(np.median(samples))
    values = list(seconds.values())
    test = {"predict_seconds": float(np.median(values)), "largest_seconds": values[-1], "molecules": float(len(values))}
    return numbers(test, {}, seconds=seconds)


def artefacts(rows: Mapping[str, Numbers], folder: Path) -> list[Path]:
    """Seconds of each molecule."""
    head = ["molecule", "formula", "atoms", "orbitals", *(f"{row} (s)" for row in rows)]
    lines = (
        [m.name, m.formula, len(m), m.n_orbitals, *(one["seconds"][m.name] for one in rows.values())]
        for m in molecules()
    )
    return [write_csv(folder / "orbnet" / "speed-molecules.csv", head, lines)]


def table() -> Table:
    """Seconds for a molecule."""
    release = next(row for row in method_rows(evaluate) if row.name == RELEASE)
    methods: tuple[Method, ...] = ("GFN1-xTB", "GFN2-xTB")
    return Table(
        name="orbnet/speed",
        title="Seconds for the energy of one drug-like molecule, warm",
        paper_label="paper",
        source=f"{PAPER}, abstract: up to 1,000 times faster than DFT, no seconds given.",
        metrics=METRICS,
        rows=(Row(DENALI), *(Row(m, compute=partial(xtb, m)) for m in methods), release),
        note=f"Medians of {REPEATS} calls of {MOLECULES} neutral molecules of Hutchison's set at the deciles of size. "
        "Set NPROC=1 and OMP_NUM_THREADS=1 for one thread.",
        evaluate=evaluate,
        artefacts=artefacts,
    )
