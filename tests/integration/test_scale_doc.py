"""The commands of docs/scale.md: those that need no cluster are run as written, the others are checked."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.core.sweep import expand

TEXT = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:<!-- (run[\w ]*) -->\n)?```bash\n(.*?)```", TEXT, flags=re.S)
RUN = [(mark, block) for mark, block in BLOCKS if mark]


def test_the_page_has_commands_of_both_kinds() -> None:
    assert len(RUN) == 5
    assert len(BLOCKS) - len(RUN) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(("mark", "block"), RUN, ids=[re.sub(r"\W+", "-", b)[-40:] for _, b in RUN])
def test_command_runs_as_written(mark: str, block: str, tmp_path: Path) -> None:
    if mark == "run with cluster" and importlib.util.find_spec("hydra_plugins") is None:
        pytest.skip("needs the cluster extra")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=900
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "neural_de/debug-fast  step 4/4" in done.stderr
    folders = {p.parent.parent for p in tmp_path.rglob("release/model.json")}
    assert folders
    if "JAX_NUM_PROCESSES" in block:
        assert done.stdout.count("release: runs/two/release") == 1
        assert "Gloo" not in done.stdout


def commands() -> list[list[str]]:
    found = []
    for _, block in BLOCKS:
        for line in block.replace("\\\n", " ").splitlines():
            if "zoo train" in line and not line.startswith("#"):
                words = shlex.split(line.partition("zoo train")[2].split("&")[0].replace("$SCRATCH", "/scratch"))
                found.append([w for w in words if w != "-m" and not w.startswith("hydra")])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_configuration_of_every_command_is_valid(words: list[str]) -> None:
    assert expand(words)
