"""Fields that read their state through a narrow linear map alone: f(t, y) = g(t, P y).

Such are networks whose first layer is linear and narrower than the state. A step's stages then need P of their states only, and that
is the same combination of the P k_i as the state is of the k_i: what is narrow is combined, and the wide stage states are never made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array
from jax.extend import core

from zoo.neural_de.solve import trees

PyTree = Any
Function = Callable[[PyTree, PyTree, Array, PyTree], PyTree]

# P y has at most this share of y's entries: combining what is hardly narrower would gain nothing.
_SHARE = 0.5


def split(function: Function, weights: PyTree, data: PyTree, t: Array, y: PyTree) -> tuple[Function, Function] | None:
    """Split f into P and g, or None where it is not of that form.

    f is of that form where every operation on a leaf of the state is a product with an array that depends on neither state nor
    time, and those products together have at most half of the state's entries.

    Args:
        function: f as ``(weights, data, t, y) -> dy/dt``.
        weights, data, t, y: its arguments, for their structures, shapes and dtypes.

    Returns:
        ``(weights, data, t, y) -> P y``, a list of arrays (t is not used), and ``(weights, data, t, P y) -> dy/dt``.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(weights, data, t, y)
    jaxpr = closed.jaxpr
    size = len(jaxpr.invars) - len(jtu.tree_leaves(y))
    held, time, state = jaxpr.invars[: size - 1], jaxpr.invars[size - 1], jaxpr.invars[size:]
    leaves = set(state)
    products = [eqn for eqn in jaxpr.eqns if _among(eqn.invars, leaves)]
    moving = _depending({time, *state}, jaxpr.eqns)
    linear = all(eqn.primitive is jax.lax.dot_general_p and _among(eqn.invars, moving) == 1 for eqn in products)
    projected = [eqn.outvars[0] for eqn in products]
    narrow = sum(v.aval.size for v in projected) <= _SHARE * trees.size(y)
    if not (products and linear and narrow) or closed.effects or _among(jaxpr.outvars, leaves):
        return None

    def part(invars: list[Any], outvars: list[Any], eqns: list[Any]) -> Callable[..., list[Array]]:
        inner = jaxpr.replace(invars=invars, outvars=outvars, eqns=eqns)
        return core.jaxpr_as_fun(core.ClosedJaxpr(inner, closed.consts))

    sides = [_among(eqn.invars[:1], leaves) for eqn in products]  # 1 where the state is the left operand
    factors = [eqn.invars[left] for eqn, left in zip(products, sides, strict=True)]
    first = part(held, factors, _needed({v for v in factors if isinstance(v, core.Var)}, jaxpr.eqns))
    done = set(projected)
    others = [eqn for eqn in jaxpr.eqns if not _among(eqn.outvars, done)]
    second = part([*held, time, *projected], jaxpr.outvars, others)
    structure = jtu.tree_structure(shape)

    def project(weights: PyTree, data: PyTree, t: Array, y: PyTree) -> list[Array]:
        values = dict(zip(state, jtu.tree_leaves(y), strict=True))
        fixed = first(*jtu.tree_leaves((weights, data)))
        return [
            _product(eqn.params, values[eqn.invars[1 - left]], factor, bool(left))
            for eqn, left, factor in zip(products, sides, fixed, strict=True)
        ]

    def slope(weights: PyTree, data: PyTree, t: Array, inner: list[Array]) -> PyTree:
        return jtu.tree_unflatten(structure, second(*jtu.tree_leaves((weights, data, t, inner))))

    return project, slope


def _among(variables: list[Any], chosen: set[Any]) -> int:
    """How many of ``variables``, which may be literals, are ``chosen``."""
    return sum(isinstance(v, core.Var) and v in chosen for v in variables)


def _depending(sources: set[Any], eqns: list[Any]) -> set[Any]:
    """The variables that depend on ``sources``, those included."""
    found = set(sources)
    for eqn in eqns:
        if _among(eqn.invars, found):
            found.update(eqn.outvars)
    return found


def _needed(targets: set[Any], eqns: list[Any]) -> list[Any]:
    """The equations that ``targets`` need, in order."""
    wanted, kept = set(targets), []
    for eqn in reversed(eqns):
        if _among(eqn.outvars, wanted):
            kept.append(eqn)
            wanted.update(v for v in eqn.invars if isinstance(v, core.Var))
    return kept[::-1]


def _product(params: Any, state: Array, factor: Array, left: bool) -> Array:
    """dot_general of a state and a fixed factor, the state as its left operand if ``left``.

    The factor's contracted axes come last, where the compiler cannot undo it. So its cotangent is a product of shape (narrow, wide), on
    CPU a third faster than (wide, narrow).
    """
    contracted, batch = params["dimension_numbers"]
    if batch[0]:
        return jax.lax.dot_general_p.bind(*((state, factor) if left else (factor, state)), **params)
    of_state, of_factor = contracted if left else contracted[::-1]
    free = [axis for axis in range(factor.ndim) if axis not in of_factor]
    turned = jax.lax.optimization_barrier(jnp.transpose(factor, [*free, *of_factor]))
    last = tuple(range(len(free), factor.ndim))
    operands, contracted = ((state, turned), (of_state, last)) if left else ((turned, state), (last, of_state))
    return jax.lax.dot_general_p.bind(*operands, **{**params, "dimension_numbers": (contracted, batch)})
