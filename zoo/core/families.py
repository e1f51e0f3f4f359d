"""The families by entry point: listed without importing them, imported when one is used."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.core.config import nearest
from zoo.core.errors import UserError

if TYPE_CHECKING:
    from zoo.core.task import Family

GROUP = "zoo.families"
DISTRIBUTION = "sci-model-zoo"


def families() -> dict[str, importlib.metadata.EntryPoint]:
    """Every installed family's entry point by name; nothing is imported.

    Raises:
        UserError: none is registered, because the package is run from a checkout that is not installed.
    """
    found = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if not found:
        raise UserError(
            "no model family is installed: run `pip install -e .` in the checkout, or pip install sci-model-zoo"
        )
    return dict(sorted(found.items()))


def family(name: str) -> Family:
    """The family called ``name``, imported now.

    Raises:
        UserError: no family has this name, or a library of its extra is not installed.
    """
    known = families()
    if name not in known:
        raise UserError(f"no family {name!r}{nearest(name, known)} (installed: {', '.join(known)})")
    try:
        return known[name].load()
    except ModuleNotFoundError as error:
        raise missing_library(error) from error


def missing_library(error: ModuleNotFoundError) -> UserError:
    """The UserError for a library that is not installed; it names the extra that brings it.

    A bug inside the zoo (one of its own modules is missing) is raised again as it is.
    """
    module = (error.name or "").partition(".")[0]
    if module in ("", "zoo"):
        raise error
    extra = _extra_with(module)
    what = f"'{DISTRIBUTION}[{extra}]'" if extra else module
    return UserError(f"{module} is not installed: pip install {what}")


def packaged_folder(name: str) -> Path | None:
    """Where the family called ``name`` keeps the releases it ships, or None; the family is not imported."""
    package = families()[name].module.rpartition(".")[0]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "pretrained" if places else None


def _extra_with(module: str) -> str | None:
    """The smallest extra of the zoo that brings ``module``."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    extras: dict[str, set[str]] = {}
    for requirement in requirements:
        match = re.match(r"([A-Za-z0-9._-]+).*\bextra\s*==\s*['\"]([^'\"]+)", requirement)
        if match:
            extras.setdefault(match[2], set()).add(_normal(match[1]))
    bringing = [extra for extra, brought in extras.items() if _normal(module) in brought]
    return min(bringing, key=lambda extra: len(extras[extra]), default=None)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
