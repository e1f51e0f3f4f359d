"""What a traced program holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr, those of the programs within it too."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                if hasattr(getattr(inner, "jaxpr", inner), "eqns"):
                    yield from equations(inner)


def product_precisions(jaxpr: Any) -> set[str]:
    """The precisions asked of its products, by name; {"None"}: JAX's default for the device."""
    products = [e for e in equations(jaxpr) if e.primitive.name == "dot_general"]
    assert products
    return {
        str(one and getattr(one, "name", one))
        for e in products
        for one in (e.params["precision"] if isinstance(e.params["precision"], tuple) else (e.params["precision"],))
    }
