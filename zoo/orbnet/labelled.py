"""Molecules with energies to learn: a user's own extended XYZ, the training sets, or a handful made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.config import EnergyDataConfig
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.gfn1 import single_point
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers import Failure, read_frames

EV_HARTREE = 1.0 / 27.211386245988  # CODATA 2018
UNITS = {"hartree": 1.0, "eV": EV_HARTREE, "kcal/mol": 1.0 / HARTREE_KCAL}


@dataclass(frozen=True, eq=False)
class Labelled:
    """Molecules and their reference energies.

    Attributes:
        molecules: all of them.
        energies: hartree, float64, (n_molecules,).
        groups: structures of one group have energies whose differences count, (n_molecules,).
        keys: the molecule each is of; one key falls on one side of a split, (n_molecules,).
        absolute: whether energies are total, rather than known up to a constant for each group.
    """

    molecules: list[Molecule]
    energies: np.ndarray
    groups: list[str]
    keys: list[str]
    absolute: bool = True

    def __len__(self) -> int:
        return len(self.molecules)


def labelled(config: EnergyDataConfig) -> Labelled:
    """What ``config`` names.

    Raises:
        UserError: a broken file, an entry without an energy.
        MissingDataError: a training set whose file is absent.
    """
    makers: dict[str, Callable[[EnergyDataConfig], Labelled]] = {"file": own_file, "sets": training_sets, "tiny": tiny}
    return _limited(makers[config.source](config), config.limit)


def own_file(config: EnergyDataConfig) -> Labelled:
    """An extended XYZ whose comment lines hold energies; the first broken entry is refused with its line."""
    path = Path(config.file or "")
    molecules, energies, groups = [], [], []
    for entry in read_frames(path):
        if isinstance(entry, Failure):
            raise UserError(entry.error)
        where = f"{path.name}, line {entry.line + 1}"
        molecules.append(entry.molecule)
        energies.append(_number(entry.info, config.energy_key, where))
        if config.group_key is None:
            groups.append(entry.molecule.formula)
        elif config.group_key in entry.info:
            groups.append(entry.info[config.group_key])
        else:
            raise UserError(f"{where}: the comment has no {config.group_key}=, which data.group_key asks for")
    return Labelled(molecules, np.array(energies) * UNITS[config.unit or "hartree"], groups, list(groups))


def _number(info: dict[str, str], key: str, where: str) -> float:
    if key not in info:
        known = ", ".join(info) or "nothing"
        raise UserError(f"{where}: the comment has no {key}= (it has {known}): set data.energy_key")
    try:
        value = float(info[key])
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UserError(f"{where}: {key}={info[key]} is not a finite number")
    return value


def training_sets(config: EnergyDataConfig) -> Labelled:
    """The conformers of the named training sets, without what a test contains; energies relative to each group's mean."""
    from zoo.orbnet.trainsets import training_groups  # here: it reads the tests too, to leave their molecules out

    molecules, energies, groups, keys = [], [], [], []
    for group in training_groups(config.sets):
        if group.kind != "conformers":
            raise UserError(
                f"data.sets: {group.source} holds {group.kind} and not conformers: name sets of conformers alone"
            )
        own = group.molecules
        molecules += own
        energies += list(group.targets_kcal / HARTREE_KCAL)
        groups += [group.name] * len(own)
        keys += [group.key] * len(own)
    return Labelled(molecules, np.array(energies), groups, keys, absolute=False)


# Geometries in angstrom near the minimum.
_TINY = {
    "water": ("OHH", [[0, 0, 0.117], [0, 0.757, -0.469], [0, -0.757, -0.469]]),
    "ammonia": ("NHHH", [[0, 0, 0.116], [0, 0.94, -0.27], [0.814, -0.47, -0.27], [-0.814, -0.47, -0.27]]),
    "methane": (
        "CHHHH",
        [[0, 0, 0], [0.629, 0.629, 0.629], [-0.629, -0.629, 0.629], [-0.629, 0.629, -0.629], [0.629, -0.629, -0.629]],
    ),
    "formaldehyde": ("COHH", [[0, 0, -0.53], [0, 0, 0.675], [0, 0.937, -1.114], [0, -0.937, -1.114]]),
    "hydrogen cyanide": ("CNH", [[0, 0, -0.5], [0, 0, 0.65], [0, 0, -1.566]]),
    "carbon dioxide": ("COO", [[0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]),
}


def tiny(config: EnergyDataConfig, structures: int = 16, displacement: float = 0.06) -> Labelled:
    """Small molecules, each atom displaced at random (angstrom, normal), with total energies of GFN2-xTB."""
    generator = np.random.default_rng(0)
    molecules, groups = [], []
    for name, (symbols, positions) in _TINY.items():
        for i in range(structures):
            moved = np.array(positions) + generator.normal(0, displacement, (len(symbols), 3))
            molecules.append(Molecule.from_angstrom(list(symbols), moved, name=f"{name}-{i}"))
            groups.append(name)
    energies = np.array([single_point(m, "GFN2-xTB").energy for m in molecules])
    return Labelled(molecules, energies, groups, list(groups))


def _limited(found: Labelled, limit: int | None) -> Labelled:
    if limit is None:
        return found
    kept = set(list(dict.fromkeys(found.groups))[:limit])
    return subset(found, [i for i, g in enumerate(found.groups) if g in kept])


def subset(found: Labelled, indices: list[int]) -> Labelled:
    """The molecules at ``indices``."""
    return Labelled(
        [found.molecules[i] for i in indices],
        found.energies[indices],
        [found.groups[i] for i in indices],
        [found.keys[i] for i in indices],
        found.absolute,
    )
