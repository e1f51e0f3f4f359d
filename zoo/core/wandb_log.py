"""Metrics to Weights & Biases, where ``logger.wandb`` asks for it (the ``wandb`` extra)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.core.errors import UserError
from zoo.core.schema import WandbConfig

ID_FILE = "wandb-id"


def library() -> Any:
    """The wandb package; UserError naming the extra where it is not installed."""
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "logger.wandb needs the package wandb: pip install 'sci-model-zoo[wandb]', or leave logger.wandb out"
        ) from None
    return wandb


class WandbLog:
    """One W&B run for one run folder: a resumed run goes on in it.

    Args:
        folder: the run's folder, where W&B keeps its files too.
        name: the run's name.
        options: project, entity, mode.
        config: the plain configuration that W&B shows.
    """

    def __init__(self, folder: Path, name: str, options: WandbConfig, config: Mapping[str, Any]) -> None:
        self._run = library().init(
            project=options.project,
            entity=options.entity,
            mode=options.mode,
            id=_identity(folder),
            resume="allow",
            name=name,
            dir=str(folder),
            config=dict(config),
        )

    def write(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Log the numbers of ``split`` at ``step``; rows repeated after a kill carry the step W&B has and are dropped there."""
        self._run.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


def _identity(folder: Path) -> str:
    """The W&B id of the run in ``folder``: drawn once and kept there, so that a moved folder stays the same run."""
    path = folder / ID_FILE
    if not path.is_file():
        temporary = path.with_name(f".{ID_FILE}.tmp")
        temporary.write_text(secrets.token_hex(8) + "\n", encoding="utf-8")
        temporary.replace(path)
    return path.read_text(encoding="utf-8").strip()
