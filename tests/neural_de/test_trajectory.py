"""``zoo predict --plot``: attempts are the solve's own, the picture is drawn, and what cannot be drawn is refused before work is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import zoo
from zoo import cli
from zoo.neural_de.trajectory import trajectory


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "some.npy"
    np.save(path, (load_digits(return_X_y=True)[0][:16] / 16).astype(np.float32))
    return path


def test_attempts_are_those_of_the_prediction(images: Path) -> None:
    model = zoo.load("neural_de/digits-er")
    found = trajectory(model, np.load(images))
    assert int(found.accepted.sum()) == int(model.solve(np.load(images)).steps)
    assert found.start[0] == 0.0
    assert found.end[-1] == 1.0


def test_the_picture_beside_the_rows(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "solve.png"
    command = [
        "predict",
        "neural_de/digits-vanilla",
        str(images),
        "--plot",
        str(path),
        "--beside",
        "neural_de/digits-er",
    ]
    assert cli.run([*command, "--json"]) == 0
    assert capsys.readouterr().out.count('"class"') == 16
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--plot", "solve.txt"], "give a file that ends in .png"),
        (["--plot", "nowhere/solve.png"], "there is no folder nowhere"),
        (["--beside", "neural_de/digits-er"], "goes with --plot"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(images: Path, capsys, monkeypatch, tmp_path, arguments, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["predict", "neural_de/digits-vanilla", str(images), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert not list(tmp_path.iterdir())
