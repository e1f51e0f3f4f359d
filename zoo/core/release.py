"""A state made for others: weights, model.json that says what they are, and a card to read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core import state
from zoo.core.card import render
from zoo.core.errors import DamagedError, UserError

MANIFEST = "model.json"
CARD = "README.md"
KIND = "release"
_NAME = re.compile(r"[a-z0-9_-]+/[a-z0-9._-]+")


@dataclass(frozen=True)
class ReleaseInfo:
    """What a release says of itself; plain data, from which nothing is ever imported or run.

    Attributes:
        name: ``<family>/<name>``.
        family: the family that builds its predictor.
        task: the family's task.
        config: the whole configuration it was trained with.
        metrics: numbers by split or topic, for example {"test": {"accuracy": 98.1}, "run": {...}}.
        command: the command that made it.
        seed: the seed of that run.
        versions: library -> version.
        machine: facts of the machine it was made on.
        data: what it was trained on, with licence or terms.
        licence: of the weights.
        limits: what it cannot do, a sentence each.
        created: date, ISO 8601.
        summary: what it is for, in a sentence or two.
        base: the model it started from, {"name", "revision", "sha256"}, or None.
    """

    name: str
    family: str
    task: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    command: str
    seed: int
    versions: dict[str, str]
    machine: dict[str, Any]
    data: str
    licence: str
    limits: list[str]
    created: str
    summary: str = ""
    base: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            wanted = _TYPES[entry.name]
            if type(value) not in wanted:
                names = " or ".join("null" if t is type(None) else t.__name__ for t in wanted)
                raise UserError(f"{entry.name} of release {self.name!r} is {type(value).__name__}: it must be {names}")
        require_name(self.name)
        if self.name.partition("/")[0] != self.family:
            raise UserError(
                f"release {self.name!r} is of family {self.family!r}: its name must start with {self.family}/"
            )
        if not all(isinstance(x, str) for x in self.limits):
            raise UserError(f"limits of release {self.name!r} must be sentences")
        if self.base is not None and self.base.keys() != {"name", "revision", "sha256"}:
            raise UserError(
                f"base of release {self.name!r} has keys {sorted(self.base)}: it needs name, revision, sha256"
            )


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "family", "task", "command", "data", "licence", "created", "summary"), (str,)),
    **dict.fromkeys(("config", "metrics", "versions", "machine"), (dict,)),
    "seed": (int,),
    "limits": (list,),
    "base": (dict, type(None)),
}


@dataclass(frozen=True)
class Release:
    """A release that was read and checked.

    Attributes:
        info: what it says of itself.
        tensors: name -> array.
        path: its folder.
    """

    info: ReleaseInfo
    tensors: dict[str, np.ndarray] = field(repr=False)
    path: Path

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return sum(x.size for x in self.tensors.values())


def require_name(name: str) -> None:
    """Refuse what is not a release name, ``<family>/<name>`` in lower-case letters, digits, "_", "-" and "."."""
    if not _NAME.fullmatch(name) or ".." in name or "/." in name:
        raise UserError(f"{name!r} is not a release name: it must be <family>/<name> of a-z, 0-9, '_', '-' and '.'")


def write_release(
    folder: str | Path, tensors: Mapping[str, np.ndarray], info: ReleaseInfo, *, replace: bool = False
) -> Path:
    """Write weights.safetensors, model.json and README.md into a new folder, atomically.

    Args:
        folder: where it is to be.
        tensors: name -> array, for example ``state.flatten({"params": params})``.
        info: what it is.
        replace: take the place of a release that is there.

    Raises:
        UserError: the folder is in use, or ``info`` is not plain data.
        ZooError: the disk is full; what was there before stays.
    """
    meta = {"kind": KIND, **dataclasses.asdict(info)}
    return state.save(folder, tensors, meta, manifest=MANIFEST, files={CARD: render(info, tensors)}, replace=replace)


def read_release(folder: str | Path) -> Release:
    """Read a release and check every byte of it.

    Raises:
        DamagedError: anything in it is not what model.json says.
        UserError: it is not a release, or one that only a newer zoo understands.
    """
    folder = state.present(Path(folder))
    tensors, meta = state.load(folder, manifest=MANIFEST)
    return Release(info_of(meta, folder), tensors, folder)


def info_of(meta: Mapping[str, Any], folder: Path) -> ReleaseInfo:
    """The typed form of a checked manifest's ``meta``; errors as in :func:`read_release`."""
    if meta.get("kind") != KIND:
        raise UserError(f"{folder / MANIFEST} is of kind {meta.get('kind')!r}, not a release: choose another folder")
    known = {entry.name for entry in dataclasses.fields(ReleaseInfo)}
    required = {e.name for e in dataclasses.fields(ReleaseInfo) if e.default is dataclasses.MISSING}
    given = {key: value for key, value in meta.items() if key != "kind"}
    if given.keys() - known:
        raise UserError(f"{folder / MANIFEST} has the unknown key {min(given.keys() - known)!r}: upgrade sci-model-zoo")
    if required - given.keys():
        raise DamagedError(
            f"{folder / MANIFEST} lacks the key {min(required - given.keys())!r}: fetch the release again"
        )
    return ReleaseInfo(**given)
