"""The wheel, installed with its declared dependencies only, trains from an empty folder."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def call(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_ships_configs_and_releases_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "zoo/configs/train.yaml" in names
    assert "zoo/configs/experiment/neural_de/digits-er.yaml" in names
    assert "zoo/neural_de/pretrained/digits-er/weights.safetensors" in names
    assert not [n for n in names if n.startswith("tests/") or "golden" in n]


def test_wheel_trains_in_a_new_environment(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    call(sys.executable, "-m", "venv", venv, cwd=tmp_path)
    call(venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    out = call(venv / "bin" / "zoo", "train", "neural_de/digits-er", "debug=fast", "run.dir=run", "--json", cwd=empty)
    assert json.loads(out)["steps"] == 4
    assert {p.name for p in empty.iterdir()} == {"run"}
    listed = json.loads(call(venv / "bin" / "zoo", "list", "--json", cwd=empty))
    assert "neural_de/digits-er" in [row["name"] for row in listed]
    code = "import zoo, pathlib; print(pathlib.Path(zoo.__file__).parent)"
    assert str(venv) in call(venv / "bin" / "python", "-c", code, cwd=empty)
