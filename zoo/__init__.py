"""A scientific model zoo on JAX: three independent model families over one small core.

``zoo.load(name_or_path)`` gives a predictor, ``zoo.list_models()`` the names of the packaged and cached releases.
Importing ``zoo`` imports no JAX: a family is imported when one of its models is first used.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from pathlib import Path

__version__ = "0.1.0.dev0"
__all__ = ["__version__", "list_models", "load"]


def load(
    name_or_path: str | Path, *, revision: str | None = None, refresh: bool = False, **options: typing.Any
) -> typing.Any:
    """A predictor: an energy calculator, a tagger or a solver, as the model's family defines it.

    Args:
        name_or_path: a release's name (``zoo.list_models()``), the folder of a release or of a finished run, or
            ``hf:owner/repo[@revision]``.
        revision: branch, tag or commit of a model on the hub.
        refresh: ask the hub again what that branch or tag points to.
        **options: the predictor's own.

    Raises:
        UserError: there is no such model, it is damaged, a library of its extra is missing, or an option is unknown.
    """
    import inspect

    from zoo.core import hub, release
    from zoo.core.errors import UserError
    from zoo.core.families import family

    loaded = release.read_release(hub.resolve(name_or_path, revision=revision, refresh=refresh))
    predictor = family(loaded.info.family).predictor
    try:
        inspect.signature(predictor).bind(loaded, **options)
    except TypeError as error:
        known = ", ".join(list(inspect.signature(predictor).parameters)[1:]) or "none"
        raise UserError(f"{loaded.info.name}: {error}: the options of its predictor are: {known}") from None
    return predictor(loaded, **options)


def list_models() -> list[str]:
    """Names of the releases that :func:`load` finds by name: packaged, in ZOO_MODELS_DIR, and in the cache."""
    from zoo.core.hub import catalogue

    return [row["name"] for row in catalogue()]
