"""The matrix products of a JAX function, found in its jaxpr and run alone: the floor that the function is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Product:
    """One ``dot_general``.

    Attributes:
        left, right: shapes of the operands.
        dimensions: contracted and batch dimensions as lax wants them.
        dtype: of the operands.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    dimensions: Any
    dtype: Any

    @property
    def flops(self) -> int:
        """Two for each multiplication and addition."""
        (_, contracted), (_, batch) = self.dimensions
        free = [n for i, n in enumerate(self.right) if i not in (*contracted, *batch)]
        return 2 * int(np.prod(self.left)) * int(np.prod(free))


def products(function: Callable[..., Any], *arguments: Any) -> list[Product]:
    """The matrix products that ``function`` computes with these arguments, gradients included where it takes them."""
    return list(_found(jax.make_jaxpr(function)(*arguments).jaxpr))


def _found(jaxpr: Any) -> Iterator[Product]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            left, right = (v.aval for v in equation.invars)
            yield Product(left.shape, right.shape, equation.params["dimension_numbers"], left.dtype)
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _found(inner)


def run_products(found: list[Product]) -> Callable[[], Any]:
    """A compiled function that runs them all on random operands, and nothing else."""
    generator = np.random.default_rng(0)

    def operand(shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jnp.asarray(generator.normal(size=shape), dtype)

    operands = [(operand(p.left, p.dtype), operand(p.right, p.dtype)) for p in found]

    @jax.jit
    def run(operands: Any) -> Any:
        return [jax.lax.dot_general(a, b, p.dimensions) for p, (a, b) in zip(found, operands)]

    return lambda: run(operands)
