"""Data files: ZOO_DATA_DIR, then the cache, then the official download; the SHA-256 decides which bytes count."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import http.client
import os
import re
import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.core.errors import DamagedError, MissingDataError, UserError, ZooError, one_line
from zoo.core.paths import cache_dir, folders

VARIABLE = "ZOO_DATA_DIR"
TIMEOUT_SECONDS = 30.0
_CHUNK = 2**20


@dataclass(frozen=True)
class DataFile:
    """A file of a public data set.

    Attributes:
        name: its path below the data folder, for example "neural_de/mnist/mnist.npz".
        source: where it comes from, for a person.
        url: where it is fetched from, or None where a person must get it.
        sha256: hexadecimal; a tuple where several files hold the same data.
        licence: licence or terms.
    """

    name: str
    source: str
    url: str | None
    sha256: str | tuple[str, ...]
    licence: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or str(path) != self.name:
            raise UserError(f"data file {self.name!r}: its name must be a plain path below the data folder")
        if not self.hashes or not all(re.fullmatch(r"[0-9a-f]{64}", h) for h in self.hashes):
            raise UserError(f"data file {self.name}: sha256 must be 64 hexadecimal digits, or a tuple of such")
        if self.url is not None and not self.url.startswith(("https://", "http://")):
            raise UserError(f"data file {self.name}: its url must be http or https, not {self.url!r}")

    @property
    def hashes(self) -> tuple[str, ...]:
        """The accepted SHA-256 values."""
        return (self.sha256,) if isinstance(self.sha256, str) else self.sha256


def locate(file: DataFile) -> Path:
    """The path of a data file with the right content, fetched into the cache if it is nowhere yet.

    Raises:
        DamagedError: a file is there with another hash.
        MissingDataError: it is nowhere and could not be fetched.
        ZooError: the cache cannot be written.
    """
    cached = cache_dir() / "data" / file.name
    for path in (*(root / file.name for root in folders(VARIABLE)), cached):
        if path.is_file():
            return _checked(path, file)
    if file.url is None:
        raise _missing(file, "it cannot be fetched automatically")
    return _fetch(file, cached)


def found() -> list[dict[str, Any]]:
    """What is in ZOO_DATA_DIR and in the cache: rows {"folder", "origin", "sets"}, sets as ``<family>/<data set>``."""
    places = [(VARIABLE, root) for root in folders(VARIABLE)] + [("cache", cache_dir() / "data")]
    rows = []
    for origin, root in places:
        sets = sorted(str(path.relative_to(root)) for path in root.glob("*/*") if path.is_dir())
        rows.append({"folder": str(root), "origin": origin, "sets": sets})
    return rows


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, computed once for each path, size and time of change."""
    facts = path.stat()
    return _hash(str(path.resolve()), facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _hash(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _checked(path: Path, file: DataFile) -> Path:
    value = sha256_of(path)
    if value not in file.hashes:
        raise DamagedError(
            f"{path} has SHA-256 {value}, expected {' or '.join(file.hashes)}: remove it, or replace it by the file of "
            f"{file.source}"
        )
    return path


def _fetch(file: DataFile, target: Path) -> Path:
    """Download into a draft beside ``target`` and give it its name when its hash is right."""
    assert file.url is not None
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        value = _download(file.url, draft)
        if value not in file.hashes:
            raise _missing(file, f"{file.url} gave SHA-256 {value}, expected {' or '.join(file.hashes)}")
        os.replace(draft, target)
        return target
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _missing(file, f"{file.url} could not be fetched ({one_line(str(error))})") from None
    except OSError as error:
        reason = "no space left" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise ZooError(f"{target} was not written: {reason}: make room, or set ZOO_CACHE to another folder") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _download(url: str, draft: Path) -> str:
    """Write what ``url`` gives into ``draft`` and return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    request = urllib.request.Request(url, headers={"User-Agent": "sci-model-zoo"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response, open(draft, "xb") as out:
        stated = response.headers.get("Content-Length")
        while chunk := response.read(_CHUNK):
            out.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        out.flush()
        os.fsync(out.fileno())
    if stated is not None and size != int(stated):
        raise http.client.HTTPException(f"it ended after {size} of {stated} bytes")
    return digest.hexdigest()


def _missing(file: DataFile, reason: str) -> MissingDataError:
    where = os.environ.get(VARIABLE)
    return MissingDataError(
        f"{file.name} is not in {f'{VARIABLE}={where}' if where else f'{VARIABLE} (which is not set)'} and {reason}: "
        f"get it from {file.source} and set {VARIABLE} to the folder that holds {file.name}"
    )
