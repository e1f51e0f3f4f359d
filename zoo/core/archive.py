"""Unpacking archives from elsewhere: files and folders only, inside the destination, within limits."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from zoo.core.atomic import temporary_sibling
from zoo.core.errors import UserError, one_line

MAX_BYTES = 16 * 2**30
MAX_FILES = 200_000
# A tar header is 512 bytes; names longer than it holds come in a block before it, which is read whole into memory.
MAX_HEADER_BYTES = 2**20
_CHUNK = 2**20

_OPENERS: dict[str, Callable[..., Any]] = {
    ".tar": open, ".tar.gz": gzip.open, ".tgz": gzip.open, ".tar.xz": lzma.open, ".txz": lzma.open,
    ".tar.bz2": bz2.open,
}  # fmt: skip


def unpack(archive: str | Path, dest: str | Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Path:
    """Unpack a .zip, .tar, .tar.gz, .tar.xz or .tar.bz2 file into a new folder, which appears whole or not at all.

    Args:
        archive: the file.
        dest: the folder to make; must not exist.
        max_bytes: most bytes of all unpacked files together.
        max_files: most files and folders.

    Returns:
        ``dest``.

    Raises:
        UserError: a member lies outside ``dest``, is a link or device, occurs twice or exceeds a limit, or the archive
            is damaged or of another format. Nothing is left behind.
    """
    archive, dest = Path(archive), Path(dest)
    if dest.exists():
        raise UserError(f"{dest} exists: choose another folder, or remove it")
    if not archive.is_file():
        raise UserError(f"{archive} does not exist: check the path")
    dest.parent.mkdir(parents=True, exist_ok=True)
    left, seen = max_bytes, set()
    with temporary_sibling(dest) as temporary:
        try:
            for name, content in _members(archive):
                if len(seen) >= max_files:
                    raise UserError(f"{archive} holds more than {max_files} files: unpack it by hand if you trust it")
                target = _target(archive, name)
                if target in seen:
                    raise UserError(f"{archive} holds {name!r} twice: it is refused")
                seen.add(target)
                path = temporary / target
                if content is None:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as out:
                    while chunk := content.read(_CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise UserError(
                                f"{archive} unpacks to more than {max_bytes} bytes: unpack it by hand if you trust it"
                            )
                        out.write(chunk)
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            lzma.LZMAError,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise UserError(
                f"{archive} is damaged or not an archive ({one_line(str(error))}): fetch it again"
            ) from None
        except OSError as error:
            raise UserError(f"{archive} cannot be unpacked into {dest} ({error})") from None
        temporary.rename(dest)
    return dest


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """(name, content or None for a folder) of each member; sizes that headers state are not believed."""
    if archive.name.lower().endswith(".zip"):
        return _zip_members(archive)
    for suffix, opener in _OPENERS.items():
        if archive.name.lower().endswith(suffix):
            return _tar_members(archive, opener)
    raise UserError(f"{archive} has an unknown ending: known are .zip, {', '.join(_OPENERS)}")


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{archive} holds {member.filename!r}, a link or device: it is refused")
            if member.is_dir():
                yield member.filename, None
            else:
                with file.open(member) as content:
                    yield member.filename, content


def _tar_members(archive: Path, opener: Callable[..., Any]) -> Iterator[tuple[str, IO[bytes] | None]]:
    with opener(archive, "rb") as raw:
        source = _Metered(raw)
        with tarfile.open(fileobj=source, mode="r|") as file:
            while True:
                source.allowance = MAX_HEADER_BYTES
                member = file.next()
                if member is None:
                    return
                if member.issparse() or not (member.isreg() or member.isdir()):
                    raise UserError(f"{archive} holds {member.name!r}, a link or device: it is refused")
                source.allowance = member.size + MAX_HEADER_BYTES
                yield member.name, file.extractfile(member) if member.isreg() else None


class _Metered(io.RawIOBase):
    """Reads of a decompressed tar stream, at most ``allowance`` bytes until it is set anew."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.allowance = MAX_HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        self.allowance -= len(data)
        if self.allowance < 0:
            raise tarfile.ReadError(f"a header of more than {MAX_HEADER_BYTES} bytes")
        return data


def _target(archive: Path, name: str) -> str:
    parts = PurePosixPath(name).parts
    if (
        not name
        or "\\" in name
        or "\0" in name
        or name.startswith("/")
        or ".." in parts
        or re.match(r"[A-Za-z]:", name)
    ):
        raise UserError(f"{archive} holds {name!r}, which lies outside the folder it is unpacked into: it is refused")
    return "/".join(parts)
