"""``zoo bench orbnet``: network, prediction and training step beside tblite, their floor and DFT; one thread and two in one run.

Threads are those of a process, so each number of them is measured in a process of its own, one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from zoo.core import machine
from zoo.core.bench import Timing, row
from zoo.core.errors import UserError, ZooError
from zoo.core.progress import say
from zoo.orbnet import dft

DFT_RATIO = 1000.0
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


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
    rows = []
    for threads in (1, 2):
        if threads > machine.cores():
            say(f"{threads} threads: this process may use {machine.cores()} core, left out")
            continue
        say(f"{threads} thread{'s' if threads > 1 else ''}")
        rows += [{**one, "threads": threads} for one in measured(threads)]
    if with_dft:
        say(f"{dft.FUNCTIONAL}/{dft.BASIS}, tens of minutes")
        return [*rows, dft_row(rows, dft.time_dft(dft.molecule(), verbose=0), "measured here")]
    figure = committed()
    return rows if figure is None else [*rows, dft_row(rows, figure, "committed")]


def measured(threads: int, *arguments: str) -> list[dict[str, Any]]:
    """The rows of :mod:`zoo.orbnet.timings` in a process with that many threads; ZooError where it fails."""
    count = str(threads)
    environment = {
        **os.environ, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "MKL_NUM_THREADS": count,
        "XLA_FLAGS": ONE_THREAD if threads == 1 else "",
    }  # fmt: skip
    command = [sys.executable, "-m", "zoo.orbnet.timings", *arguments]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=False, preexec_fn=_on_cores(threads)
    )
    if done.returncode:
        raise ZooError(f"measuring with {threads} threads ended with status {done.returncode}: its words are above")
    return json.loads(done.stdout)


def _on_cores(threads: int) -> Any:
    """XLA takes a thread for each core that it may use; one thread is a flag of its own, and free to move."""
    if threads == 1 or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


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
