"""Opening the Blackbox: neural differential equations regularised by their own solver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.neural_de.solve import REGULARIZERS, RegularizedSolution, solve

__all__ = ["REGULARIZERS", "RegularizedSolution", "solve"]


def __getattr__(name: str) -> Any:
    # Imported at first use: listing models and reading configs must not wait for JAX.
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("zoo.neural_de.solve"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
