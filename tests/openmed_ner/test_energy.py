"""What a run costs: the formula by hand, and what a GPU adds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from zoo.openmed_ner import energy


def driver(folder: Path, said: str, code: int = 0) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\nexit {code}\n")
    program.chmod(0o755)


def test_footprint_is_its_formula() -> None:
    """One hour of two cores at 4.4 W and a GPU at 700 W: 708.8 W x 1.58; 480 g a kWh."""
    found = energy.footprint(3600, threads=2, gpu_watts=700.0)
    assert found.energy_wh == pytest.approx(1119.904)
    assert found.co2_g == pytest.approx(537.5539)


def test_a_machine_without_a_gpu_counts_its_cores_alone() -> None:
    assert energy.footprint(60, threads=2) == energy.footprint(60, threads=2, gpu_watts=0.0)


@pytest.mark.parametrize(
    ("said", "code", "watts"),
    [("310.00\\n310.00\\n", 0, 620.0), ("[N/A]\\n", 0, 1400.0), ("", 9, 1400.0), (None, 0, 1400.0)],
    ids=["told", "not told", "failing driver", "no driver"],
)
def test_gpus_count_at_their_power_limit(tmp_path, monkeypatch, said, code, watts) -> None:
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform="gpu")] * 2)
    monkeypatch.setenv("PATH", str(tmp_path))
    if said is not None:
        driver(tmp_path, said, code)
    assert energy.power_of_gpus() == watts
