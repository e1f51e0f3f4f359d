"""The command line as a person meets it: whole commands in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ER = "neural_de/digits-er"


def zoo(*arguments: str, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zoo.cli", *arguments], cwd=cwd, capture_output=True, text=True, check=False, input=stdin
    )


def refused(done: subprocess.CompletedProcess[str], *named: str) -> None:
    """A user's mistake: exit 2, one line on stderr that names it, nothing on stdout."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("zoo: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for part in named:
        assert part in done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which a short run has been trained."""
    folder = tmp_path_factory.mktemp("cwd")
    done = zoo("train", ER, "debug=fast", "run.dir=run", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["steps"] == 4
    assert {"test", "valid", "train", "run"} <= document["metrics"].keys()
    assert "step 4/4" in done.stderr
    return folder


def test_a_run_leaves_what_the_contract_says(trained: Path) -> None:
    release = trained / "run" / "release"
    assert {p.name for p in release.iterdir()} == {"weights.safetensors", "model.json", "README.md"}
    assert (trained / "run" / "metrics.jsonl").is_file()


def test_finished_run_says_so(trained: Path) -> None:
    done = zoo("train", ER, "debug=fast", "run.dir=run", cwd=trained)
    assert done.returncode == 0, done.stderr
    assert "finished at step 4" in done.stdout
    assert "trainer.steps" in done.stdout


def test_evaluate_repeats_the_card(trained: Path) -> None:
    done = zoo("evaluate", "run/release", "--json", cwd=trained)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["agrees"] is True
    assert document["metrics"]["test"] == document["stated"]["test"]


def test_predict_from_csv_npy_and_stdin_agree(trained: Path) -> None:
    import numpy as np
    from sklearn.datasets import load_digits

    images = (load_digits().data[:5] / 16).astype(np.float32)
    np.save(trained / "images.npy", images)
    text = "\n".join(",".join(map(str, row)) for row in images.tolist())
    (trained / "images.csv").write_text(text)
    rows = []
    for source, stdin in (("images.npy", None), ("images.csv", None), ("-", text)):
        done = zoo("predict", "run/release", source, "--json", cwd=trained, stdin=stdin)
        assert done.returncode == 0, done.stderr
        rows.append(json.loads(done.stdout))
    assert rows[0] == rows[1] == rows[2]
    assert [r["index"] for r in rows[0]] == list(range(5))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ["no images"]),
        ("0.1,0.2\n", ["2 values", "64 pixels"]),
        ("0.1,x\n", ["line 1", "'x'"]),
        ("0.1,0.2\n0.1\n", ["line 2", "1 values"]),
        (",".join(["7"] * 64) + "\n", ["7.0", "[0, 1]"]),
        (",".join(["nan"] * 64) + "\n", ["nan", "[0, 1]"]),
    ],
)
def test_predict_refuses_bad_input(trained: Path, text: str, named: list[str]) -> None:
    refused(zoo("predict", "run/release", "-", cwd=trained, stdin=text), *named)


def test_predict_refuses_missing_files_and_unknown_options(trained: Path) -> None:
    refused(zoo("predict", "run/release", "nowhere.csv", cwd=trained), "nowhere.csv")
    refused(zoo("predict", "run/release", "nowhere.npy", cwd=trained), "nowhere.npy")
    refused(zoo("predict", "run/release", "images.csv", "--fast", cwd=trained), "--fast")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", ER, "trainer.stpes=3"], ["trainer.steps"]),
        (["train", "neural_de/digits-err"], ["neural_de/digits-er"]),
        (["train"], ["no experiment"]),
        (["train", ER, "--fast"], ["--fast"]),
        (["evaluate", "neural_de/digits-eer"], ["neural_de/digits-er"]),
        (["evaluate", ER, "--split", "all"], ["all"]),
        (["show", "nothing"], ["nothing"]),
        (["reproduce", "neural_de/digits_nodes"], ["neural_de/digits_node"]),
        (["bench", "speed"], ["speed", "core"]),
        (["bench", "core", "--with-dft"], ["--with-dft"]),
        (["fly"], ["fly"]),
        ([], ["COMMAND"]),
    ],
)
def test_mistakes_are_one_line_and_exit_2(tmp_path: Path, arguments: list[str], named: list[str]) -> None:
    refused(zoo(*arguments, cwd=tmp_path), *named)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", ["", "train", "evaluate", "predict", "list", "show", "reproduce", "bench", "doctor"]
)
def test_help(tmp_path: Path, command: str) -> None:
    done = zoo(*filter(None, [command]), "--help", cwd=tmp_path)
    assert done.returncode == 0
    if command:
        assert "--json" in done.stdout
        assert f"zoo {command}" in done.stdout


def test_help_of_a_benchmark_lists_its_switches(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    done = zoo("bench", "orbnet", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--with-dft" in done.stdout
    assert "--with-dft" not in zoo("bench", "--help", cwd=tmp_path).stdout.partition("examples:")[0]
    refused(zoo("bench", "orbmet", "--help", cwd=tmp_path), "orbnet")


def test_cfg_job_prints_yaml_that_the_dataclass_takes(tmp_path: Path) -> None:
    done = zoo("train", ER, "seed=7", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    import yaml

    plain = yaml.safe_load(done.stdout)
    assert plain["seed"] == 7
    assert plain["run"]["dir"] == f"runs/{ER}/seed-7"
    assert not list(tmp_path.iterdir())


def test_doctor_and_list_are_json(tmp_path: Path) -> None:
    doctor = json.loads(zoo("doctor", "--json", cwd=tmp_path).stdout)
    assert doctor["versions"]["jax"]
    assert "neural_de" in doctor["families"]
    rows = json.loads(zoo("list", "--json", cwd=tmp_path).stdout)
    assert {"name", "family", "task", "size_mb", "licence"} <= rows[0].keys()


def test_ctrl_c_saves_and_exits_130(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "zoo.cli", "train", ER, "trainer.steps=100000", "trainer.log_every=1", "run.dir=r"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = tmp_path / "r" / "metrics.jsonl"
    for _ in range(1200):
        if log.exists() and log.stat().st_size:
            break
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.1)
    else:
        pytest.fail("the run never logged a step")
    os.kill(run.pid, signal.SIGINT)
    out, error = run.communicate(timeout=120)
    assert run.returncode == 130, error
    assert out == ""
    assert "run the same command again" in error
    assert list((tmp_path / "r" / "states").glob("step-*"))
