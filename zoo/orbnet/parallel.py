"""One function on many molecules in worker processes; a molecule that kills or stalls its worker is named and left out."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.core.errors import UserError, ZooError
from zoo.orbnet.features import Kind, features
from zoo.orbnet.gfn1 import EngineError, converge
from zoo.orbnet.graph import MolecularGraph
from zoo.orbnet.molecule import Molecule


@dataclass(frozen=True)
class Failed:
    """In place of a result.

    Attributes:
        error: says in one line why there is none.
    """

    error: ZooError


@dataclass(frozen=True)
class Workers:
    """How molecules are shared out.

    Attributes:
        count: processes, each with one thread.
        time_limit: seconds a molecule may take before its worker is ended and the molecule reported.
        backend: joblib's; "loky" starts fresh local processes, "dask" and "ray" use a cluster that was set up with joblib.
    """

    count: int = 1
    time_limit: int = 600
    backend: str = "loky"

    def __post_init__(self) -> None:
        if self.count < 1 or self.time_limit < 1:
            raise UserError(f"workers={self.count} and time_limit={self.time_limit} must be positive")


def graph_of(molecule: Molecule, kind: Kind, cutoff: float) -> MolecularGraph:
    """The graph of a molecule that GFN1-xTB converges; far less travels back from a worker than with the matrices."""
    return features(converge(molecule), kind, cutoff)


def attempt(function: Callable[[Molecule], Any], molecule: Molecule) -> Any:
    """What ``function`` gives, or :class:`Failed` where it raises one of the zoo's errors."""
    try:
        return function(molecule)
    except ZooError as error:
        return Failed(error)


def each(
    function: Callable[[Molecule], Any],
    molecules: Mapping[int, Molecule],
    workers: Workers,
    mark: Callable[[int], Path],
) -> Iterator[tuple[int, Any]]:
    """(index, result or :class:`Failed`) of every molecule, in the order of completion.

    Args:
        function: what to compute; it and its result travel between processes.
        molecules: by index.
        workers: how many processes and how long.
        mark: index -> a file that a worker touches while it computes that molecule: one that dies is blamed on it.
    """
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = dict(molecules)
    while left:
        try:
            for index, result in _pool(function, left, workers, mark):
                del left[index]
                yield index, result
        except TerminatedWorkerError:
            # Some worker died and took the pool with it. Whoever left a mark is tried alone; the others go on.
            for index, molecule in list(left.items()):
                if mark(index).exists():
                    mark(index).unlink()
                    del left[index]
                    yield index, _alone(function, index, molecule, workers, mark)


def _alone(
    function: Callable[[Molecule], Any], index: int, molecule: Molecule, workers: Workers, mark: Callable[[int], Path]
) -> Any:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    began = time.monotonic()
    try:
        return next(_pool(function, {index: molecule}, Workers(2, workers.time_limit), mark))[1]
    except TerminatedWorkerError:
        mark(index).unlink(missing_ok=True)
        slow = time.monotonic() - began >= workers.time_limit
        why = f"took longer than the limit of {workers.time_limit} s" if slow else "ended its worker process"
        return Failed(EngineError(f"{molecule.label}{molecule.formula}: the single point {why}"))


def _pool(
    function: Callable[[Molecule], Any],
    molecules: Mapping[int, Molecule],
    workers: Workers,
    mark: Callable[[int], Path],
) -> Iterator[tuple[int, Any]]:
    import joblib

    threads = {"inner_max_num_threads": 1} if workers.backend == "loky" else {}
    with joblib.parallel_config(backend=workers.backend, **threads):
        parallel: Any = joblib.Parallel(n_jobs=workers.count, return_as="generator_unordered")
        tasks = [(function, m, i, workers.time_limit, mark(i)) for i, m in molecules.items()]
        yield from parallel(joblib.delayed(_guarded)(*task) for task in tasks)


def _guarded(
    function: Callable[[Molecule], Any], molecule: Molecule, index: int, time_limit: int, mark: Path
) -> tuple[int, Any]:
    """In a worker: SIGALRM's default action ends the process, for compiled code cannot be interrupted in a gentler way."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(time_limit)
    try:
        return index, attempt(function, molecule)
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        mark.unlink(missing_ok=True)
