"""``zoo predict MODEL FILE``: one row a molecule, energies in hartree, relative energies in kcal/mol, conformers ranked."""

from __future__ import annotations

import argparse
import csv
import io
import math
from typing import Any

from zoo.core.errors import UserError
from zoo.core.progress import say
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.predictor import Answer, EnergyPredictor
from zoo.orbnet.readers import KINDS, Failure, read_frames


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """The family's options of ``zoo predict``."""
    parser.add_argument("--charge", type=int, metavar="Q", help="total charge, where the file does not say")
    parser.add_argument("--spin", type=int, metavar="N", help="unpaired electrons, where the file does not say")
    parser.add_argument("--rank", action="store_true", help="conformers of one formula in the order of their energies")
    parser.add_argument("--fallback", choices=["gfn1"], help="answer molecules unlike the training set with GFN1-xTB")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that converge GFN1-xTB (default 1)"
    )
    parser.add_argument(
        "--read-as", choices=list(KINDS), help="what the input holds, where no suffix says it: needed for - (stdin)"
    )
    parser.add_argument("--csv", action="store_true", help="rows as CSV")


def predict(predictor: EnergyPredictor, args: argparse.Namespace) -> list[dict[str, Any]] | str:
    """Rows, as numbers or for a terminal, or CSV text where it was asked for.

    Where some molecules have no energy, ``args.incomplete`` says so, and the command ends with status 1 after its rows.

    Raises:
        UserError: an unreadable file, --csv beside --json, or a file without one molecule that has an energy.
    """
    if args.csv and args.json:
        raise UserError("--csv and --json exclude each other: choose one")
    rows = predict_rows(
        predictor,
        args.input,
        args.charge,
        args.spin,
        read_as=args.read_as,
        rank=args.rank,
        fallback=args.fallback,
        workers=args.workers,
    )
    if missing := sum(row["energy_hartree"] is None for row in rows):
        args.incomplete = f"{missing} of {len(rows)} molecules have no energy"
    if args.csv:
        return as_csv(rows)
    return rows if args.json else for_reading(rows)


def for_reading(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows for a table on a terminal: energies to 1e-8 hartree; errors go to stderr, a line each, and each note once."""
    shown = []
    for note in dict.fromkeys(row["note"] for row in rows if row["note"]):
        those = [row["name"] for row in rows if row["note"] == note]
        say(f"{', '.join(those[:3])}{f' and {len(those) - 3} more' if len(those) > 3 else ''}: {note}")
    for row in rows:
        if row["error"]:
            say(row["error"])
        energy = row["energy_hartree"]
        text = None if energy is None else f"{energy:.8f}"
        shown.append({**{k: v for k, v in row.items() if k not in ("error", "note")}, "energy_hartree": text})
    return shown


def predict_rows(
    predictor: EnergyPredictor,
    source: str,
    charge: int | None = None,
    spin: int | None = None,
    *,
    read_as: str | None = None,
    rank: bool = False,
    fallback: Any = None,
    workers: int = 1,
) -> list[dict[str, Any]]:
    """One row an entry of the file: name, formula, energy_hartree, relative_kcal (to the lowest of its formula and method),
    method, error, note; with ``rank`` also rank, rows sorted by it within a formula."""
    rows: list[dict[str, Any]] = []
    entries = list(read_frames(source, charge, spin, read_as=read_as))
    found = [entry.molecule for entry in entries if not isinstance(entry, Failure)]
    answers = iter(predictor.answers(found, fallback=fallback, workers=workers))
    for entry in entries:
        if isinstance(entry, Failure):
            name, formula, answer = entry.name, None, Answer(math.nan, "", entry.error)
        else:
            name, formula, answer = entry.molecule.name, entry.molecule.formula, next(answers)
        energy = answer.energy if math.isfinite(answer.energy) else None
        rows.append(
            {
                "name": name,
                "formula": formula,
                "energy_hartree": energy,
                "relative_kcal": None,
                "method": answer.method or None,
                "error": answer.error or None,
                "note": answer.note or None,
            }
        )
    if not rows:
        raise UserError(f"{source}: no molecules in it")
    if all(row["energy_hartree"] is None for row in rows):
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise UserError(f"{rows[0]['error']}{more}")
    return _relative(rows, rank)


def _relative(rows: list[dict[str, Any]], rank: bool) -> list[dict[str, Any]]:
    kinds: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["formula"], row["method"]), []).append(row)
    for (_, method), own in kinds.items():
        if method is None:
            continue
        lowest = min(row["energy_hartree"] for row in own)
        for row in own:
            row["relative_kcal"] = (row["energy_hartree"] - lowest) * HARTREE_KCAL
    if not rank:
        return rows
    ranked = []
    for (_, method), own in kinds.items():
        if method is not None:
            own = sorted(own, key=lambda row: row["energy_hartree"])
        ranked += [{"rank": i if method else None, **row} for i, row in enumerate(own, 1)]
    return ranked


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV with a header; energies in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
