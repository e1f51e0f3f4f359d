"""The one file format: a folder of named tensors (safetensors), listed files and a JSON manifest with their SHA-256.

A folder appears whole or not at all: everything is written into a temporary sibling, the manifest last, and one rename
puts it in its place. A folder without its manifest is an interrupted save and is passed over; a folder whose content is
not what its manifest says is damaged and refused.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import signal
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.atomic import interrupted, sync_folder, temporary_sibling, write_file
from zoo.core.errors import DamagedError, UserError, ZooError
from zoo.core.manifest import require_plain, seal, unseal
from zoo.core.tensorfile import decode, encode, specs
from zoo.core.trees import flatten, unflatten

__all__ = ["flatten", "latest", "load", "present", "prune", "read_manifest", "save", "unflatten"]

MANIFEST = "state.json"
WEIGHTS = "weights.safetensors"
MAX_MANIFEST_BYTES = 64 * 2**20

_log = logging.getLogger("zoo")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def save(
    folder: str | Path,
    tensors: Mapping[str, np.ndarray],
    meta: dict[str, Any],
    *,
    manifest: str = MANIFEST,
    weights: str = WEIGHTS,
    files: Mapping[str, str] = {},
    replace: bool = False,
) -> Path:
    """Write a state folder atomically and durably.

    Args:
        folder: where it is to be; must not exist (or be empty) unless ``replace``.
        tensors: name -> host array of any NumPy or ml_dtypes number type.
        meta: plain JSON (str keys; no tuples, no NaN).
        manifest: file name of the manifest.
        weights: file name of the tensors.
        files: name -> text of further files, for example a card.
        replace: take the place of a state that is there. A kill at any moment leaves the old or the new one loadable.

    Returns:
        ``folder``.

    Raises:
        UserError: ``folder`` exists, or ``meta`` or a dtype cannot be saved.
        ZooError: the disk is full or cannot be written; nothing was changed.
    """
    folder = Path(folder)
    if folder.name in ("", ".."):  # it needs a name for its sibling to be named after
        folder = folder.resolve()
    names = {weights: b"", **{name: text.encode("utf-8") for name, text in files.items()}}
    if len({manifest, *names}) != len(files) + 2 or not all(_PLAIN_NAME.fullmatch(n) for n in (manifest, *names)):
        raise UserError(f"{sorted(names)} in {folder}: file names must be plain and differ from each other")
    _require_free(folder, manifest, names, replace)
    names[weights] = encode(tensors)
    content = {
        "meta": meta,
        "weights": weights,
        "tensors": specs(tensors),
        "files": {name: {"size": len(data), "sha256": _sha256(data)} for name, data in names.items()},
    }
    try:
        require_plain(meta, "meta")
        sealed = seal(content)
    except ValueError as error:
        raise UserError(f"cannot save {folder}: {error}") from None

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in interrupted(folder.parent, re.escape(folder.name)):
            shutil.rmtree(leftover, ignore_errors=True)
        with temporary_sibling(folder) as temporary:
            for name, data in names.items():
                write_file(temporary / name, data)
            _fault("before-manifest")
            write_file(temporary / manifest, sealed)
            sync_folder(temporary)
            _fault("before-rename")
            _put_in_place(temporary, folder, manifest)
        return folder
    except OSError as error:
        size = sum(map(len, names.values())) / 1e6
        reason = "no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        raise ZooError(
            f"{folder} ({size:.1f} MB) was not saved: {reason}; nothing that was saved before is lost: make room "
            "or choose another folder, then run the same command again"
        ) from error


def load(
    folder: str | Path, *, manifest: str = MANIFEST, expect: Mapping[str, Any] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and the meta of a state folder, every byte checked.

    Args:
        folder: a folder that :func:`save` wrote.
        manifest: file name of its manifest.
        expect: entries that ``meta`` must have, for example its kind.

    Raises:
        DamagedError: it is missing, incomplete, or anything in it is not what the manifest says.
        UserError: ``meta`` lacks an entry of ``expect``.
    """
    folder, content = _open(folder, manifest)
    meta = content["meta"]
    for key, value in (expect or {}).items():
        if meta.get(key) != value:
            raise UserError(f"{folder} has {key}={meta.get(key)!r}, not {value!r}: choose another folder")
    tensors: dict[str, np.ndarray] = {}
    for name, entry in content["files"].items():
        data = _read(folder, name, entry["size"])
        if len(data) != entry["size"] or _sha256(data) != entry["sha256"]:
            raise _damaged(folder, name, "its SHA-256 is not the one in the manifest")
        if name == content["weights"]:
            try:
                tensors = decode(data, content["tensors"])
            except ValueError as error:
                raise _damaged(folder, name, str(error)) from None
    return tensors, meta


def read_manifest(folder: str | Path, *, manifest: str = MANIFEST, files: bool = True) -> dict[str, Any]:
    """The checked manifest of a state folder, its weights not read: a dict with ``meta``, ``tensors`` and ``files``.

    Args:
        folder: the state folder.
        manifest: file name of its manifest.
        files: check that the listed files are there with the listed sizes.

    Raises:
        DamagedError: the manifest is missing or damaged, or a listed file is missing or has another size.
    """
    folder, content = _open(folder, manifest)
    for name, entry in content["files"].items() if files else ():
        _stat(folder, name, entry["size"])
    return content


def latest(parent: str | Path, prefix: str, *, manifest: str = MANIFEST) -> Path | None:
    """The newest complete state ``<prefix>-<8 digit step>`` in ``parent``, or None; interrupted saves get a notice."""
    parent = Path(parent)
    for leftover in interrupted(parent, rf"{re.escape(prefix)}-\d{{8}}"):
        _log.warning("passing over %s: a save that was interrupted", leftover)
    for folder in reversed(_states(parent, prefix)):
        if _is_complete(present(folder), manifest):
            return folder
        _log.warning("passing over %s: it has no %s, so its save was interrupted", folder, manifest)
    return None


def prune(
    parent: str | Path, prefix: str, keep: int, *, keep_steps: Collection[int] = (), manifest: str = MANIFEST
) -> None:
    """Remove all states ``<prefix>-<step>`` but the ``keep`` newest complete ones and those of ``keep_steps``."""
    parent = Path(parent)
    complete = [folder for folder in _states(parent, prefix) if _is_complete(present(folder), manifest)]
    wanted = set(complete[-keep:] if keep > 0 else [])
    wanted |= {folder for folder in complete if int(folder.name[-8:]) in keep_steps}
    for leftover in interrupted(parent, rf"{re.escape(prefix)}-\d{{8}}"):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in _states(parent, prefix):
        if folder not in wanted:
            for doomed in (_aside(folder), folder):
                # The manifest first: a state removed by half then reads as an interrupted save.
                (doomed / manifest).unlink(missing_ok=True)
                shutil.rmtree(doomed, ignore_errors=True)


# -- the folder -------------------------------------------------------------------------------------------------------


def _aside(folder: Path) -> Path:
    """Where the old state waits while :func:`save` puts a new one in its place."""
    return folder.with_name(f".{folder.name}.old")


def present(folder: Path) -> Path:
    """``folder``, or the state set aside for it where a kill came between the two renames of a replacement."""
    return _aside(folder) if not folder.exists() and _aside(folder).is_dir() else folder


def _is_complete(folder: Path, manifest: str) -> bool:
    return (folder / manifest).is_file()


def _states(parent: Path, prefix: str) -> list[Path]:
    """States of any completeness, by step."""
    pattern = re.compile(rf"(?:{re.escape(prefix)}-\d{{8}}|\.{re.escape(prefix)}-\d{{8}}\.old)")
    names = {p.name for p in parent.iterdir() if pattern.fullmatch(p.name)} if parent.is_dir() else set()
    return [parent / name for name in sorted({n.removeprefix(".").removesuffix(".old") for n in names})]


def _require_free(folder: Path, manifest: str, names: Collection[str], replace: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: choose another folder")
    found = {p.name for p in folder.iterdir()}
    if found and not replace:
        raise UserError(f"{folder} exists: choose another folder, or remove it")
    foreign = found - {manifest, *names}
    if foreign and _is_complete(folder, manifest):
        foreign -= _open(folder, manifest)[1]["files"].keys()
    if foreign:
        raise UserError(f"{folder} holds {min(foreign)!r}, which is not part of a saved state: choose another folder")


def _put_in_place(temporary: Path, folder: Path, manifest: str) -> None:
    aside = _aside(folder)
    if _is_complete(folder, manifest):
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(folder, aside)
        _fault("between-renames")
    elif folder.exists():
        shutil.rmtree(folder)
    try:
        os.rename(temporary, folder)
    except OSError:
        if aside.exists() and not folder.exists():
            os.rename(aside, folder)
        raise
    sync_folder(folder.parent)
    _fault("after-rename")
    shutil.rmtree(aside, ignore_errors=True)


def _fault(point: str) -> None:
    """Where tests end the process: ZOO_TEST_FAULT=<point>:<n> kills it the n-th time that it comes to ``point``, one of
    before-manifest, before-rename, between-renames and after-rename."""
    wanted, _, count = os.environ.get("ZOO_TEST_FAULT", "").partition(":")
    if wanted == point:
        _passed[point] = _passed.get(point, 0) + 1
        if _passed[point] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)


_passed: dict[str, int] = {}


# -- reading ----------------------------------------------------------------------------------------------------------


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _damaged(folder: Path, name: str, reason: str) -> DamagedError:
    return DamagedError(f"{folder / name}: {reason}: restore the file from a copy, or remove {folder}")


def _stat(folder: Path, name: str, size: int | None) -> None:
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise _damaged(folder, name, "it is a link that leads out of its folder")
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _damaged(folder, name, "the file is missing") from None
    except (OSError, RuntimeError) as error:
        raise _damaged(folder, name, f"it cannot be read ({error})") from None
    if not stat.S_ISREG(found.st_mode):
        raise _damaged(folder, name, "it is not a file")
    if size is not None and found.st_size != size:
        raise _damaged(folder, name, f"it has {found.st_size} bytes, the manifest says {size}")


def _read(folder: Path, name: str, size: int | None) -> bytes:
    _stat(folder, name, size)
    try:
        with open(folder / name, "rb") as handle:
            return handle.read(MAX_MANIFEST_BYTES + 1 if size is None else size + 1)
    except OSError as error:
        raise _damaged(folder, name, f"it cannot be read ({error.strerror})") from None


def _open(folder: str | Path, manifest: str) -> tuple[Path, dict[str, Any]]:
    folder = Path(folder)
    if present(folder) != folder:
        _log.warning("%s: its replacement was interrupted, the state before it is used", folder)
        folder = present(folder)
    if not folder.is_dir():
        raise DamagedError(f"{folder} does not exist: check the path")
    if not (folder / manifest).is_symlink() and not (folder / manifest).exists():
        raise DamagedError(
            f"{folder} has no {manifest}, so its save was interrupted: remove it, or choose another state"
        )
    data = _read(folder, manifest, None)
    try:
        if len(data) > MAX_MANIFEST_BYTES:
            raise ValueError(f"it is larger than {MAX_MANIFEST_BYTES} bytes")
        content = unseal(data)
    except ValueError as error:
        raise _damaged(folder, manifest, str(error)) from None
    for name in content["files"]:
        if not _PLAIN_NAME.fullmatch(name):
            raise _damaged(folder, manifest, f"it lists {name!r}, which is not a plain file name")
    return folder, content
