"""GMTKN55: WTMAD-1 and -2 on Denali's 37 sets, on all 55, and on the sets inside our model's elements and closed shells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from zoo.core.tables import Metric, Row, Table
from zoo.orbnet.datasets import gmtkn55 as data
from zoo.orbnet.datasets.reactions import ReactionSet, reaction_energies
from zoo.orbnet.elements import element
from zoo.orbnet.metrics import MEAN_ABSOLUTE_REFERENCE_KCAL, SetError, set_error, wtmad1, wtmad2
from zoo.orbnet.tables import pictures
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

# The elements of TorsionTest2000, whose labels the model is trained on.
MODEL_ELEMENTS = frozenset({"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br"})
SCOPES = {
    "": "Denali's 37 sets",
    "_covered": "sets inside the model's elements and closed shells",
    "_all": "all 55 sets",
}
METRICS = tuple(
    metric
    for key in SCOPES
    for metric in (
        Metric(f"wtmad1{key}", "kcal/mol", f"test.wtmad1{key}"),
        Metric(f"wtmad2{key}", "kcal/mol", f"test.wtmad2{key}"),
        Metric(f"sets{key}", "", f"test.sets{key}", 0),
    )
)
# Row, file of published mean absolute errors, the paper's own figures.
PUBLISHED: tuple[tuple[str, str, Mapping[str, float]], ...] = (
    (DENALI, "orbnet-denali", {"wtmad1": 7.19, "wtmad2": 9.84}),
    ("GFN2-xTB (published)", "gfn2-xtb", {}),
    ("PBE-D3BJ", "pbe-d3bj", {}),
    ("wB97M-D3BJ", "wb97m-d3bj", {}),
    ("AIMNet2", "aimnet2-new", {}),
    ("MACE-OFF23-L", "mace-off23-L", {}),
    ("ANI-2x", "ani-2x", {}),
)


def evaluate(predictor: Predictor) -> Numbers:
    """Errors of a predictor on the 55 sets.

    Mean errors enter WTMAD rounded to 0.01 kcal/mol, the precision of published per-set tables, so that a row made here and a row
    made from such a table are the same measure (it moves GFN1-xTB's WTMAD-2 by 0.02).
    """
    sets = data.gmtkn55()
    species = [molecule for one in sets.values() for molecule in one.molecules]
    energies, failed = energies_of(predictor, species)
    errors, first = {}, 0
    for name, one in sets.items():
        own = energies[first : first + len(one.molecules)]
        first += len(one.molecules)
        errors[name] = set_error(reaction_energies(one.reactions, own), one.references)
    rounded = {name: replace(error, mae=round(error.mae, 2)) for name, error in errors.items()}
    return {**measure(rounded, failed), "sets": errors}


def measure(errors: Mapping[str, SetError], failed: Mapping[str, str]) -> Numbers:
    """A row's numbers from its errors by set. Only complete sets count; a set that lacks a reaction is N/A."""
    facts = data.subsets()
    means = {name: fact.mean_reference_kcal for name, fact in facts.items()}
    counts = {name: fact.reactions for name, fact in facts.items()}
    whole = {name: error.mae for name, error in errors.items() if error.complete}
    test = {}
    for key, names in scopes().items():
        chosen = {name: whole[name] for name in names if name in whole}
        test[f"sets{key}"] = float(len(chosen))
        test[f"reactions{key}"] = float(sum(counts[name] for name in chosen))
        if chosen:
            test[f"wtmad1{key}"] = wtmad1(chosen, means)
            test[f"wtmad2{key}"] = wtmad2(chosen, means, counts)
    return numbers(test, failed, sets=dict(errors))


def scopes() -> dict[str, Sequence[str]]:
    """The names of the sets behind each scope of SCOPES."""
    sets = data.gmtkn55()
    covered = [name for name, one in sets.items() if outside(one) is None]
    return {"": data.denali_sets(), "_covered": covered, "_all": list(sets)}


def outside(reactions: ReactionSet) -> str | None:
    """Why a set is outside the model: its other elements, its open shells; None where it is inside."""
    known = {element(symbol).number for symbol in MODEL_ELEMENTS}
    numbers_found = {int(z) for m in reactions.molecules for z in m.numbers}
    others = sorted(numbers_found - known)
    open_shells = sum(m.spin != 0 for m in reactions.molecules)
    reasons = []
    if others:
        reasons.append("elements " + " ".join(element(z).symbol for z in others))
    if open_shells:
        reasons.append(f"{open_shells} species with open shells")
    return "; ".join(reasons) or None


def _published(method: str) -> Callable[[], Numbers]:
    def compute() -> Numbers:
        counts = {name: fact.reactions for name, fact in data.subsets().items()}
        return measure({name: SetError(mae, counts[name]) for name, mae in data.published(method).items()}, {})

    return compute


def artefacts(rows: Mapping[str, Numbers], folder: Path) -> list[Path]:
    """The error of each set, with the sets' facts; a bar chart of them; and what failed."""
    facts, inside = data.subsets(), scopes()
    base = folder / "orbnet" / "gmtkn55"
    head = ["set", "category", "reactions", "mean_reference_kcal", "denali", "covered", "outside"]
    head += [f"{row} MAE (kcal/mol)" for row in rows]
    lines = []
    for name, one in data.gmtkn55().items():
        category, mean, count = facts[name]
        line = [name, category, count, mean, name in inside[""], name in inside["_covered"], outside(one) or ""]
        lines.append([*line, *(_mae(row, name) for row in rows.values())])
    written = [
        write_csv(base.with_name(f"{base.name}-sets.csv"), head, lines),
        write_failed(rows, base.with_name(f"{base.name}-failed.csv")),
    ]
    weighted = {
        row: {
            name: MEAN_ABSOLUTE_REFERENCE_KCAL / facts[name].mean_reference_kcal * mae
            for name in inside[""]
            if (mae := _mae(one, name)) is not None
        }
        for row, one in rows.items()
    }
    categories = {name: facts[name].category for name in inside[""]}
    return [*written, pictures.bars(weighted, categories, base.with_name(f"{base.name}-sets.png"))]


def _mae(row: Numbers, name: str) -> float | None:
    error: SetError | None = row["sets"].get(name)
    return error.mae if error is not None and error.complete and np.isfinite(error.mae) else None


def table() -> Table:
    """The paper's main table."""
    ours = method_rows(evaluate)
    published = {name: Row(name, paper, compute=_published(file)) for name, file, paper in PUBLISHED}
    return Table(
        name="orbnet/gmtkn55",
        title="GMTKN55: WTMAD-1 and WTMAD-2 on Denali's 37 sets (936 reactions), on the sets our model covers, and on all 55",
        paper_label="paper",
        source=f"{PAPER}, abstract; per-set errors of published rows as collected by A. Wagen from the methods' papers.",
        metrics=(*METRICS, FAILED),
        rows=(published[DENALI], *ours, *(row for name, row in published.items() if name != DENALI)),
        note="WTMAD by Goerigk et al. 2017 with 56.84 kcal/mol, from mean absolute errors of 0.01 kcal/mol, as published ones "
        "have. Only sets whose every reaction has an energy count: compare rows where `sets` agree.",
        evaluate=evaluate,
        artefacts=artefacts,
    )
