"""What a run cost in energy and carbon dioxide: an estimate from its seconds, with every constant named.

energy = seconds x threads x watts of a core x overhead of the data centre; CO2e = energy x intensity of the grid. The seconds are those of
the clock in training steps and compilation, so on a busy machine the estimate is too high rather than too low.
"""

from __future__ import annotations

from dataclasses import dataclass

from zoo.core import machine

# A server processor of 64 cores is rated at 225 to 280 W (AMD EPYC 7003 data sheet): 4.4 W a core, whatever memory adds is in the overhead.
WATTS_PER_CORE = 4.4
# Average power usage effectiveness of data centres: 1.58 (Uptime Institute, Global Data Center Survey 2023).
OVERHEAD = 1.58
# World average of electricity: 480 g CO2e per kWh (Ember, Global Electricity Review 2024).
GRAMS_PER_KWH = 480.0


@dataclass(frozen=True)
class Footprint:
    """Energy in watt hours and CO2 equivalent in grams."""

    energy_wh: float
    co2_g: float


def footprint(seconds: float, threads: int | None = None) -> Footprint:
    """The estimate for a run.

    Args:
        seconds: how long it computed.
        threads: how many cores it used; None for as many as XLA computes with.
    """
    energy = seconds / 3600 * (machine.threads() if threads is None else threads) * WATTS_PER_CORE * OVERHEAD
    return Footprint(round(energy, 4), round(energy / 1000 * GRAMS_PER_KWH, 4))


def run_facts(seconds: float) -> dict[str, float]:
    """The estimate as a release's card states it."""
    found = footprint(seconds)
    return {"energy_wh": found.energy_wh, "co2_g": found.co2_g}


SENTENCE = (
    f"Energy and CO2e of its run are estimates: seconds x threads x {WATTS_PER_CORE} W a core x {OVERHEAD} overhead, "
    f"{GRAMS_PER_KWH:g} g CO2e per kWh."
)
