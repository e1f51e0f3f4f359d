"""What the READMEs show is run as written."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def blocks(path: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / path).read_text(encoding="utf-8"), flags=re.M | re.S)


def python(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_example_predicts_what_it_says(tmp_path: Path) -> None:
    (code,) = blocks("README.md", "python")
    first, second = python(code, tmp_path).splitlines()
    assert first in code  # the comment beside the line shows its output
    assert float(second) == 49


def test_family_readme_example_gives_a_gradient(tmp_path: Path) -> None:
    code = blocks("zoo/neural_de/README.md", "python")[0]
    check = "\nleaves = jax.tree.leaves(eqx.filter(gradient, eqx.is_array))\nprint(all(bool(jnp.isfinite(x).all()) for x in leaves))"
    assert python(code + check, tmp_path).strip() == "True"


def test_frozen_steps_turn_the_sign_as_the_family_readme_says(tmp_path: Path) -> None:
    code = blocks("zoo/neural_de/README.md", "python")[1]
    exact, frozen, true = map(float, python(code, tmp_path).split())
    assert (f"# {exact}", f"# {frozen}") == tuple(re.findall(r"# -?0\.\d+", code)[:2])
    assert exact == pytest.approx(true, abs=2e-4)
    assert exact < 0 < frozen


@pytest.mark.parametrize("devices", ["1", "2"])
def test_family_readme_example_over_devices_is_the_whole_one(
    devices: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", devices)
    code = blocks("zoo/neural_de/README.md", "python")[2]
    check = """
whole, its = jax.value_and_grad(loss)(w, y0)
print(jax.device_count(), float(abs(value / whole - 1)), float(abs(gradient - its).max() / abs(its).max()))
"""
    count, value, gradient = map(float, python(code + check, tmp_path).split())
    assert count == int(devices)
    assert max(value, gradient) < 1e-3


def commands() -> list[list[str]]:
    lines = [line.split("#")[0] for block in blocks("README.md", "sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("zoo ")]


def test_there_are_commands() -> None:
    assert {c[1] for c in commands()} >= {"list", "train", "evaluate", "reproduce", "compare", "doctor"}


@pytest.mark.parametrize("command", [c for c in commands() if c[1] in ("list", "evaluate", "doctor")], ids=" ".join)
def test_quick_commands_run(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zoo.cli", *command[1:], "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    if command[1] == "evaluate":
        assert json.loads(done.stdout)["agrees"] is True


@pytest.mark.parametrize("command", [c for c in commands() if c[1] == "train" and "-m" not in c], ids=" ".join)
def test_training_commands_compose(command: list[str], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "zoo.cli", *command[1:], "--cfg", "job"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_make_targets_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.M))
    named = set(re.findall(r"\bmake ([a-z]+)\b(?! and git)", text))
    assert {"demo", "test"} <= named & targets
    assert named <= targets | {"and"}
