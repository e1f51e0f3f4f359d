"""What a run cost in energy and carbon dioxide: an estimate from its seconds, with every constant named.

energy = seconds x (threads x watts of a core + watts of the GPUs) x overhead of the data centre; CO2e = energy x intensity of the grid. The
seconds are those of the clock in training steps and compilation, and a GPU counts at its power limit, so where others share the machine,
or a GPU is not busy throughout, the estimate is too high rather than too low.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

import jax

from zoo.core import machine

# A server processor of 64 cores is rated at 225 to 280 W (AMD EPYC 7003 data sheet): 4.4 W a core, whatever memory adds is in the overhead.
WATTS_PER_CORE = 4.4
# Average power usage effectiveness of data centres: 1.58 (Uptime Institute, Global Data Center Survey 2023).
OVERHEAD = 1.58
# World average of electricity: 480 g CO2e per kWh (Ember, Global Electricity Review 2024).
GRAMS_PER_KWH = 480.0
# Of a GPU whose driver does not tell its limit: that of an H100 or H200 (SXM, NVIDIA data sheets), the highest of its generation.
WATTS_PER_GPU = 700.0


@dataclass(frozen=True)
class Footprint:
    """Energy in watt hours and CO2 equivalent in grams."""

    energy_wh: float
    co2_g: float


def footprint(seconds: float, threads: int | None = None, gpu_watts: float | None = None) -> Footprint:
    """The estimate for a run.

    Args:
        seconds: how long it computed.
        threads: how many cores it used; None for as many as XLA computes with.
        gpu_watts: the power limits of its GPUs together; None for those that JAX computes on.
    """
    cores = machine.threads() if threads is None else threads
    watts = cores * WATTS_PER_CORE + (power_of_gpus() if gpu_watts is None else gpu_watts)
    energy = seconds / 3600 * watts * OVERHEAD
    return Footprint(round(energy, 4), round(energy / 1000 * GRAMS_PER_KWH, 4))


def power_of_gpus() -> float:
    """The power limits in watts, together, of the GPUs that JAX computes on; 0 without one."""
    count = sum(device.platform == "gpu" for device in jax.devices())
    return count * (_power_limit() or WATTS_PER_GPU) if count else 0.0


def _power_limit() -> float | None:
    """The highest power limit that NVIDIA's driver tells of a GPU here; None where it tells none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        told = subprocess.run(
            [command, "--query-gpu=power.limit", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        return max(float(line) for line in told.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def run_facts(seconds: float) -> dict[str, float]:
    """The estimate as a release's card states it."""
    found = footprint(seconds)
    return {"energy_wh": found.energy_wh, "co2_g": found.co2_g}


SENTENCE = (
    f"Energy and CO2e of its run are estimates: seconds x threads x {WATTS_PER_CORE} W a core (and the power limit of a GPU) x "
    f"{OVERHEAD} overhead, {GRAMS_PER_KWH:g} g CO2e per kWh."
)
