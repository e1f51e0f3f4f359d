"""OrbNet Denali: DFT energies from GFN1-xTB mean-field features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.orbnet.calculator import ZooCalculator

__all__ = ["ZooCalculator"]


def __getattr__(name: str) -> Any:
    # Imported at first use: neither ASE nor JAX may slow or break what does not need them.
    if name in __all__:
        from zoo.orbnet.calculator import ZooCalculator

        return ZooCalculator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
