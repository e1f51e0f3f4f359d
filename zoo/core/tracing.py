"""A profiler trace of a few training steps, for TensorBoard or Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

WARM_UP = 3  # compilation and the first fills of the pipeline are not what one wants to see


class Trace:
    """Traces steps ``WARM_UP`` to ``WARM_UP + count`` that this process takes into ``<run>/profile``.

    Args:
        folder: the run's folder.
        count: number of steps to trace, 0 for none.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder / "profile", count
        self._seen, self._open = 0, False

    def before(self) -> None:
        """Called before each step."""
        if self._count and self._seen == WARM_UP:
            jax.profiler.start_trace(str(self._folder))
            self._open = True
        self._seen += 1

    def after(self, result: Any) -> None:
        """Called after each step with what it returned."""
        if self._open and self._seen == WARM_UP + self._count:
            jax.block_until_ready(result)  # steps are dispatched ahead of time: the trace must hold their work
            self.close()

    def close(self) -> None:
        """Write what was traced; also where the run ends before the last step to trace."""
        if self._open:
            self._open = False
            jax.profiler.stop_trace()
