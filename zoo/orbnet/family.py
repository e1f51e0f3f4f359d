"""The family's answers to the shared core (see zoo.core.task.Family)."""

from __future__ import annotations

from typing import Any, NoReturn

from zoo.core.errors import UserError
from zoo.core.task import Family
from zoo.orbnet.tables import TABLES


def _not_yet(*_: Any) -> NoReturn:
    raise UserError("orbnet has no model to train or load yet: its tables of baselines can be made (zoo reproduce)")


FAMILY = Family(
    name="orbnet",
    extra="orbnet",
    title="molecular energies from GFN1-xTB features (OrbNet Denali)",
    config_types={},
    build=_not_yet,
    card=_not_yet,
    predictor=_not_yet,
    predict=_not_yet,
    tables=TABLES,
)
