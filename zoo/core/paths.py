"""Where the zoo keeps what it fetched."""

from __future__ import annotations

import os
from pathlib import Path

ANOTHER_CACHE = "set ZOO_CACHE to another folder"  # the mend where it cannot be written


def cache_dir() -> Path:
    """ZOO_CACHE, else sci-model-zoo below XDG_CACHE_HOME or ~/.cache. It need not exist."""
    chosen = os.environ.get("ZOO_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "sci-model-zoo"


def folders(variable: str) -> list[Path]:
    """The folders that an environment variable names, separated as in PATH."""
    return [Path(part).expanduser() for part in os.environ.get(variable, "").split(os.pathsep) if part]
