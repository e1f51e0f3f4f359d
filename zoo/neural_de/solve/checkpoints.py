"""Which states to keep so that the backward pass can start from them: a fixed number of slots, filled as the solve goes.

Forwards, attempts are kept at a stride that doubles whenever the slots run out (so a solve of fewer attempts than slots is
kept whole, and nothing of it is computed twice). Backwards, the nearest kept state before the wanted attempt is
advanced, and what lies between is kept in the slots that have become free. All indices are those of the loop, the same for
every trajectory of a vmapped batch, so that slots are written in place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array, lax

from zoo.core.errors import UserError

PyTree = Any

# A backward pass of a common batch stays below 64 MiB with it: larger pieces glibc often maps anew each time (core/pages.py).
_BUDGET_BYTES = 32 * 2**20
_FEWEST, _MOST = 16, 64


class Slots(NamedTuple):
    """Kept states.

    Attributes:
        held: int32, shape (slots + 1,): the attempt whose starting state each slot holds, -1 for none; the last slot takes
            what need not be kept.
        state: the states, leading axis (slots + 1,).
        stride: int32: attempts between kept ones.
    """

    held: Array
    state: PyTree
    stride: Array


def slot_count(state: PyTree, max_steps: int, asked: int | None) -> int:
    """Number of slots: what was asked for, else 64, fewer (16 at least) where they would take over 32 MiB.

    The reason for so few: slots must be filled before they are used, and filling costs a large state's short solve more
    than the rare second evaluation costs a long one.

    Raises:
        UserError: fewer than 2 asked for.
    """
    if asked is not None:
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < 2:
            raise UserError(f"checkpoints={asked!r}: it must be a whole number of at least 2, or None for the default")
        return min(asked, max_steps)
    each = sum(x.size * x.dtype.itemsize for x in jtu.tree_leaves(state))
    return min(max_steps, max(_FEWEST, min(_MOST, _BUDGET_BYTES // max(each, 1))))


def empty(state: PyTree, count: int) -> Slots:
    """``count`` free slots for states like ``state``."""
    return Slots(jnp.full((count + 1,), -1, jnp.int32), buffer(state, count + 1), jnp.ones((), jnp.int32))


def buffer(state: PyTree, count: int) -> PyTree:
    """Room for ``count`` of what is like ``state``, in a leading axis."""
    return jtu.tree_map(lambda x: jnp.zeros((count, *x.shape), x.dtype), state)


def _write(slots: Slots, slot: Array, attempt: Array, state: PyTree) -> Slots:
    buffers = jtu.tree_map(lambda b, x: lax.dynamic_update_index_in_dim(b, x, slot, 0), slots.state, state)
    return slots._replace(held=slots.held.at[slot].set(attempt).at[-1].set(-1), state=buffers)


def keep_forward(slots: Slots, attempt: Array, state: PyTree) -> Slots:
    """Keep ``state``, from which ``attempt`` starts, if the stride asks for it."""
    held = slots.held[:-1]
    free = lambda stride: (held < 0) | (held % stride != 0)  # noqa: E731
    due = attempt % slots.stride == 0
    stride = jnp.where(due & ~jnp.any(free(slots.stride)), 2 * slots.stride, slots.stride)
    slot = jnp.where(attempt % stride == 0, jnp.argmax(free(stride)), held.size)
    return _write(slots._replace(stride=stride), slot.astype(jnp.int32), attempt, state)


def nearest(slots: Slots, attempt: Array) -> tuple[Array, PyTree]:
    """The latest kept attempt not after ``attempt``, and its state."""
    candidates = jnp.where(slots.held <= attempt, slots.held, -1)
    slot = jnp.argmax(candidates)
    return candidates[slot], jtu.tree_map(lambda b: lax.dynamic_index_in_dim(b, slot, 0, keepdims=False), slots.state)


def spacing(slots: Slots, kept: Array, wanted: Array) -> Array:
    """Distance at which to keep states between ``kept`` and ``wanted``, to make do with the free slots."""
    free = jnp.sum((slots.held[:-1] < 0) | (slots.held[:-1] > wanted))
    return (wanted - kept + free) // (free + 1)


def keep_backward(slots: Slots, attempt: Array, state: PyTree, due: Array, wanted: Array) -> Slots:
    """Keep ``state`` if ``due``, in a slot that the backward pass has done with."""
    held = slots.held[:-1]
    free = (held < 0) | (held > wanted)
    slot = jnp.where(due & jnp.any(free), jnp.argmax(free), held.size)
    return _write(slots, slot.astype(jnp.int32), attempt, state)
