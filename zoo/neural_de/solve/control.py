"""Step size control: diffrax's PIDController as scalar functions, differentiable through the step sizes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array, lax

PyTree = Any

RUNNING, UNDERFLOW = 0, 1


class Clock(NamedTuple):
    """What step size control carries from attempt to attempt; scalars.

    Attributes:
        start, end: the attempt's interval, in time that runs forwards.
        inverse, inverse2: 1/E of the last two accepted steps.
        at_dtmin: the attempt has the smallest allowed step and is kept whatever its error.
    """

    start: Array
    end: Array
    inverse: Array
    inverse2: Array
    at_dtmin: Array


class Verdict(NamedTuple):
    """What the controller says about an attempt.

    Attributes:
        clock: the next attempt's.
        keep: the step is accepted.
        code: RUNNING or UNDERFLOW.
        matters: the next step size depends on the error estimate (it was not cut to a limit).
    """

    clock: Clock
    keep: Array
    code: Array
    matters: Array


class PID(NamedTuple):
    """A PIDController's settings; scalars (Python numbers or arrays), None where unset."""

    rtol: Any
    atol: Any
    pcoeff: Any
    icoeff: Any
    dcoeff: Any
    dtmin: Any
    dtmax: Any
    force_dtmin: bool
    factormin: Any
    factormax: Any
    safety: Any
    order: Any


def clip_floor(t1: Array) -> Array:
    """The time from which a step is stretched to end at ``t1``: 100 units in the last place below it, as in diffrax."""
    kind = {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}[t1.dtype.itemsize]
    lowest = jnp.iinfo(kind).min
    bits = lax.bitcast_convert_type(lax.stop_gradient(t1), kind)
    rank = jnp.where(bits < 0, lowest - bits, bits) - 100  # floats in their order; equal for +0 and -0
    floor = lax.bitcast_convert_type(jnp.where(rank < 0, lowest - rank, rank), t1.dtype)
    return jnp.where(t1 == 0, -jnp.finfo(t1.dtype).tiny, floor)  # denormal numbers may compare as zero


def scaled_error(pid: PID, error: PyTree, y0: PyTree, y1: PyTree) -> PyTree:
    """error / (atol + rtol max(|y0|, |y1|)), entry by entry."""

    def leaf(e: Array, a: Array, b: Array) -> Array:
        rtol, atol = jnp.asarray(pid.rtol, e.dtype), jnp.asarray(pid.atol, e.dtype)
        return e / (atol + jnp.maximum(jnp.abs(a), jnp.abs(b)) * rtol)

    return jtu.tree_map(leaf, error, y0, y1)


def judge(pid: PID, clock: Clock, t1: Array, floor: Array, error: Array, exact: bool) -> Verdict:
    """Accept or reject an attempt and choose the next interval, as diffrax's PIDController and its end-time clipping do.

    Args:
        pid: the controller's settings.
        clock: the attempt's.
        t1, floor: end time, and its clip_floor.
        error: E, the tolerance-scaled error of the attempt; inf where it could not be computed.
        exact: whether the next step size is a differentiable function of E.
    """
    stop = lambda x: x if exact else lax.stop_gradient(x)  # noqa: E731
    start, end, inverse, inverse2, at_dtmin = clock
    keep = error < 1
    if pid.dtmin is not None:
        keep = keep | at_dtmin
    usable = (error > 0) & jnp.isfinite(error)
    safe = jnp.where(usable, error, 1)
    current = stop(1 / safe)

    c1 = (pid.icoeff + pid.pcoeff + pid.dcoeff) / pid.order
    c2 = -(pid.pcoeff + 2 * pid.dcoeff) / pid.order
    c3 = pid.dcoeff / pid.order
    factor = pid.safety
    for base, power in ((current, c1), (stop(inverse), c2), (stop(inverse2), c3)):
        if not (isinstance(power, (int, float)) and power == 0):
            factor = factor * base**power
    raw = jnp.asarray(factor, error.dtype)
    low = jnp.where(keep, 1, jnp.asarray(pid.factormin, raw.dtype))
    high = jnp.where(keep, jnp.asarray(pid.factormax, raw.dtype), jnp.asarray(pid.safety, raw.dtype))
    # E = 0 asks for the longest step, a failed attempt for the shortest.
    edge = jnp.where(error == 0, high, low)
    inside = usable & (raw > low) & (raw < high)
    factor = jnp.where(inside, raw, lax.stop_gradient(jnp.where(usable, jnp.clip(raw, low, high), edge)))
    length = (end - start) * factor.astype(end.dtype)

    code = jnp.full((), RUNNING, jnp.int32)
    if pid.dtmax is not None:
        length = jnp.minimum(length, jnp.asarray(pid.dtmax, length.dtype))
    if pid.dtmin is not None:
        dtmin = jnp.asarray(pid.dtmin, length.dtype)
        if not pid.force_dtmin:
            code = jnp.where(length < dtmin, UNDERFLOW, code)
        length = jnp.where(at_dtmin & (factor == 1), dtmin, length)
        at_dtmin = length <= dtmin
        length = jnp.maximum(length, dtmin)

    next_start = jnp.where(keep, end, start)
    next_end = next_start + length
    next_start = jnp.where(next_start < t1, next_start, t1)
    # A rejected attempt becomes shorter: where round-off undoes the factor, as it soon does in 16 bit, it is halved.
    halved = ~keep & ~(next_end < end) & ~at_dtmin
    next_end = jnp.where(halved, start + (end - start) / 2, next_end)
    clipped = next_end > floor
    halfway = start + (t1 - start) / 2  # diffrax takes it always, though it may lie behind the rejected end
    shorter = jnp.where(halfway < next_end, halfway, next_end)
    next_end = jnp.where(clipped, jnp.where(keep, t1, shorter), next_end)
    # A step that no longer moves the time, or a rejected one that cannot be halved, ends the solve; diffrax would run on to
    # max_steps.
    stuck = (~(next_end > next_start) & (next_start < t1)) | (~keep & ~(next_end < end) & ~at_dtmin)
    code = jnp.where(stuck, UNDERFLOW, code)

    kept_inverse = jnp.where(usable, current, 1)
    next_clock = Clock(
        next_start,
        next_end,
        jnp.where(keep, kept_inverse, inverse),
        jnp.where(keep, inverse, inverse2),
        at_dtmin,
    )
    uses_error = inside | (keep & (not _is_zero(c2) or not _is_zero(c3)))
    return Verdict(next_clock, keep, code, uses_error if exact else jnp.zeros_like(keep))


def _is_zero(x: Any) -> bool:
    return isinstance(x, (int, float)) and x == 0
