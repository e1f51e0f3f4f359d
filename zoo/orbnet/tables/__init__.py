"""The paper's tables (Christensen et al., J. Chem. Phys. 2021, 155, 204103), one file a table."""

from __future__ import annotations

from collections.abc import Callable

from zoo.core.tables import Table
from zoo.orbnet.tables.gmtkn55 import gmtkn55
from zoo.orbnet.tables.hutchison import hutchison
from zoo.orbnet.tables.s66x10 import s66x10
from zoo.orbnet.tables.speed import speed
from zoo.orbnet.tables.tautobase import tautobase
from zoo.orbnet.tables.torsionnet500 import torsionnet500

TABLES: dict[str, Callable[[], Table]] = {
    "torsionnet500": torsionnet500,
    "hutchison": hutchison,
    "s66x10": s66x10,
    "gmtkn55": gmtkn55,
    "tautobase": tautobase,
    "speed": speed,
}
