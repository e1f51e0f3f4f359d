"""``zoo bench orbnet``: network, prediction and training step beside tblite, their floor and DFT; one thread and two in one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zoo.core.bench import Timing, by_threads, row
from zoo.core.errors import UserError
from zoo.core.progress import say
from zoo.orbnet import dft

DFT_RATIO = 1000.0


def orbnet_rows(*, with_dft: bool = False) -> list[dict[str, Any]]:
    """All rows; ``threads`` says how many each had.

    Args:
        with_dft: time the DFT single point again (tens of minutes) instead of taking the committed figure.

    Raises:
        UserError: ``with_dft`` without PySCF.
        ZooError: a measuring process that failed.
    """
    if with_dft and not dft.available():
        raise UserError(
            "PySCF is not installed: pip install pyscf, or leave --with-dft out and use the committed figure"
        )
    rows = by_threads("zoo.orbnet.timings")
    if with_dft:
        say(f"{dft.FUNCTIONAL}/{dft.BASIS}, tens of minutes")
        return [*rows, dft_row(rows, dft.time_dft(dft.molecule(), verbose=0), "measured here")]
    figure = committed()
    return rows if figure is None else [*rows, dft_row(rows, figure, "committed")]


def committed() -> dict[str, Any] | None:
    """The committed DFT figure; None, with a line on stderr, where the repository's results are not there."""
    for folder in (Path.cwd(), Path(__file__).parents[2]):
        try:
            return json.loads((folder / dft.FIGURE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
    say(f"no {dft.FIGURE} here: no row of DFT (--with-dft makes one)")
    return None


def dft_row(rows: list[dict[str, Any]], figure: dict[str, Any], where: str) -> dict[str, Any]:
    """The prediction of the same molecule on one thread beside the DFT single point: its processor time on one thread."""
    name = f"prediction, {figure['molecule']}"
    ours = next(r for r in rows if r["name"] == name and r["threads"] == 1)
    milliseconds = 1e3 * figure["cpu_seconds"]
    functional = figure["functional"].removeprefix("HYB_GGA_XC_").replace("_", "-")
    return row(
        name, Timing(ours["ms"], ours["spread_ms"]), peer=f"{functional}/{figure['basis']}, PySCF, {where}",
        peer_timing=Timing(milliseconds, 0.0), atoms=figure["atoms"], target_ratio=DFT_RATIO,
        basis_functions=figure["basis_functions"], peer_machine=figure["machine"], threads=1,
    )  # fmt: skip
