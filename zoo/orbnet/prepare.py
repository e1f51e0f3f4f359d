"""Filling a cache for many molecules: parallel, with progress, resumable; a molecule that fails is named and left out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from zoo.core.errors import DamagedError
from zoo.core.paths import ANOTHER_CACHE
from zoo.core.progress import say
from zoo.core.writing import require_writable
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.parallel import Failed, Workers, attempt, each
from zoo.orbnet.readers.frame import Failure


@dataclass
class Report:
    """What :func:`prepare` did.

    Attributes:
        ready: indices of the molecules whose entries are on disk now, in order.
        computed: how many of them were computed in this call.
        recomputed: names of the molecules whose entries were damaged and were written anew.
        failures: the others, each with its name and one line that says why.
    """

    ready: list[int] = field(default_factory=list)
    computed: int = 0
    recomputed: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def prepare(
    molecules: Sequence[Molecule],
    cache: ConvergedCache,
    *,
    workers: int = 1,
    time_limit: int = 600,
    backend: str = "loky",
    progress: bool = True,
) -> Report:
    """Converge all molecules into ``cache``; those already there are only checked.

    Args:
        molecules: what to compute.
        cache: where entries go. An interrupted call goes on where it stopped.
        workers: processes, each with one thread; 1 stays in this process.
        time_limit: seconds a molecule may take in a worker before the worker is ended and the molecule reported.
        backend: joblib's; "loky" starts fresh local processes, "dask" and "ray" use a cluster that was set up with joblib.
        progress: show progress on stderr.

    Raises:
        UserError: ``workers`` or ``time_limit`` that are not positive; a cache that cannot be written.
    """
    processes = Workers(workers, time_limit, backend)
    report = Report()
    todo = {}
    for index, molecule in enumerate(molecules):
        state = _state(cache, molecule)
        if state == "ready":
            report.ready.append(index)
            continue
        if state == "damaged":
            report.recomputed.append(molecule.name or molecule.formula)
        todo[index] = molecule
    if todo:
        require_writable(cache.folder, ANOTHER_CACHE)
    with _bar(len(molecules), len(report.ready), progress) as advance:
        compute = partial(_compute, cache)
        here = ((index, attempt(compute, molecule)) for index, molecule in todo.items())
        for index, found in (
            here if workers == 1 else each(compute, todo, processes, lambda i: _mark(cache, molecules[i]))
        ):
            molecule = molecules[index]
            if isinstance(found, Failed):
                report.failures.append(Failure(molecule.name or molecule.formula, str(found.error)))
            else:
                report.ready.append(index)
                report.computed += 1
            advance(len(report.failures))
    report.ready.sort()
    if progress:
        for name in report.recomputed:
            say(f"{name}: its cache entry was damaged and was computed anew")
        for failure in report.failures:
            say(f"left out: {failure.error}")
    return report


def _state(cache: ConvergedCache, molecule: Molecule) -> str:
    try:
        return "missing" if cache.load(molecule) is None else "ready"
    except DamagedError:
        cache.path(molecule).unlink(missing_ok=True)
        return "damaged"


def _compute(cache: ConvergedCache, molecule: Molecule) -> None:
    """Make one entry; nothing that would travel back."""
    cache.get(molecule)


def _mark(cache: ConvergedCache, molecule: Molecule) -> Path:
    path = cache.path(molecule)
    return path.with_name(f".running-{path.name}")


@contextlib.contextmanager
def _bar(total: int, done: int, shown: bool) -> Iterator[Any]:
    """A live bar on a terminal, a line at every tenth elsewhere; yields the function that advances it."""
    if not shown or total == done:
        yield lambda failed: None
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("GFN1-xTB"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total, completed=done, note="")
            yield lambda failed: bar.update(task, advance=1, note=f"{failed} failed" if failed else "")
        return
    began, count, step = time.monotonic(), done, max((total - done) // 10, 1)

    def advance(failed: int) -> None:
        nonlocal count
        count += 1
        if (count - done) % step == 0:
            rate = (count - done) / max(time.monotonic() - began, 1e-9)
            say(f"GFN1-xTB  {count}/{total}  {rate:.1f} molecules/s" + (f"  {failed} failed" if failed else ""))

    yield advance
