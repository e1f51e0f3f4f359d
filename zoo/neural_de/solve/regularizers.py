"""The regularisers: what each is at one accepted step, and how the steps are reduced to one number."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from zoo.core.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A regulariser's value at one accepted step.

    Attributes:
        value: (E, S, |h|) -> scalar; E the tolerance-scaled error, S the stiffness estimate over the stability scale.
        needs_error, needs_stiffness: what it is made of.
    """

    value: Callable[[Array, Array, Array], Array]
    needs_error: bool
    needs_stiffness: bool


# The paper's text has sums of E |h|, E^2 and S |h|. Its original code takes the mean of E |h| and the maximum of S without |h|.
KINDS: dict[str, Kind] = {
    "R_E": Kind(lambda e, s, h: e * h, True, False),
    "R_E2": Kind(lambda e, s, h: e * e, True, False),
    "R_S": Kind(lambda e, s, h: s * h, False, True),
    "E": Kind(lambda e, s, h: e, True, False),
    "S": Kind(lambda e, s, h: s, False, True),
}
REGULARIZERS = tuple(KINDS)
REDUCTIONS = ("sum", "mean", "max")


@dataclass(frozen=True)
class Plan:
    """The regularisers asked for, in order, each with its reduction."""

    names: tuple[str, ...]
    reductions: tuple[str, ...]

    @property
    def needs_error(self) -> bool:
        return any(KINDS[name].needs_error for name in self.names)

    @property
    def needs_stiffness(self) -> bool:
        return any(KINDS[name].needs_stiffness for name in self.names)

    def values(self, error: Array, stiff: Array, length: Array) -> list[Array]:
        """Each regulariser's value at one step; scalars, dtype of ``error``."""
        length = jnp.abs(length).astype(error.dtype)
        return [KINDS[name].value(error, stiff, length) for name in self.names]

    def update(
        self, totals: list[Array], winners: list[Array], values: list[Array], keep: Array, attempt: Array
    ) -> Any:
        """Add one attempt's values to the running totals; for "max", note the attempt that holds the maximum."""
        new_totals, new_winners = [], []
        for reduction, total, winner, value in zip(self.reductions, totals, winners, values, strict=True):
            if reduction == "max":
                better = keep & ((winner < 0) | (value > total))
                new_totals.append(jnp.where(better, value, total))
                new_winners.append(jnp.where(better, attempt, winner))
            else:
                new_totals.append(total + jnp.where(keep, value, 0))
                new_winners.append(winner)
        return new_totals, new_winners

    def finish(self, totals: list[Array], accepted: Array) -> dict[str, Array]:
        """The scalars by name; a mean over no step is 0."""
        count = jnp.maximum(accepted, 1)
        return {
            name: total / count.astype(total.dtype) if reduction == "mean" else total
            for name, reduction, total in zip(self.names, self.reductions, totals, strict=True)
        }

    def bars(
        self, bars: dict[str, Array], winners: list[Array], keep: Array, attempt: Array, accepted: Array
    ) -> list[Array]:
        """Cotangents of one attempt's values from those of the scalars."""
        out = []
        for name, reduction, winner in zip(self.names, self.reductions, winners, strict=True):
            bar = bars[name]
            if reduction == "mean":
                bar = bar / jnp.maximum(accepted, 1).astype(bar.dtype)
            counts = keep & (winner == attempt) if reduction == "max" else keep
            out.append(jnp.where(counts, bar, 0))
        return out


def make_plan(regularizers: Sequence[str], reduce: str | Mapping[str, str]) -> Plan:
    """Check the names and reductions that a user asked for.

    Raises:
        UserError: an unknown or repeated name, an unknown reduction, a reduction for a name that was not asked for.
    """
    if isinstance(regularizers, str):
        regularizers = (regularizers,)
    names = tuple(regularizers)
    for name in names:
        if name not in KINDS:
            raise UserError(
                f"regularizers={name!r}: not a regulariser{_hint(name, REGULARIZERS)}; there are {_list(REGULARIZERS)}"
            )
    if len(set(names)) < len(names):
        raise UserError(f"regularizers={names!r}: name each one once")
    if isinstance(reduce, Mapping):
        for name in reduce:
            if name not in names:
                raise UserError(f"reduce={dict(reduce)!r}: {name!r} is not among regularizers={names!r}")
        reductions = tuple(reduce.get(name, "sum") for name in names)
    else:
        reductions = (reduce,) * len(names)
    for reduction in (*reductions, *([] if isinstance(reduce, Mapping) else [reduce])):
        if reduction not in REDUCTIONS:
            raise UserError(
                f"reduce={reduction!r}: not a reduction{_hint(reduction, REDUCTIONS)}; there are {_list(REDUCTIONS)}"
            )
    return Plan(names, reductions)


def _hint(name: object, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(name), known, 1)
    return f", did you mean {close[0]!r}?" if close else ""


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
