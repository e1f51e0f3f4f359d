"""Training runs in processes of their own, forked from one that has the libraries loaded: half a second each, not five."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import tiny

from zoo.core.metrics import read_rows

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["zoo.core.train", "grain", "optax"])
PATIENCE = 300.0  # seconds; a machine under load is slow, a deadlock is for ever


class Program:
    """The tiny task, training in ``folder``.

    Args:
        folder: the run's folder.
        environment: environment variables for the process; JAX_ENABLE_X64 and XLA_FLAGS work too.
        name: distinguishes what several processes say.
        changes: keys of the configuration.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None, name: str = "", **changes: Any) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.errors = folder.with_name(f"{folder.name}{name}.stderr")
        arguments = (str(folder), changes, environment or {}, str(self.errors))
        self._process = CONTEXT.Process(target=tiny.main, args=arguments)
        self._process.start()

    def said(self) -> str:
        return self.errors.read_text() if self.errors.exists() else ""

    def send(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self) -> int:
        """The exit status, negative for a signal."""
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"still running after {PATIENCE} s:\n{self.said()[-2000:]}")
        return self._process.exitcode

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def wait_until(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            assert self._process.exitcode is None, self.said()[-2000:]
            assert time.monotonic() < end, self.said()[-2000:]
            time.sleep(0.01)


def reached(folder: Path, step: int) -> Callable[[], bool]:
    """Whether the metrics of a run show ``step``."""
    return lambda: any(r["step"] >= step for r in read_rows(folder / "metrics.jsonl", tolerate_torn=True))


def pair(folder: Path, **changes: Any) -> list[Program]:
    """Two processes of one run, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    both = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    return [Program(folder, {**both, "JAX_PROCESS_ID": str(i)}, name=f"-{i}", **changes) for i in range(2)]
