"""What is known of molecules' energies, and the examples that training makes of it.

Total energies of one level of theory, energies of conformers up to a constant, interaction energies of dimers, reaction energies:
all of them are linear combinations of molecules' energies with a known value, and so one loss serves them all.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zoo.orbnet.config import EnergyLossConfig
from zoo.orbnet.groups import Group

Kind = Literal["total", "conformers", "dimers", "reaction"]
KINDS: tuple[Kind, ...] = ("total", "conformers", "dimers", "reaction")


@dataclass(frozen=True, eq=False)
class Known:
    """Known combinations of the energies of some molecules, at one level of theory.

    Attributes:
        name: what reports call it.
        source: the set it is of.
        key: the molecule it is of; one key falls on one side of a split.
        kind: total energies, conformers (energies up to a constant), dimers (interaction energies) or a reaction.
        members: which molecules, int64 (n,).
        values: kcal/mol; of each member (n,) for total and conformers, else of each row (n_rows,).
        rows: float64 (n_rows, n): ``rows @ energies = values``; None for total and conformers.
    """

    name: str
    source: str
    key: str
    kind: Kind
    members: np.ndarray
    values: np.ndarray
    rows: np.ndarray | None = None

    @classmethod
    def of(cls, group: Group, members: np.ndarray) -> Known:
        """A group whose molecules have the numbers ``members``."""
        kind, values = group.kind, group.targets_kcal
        if group.totals_kcal is not None:
            kind, values = "total", group.totals_kcal
        rows = None if group.kind == "conformers" else group.coefficients
        return cls(group.name, group.source, group.key, kind, members, values, rows)

    def only(self, there: np.ndarray) -> Known | None:
        """What is left where only the molecules of the mask ``there`` can be used; None where nothing is."""
        own = there[self.members]
        if own.all():
            return self
        least = 2 if self.kind == "conformers" else 1
        if self.rows is None:
            if own.sum() < least:
                return None
            return dataclasses.replace(self, members=self.members[own], values=self.values[own])
        good = ~(self.rows[:, ~own] != 0).any(1)
        if not good.any():
            return None
        own &= (self.rows[good] != 0).any(0)
        return dataclasses.replace(
            self, members=self.members[own], values=self.values[good], rows=self.rows[good][:, own]
        )

    def spread(self, most: int) -> Known:
        """At most ``most`` of its structures, evenly spread over the order they stand in; dimers and reactions are left whole."""
        n = len(self.members)
        if self.rows is not None or n <= most:
            return self
        chosen = np.unique(np.linspace(0, n - 1, most).round().astype(int))
        return dataclasses.replace(self, members=self.members[chosen], values=self.values[chosen])


@dataclass(frozen=True, eq=False)
class Example:
    """One row of a training batch: a few molecules and combinations of their energies.

    Attributes:
        kind: index into KINDS.
        members: molecules, int64 (m,).
        rows: combinations, float64 (t, m).
        values: of the combinations, kcal/mol (t,).
        shares: what each counts in the loss (t,).
        deltas: where its square becomes linear, kcal/mol (t,).
    """

    kind: int
    members: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    shares: np.ndarray
    deltas: np.ndarray


def examples(known: Known, size: int, loss: EnergyLossConfig, rounds: int = 1) -> Iterator[Example]:
    """The examples of what is known: pieces of about ``size`` molecules.

    Args:
        known: what to cut.
        size: molecules of a piece; a dimer's monomers come with each piece, and a reaction stays whole.
        loss: how much the kinds count.
        rounds: how often structures of one molecule are dealt out anew, so that each meets others; later rounds are shuffled.
    """
    n = len(known.members if known.rows is None else known.rows)
    for turn in range(rounds if known.rows is None else 1):
        order = np.arange(n)
        if turn:
            seed = np.frombuffer(hashlib.sha256(f"{known.name}|{turn}".encode()).digest()[:8], "<u8")
            order = np.random.Generator(np.random.Philox(int(seed[0]))).permutation(n)
        if known.rows is None:
            for piece in np.array_split(order, -(-n // size)):
                if known.kind == "total" or len(piece) > 1:
                    yield _structures(known, piece, loss)
        else:
            common = int((known.rows != 0).all(0).sum()) if n > 1 else 0
            for piece in np.array_split(order, -(-n // max(size - common, 1))):
                yield _combinations(known, piece, loss)


def _structures(known: Known, piece: np.ndarray, loss: EnergyLossConfig) -> Example:
    """Totals (1 - alpha) and differences to the mean (alpha); a structure alone counts by its total.

    The paper compares a conformer with one other drawn at random; here with all others at once: for squares, the mean of
    (e_i - e_j)^2 over pairs is 2 n / (n - 1) times the mean of (e_i - mean e)^2, and that factor stands in the share.
    """
    n, values = len(piece), known.values[piece]
    rows, targets, shares, deltas = [], [], [], []
    alpha = 1.0 if known.kind == "conformers" else (loss.alpha if n > 1 else 0.0)
    if alpha < 1:
        rows, targets = [np.eye(n)], [values]
        shares, deltas = [np.full(n, (1 - alpha) / n)], [np.full(n, loss.delta_total)]
    if alpha > 0:
        rows.append(np.eye(n) - 1.0 / n)
        targets.append(values - values.mean())
        shares.append(np.full(n, alpha * 2 / (n - 1)))
        deltas.append(np.full(n, loss.delta_difference))
    stacked = (np.concatenate(x) for x in (rows, targets, shares, deltas))
    return Example(KINDS.index(known.kind), known.members[piece], *stacked)


def _combinations(known: Known, piece: np.ndarray, loss: EnergyLossConfig) -> Example:
    assert known.rows is not None
    dimers, n = known.kind == "dimers", len(piece)
    rows = known.rows[piece]
    used = (rows != 0).any(0)
    share = loss.dimers if dimers else loss.reactions
    delta = loss.delta_difference if dimers else loss.delta_total
    return Example(
        KINDS.index(known.kind),
        known.members[used],
        rows[:, used],
        known.values[piece],
        np.full(n, share / n),
        np.full(n, delta),
    )
