"""Molecules with energies to learn: a user's own extended XYZ, the training sets, or a handful made on the spot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.errors import UserError
from zoo.core.progress import say
from zoo.orbnet.config import EnergyDataConfig
from zoo.orbnet.datasets.denali import denali
from zoo.orbnet.elements import ELEMENTS, HARTREE_KCAL
from zoo.orbnet.gfn1 import single_point
from zoo.orbnet.known import Known
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.readers import Failure, read_frames

EV_HARTREE = 1.0 / 27.211386245988  # CODATA 2018
UNITS = {"hartree": 1.0, "eV": EV_HARTREE, "kcal/mol": 1.0 / HARTREE_KCAL}


@dataclass(frozen=True, eq=False)
class Labelled:
    """Molecules and what is known of their energies.

    Attributes:
        molecules: all of them.
        sources: the set each is of, (n_molecules,).
        known: combinations of their energies.
    """

    molecules: list[Molecule]
    sources: list[str]
    known: list[Known]

    def only(self, there: np.ndarray) -> Labelled:
        """What is known of the molecules of the mask ``there`` alone; molecules keep their numbers."""
        left = (k.only(there) for k in self.known)
        return dataclasses.replace(self, known=[k for k in left if k is not None])

    @property
    def used(self) -> np.ndarray:
        """The molecules that something is known of, ascending, int64."""
        return np.unique(np.concatenate([k.members for k in self.known])) if self.known else np.zeros(0, np.int64)

    @property
    def totals(self) -> tuple[np.ndarray, np.ndarray]:
        """The molecules whose total energy is known, and those energies in hartree, (n,) each."""
        own = [k for k in self.known if k.kind == "total"]
        if not own:
            return np.zeros(0, np.int64), np.zeros(0)
        return (
            np.concatenate([k.members for k in own]),
            np.concatenate([k.values for k in own]) / HARTREE_KCAL,
        )


def labelled(config: EnergyDataConfig) -> Labelled:
    """What ``config`` names.

    Raises:
        UserError: a broken file, an entry without an energy.
        MissingDataError: a training set whose file is absent.
    """
    makers: dict[str, Callable[[EnergyDataConfig], Labelled]] = {
        "file": own_file, "sets": training_sets, "denali": denali_labels, "tiny": tiny,
    }  # fmt: skip
    found = makers[config.source](config)
    known = found.known[: config.limit]
    if config.structures is not None:
        known = [k.spread(config.structures) for k in known]
    found = dataclasses.replace(found, known=known)
    return without_rare(found, config.least)


def without_rare(found: Labelled, least: int) -> Labelled:
    """Without molecules whose elements or charge too few have to be learned from; those are named on stderr.

    Args:
        found: molecules, and what is known of them.
        least: molecules that must hold an element, or have a charge, for it to count as one that training saw.

    Raises:
        UserError: nothing is left.
    """
    used = found.used
    holds: dict[int, list[int]] = {}
    charged: dict[int, list[int]] = {}
    for i in used.tolist():
        molecule = found.molecules[i]
        for z in set(molecule.numbers.tolist()):
            holds.setdefault(z, []).append(i)
        charged.setdefault(molecule.charge, []).append(i)
    rare = {ELEMENTS[z - 1].symbol: own for z, own in holds.items() if len(own) < least}
    rare |= {f"charge {q:+d}": own for q, own in charged.items() if len(own) < least}
    if not rare:
        return found
    there = np.ones(len(found.molecules), bool)
    for own in rare.values():
        there[own] = False
    listed = ", ".join(f"{name} ({len(own)})" for name, own in rare.items())
    say(f"left out, for fewer than data.least={least} molecules hold it: {listed}")
    left = found.only(there)
    if not left.known:
        raise UserError(f"data.least={least} leaves nothing to train on: lower it")
    return left


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
    return with_totals(molecules, np.array(energies) * UNITS[config.unit or "hartree"], groups, "file")


def with_totals(molecules: list[Molecule], energies: np.ndarray, groups: list[str], source: str) -> Labelled:
    """Molecules with total energies.

    Args:
        molecules: all.
        energies: hartree, (n_molecules,).
        groups: structures of one group are of one molecule, and their differences count, (n_molecules,).
        source: what the set is called.
    """
    own: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        own.setdefault(group, []).append(i)
    known = [Known(g, source, g, "total", np.array(i), energies[i] * HARTREE_KCAL) for g, i in own.items()]
    return Labelled(molecules, [source] * len(molecules), known)


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
    """The named training sets, without what a test contains: conformers, dimers and reactions, each set at its own level."""
    from zoo.orbnet.trainsets import training_groups  # here: it reads the tests too, to leave their molecules out

    molecules: list[Molecule] = []
    sources: list[str] = []
    known: list[Known] = []
    for name in config.sets:
        numbers: dict[Any, int] = {}  # a species of many reactions is one molecule
        for group in training_groups([name]):
            members = np.zeros(len(group.parts), np.int64)
            for i, (part, molecule) in enumerate(zip(group.parts, group.molecules)):
                at = (id(group.of), part.structure, part.first, part.last, part.charge)
                if at not in numbers:
                    numbers[at] = len(molecules)
                    molecules.append(molecule)
                    sources.append(name)
                members[i] = numbers[at]
            known.append(Known.of(group, members))
    return Labelled(molecules, sources, known)


def denali_labels(config: EnergyDataConfig) -> Labelled:
    """The paper's published labels; what its own flags keep for tests is left out."""
    found = denali(Path(config.folder or ""), config.limit)
    say(f"{len(found.molecules)} structures; {found.left_out} are kept for tests")
    return with_totals(found.molecules, found.energies, found.groups, "denali")


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
    return with_totals(molecules, energies, groups, "tiny")
