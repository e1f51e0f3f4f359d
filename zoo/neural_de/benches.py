"""``zoo bench neural_de``: solves and gradients of the MNIST field beside floor, diffrax and torchdiffeq; one thread and two."""

from __future__ import annotations

from typing import Any

from zoo.core.bench import by_threads


def neural_de_rows() -> list[dict[str, Any]]:
    """Rows of forward solves and of value and gradient, for Dopri5 and Tsit5, of memory and of compilation.

    Raises:
        ZooError: a measuring process that failed.
    """
    return by_threads("zoo.neural_de.timings")
