"""Sweeps and comparisons, on the tiny task as an installed family."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny import TinyTask, install_family

from zoo import cli
from zoo.core.compare import compare
from zoo.core.errors import ConfigError, UserError
from zoo.core.metrics import read_rows
from zoo.core.sweep import expand, sweep
from zoo.core.train import train

HERE = Path(__file__).parent


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny family, installed, and an empty working folder; returns its configs."""
    folder = install_family(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(HERE), os.environ.get("PYTHONPATH", "")])
    )
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return folder


def zoo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "zoo.cli", *words], capture_output=True, text=True, check=False)


def test_every_combination_is_trained_once(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tiny/run", "seed=0,1", "optimizer.learning_rate=0.01,0.1", "model.width=3"]
    document = sweep(words, [configs])
    assert document["varying"] == ["seed", "optimizer.learning_rate"]
    assert [tuple(r["overrides"].values()) for r in document["rows"]] == [
        ("0", "0.01"), ("0", "0.1"), ("1", "0.01"), ("1", "0.1")
    ]  # fmt: skip
    assert {r["status"] for r in document["rows"]} == {"trained"}
    assert len({r["metrics"]["test"]["loss"] for r in document["rows"]}) == 4
    first = Path(document["rows"][0]["run_dir"])
    assert first == Path("runs/tiny/run/seed=0,optimizer.learning_rate=0.01,model.width=3")
    said = json.loads((first / "release" / "model.json").read_text())["meta"]
    assert said["config"]["model"]["width"] == 3
    assert said["config"]["optimizer"]["learning_rate"] == 0.01
    assert said["command"].startswith("zoo train experiment=tiny/run seed=0 optimizer.learning_rate=0.01")

    log = first / "metrics.jsonl"
    before = log.read_bytes()
    again = sweep(words, [configs])
    assert {r["status"] for r in again["rows"]} == {"already finished"}
    assert [r["metrics"] for r in again["rows"]] == [r["metrics"] for r in document["rows"]]
    assert log.read_bytes() == before
    longer = sweep(
        ["tiny/run", "seed=0", "optimizer.learning_rate=0.01,0.1", "model.width=3", "trainer.steps=8"], [configs]
    )
    assert {r["run_dir"] for r in longer["rows"]} < {r["run_dir"] for r in document["rows"]}
    assert {r["metrics"]["run"]["steps"] for r in longer["rows"]} == {8}
    assert "going on from step 6 of 8" in capsys.readouterr().err


def test_each_run_has_a_folder_that_names_its_overrides(configs: Path) -> None:
    def folders(*words: str) -> list[str]:
        return [str(job.folder) for job in expand(words, [configs])]

    base = "runs/tiny/run/"
    assert folders("tiny/run", "seed=range(0,2)") == [base + "seed=0", base + "seed=1"]
    assert folders("tiny/run", "seed=0,1", "run.dir=out") == ["out/seed=0", "out/seed=1"]
    assert folders("tiny/run,tiny/other") == [base + "seed-0", "runs/tiny/other/seed-0"]
    assert folders("tiny/run", "seed=0,1", "run.dir=out/s${seed}") == ["out/s0", "out/s1"]
    assert folders("tiny/run", "seed=0", "trainer.steps=3,4")[0] == base + "seed=0,trainer.steps=3"
    assert folders("tiny/run", "optimizer=adam,momentum", "optimizer.learning_rate=0.1")[1].startswith(
        base + "optimizer=momentum,"
    )
    long = folders("tiny/run", "seed=0,1", *(f"optimizer.{k}=0.5" for k in ("b1", "b2", "momentum")),
                   "optimizer.final_fraction=0.123456789", "model.dropout=0.123456789", "trainer.ema=0.123456789")  # fmt: skip
    assert len(set(long)) == 2
    assert all(len(Path(f).name) < 200 for f in long)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["tiny/run", "optimizer.lerning_rate=1,2"], "did you mean 'optimizer.learning_rate'"),
        (["tiny/run", "seed=0,-1"], "seed=-1"),
        (["tiny/run", "seed=0,x"], "seed='x'"),
        (["tiny/rnu,tiny/run", "seed=0"], "tiny/rnu"),
        (["seed=0,1"], "no experiment given"),
        (["tiny/run", "seed=0,0"], "twice"),
        (["tiny/run", "seed=interval(0,1)"], "needs a list of values"),
        (["tiny/run", "seed=0,1", "trainer.steps=[1"], "trainer.steps"),
    ],
)
def test_a_mistake_is_refused_before_the_first_run(configs: Path, words: list[str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep(words, [configs])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(Path().iterdir())


def test_launcher_that_is_not_installed_names_the_extra(configs: Path) -> None:
    with pytest.raises(UserError, match=r"hydra/launcher=ray is not installed: pip install 'sci-model-zoo\[cluster\]'"):
        sweep(["tiny/run", "seed=0,1", "hydra/launcher=ray"], [configs])
    assert not list(Path().iterdir())


def test_sweep_under_a_parallel_launcher_is_refused(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "here:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    with pytest.raises(UserError, match="ZOO_DISTRIBUTED=0"):
        sweep(["tiny/run", "seed=0,1"], [configs])


def test_a_finished_run_releases_the_step_that_is_asked_for_now(configs: Path) -> None:
    words = [
        "tiny/run",
        "optimizer.learning_rate=3.0",
        "optimizer.name=sgd",
        "trainer.eval_every=1",
        "trainer.nan=skip",
    ]
    first = train([*words, "trainer.release=best"], [configs])["metrics"]["run"]
    assert first["released_step"] < first["steps"]
    last = train([*words, "trainer.release=last"], [configs])
    assert last["already_finished"]
    assert last["metrics"]["run"]["released_step"] == first["steps"]
    again = train([*words, "trainer.release=best"], [configs])
    assert again["metrics"]["run"] == first


def test_a_sweep_that_cannot_be_written_says_why(configs: Path) -> None:
    Path("a file").touch()
    rows = sweep(["tiny/run", "seed=0,1", "run.dir=a file/x"], [configs])["rows"]
    assert {r["status"] for r in rows} == {"failed"}
    assert all("a file/x" in r["error"] and "Not a directory" in r["error"] for r in rows)


def test_failed_run_is_reported_and_the_others_go_on(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "-m", "tiny/run", "data.poison=-1,2,-2", "--config-dir", str(configs), "--json"]
    assert cli.run(words) == 1
    out, error = capsys.readouterr()
    rows = json.loads(out)["rows"]
    assert [r["status"] for r in rows] == ["trained", "failed", "trained"]
    assert "not finite" in rows[1]["error"]
    assert rows[1]["metrics"] == {}
    assert "1 of 3 runs failed" in error.splitlines()[-1]


def test_table_shows_varying_keys_and_metrics(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", "--multirun", "tiny/run", "seed=0,1", "--config-dir", str(configs)]) == 0
    out = capsys.readouterr().out
    for part in ("seed", "status", "valid loss", "test loss", "trained", "runs in runs/tiny/run"):
        assert part in out


def test_killed_sweep_started_again_goes_on(configs: Path) -> None:
    words = ["tiny/run", "seed=0,1", "data.slow=0.05", "trainer.steps=40", "trainer.eval_every=10"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "zoo.cli", "train", "-m", *words, "--config-dir", str(configs)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folders = [job.folder for job in expand(words, [configs])]
    end = time.monotonic() + 300
    while not any(r["step"] >= 12 for r in read_rows(folders[1] / "metrics.jsonl", tolerate_torn=True)):
        assert killed.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    again = sweep(words, [configs])
    assert [r["status"] for r in again["rows"]] == ["already finished", "trained"]
    steps = [r["step"] for r in read_rows(folders[1] / "metrics.jsonl") if r["split"] == "train"]
    assert steps == list(range(1, 41))


def test_ctrl_c_stops_the_whole_sweep(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    original = TinyTask.evaluate

    def press(self, model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, model, batch)

    monkeypatch.setattr(TinyTask, "evaluate", press)
    assert cli.run(["train", "-m", "tiny/run", "seed=0,1", "--config-dir", str(configs)]) == 130
    folders = sorted(p.name for p in Path("runs/tiny/run").iterdir())
    assert folders == ["seed=0"]


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_launchers_of_the_cluster_extra(configs: Path, launcher: str) -> None:
    module = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip("needs the cluster extra")
    done = zoo(
        "train", "-m", "tiny/run", "data.poison=-1,2", f"hydra/launcher={launcher}", "--config-dir", str(configs), "--json"
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [r["status"] for r in rows] == ["trained", "failed"]
    assert "not finite" in rows[1]["error"]
    assert rows[0]["metrics"]["test"]["count"] == 24


def test_compare_names_what_differs(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sweep(["tiny/run", "seed=0,1", "model.width=3"], [configs])["rows"]
    rows += sweep(["tiny/run", "seed=1", "model.width=4"], [configs])["rows"]
    a, b = rows[0]["run_dir"], rows[2]["run_dir"]
    document = compare([a, b])
    assert document["config"] == {"seed": [0, 1], "model.width": [3, 4]}
    assert document["metrics"]["test loss"] == [r["metrics"]["test"]["loss"] for r in (rows[0], rows[2])]
    assert [r["status"] for r in document["runs"]] == ["released", "released"]
    assert compare([a, f"{a}/release"])["config"] == {}
    assert cli.run(["compare", a, b]) == 0
    shown = capsys.readouterr().out
    assert "model.width" in shown
    assert "test loss" in shown
    assert "optimizer.name" not in shown


def test_compare_takes_a_run_that_is_not_finished(configs: Path) -> None:
    from zoo.core.loop import fit
    from zoo.core.train import compose, typed

    (job,) = expand(["tiny/run"], [configs])
    config = typed(compose(["tiny/run", "run.dir=half"], [configs]))
    fit(TinyTask(config))  # trained, its release not written
    done = sweep(["tiny/run", "model.width=5"], [configs])["rows"][0]["run_dir"]
    document = compare(["half", done])
    assert document["runs"][0] == {"name": "half", "status": "at step 6 of 6"}
    assert document["metrics"]["valid loss"][0] == read_rows(Path("half/metrics.jsonl"))[-1]["loss"]
    assert document["metrics"]["test loss"][0] is None
    assert job.folder == Path("runs/tiny/run/seed-0")


def test_compare_refuses_what_is_no_run(configs: Path) -> None:
    with pytest.raises(UserError, match="at least two"):
        compare(["a"])
    with pytest.raises(UserError, match="nowhere"):
        compare(["nowhere", "nothing"])
