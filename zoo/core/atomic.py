"""Writing so that a file or folder appears whole or not at all, and stays after a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk.

    Raises:
        OSError: it exists, the disk is full, or it cannot be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while len(view):
            written = os.write(handle, view)
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view = view[written:]
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def temporary_sibling(folder: Path) -> Iterator[Path]:
    """A new hidden folder beside ``folder``, locked while its writer lives and removed at the end unless renamed."""
    temporary = folder.with_name(f".{folder.name}.saving-{secrets.token_hex(4)}")
    temporary.mkdir()
    handle = os.open(temporary, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError, ImportError):  # a file system without locks: leftovers are not cleared there
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
    finally:
        os.close(handle)
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def interrupted(parent: Path, name_pattern: str) -> list[Path]:
    """Temporary folders in ``parent``, for folders whose name matches the regular expression, whose writer is gone."""
    pattern = re.compile(rf"\.(?:{name_pattern})\.saving-[0-9a-f]{{8}}")
    found = sorted(p for p in parent.iterdir() if pattern.fullmatch(p.name)) if parent.is_dir() else []
    return [path for path in found if _unlocked(path)]


def _unlocked(path: Path) -> bool:
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
    except (OSError, ImportError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether this process has ``folder`` for itself until the end of the block; a killed process holds nothing.

    True, too, on a file system that knows no locks.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, ImportError):
        pass
    return True
