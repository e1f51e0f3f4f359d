"""``zoo.neural_de.solve``: an ODE solve that returns its solver's error and stiffness as differentiable regularisers."""

from __future__ import annotations

import sys
import types

from zoo.neural_de.solve.api import solve
from zoo.neural_de.solve.regularizers import REDUCTIONS, REGULARIZERS
from zoo.neural_de.solve.solution import RegularizedSolution

__all__ = ["REDUCTIONS", "REGULARIZERS", "RegularizedSolution", "solve"]


class _CallableModule(types.ModuleType):
    """The package and its one function share a name; whichever of the two ``zoo.neural_de.solve`` is, calling it solves."""

    __call__ = staticmethod(solve)


sys.modules[__name__].__class__ = _CallableModule
