"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

_quiet = False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it runs say nothing: they are part of a measurement."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def say(text: str) -> None:
    """One line for a person, on stderr."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


class NoProgress:
    """The progress of a process that shows none."""

    def update(self, step: int, loss: float) -> None: ...

    def evaluated(self, step: int, loss: float, metrics: dict[str, float]) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Progress:
    """Steps a second, time left and the latest loss.

    Args:
        title: the run's name.
        total: steps of the whole run.
        start: the step it goes on from.
    """

    def __init__(self, title: str, total: int, start: int) -> None:
        self.title, self.total = title, total
        self._began, self._start = time.monotonic(), start
        self._live: Any = None
        if sys.stderr.isatty() and not _quiet:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
            )
            self._live = RichProgress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._live.add_task(title, total=total, completed=start, note="")
            self._live.start()

    def update(self, step: int, loss: float) -> None:
        """Show the state at a logged step."""
        if self._live is not None:
            self._live.update(self._task, completed=step, note=f"{self._rate(step):.1f} steps/s  loss {loss:.4f}")

    def evaluated(self, step: int, loss: float, metrics: dict[str, float]) -> None:
        """One plain line an evaluation, which stays in a log."""
        rate = self._rate(step)
        left = (self.total - step) / rate if rate > 0 else 0.0
        shown = "  ".join(f"{k} {v:.4g}" for k, v in metrics.items())
        line = f"{self.title}  step {step}/{self.total}  {rate:.1f} steps/s  {_clock(left)} left  loss {loss:.4f}  valid: {shown}"
        if self._live is not None:
            self._live.console.print(line, soft_wrap=True, highlight=False)
        else:
            say(line)

    def note(self, text: str) -> None:
        """One line beside the live one."""
        if self._live is not None:
            self._live.console.print(text, soft_wrap=True, highlight=False)
        else:
            say(text)

    def _rate(self, step: int) -> float:
        return (step - self._start) / max(time.monotonic() - self._began, 1e-9)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
