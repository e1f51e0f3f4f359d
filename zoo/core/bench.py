"""Timing done right: warm, complete (block_until_ready), interleaved, medians, and a ratio instead of a verdict on seconds."""

from __future__ import annotations

import inspect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.core import machine
from zoo.core.config import nearest
from zoo.core.errors import UserError, ZooError
from zoo.core.progress import say

# NPROC is what XLA obeys: with --xla_cpu_multi_thread_eigen=false its matrix products still take every core.
THREADS = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Timing:
    """Wall-clock milliseconds of one call: the median and the interquartile range over the repeats."""

    ms: float
    spread_ms: float


def interleaved(
    functions: Mapping[str, Callable[[], Any]], *, repeats: int = 9, warmup: int = 2, settle: bool = False
) -> dict[str, Timing]:
    """Time several functions in turn, A B C A B C ..., so that a drift of the machine's speed meets all alike.

    Args:
        functions: what to time, by name; results that are JAX arrays are waited for.
        repeats: counted calls of each.
        warmup: calls before that (compilation, caches), not counted.
        settle: one more call of each right before a counted one, where what another function gives back to the system would
            be taken anew at this one's cost.
    """
    for function in functions.values():
        for _ in range(warmup):
            _complete(function())
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            if settle:
                _complete(function())
            began = time.perf_counter()
            _complete(function())
            samples[name].append(1e3 * (time.perf_counter() - began))
    return {name: summary(times) for name, times in samples.items()}


def _complete(result: Any) -> None:
    import jax

    jax.block_until_ready(result)


def summary(times: list[float]) -> Timing:
    """Median and interquartile range of milliseconds."""
    spread = 0.0
    if len(times) > 1:
        quartiles = statistics.quantiles(times, n=4)
        spread = quartiles[2] - quartiles[0]
    return Timing(statistics.median(times), spread)


def row(
    name: str,
    ours: Timing,
    *,
    floor_ms: float | None = None,
    peer: str | None = None,
    peer_timing: Timing | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One row of ``zoo bench``; ``ratio`` is peer / ours, above 1 where ours is faster."""
    peer_ms = peer_timing.ms if peer_timing else None
    return {
        "name": name,
        "ms": round(ours.ms, 4),
        "spread_ms": round(ours.spread_ms, 4),
        "floor_ms": None if floor_ms is None else round(floor_ms, 4),
        "peer": peer,
        "peer_ms": None if peer_ms is None else round(peer_ms, 4),
        "ratio": None if peer_ms is None else round(peer_ms / ours.ms, 3),
        **more,
    }


def by_threads(module: str, *arguments: str, threads: Sequence[int] = (1, 2)) -> list[dict[str, Any]]:
    """Rows of a module that prints them as JSON, run once for each number of threads, which is a process's own.

    JAX computes on the processor there, as the peers do, whatever GPU the machine has.

    Args:
        module: what ``python -m`` runs; its program is :func:`print_rows`.
        arguments: its arguments.
        threads: how many; more than this process has cores are left out with a line on stderr.

    Returns:
        the rows, each with its "threads".

    Raises:
        UserError, ZooError: what a process stopped with, by :func:`print_rows`, or that one failed otherwise.
    """
    rows: list[dict[str, Any]] = []
    for count in threads:
        if count > machine.cores():
            say(f"{count} threads: this process may use {machine.cores()} core, left out")
            continue
        say(f"{count} thread{'s' if count > 1 else ''}")
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, "JAX_PLATFORMS": "cpu", **dict.fromkeys(THREADS, str(count))},
            stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        found = json.loads(done.stdout or "{}")
        if done.returncode:
            if "error" in found:
                raise (UserError if done.returncode == UserError.exit_code else ZooError)(found["error"])
            raise ZooError(f"{module} with {count} threads ended with status {done.returncode}: its words are above")
        rows += [{**one, "threads": count} for one in found]
    return rows


def print_rows(rows: Callable[[], list[dict[str, Any]]]) -> None:
    """The program of a module that :func:`by_threads` runs: its rows on stdout, or the error that stopped them and its status."""
    try:
        found: Any = rows()
        status = 0
    except ZooError as error:
        found, status = {"error": str(error)}, error.exit_code
    json.dump(found, sys.stdout)
    sys.exit(status)


def benches() -> dict[str, Callable[..., list[dict[str, Any]]]]:
    """Every benchmark by name: ``core`` and what the installed families offer."""
    from zoo.core.families import families, family
    from zoo.core.overhead import core_rows

    found: dict[str, Callable[..., list[dict[str, Any]]]] = {"core": core_rows}
    for name in families():
        try:
            found |= family(name).benches
        except UserError:
            continue  # a family whose extra is not installed has nothing to run
    return found


def find(name: str) -> Callable[..., list[dict[str, Any]]]:
    """The benchmark of that name; UserError with the nearest name for an unknown one."""
    known = benches()
    if name not in known:
        raise UserError(f"no benchmark {name!r}{nearest(name, known)} (known: {', '.join(sorted(known)) or 'none'})")
    return known[name]


def switches(function: Callable[..., Any]) -> list[str]:
    """The options of a benchmark: its keyword-only parameters that are False by default."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is False]


def run(name: str, **options: bool) -> dict[str, Any]:
    """Run one benchmark with its own options: {"bench", "machine", "rows"}; UserError for an unknown one."""
    function = find(name)
    return {"bench": name, "machine": machine.facts(), "rows": function(**options)}
