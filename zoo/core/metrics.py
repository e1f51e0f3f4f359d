"""metrics.jsonl, one JSON object a line, and TensorBoard beside it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from zoo.core.errors import DamagedError, ZooError


@runtime_checkable
class Sink(Protocol):
    """Where metrics go beside metrics.jsonl."""

    def write(self, step: int, split: str, values: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class NoLog:
    """The log of a process that writes none: of several, number 0 writes for all."""

    def write(self, step: int, split: str, values: dict[str, Any]) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class MetricsLog:
    """Appends rows {"step", "split", metric: value, ...}; a resumed run first cuts back what lies after its state.

    Args:
        folder: the run's folder; rows go to ``metrics.jsonl`` in it and, if asked for, events to ``tensorboard/``.
        restored_step: the step the run goes on from, 0 for a new run.
        tensorboard: also write TensorBoard event files.
        also: a further log, closed with this one.

    Raises:
        ZooError: the disk is full or cannot be written.
        DamagedError: a line of the file that is there is not a row.
    """

    def __init__(self, folder: Path, restored_step: int, tensorboard: bool, also: Sink | None = None) -> None:
        self.path = folder / "metrics.jsonl"
        self._also = also
        with self._explained():
            self._cut_back(restored_step)
            self._file = self.path.open("a", encoding="utf-8")
        self._board = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=restored_step + 1, flush_secs=30)

    def _cut_back(self, step: int) -> None:
        """Keep the rows up to ``step``: a killed run may have logged past its last state, or half a line."""
        rows = [row for row in read_rows(self.path, tolerate_torn=True) if row["step"] <= step]
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(_line(row) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def write(self, step: int, split: str, values: dict[str, Any]) -> None:
        """Log ``values`` of ``split`` at ``step``."""
        with self._explained():
            self._file.write(_line({"step": step, "split": split, **values}))
            self._file.flush()  # so that a person or a plot can follow the run
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    self._board.add_scalar(f"{split}/{name}", value, step)
        if self._also is not None:
            self._also.write(step, split, values)

    def sync(self) -> None:
        """Put every row on disk; called before the state of the same step is saved."""
        with self._explained():
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        try:
            self.sync()
        finally:
            with contextlib.suppress(OSError):  # rows that a full disk refused: said already
                self._file.close()
            for other in (self._board, self._also):
                if other is not None:
                    other.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ZooError(
                f"{self.path} could not be written: {error.strerror or error}; the last state saved is whole: make room, "
                "then run the same command again"
            ) from error


def _line(row: dict[str, Any]) -> str:
    # JSON has no NaN: a metric that is not finite is written as text, so that any reader can parse the file.
    safe = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(safe) + "\n"


def read_rows(path: Path, *, tolerate_torn: bool = False) -> list[dict[str, Any]]:
    """The rows of a metrics file; a torn last line (a kill while writing) is left out if ``tolerate_torn``.

    Raises:
        DamagedError: another line is not a row.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is not None:
            rows.append(row)
        elif not (tolerate_torn and number == len(lines)):
            shown = line[:40].decode(errors="replace")
            raise DamagedError(f"{path}, line {number}: {shown!r} is not a row of metrics: mend or remove the line")
    return rows


def _row(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None where it is no row."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"step", "split"} <= row.keys() else None
