"""Fields that read their state through a narrow linear map alone: f(t, y) = g(t, P y).

Such are networks whose first layer is linear and narrower than the state. A step's stages then need P of their states only, and that
is the same combination of the P k_i as the state is of the k_i: what is narrow is combined, and the wide stage states are never made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
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
    products = [eqn for eqn in jaxpr.eqns if _among(eqn.invars, set(state))]
    moving = _depending({time, *state}, jaxpr.eqns)
    linear = all(eqn.primitive is jax.lax.dot_general_p and _among(eqn.invars, moving) == 1 for eqn in products)
    projected = [eqn.outvars[0] for eqn in products]
    narrow = sum(v.aval.size for v in projected) <= _SHARE * trees.size(y)
    if not (products and linear and narrow) or closed.effects or _among(jaxpr.outvars, set(state)):
        return None

    def part(invars: list[Any], outvars: list[Any], eqns: list[Any]) -> Callable[..., list[Array]]:
        inner = jaxpr.replace(invars=invars, outvars=outvars, eqns=eqns)
        return core.jaxpr_as_fun(core.ClosedJaxpr(inner, closed.consts))

    first = part([*held, *state], projected, _needed(projected, jaxpr.eqns))
    others = [eqn for eqn in jaxpr.eqns if not _among(eqn.outvars, set(projected))]
    second = part([*held, time, *projected], jaxpr.outvars, others)
    structure = jtu.tree_structure(shape)

    def project(weights: PyTree, data: PyTree, t: Array, y: PyTree) -> list[Array]:
        return first(*jtu.tree_leaves((weights, data, y)))

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


def _needed(targets: list[Any], eqns: list[Any]) -> list[Any]:
    """The equations that ``targets`` need, in order."""
    wanted, kept = set(targets), []
    for eqn in reversed(eqns):
        if _among(eqn.outvars, wanted):
            kept.append(eqn)
            wanted.update(v for v in eqn.invars if isinstance(v, core.Var))
    return kept[::-1]
