"""What a run writes beside its states: profiler traces, Weights & Biases, metrics on a full disk; and mixed precision."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

sys.path.insert(0, str(Path(__file__).parent))
from programs import Program
from tiny import TinyTask, tiny_config

from zoo.core import state
from zoo.core.errors import ConfigError, UserError, ZooError
from zoo.core.loop import fit
from zoo.core.metrics import MetricsLog, read_rows
from zoo.core.precision import compute_in


def run(folder: Path, **changes: Any):
    return fit(TinyTask(tiny_config(folder, **changes)))


# -- the profiler ---------------------------------------------------------------------------------------------------


def test_profiler_traces_the_steps_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: called.append(f"start {Path(folder).name}"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: called.append("stop"))
    seen = TinyTask.evaluate
    monkeypatch.setattr(TinyTask, "evaluate", lambda *a: (called.append("evaluate"), seen(*a))[1])
    run(tmp_path, trainer__steps=8, trainer__eval_every=8, trainer__profile_steps=2)
    assert called == ["start profile", "stop", "evaluate"]
    called.clear()
    run(tmp_path, trainer__steps=12, trainer__eval_every=12, trainer__profile_steps=50)  # a resumed run; it ends first
    assert called[0] == "start profile"
    assert called[-1] == "stop"


def test_trace_file_is_written(tmp_path: Path) -> None:
    run(tmp_path, trainer__steps=6, trainer__profile_steps=1)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


# -- Weights & Biases -------------------------------------------------------------------------------------------------


class StubRun:
    def __init__(self, **options: Any) -> None:
        self.options, self.rows, self.finished = options, [], False

    def log(self, values: dict[str, Any], step: int) -> None:
        self.rows.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[StubRun]:
    """A module in the place of wandb, and the runs that were begun with it."""
    runs: list[StubRun] = []

    def init(**options: Any) -> StubRun:
        runs.append(StubRun(**options))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))  # type: ignore[arg-type]
    return runs


def test_wandb_gets_every_row_and_a_resumed_run_stays_one(tmp_path: Path, wandb: list[StubRun]) -> None:
    options = {"project": "zoo", "mode": "offline"}
    run(tmp_path / "a", trainer__steps=5, logger__wandb=options)
    (first,) = wandb
    assert first.options["project"] == "zoo"
    assert first.options["mode"] == "offline"
    assert first.options["dir"] == str(tmp_path / "a")
    assert first.options["config"]["optimizer"]["learning_rate"] == 0.01
    assert first.finished
    rows = read_rows(tmp_path / "a" / "metrics.jsonl")
    assert [s for s, _ in first.rows] == [r["step"] for r in rows]
    assert first.rows[0][1]["train/loss"] == rows[0]["loss"]
    assert first.rows[-1][1]["valid/loss"] == rows[-1]["loss"]
    (tmp_path / "a").rename(tmp_path / "b")
    run(tmp_path / "b", trainer__steps=8, logger__wandb=options)
    assert wandb[1].options["id"] == first.options["id"]
    assert wandb[1].options["resume"] == "allow"
    assert wandb[1].rows[0][0] == 6


def test_wandb_is_closed_when_the_run_fails(tmp_path: Path, wandb: list[StubRun]) -> None:
    with pytest.raises(ZooError, match="not finite"):
        run(tmp_path, data__poison=7, logger__wandb={"project": "zoo"})
    assert wandb[0].finished


def test_wandb_that_is_not_installed_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install 'sci-model-zoo\[wandb\]'"):
        run(tmp_path / "new", logger__wandb={"project": "zoo"})
    assert not (tmp_path / "new").exists()


def test_wandb_section_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logger.wandb"):
        tiny_config(tmp_path, logger__wandb={"projct": "zoo"})
    with pytest.raises(ConfigError, match="online, offline"):
        tiny_config(tmp_path, logger__wandb={"project": "zoo", "mode": "off"})


# -- a full disk --------------------------------------------------------------------------------------------------------


def test_disk_full_during_a_save_keeps_the_last_good_state(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the full disk; the metrics stay below it, the weights do not."""
    folder = tmp_path / "run"
    run(folder, model__width=2000, trainer__steps=5)
    weights = folder / "states" / "step-00000005" / "weights.safetensors"
    size = weights.stat().st_size

    full = Program(folder, {"ZOO_TEST_FILE_LIMIT": str(size // 2)}, model__width=2000)
    assert full.wait() == 1
    last = full.said().splitlines()[-1]
    assert last.startswith("zoo: ")
    assert "was not saved" in last
    assert "nothing that was saved before is lost" in last
    assert [p.name for p in (folder / "states").glob("step-*")] == ["step-00000005"]
    result = run(folder, model__width=2000)
    assert result.ledger.step == 30
    steps = [r["step"] for r in read_rows(folder / "metrics.jsonl") if r["split"] == "train"]
    assert steps == list(range(1, 31))


def test_disk_full_for_the_metrics_is_one_line_too(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    log = MetricsLog(tmp_path, 0, tensorboard=False)
    log._file = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115
    with pytest.raises(ZooError, match=r"metrics.jsonl could not be written: No space left .* the last state saved"):
        log.write(1, "train", {"loss": 1.0})
    with pytest.raises(ZooError, match="No space left"):
        log.close()


# -- mixed precision ----------------------------------------------------------------------------------------------------


def test_bfloat16_computes_low_and_keeps_float32(tmp_path: Path) -> None:
    same = {"model__dropout": 0.0, "trainer__ema": 0.9}
    full, low = run(tmp_path / "32", **same), run(tmp_path / "16", trainer__precision="bfloat16", **same)
    saved, _ = state.load(tmp_path / "16" / "states" / "step-00000030")
    assert {x.dtype for x in saved.values() if x.dtype.kind not in "iu"} == {np.dtype(np.float32)}
    pairs = list(zip(jax.tree.leaves(full.params), jax.tree.leaves(low.params)))
    assert any(not np.array_equal(a, b) for a, b in pairs)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, atol=0.05)


def test_gradients_through_the_cast_are_float32_and_weights_stay() -> None:
    task = TinyTask(tiny_config("x", trainer__precision="bfloat16"))
    model = compute_in(task.init(jax.random.key(0)), "bfloat16")
    assert model.first.kernel.dtype == jnp.bfloat16
    assert isinstance(model.first.kernel, nnx.Param)
    batch = {"x": jnp.ones((2, 3)), "weight": jnp.ones(2), "label": jnp.ones(2, jnp.int32)}
    assert {k: str(v.dtype) for k, v in compute_in(batch, "bfloat16").items()} == {
        "x": "bfloat16", "weight": "float32", "label": "int32"
    }  # fmt: skip
    grad = jax.grad(lambda w: compute_in(w, "bfloat16").sum().astype(jnp.float32))(jnp.ones(3))
    assert grad.dtype == jnp.float32
    assert compute_in(batch, "float32") is batch


def test_precision_that_a_task_does_not_allow_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTask, "precisions", ("float32",))
    with pytest.raises(ConfigError, match=r"trainer.precision=bfloat16: tiny task 'tiny' trains in float32 only"):
        run(tmp_path / "new", trainer__precision="bfloat16")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="float32, bfloat16"):
        tiny_config(tmp_path, trainer__precision="float16")


# -- going on -----------------------------------------------------------------------------------------------------------


def test_longer_run_from_a_state_of_an_older_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys that came later have their defaults, and what an extension means is said."""
    run(tmp_path, trainer__steps=5)
    folder = tmp_path / "states" / "step-00000005"
    tensors, meta = state.load(folder)
    del meta["config"]["trainer"]["precision"]
    state.save(folder, tensors, meta, replace=True)
    capsys.readouterr()
    assert run(tmp_path, trainer__steps=8).ledger.step == 8
    assert "extended from 5 to 8 steps" in capsys.readouterr().err


def test_a_shorter_run_from_a_state_before_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, trainer__steps=8, trainer__checkpoint_every=3)
    shutil.rmtree(tmp_path / "states" / "step-00000008")
    assert run(tmp_path, trainer__steps=7).ledger.step == 7
    assert "shortened from 8 to 7 steps" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"has done 7 steps, more than trainer.steps=5: name another run.dir"):
        run(tmp_path, trainer__steps=5)
