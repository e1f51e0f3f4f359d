"""The paper's tables (Christensen et al., J. Chem. Phys. 2021, 155, 204103), one file a table."""

from __future__ import annotations

from collections.abc import Callable

from zoo.core.tables import Table
from zoo.orbnet.tables import ablation, gmtkn55, hutchison, s66x10, speed, tautobase, torsionnet500

TABLES: dict[str, Callable[[], Table]] = {
    "torsionnet500": torsionnet500.table,
    "hutchison": hutchison.table,
    "s66x10": s66x10.table,
    "gmtkn55": gmtkn55.table,
    "tautobase": tautobase.table,
    "speed": speed.table,
    "ablation": ablation.table,
}
