"""Folders that cannot be written: said in one line, before anything is computed for them."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

from zoo.core.errors import UserError, ZooError


def require_writable(folder: Path, mend: str) -> None:
    """Make ``folder`` where it is not there yet, and try that a file can be made in it.

    Args:
        folder: what is about to be written into.
        mend: how to name another one, for example "name another run.dir".

    Raises:
        UserError: no folder can be made there or written into: a read-only file system, no permission, a file in its place.
        ZooError: the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ZooError(f"{folder} cannot be written: {reason}: make room, or {mend}") from error
        raise UserError(f"{folder} cannot be written: {reason}: {mend}") from error
