"""Filling a cache for many molecules: parallel, with progress, resumable; a molecule that fails is named and left out."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.core.errors import DamagedError, UserError, ZooError
from zoo.core.progress import say
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.molecule import Molecule
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
        UserError: ``workers`` or ``time_limit`` that are not positive.
    """
    if workers < 1 or time_limit < 1:
        raise UserError(f"workers={workers} and time_limit={time_limit} must be positive")
    report = Report()
    todo = []
    for index, molecule in enumerate(molecules):
        state = _state(cache, molecule)
        if state == "ready":
            report.ready.append(index)
            continue
        if state == "damaged":
            report.recomputed.append(molecule.name or molecule.formula)
        todo.append(index)
    with _bar(len(molecules), len(report.ready), progress) as advance:
        run = _in_process if workers == 1 else _in_workers
        for index, error in run(molecules, todo, cache, workers, time_limit, backend):
            molecule = molecules[index]
            if error is None:
                report.ready.append(index)
                report.computed += 1
            else:
                report.failures.append(Failure(molecule.name or molecule.formula, error))
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


def _in_process(
    molecules: Sequence[Molecule], todo: list[int], cache: ConvergedCache, *_: Any
) -> Iterator[tuple[int, str | None]]:
    for index in todo:
        yield index, _compute(cache, molecules[index])


def _compute(cache: ConvergedCache, molecule: Molecule) -> str | None:
    """Make one entry; the error's line where it fails."""
    try:
        cache.get(molecule)
    except ZooError as error:
        return str(error)
    return None


def _guarded(cache: ConvergedCache, molecule: Molecule, index: int, time_limit: int) -> tuple[int, str | None]:
    """In a worker: leave a mark while computing, so that a worker that dies can be blamed on its molecule.

    SIGALRM's default action ends the process: compiled code cannot be interrupted in a gentler way.
    """
    mark = _mark(cache, molecule)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(time_limit)
    try:
        return index, _compute(cache, molecule)
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        mark.unlink(missing_ok=True)


def _mark(cache: ConvergedCache, molecule: Molecule) -> Path:
    path = cache.path(molecule)
    return path.with_name(f".running-{path.name}")


def _in_workers(
    molecules: Sequence[Molecule], todo: list[int], cache: ConvergedCache, workers: int, time_limit: int, backend: str
) -> Iterator[tuple[int, str | None]]:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = {index: molecules[index] for index in todo}
    while left:
        try:
            for index, error in _pool(left, cache, workers, time_limit, backend):
                del left[index]
                yield index, error
        except TerminatedWorkerError:
            # Some worker died and took the pool with it. Whoever left a mark is tried alone; the others go on.
            for index, molecule in list(left.items()):
                mark = _mark(cache, molecule)
                if mark.exists():
                    mark.unlink()
                    del left[index]
                    yield index, _alone(molecule, cache, time_limit)


def _alone(molecule: Molecule, cache: ConvergedCache, time_limit: int) -> str | None:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    began = time.monotonic()
    try:
        return next(_pool({0: molecule}, cache, 2, time_limit, "loky"))[1]
    except TerminatedWorkerError:
        _mark(cache, molecule).unlink(missing_ok=True)
        slow = time.monotonic() - began >= time_limit
        why = f"took longer than the limit of {time_limit} s" if slow else "ended its worker process"
        return f"{molecule.label}{molecule.formula}: the single point {why}"


def _pool(
    molecules: dict[int, Molecule], cache: ConvergedCache, workers: int, time_limit: int, backend: str
) -> Iterator[tuple[int, str | None]]:
    """What :func:`_guarded` returns for each molecule, in the order of completion."""
    import joblib

    threads = {"inner_max_num_threads": 1} if backend == "loky" else {}
    with joblib.parallel_config(backend=backend, **threads):
        parallel: Any = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
        yield from parallel(joblib.delayed(_guarded)(cache, m, i, time_limit) for i, m in list(molecules.items()))


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
