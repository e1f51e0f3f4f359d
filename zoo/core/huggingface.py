"""Releases from the Hugging Face hub, pinned to a commit and kept in the cache: what is there needs no network."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zoo.core import release, state
from zoo.core.atomic import temporary_sibling
from zoo.core.errors import UserError, one_line
from zoo.core.paths import ANOTHER_CACHE, cache_dir
from zoo.core.writing import require_writable

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT = 20.0


def fetch(repo: str, revision: str | None = None, *, refresh: bool = False) -> Path:
    """The folder of a release on the hub, from the cache or fetched, checked and put there now.

    Args:
        repo: ``owner/repo``.
        revision: branch, tag or commit; ``main`` where None. What it pointed to at first use is recorded in the cache
            (``refs``) and stays until ``refresh``.
        refresh: ask the hub what it points to now.

    Raises:
        UserError: the repository or revision does not exist or holds no release, or the hub cannot be reached.
    """
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UserError(f"hf:{repo} is not a model of the hub: it must be hf:owner/repo or hf:owner/repo@revision")
    revision = revision or "main"
    home = _home(repo)
    pinned = home / "refs" / quote(revision, safe="")
    commit = revision if _COMMIT.fullmatch(revision) else ""
    if not commit and pinned.is_file() and not refresh:
        commit = pinned.read_text(encoding="ascii").strip()
    if _COMMIT.fullmatch(commit) and state.present(home / commit).is_dir():
        return state.present(home / commit)

    api = _api(repo)
    commit = commit or _asked(repo, revision, lambda: api.model_info(repo, revision=revision, timeout=_TIMEOUT).sha)
    if not _COMMIT.fullmatch(commit or ""):
        raise UserError(f"hf:{repo}@{revision}: the hub gave {commit!r} for its commit: try again later")
    folder = home / commit
    if not folder.is_dir():
        require_writable(home, ANOTHER_CACHE)
        with temporary_sibling(folder) as temporary:
            _download(api, repo, commit, temporary)
            release.read_release(temporary)  # refuses what is no intact release before it gets a name
            temporary.rename(folder)
    pinned.parent.mkdir(parents=True, exist_ok=True)
    if not _COMMIT.fullmatch(revision):
        draft = pinned.with_name(f".{pinned.name}.{os.getpid()}")
        draft.write_text(commit + "\n", encoding="ascii")
        draft.replace(pinned)
    return folder


def cached() -> Iterator[tuple[str, Path]]:
    """(``owner/repo@commit``, folder) of every release of the hub in the cache."""
    root = cache_dir() / "hub"
    for home in sorted(root.iterdir()) if root.is_dir() else []:
        for folder in sorted(home.iterdir()) if home.is_dir() else []:
            if _COMMIT.fullmatch(folder.name) and folder.is_dir():
                yield f"{home.name.replace('--', '/', 1)}@{folder.name}", folder


def _home(repo: str) -> Path:
    return cache_dir() / "hub" / repo.replace("/", "--")


def _api(repo: str) -> Any:
    try:
        from huggingface_hub import HfApi, constants
    except ModuleNotFoundError as error:
        from zoo.core.families import missing_library

        raise missing_library(error) from error
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"hf:{repo} is not in the cache and HF_HUB_OFFLINE is set: unset it once, or name a local folder"
        )
    return HfApi()


def _download(api: Any, repo: str, commit: str, folder: Path) -> None:
    def one(name: str) -> None:
        _asked(repo, commit, lambda: api.hf_hub_download(repo, name, revision=commit, local_dir=folder))

    one(release.MANIFEST)
    try:
        content = state.read_manifest(folder, manifest=release.MANIFEST, files=False)
    except UserError as error:
        raise UserError(f"hf:{repo}@{commit[:12]} is not a release of the zoo: {error}") from None
    for name in content["files"]:
        one(name)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes


def _asked(repo: str, revision: str, request: Any) -> Any:
    from huggingface_hub import errors

    try:
        return request()
    except errors.RevisionNotFoundError:
        raise UserError(f"hf:{repo} has no revision {revision!r}: name a branch, tag or commit of it") from None
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _unreachable(repo, error) from None
        raise UserError(f"hf:{repo}@{revision[:12]} is not a release of the zoo: {one_line(str(error))}") from None
    except errors.GatedRepoError:
        raise UserError(f"hf:{repo} is gated: accept its terms on the hub and log in with `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"hf:{repo} does not exist on the hub, or is private: check the name, or `hf auth login`"
        ) from None
    except Exception as error:  # the client's transport raises what its HTTP library raises
        raise _unreachable(repo, error) from error


def _unreachable(repo: str, error: Exception) -> UserError:
    reason = one_line(str(error))[:160] or type(error).__name__
    return UserError(
        f"hf:{repo} is not in the cache and the hub cannot be reached ({reason}): connect once and run this again, or "
        "copy the release folder here and name its path"
    )
