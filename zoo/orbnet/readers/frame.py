"""What a reader yields, and the rule by which charges of files and of callers meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.molecule import Molecule


@dataclass(frozen=True, eq=False)
class Frame:
    """One entry of a file.

    Attributes:
        molecule: the molecule.
        line: the line its entry begins at, counted from 1.
        info: what else the entry says, as text by key (an extended XYZ's comment, an SDF's data items).
        arrays: further columns of an extended XYZ by name, float64, (n_atoms, n).
    """

    molecule: Molecule
    line: int
    info: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """An entry that could not be made a molecule.

    Attributes:
        name: the entry's name.
        error: one line that says where and why.
    """

    name: str
    error: str


def agreed(what: str, stated: int | None, asked: int | None) -> int | None:
    """The charge or spin of an entry: the file's, else the caller's; UserError where both speak and differ."""
    if stated is not None and asked is not None and stated != asked:
        raise UserError(f"the file says {what}={stated}, the argument says {what}={asked}: leave one out")
    return asked if stated is None else stated


def attempt(make: Callable[[], Frame], name: str, where: str) -> Frame | Failure:
    """The frame, or the failure with its place in front."""
    try:
        return make()
    except UserError as error:
        text = str(error)
        return Failure(name, f"{where}: {text.removeprefix(f'{name}: ')}")
