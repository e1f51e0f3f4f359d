"""The configuration of energy models, beyond the keys every family has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zoo.core.schema import BaseConfig, require
from zoo.orbnet.model import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class EnergyDataConfig:
    """What is learned from.

    ``source``: ``file`` (your own extended XYZ, an energy in each comment line), ``sets`` (the named training sets, whose energies
    are known as differences or totals, each at its own level), ``denali`` (the paper's published labels in ``folder``), or
    ``tiny`` (six small molecules, labels from GFN2-xTB made on the spot).
    ``energy_key`` and ``unit`` say where in the comment the energy stands and what it is in; ``group_key`` names the entry that tells which
    structures' differences count (null: those of one formula and charge). ``hold_out`` keeps whole molecules, or single
    structures, for validation and test, in the shares ``valid`` and ``test``. ``conformers`` is how many structures of a group
    form one example; ``rounds`` is how often an epoch deals a group's structures out to examples, each time with others;
    ``structures`` takes at most that many structures of a group, evenly spread, and ``limit`` at most that many groups. An element or
    a charge that fewer than ``least`` molecules have is not learned from, and the model refuses it.
    """

    source: Literal["file", "sets", "denali", "tiny"]
    file: str | None = None
    folder: str | None = None
    unit: Literal["hartree", "eV", "kcal/mol"] | None = None
    energy_key: str = "energy"
    group_key: str | None = None
    sets: tuple[str, ...] = ()
    hold_out: Literal["molecule", "structure"] = "molecule"
    valid: float = 0.1
    test: float = 0.1
    conformers: int = 8
    rounds: int = 1
    structures: int | None = None
    least: int = 1
    limit: int | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        own = self.source == "file"
        require(not own or self.file is not None, "file is empty: name your extended XYZ, data.file=PATH")
        require(own or self.file is None, f"file={self.file!r} is not read with source={self.source}: set source=file")
        require(not own or self.unit is not None, "unit is empty: say what the energies are in (hartree, eV, kcal/mol)")
        published = self.source == "denali"
        require(not published or self.folder is not None, "folder is empty: name the one with denali_labels.csv")
        require(published or self.folder is None, f"folder={self.folder!r} is not read with source={self.source}")
        sets = self.source == "sets"
        require(sets == bool(self.sets), f"sets={list(self.sets)}: names of training sets go with source=sets alone")
        require(self.valid > 0, f"valid={self.valid}: the best state is chosen on a share above 0")
        require(self.test > 0, f"test={self.test}: it must be above 0")
        require(self.valid + self.test < 1, f"valid={self.valid} and test={self.test} leave nothing to train on")
        require(self.conformers >= 2, f"conformers={self.conformers}: a difference needs at least 2")
        require(self.rounds >= 1, f"rounds={self.rounds}: it must be at least 1")
        require(
            self.structures is None or self.structures >= 2,
            f"structures={self.structures}: a difference needs at least 2",
        )
        require(self.least >= 1, f"least={self.least}: it must be at least 1")
        require(self.limit is None or self.limit >= 3, f"limit={self.limit}: three groups at least, one for each split")
        require(self.workers >= 1, f"workers={self.workers}: it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class EnergyLossConfig:
    """How much each kind of knowledge counts (see :mod:`zoo.orbnet.known` and :func:`zoo.orbnet.loss.combination_loss`).

    ``alpha`` is the share of differences where total energies are known too; ``dimers`` and ``reactions`` weigh interaction and
    reaction energies against conformers' 1. ``delta_difference`` (conformers, dimers) and ``delta_total`` (totals, reactions) say
    where squares become linear, in kcal/mol.
    """

    alpha: float = 0.9
    dimers: float = 1.0
    reactions: float = 1.0
    delta_total: float = 3.0
    delta_difference: float = 1.0

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 1, f"alpha={self.alpha}: a share lies in [0, 1]")
        for name in ("dimers", "reactions"):
            value = getattr(self, name)
            require(value >= 0, f"{name}={value}: a weight is not below 0")
        for name in ("delta_total", "delta_difference"):
            value = getattr(self, name)
            require(value > 0, f"{name}={value}: it must be above 0")


@dataclass(frozen=True, kw_only=True)
class EnergyConfig(BaseConfig):
    """``task: energy``: a network on GFN1-xTB features that learns what GFN1-xTB lacks.

    ``start`` is the name or folder of a release whose parameters, elements and scales the run begins with.
    """

    model: NetworkConfig
    data: EnergyDataConfig
    loss: EnergyLossConfig = field(default_factory=EnergyLossConfig)
    start: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.start != "", "start is empty: name a release, or null to start from random parameters")
