"""GFN1-xTB and GFN2-xTB single points of many molecules: in parallel, kept on disk by content, resumable, failures named."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core import machine
from zoo.core.errors import UserError, ZooError
from zoo.core.paths import ANOTHER_CACHE, cache_dir
from zoo.core.progress import say
from zoo.core.writing import require_writable
from zoo.orbnet.gfn1 import Method, engine_version, single_point
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers.frame import Failure

MAX_ITERATIONS = 500
_CHUNK = 16


@dataclass(eq=False)
class XTB:
    """A baseline that answers as a predictor does: ``energies(molecules)`` in hartree, NaN for what failed.

    Args:
        method: "GFN1-xTB" or "GFN2-xTB".
        folder: where energies are kept, one line a molecule; the cache folder of the zoo if None.
        workers: processes of one thread each, started fresh; 1 stays in this process, None takes a process a core.
        time_limit: seconds a molecule may take in a worker.
        progress: show how far it is, on stderr.

    Attributes:
        failures: the molecules that failed, by name, with one line that says why.
    """

    method: Method
    folder: Path | None = None
    workers: int | None = None
    time_limit: int = 600
    progress: bool = True
    failures: dict[str, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in ("GFN1-xTB", "GFN2-xTB"):
            raise UserError(f"method={self.method!r} is not one of GFN1-xTB, GFN2-xTB")
        self.workers = machine.cores() if self.workers is None else self.workers
        if self.workers < 1 or self.time_limit < 1:
            raise UserError(f"workers={self.workers} and time_limit={self.time_limit} must be positive")

    @property
    def store(self) -> EnergyStore:
        """Where the energies are kept."""
        folder = self.folder or cache_dir() / "orbnet" / "energies"
        return EnergyStore(Path(folder) / f"{self.method}-{engine_version().replace(' ', '-')}.jsonl")

    def energy(self, molecule: Molecule) -> float:
        """The energy of one molecule, hartree; EngineError where it fails."""
        return single_point(molecule, self.method, max_iterations=MAX_ITERATIONS).energy

    def energies(self, molecules: Sequence[Molecule]) -> np.ndarray:
        """Energies in hartree, float64, (n_molecules,), NaN where the single point fails (see ``failures``).

        What was computed before, in this or another process, is read; an interrupted call goes on where it stopped.
        """
        store = self.store
        keys = [content_key(m) for m in molecules]
        known = store.read()
        todo: dict[str, Molecule] = {}
        for key, molecule in zip(keys, molecules):
            if key not in known:
                todo.setdefault(key, molecule)
        if todo:
            with store.append() as write:
                for done, (key, result) in enumerate(self._compute(todo), 1):
                    write(key, result)
                    known[key] = result
                    if self.progress and (done % max(len(todo) // 10, 200) == 0 or done == len(todo)):
                        say(f"{self.method}: {done} of {len(todo)} single points")
        for molecule, key in zip(molecules, keys):
            if isinstance(error := known[key], str):
                name = molecule.name or molecule.formula
                self.failures[name] = Failure(name, f"{molecule.label}{error}")
        return np.array([np.nan if isinstance(v := known[key], str) else v for key in keys], np.float64)

    def _compute(self, todo: Mapping[str, Molecule]) -> Iterator[tuple[str, float | str]]:
        items = list(todo.items())
        if self.workers == 1:
            for key, molecule in items:
                yield key, _attempt(self.method, molecule)
            return
        chunks = [items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK)]
        yield from _in_workers(chunks, self.method, self.workers or 1, self.time_limit)


def content_key(molecule: Molecule) -> str:
    """32 hexadecimal digits of what an energy depends on: elements, positions, charge, spin; not the name."""
    digest = hashlib.sha256(f"{MAX_ITERATIONS}|{molecule.charge}|{molecule.spin}|".encode())
    digest.update(molecule.numbers.astype("<i8").tobytes())
    digest.update(molecule.positions_bohr.astype("<f8").tobytes())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class EnergyStore:
    """A file of lines {"key", "energy"} or {"key", "error"}: appended to, never rewritten.

    A line cut short by a kill is passed over, so that its molecule is computed again.
    """

    path: Path

    def read(self) -> dict[str, float | str]:
        """Energies in hartree, or the error's line, by key."""
        found: dict[str, float | str] = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self.path.open(encoding="utf-8") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    row = json.loads(line)
                    found[row["key"]] = row["error"] if "error" in row else float(row["energy"])
        return found

    @contextlib.contextmanager
    def append(self) -> Iterator[Any]:
        """The function (key, energy or error) that adds a line at once; several processes may do so."""
        require_writable(self.path.parent, ANOTHER_CACHE)
        with self.path.open("ab", buffering=0) as file:
            if file.tell() and not self._ends_with_newline():
                file.write(b"\n")

            def write(key: str, result: float | str) -> None:
                row = {"key": key, "error" if isinstance(result, str) else "energy": result}
                file.write(json.dumps(row).encode() + b"\n")

            yield write

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def _attempt(method: Method, molecule: Molecule) -> float | str:
    """The energy in hartree, or the line that says why there is none, without the molecule's name."""
    try:
        return single_point(molecule, method, max_iterations=MAX_ITERATIONS).energy
    except ZooError as error:
        return str(error).removeprefix(molecule.label)


def _chunk(method: Method, items: list[tuple[str, Molecule]], time_limit: int) -> list[tuple[str, float | str]]:
    """In a worker. SIGALRM's default action ends the process: compiled code cannot be interrupted in a gentler way."""
    results = []
    for key, molecule in items:
        if hasattr(signal, "alarm"):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(time_limit)
        try:
            results.append((key, _attempt(method, molecule)))
        finally:
            if hasattr(signal, "alarm"):
                signal.alarm(0)
    return results


def _in_workers(
    chunks: list[list[tuple[str, Molecule]]], method: Method, workers: int, time_limit: int
) -> Iterator[tuple[str, float | str]]:
    """Results as chunks end. Where a worker dies, the chunks left are halved until its molecule stands alone."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = dict(enumerate(chunks))
    try:
        for index, results in _pool(left, method, workers, time_limit):
            del left[index]
            yield from results
    except TerminatedWorkerError:
        for items in left.values():
            half = len(items) // 2
            if len(chunks) > 1:  # the others' work was lost with the pool: each goes again, alone
                yield from _in_workers([items], method, 2, time_limit)
            elif half:
                yield from _in_workers([items[:half]], method, 2, time_limit)
                yield from _in_workers([items[half:]], method, 2, time_limit)
            else:
                yield items[0][0], f"the single point ended its worker process or took longer than {time_limit} s"


def _pool(
    chunks: dict[int, list[tuple[str, Molecule]]], method: Method, workers: int, time_limit: int
) -> Iterator[tuple[int, list[tuple[str, float | str]]]]:
    import joblib

    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel: Any = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
        yield from parallel(joblib.delayed(_numbered)(i, method, c, time_limit) for i, c in list(chunks.items()))


def _numbered(
    index: int, method: Method, items: list[tuple[str, Molecule]], time_limit: int
) -> tuple[int, list[tuple[str, float | str]]]:
    return index, _chunk(method, items, time_limit)
