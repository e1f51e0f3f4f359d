"""Times and states brought to common dtypes, save requests checked: what diffrax.diffeqsolve does to its arguments."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array
from jax.core import Tracer

from zoo.core.errors import UserError
from zoo.neural_de.solve import trees

PyTree = Any


class Sub(NamedTuple):
    """One request of a SaveAt, times as they were given."""

    t0: bool
    t1: bool
    ts: Array | None
    steps: int
    fn: Any


class Arguments(NamedTuple):
    """Checked arguments: times of one dtype, the user's direction; the state's leaves promoted to hold it."""

    terms: Any
    t0: Array
    t1: Array
    dt0: Array | None
    y0: PyTree
    subs: PyTree  # of Sub
    dense: bool


def concrete(x: Any) -> bool:
    """Whether a value is known now."""
    return not isinstance(x, Tracer)


def normalise(terms: Any, t0: Any, t1: Any, dt0: Any, y0: PyTree, saveat: diffrax.SaveAt) -> Arguments:
    """Check and promote as diffrax does: times to one floating dtype, each leaf of the state to hold it.

    Raises:
        UserError: a term that is not an ODETerm,
            complex times or states, dt0 against the direction of time, save times out of order or range, a
            request to save internals.
    """
    if not isinstance(terms, diffrax.ODETerm):
        raise UserError(f"terms: {type(terms).__name__} is not served; give one diffrax.ODETerm")
    for name in ("solver_state", "controller_state", "made_jump"):
        if getattr(saveat, name):
            raise UserError(f"saveat: {name}=True is not served: t0, t1, ts, steps, dense and fn are")
    is_sub = lambda x: isinstance(x, diffrax.SubSaveAt)  # noqa: E731
    subs = jtu.tree_leaves(saveat.subs, is_leaf=is_sub)
    timelike = [x for x in (t0, t1, dt0, *(s.ts for s in subs)) if x is not None]
    dtype = jnp.result_type(*timelike)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise UserError(f"t0, t1, dt0 and save times are real numbers, not {dtype}")
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    t0, t1 = jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)
    dt0 = None if dt0 is None else jnp.asarray(dt0, dtype)
    for name, value in (("t0", t0), ("t1", t1), ("dt0", dt0)):
        if value is not None and value.shape != ():
            raise UserError(f"{name} has shape {value.shape}: it is one number; use jax.vmap for one a trajectory")
    if dt0 is not None:
        wrong = (t1 - t0) * dt0 < 0
        message = "dt0 must point from t0 to t1"
        if concrete(wrong) and bool(wrong):
            raise UserError(f"dt0={dt0} points away from t1={t1} (t0={t0}): change its sign")
        if not concrete(wrong):
            dt0 = eqx.error_if(dt0, wrong, message)

    def promote(x: Any) -> Array:
        with jax.numpy_dtype_promotion("standard"):
            leaf_dtype = jnp.result_type(x, dtype)
        if jnp.issubdtype(leaf_dtype, jnp.complexfloating):
            raise UserError("y0 holds complex numbers: split them into real and imaginary parts")
        return jnp.asarray(x, leaf_dtype)

    if not jtu.tree_leaves(y0):
        raise UserError("y0 holds no array: there is nothing to solve")
    y0 = jtu.tree_map(promote, y0)

    def check(sub: diffrax.SubSaveAt) -> Sub:
        if sub.ts is not None and sub.steps:
            raise UserError("saveat: ts and steps in one request; give two through SaveAt(subs=[SubSaveAt(...), ...])")
        ts = None if sub.ts is None else check_times(jnp.asarray(sub.ts, dtype), t0, t1)
        return Sub(sub.t0, sub.t1, ts, int(sub.steps), sub.fn)

    return Arguments(terms, t0, t1, dt0, y0, jtu.tree_map(check, saveat.subs, is_leaf=is_sub), saveat.dense)


def check_times(ts: Array, t0: Array, t1: Array) -> Array:
    """Save times in the order of the solve, inside it; duplicates are allowed.

    Raises:
        UserError: known times that are not; times known only later raise eqx.EquinoxRuntimeError then.
    """
    sign = jnp.where(t0 < t1, 1, -1)
    unordered = (ts[1:] - ts[:-1]) * sign < 0
    outside = ~((ts - t0) * sign >= 0) | ~((t1 - ts) * sign >= 0)
    if concrete(unordered) and concrete(outside):
        if bool(jnp.any(unordered)):
            i = int(jnp.argmax(unordered))
            raise UserError(
                f"saveat.ts[{i + 1}]={ts[i + 1]} comes after {ts[i]}: give save times in the order from t0={t0} to t1={t1}"
            )
        if bool(jnp.any(outside)):
            raise UserError(f"saveat.ts={ts[int(jnp.argmax(outside))]} lies outside the solve from t0={t0} to t1={t1}")
        return ts
    ts = eqx.error_if(ts, jnp.any(unordered), "saveat.ts must be in the order of the solve")
    return eqx.error_if(ts, jnp.any(outside), "saveat.ts must lie between t0 and t1")


_warned: set[tuple[str, float]] = set()


def warn_precision(controller: diffrax.PIDController, y0: PyTree) -> None:
    """One Python warning, once a process for each dtype and tolerance, where a known rtol lies below the dtype's precision."""
    dtype = trees.dtype_of(y0)
    rtol = controller.rtol
    if not concrete(rtol) or jnp.ndim(rtol):
        return
    eps = float(jnp.finfo(dtype).eps)
    key = (str(dtype), float(rtol))
    if float(rtol) < eps and key not in _warned:
        _warned.add(key)
        warnings.warn(
            f"rtol={float(rtol):g} is below the precision of {dtype} ({eps:.2g}): the error estimate is partly round-off, "
            "and so are step sizes and regularisers; use float64 or a larger rtol for numbers free of it",
            stacklevel=4,
        )
