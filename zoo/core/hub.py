"""Names to releases: a folder, a packaged release, ZOO_MODELS_DIR, the cache, the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.core import release, state
from zoo.core.archive import unpack
from zoo.core.config import nearest
from zoo.core.errors import UserError, one_line
from zoo.core.families import families, packaged_folder
from zoo.core.paths import cache_dir, folders

__all__ = ["catalogue", "resolve", "unpack"]

HF = "hf:"


def resolve(name_or_path: str | Path, *, revision: str | None = None, refresh: bool = False) -> Path:
    """The folder of a release.

    Args:
        name_or_path: a release's folder or a finished run's; else a name ``<family>/<name>``, looked for among the
            packaged releases, in ZOO_MODELS_DIR and in the cache; else ``hf:owner/repo[@revision]``.
        revision: branch, tag or commit on the hub; the first use pins it to a commit, which is recorded in the cache.
        refresh: ask the hub again what a branch or tag points to now.

    Returns:
        A folder with model.json; its bytes are checked when it is read.

    Raises:
        UserError: nothing has this name; the nearest names are given.
    """
    text = str(name_or_path)
    if text.startswith(HF):
        from zoo.core.huggingface import fetch

        repo, _, given = text.removeprefix(HF).partition("@")
        if given and revision and given != revision:
            raise UserError(f"{text} and revision={revision!r} disagree: give one of them")
        return fetch(repo, given or revision, refresh=refresh)
    if revision or refresh:
        raise UserError(f"{text!r} has no revisions: only models of the hub have, as hf:owner/repo@revision")

    try:
        folder = _folder(Path(os.path.expanduser(text)))
    except OSError as error:
        raise UserError(f"{text[:200]!r} cannot be read ({error.strerror}): check the path") from None
    if folder is not None:
        return folder
    if (
        isinstance(name_or_path, Path)
        or text.startswith((".", "/", "~"))
        or text.count("/") != 1
        or Path(text).is_dir()
    ):
        raise UserError(f"{text!r} is neither a release name nor a folder with {release.MANIFEST}{_hint(text)}")
    release.require_name(text)
    family, _, short = text.partition("/")
    for place in _places(family):
        found = state.present(place / short)
        if found.is_dir():
            return found
    raise UserError(f"no model {text!r}{_hint(text)} (`zoo list` shows what is here)")


def catalogue() -> list[dict[str, Any]]:
    """Every release that :func:`resolve` finds by name, first found first.

    Returns:
        Rows {"name", "family", "task", "size_mb", "licence"}; a release that cannot be used has "error" besides, and
        None for what could not be read. Weights are not read: damage in them shows when the model is loaded.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, folder in _candidates():
        if name not in rows:
            rows[name] = _row(name, folder)
    return [rows[name] for name in sorted(rows)]


def _folder(path: Path) -> Path | None:
    """``path`` or its ``release`` folder, whichever is a release, also one whose replacement was interrupted."""
    for candidate in (path, path / "release"):
        present = state.present(candidate)
        if (present / release.MANIFEST).is_file():
            return present
    return None


def _places(family: str) -> Iterator[Path]:
    """Folders whose children are releases of ``family``, in the order they are looked through."""
    packaged = packaged_folder(family) if family in families() else None
    if packaged is not None:
        yield packaged
    for root in (*folders("ZOO_MODELS_DIR"), cache_dir() / "models"):
        yield root / family


def _candidates() -> Iterator[tuple[str, Path]]:
    from zoo.core.huggingface import cached

    names = set(families())
    for root in (*folders("ZOO_MODELS_DIR"), cache_dir() / "models"):
        names |= {path.name for path in _subfolders(root)}
    for family in sorted(names):
        for place in _places(family):
            yield from ((f"{family}/{path.name}", path) for path in _subfolders(place))
    yield from ((HF + repo, folder) for repo, folder in cached())


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _row(name: str, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "family": None, "task": None, "size_mb": None, "licence": None}
    try:
        content = state.read_manifest(folder, manifest=release.MANIFEST)
        info = release.info_of(content["meta"], folder)
    except UserError as error:
        return {**row, "error": one_line(str(error))}
    size = sum(entry["size"] for entry in content["files"].values())
    row |= {"family": info.family, "task": info.task, "size_mb": round(size / 1e6, 2), "licence": info.licence}
    if info.name != name and not name.startswith(HF):
        row["error"] = f"{folder / release.MANIFEST} says that it is {info.name}: rename the folder"
    return row


def _hint(text: str) -> str:
    try:
        return nearest(text, [name for name, _ in _candidates()])
    except UserError:
        return ""
