"""The training loop: what it computes, and that killing it changes nothing."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

sys.path.insert(0, str(Path(__file__).parent))
from programs import Program, reached
from tiny import TinyTask, tiny_config

from zoo.core import state
from zoo.core.batches import ShuffleSampler, evaluation_batches, training_batches
from zoo.core.errors import ConfigError, DamagedError, UserError
from zoo.core.loop import Interrupted, NotFinite, fit
from zoo.core.metrics import read_rows
from zoo.core.optim import optimizer, schedule
from zoo.core.schema import OptimizerConfig
from zoo.core.step import initial_state, make_step
from zoo.core.task import Split


def run(folder: Path, **changes):
    return fit(TinyTask(tiny_config(folder, **changes)))


def tensors(folder: Path, step: int) -> dict[str, np.ndarray]:
    return state.load(folder / "states" / f"step-{step:08d}")[0]


def same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert a[name].tobytes() == b[name].tobytes(), name


def logged(folder: Path) -> list[dict]:
    """Metric rows without the wall clock."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run never killed, with EMA and dropout."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, trainer__ema=0.9)
    return folder


def equals_whole(folder: Path, whole: Path) -> None:
    same_bits(tensors(folder, 30), tensors(whole, 30))
    assert logged(folder) == logged(whole)
    best = [p.name for p in (folder / "states").glob("best-*")]
    assert best == [p.name for p in (whole / "states").glob("best-*")]


def test_killed_again_and_again_ends_the_same(tmp_path: Path, whole: Path) -> None:
    """Between steps, and inside saves: before the manifest, before the rename, after it, and between the save of the best
    parameters and that of the run."""
    folder, keys = tmp_path / "run", {"trainer__ema": 0.9, "data__slow": 0.02}
    killed = Program(folder, **keys)
    killed.wait_until(reached(folder, 7))
    killed.kill()
    for point in ("before-manifest:1", "before-rename:2", "after-rename:1", "after-rename:2", "before-manifest:4"):
        killed = Program(folder, {"ZOO_TEST_FAULT": point}, **keys)
        assert killed.wait() == -signal.SIGKILL, killed.said()
    last = Program(folder, **keys)
    assert last.wait() == 0, last.said()
    assert "going on from step" in last.said()
    equals_whole(folder, whole)


@pytest.mark.slow
def test_twenty_kills_end_the_same(tmp_path: Path, whole: Path) -> None:
    generator = np.random.default_rng(0)
    folder, keys = tmp_path / "run", {"trainer__ema": 0.9, "data__slow": 0.05}
    for step in sorted(generator.choice(np.arange(1, 28), 20, replace=False)):
        killed = Program(folder, **keys)
        killed.wait_until(reached(folder, int(step)))
        time.sleep(float(generator.uniform(0.0, 0.05)))
        killed.kill()
    last = Program(folder, **keys)
    assert last.wait() == 0, last.said()
    equals_whole(folder, whole)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    asked = Program(folder, trainer__ema=0.9, data__slow=0.02)
    asked.wait_until(reached(folder, 7))
    asked.send(signal.SIGINT)
    assert asked.wait() == 130
    saved = state.latest(folder / "states", "step")
    assert saved is not None
    assert f"stopped at step {int(saved.name[-8:])} of 30" in asked.said()
    assert "run the same command again" in asked.said()
    run(folder, trainer__ema=0.9, data__slow=0.02)
    equals_whole(folder, whole)


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = Program(folder, data__slow=0.05, trainer__steps=10**6)
    first.wait_until(reached(folder, 2))
    with pytest.raises(UserError, match="another process is training in it"):
        run(folder, data__slow=0.05, trainer__steps=10**6)
    first.kill()


@pytest.mark.parametrize("name", ["a file", "a file/run", "/dev/null", "/proc/run"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(UserError, match=r"cannot be written: .*: name another run\.dir"):
        run(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["a file"]


def test_a_missing_best_state_says_how_to_go_on(tmp_path: Path) -> None:
    done = run(tmp_path)
    shutil.rmtree(tmp_path / "states" / f"best-{done.ledger.best_step:08d}")
    with pytest.raises(DamagedError, match=r"best-\d{8} is missing.* trainer\.release=last"):
        run(tmp_path)
    assert run(tmp_path, trainer__release="last").already


@pytest.mark.parametrize("broken", ['{"step": 3, "spl', "3", '{"loss": 1.0}', "\xff"])
def test_a_broken_line_of_the_metrics_is_named(tmp_path: Path, broken: str) -> None:
    run(tmp_path, trainer__steps=10)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = broken
    path.write_bytes("\n".join([*lines, ""]).encode("latin-1"))
    with pytest.raises(DamagedError, match=r"metrics\.jsonl, line 3: .* mend or remove the line"):
        run(tmp_path)
    path.write_bytes("\n".join([*lines[:2], *lines[3:], broken]).encode("latin-1"))  # a last line was cut by a kill
    assert run(tmp_path).ledger.step == 30


def test_interrupted_carries_the_signal_in_its_exit_status() -> None:
    assert Interrupted("x", signal.SIGINT).exit_code == 130
    assert Interrupted("x", signal.SIGTERM).exit_code == 143


def test_same_command_gives_the_same_bits(tmp_path: Path, whole: Path) -> None:
    run(tmp_path, trainer__ema=0.9)
    same_bits(tensors(tmp_path, 30), tensors(whole, 30))


def test_finished_run_is_not_trained_again_and_can_be_extended(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert not first.already
    again = run(tmp_path)
    assert again.already
    assert again.ledger.step == 30
    longer = run(tmp_path, trainer__steps=40)
    assert not longer.already
    straight = run(tmp_path / "straight", trainer__steps=40)
    for a, b in zip(jax.tree.leaves(longer.params), jax.tree.leaves(straight.params)):
        assert np.array_equal(a, b)


def test_moved_run_goes_on(tmp_path: Path, whole: Path) -> None:
    run(tmp_path / "a", trainer__ema=0.9, trainer__steps=15)
    (tmp_path / "a").rename(tmp_path / "b")
    run(tmp_path / "b", trainer__ema=0.9)
    same_bits(tensors(tmp_path / "b", 30), tensors(whole, 30))


def test_state_of_another_configuration_or_data_is_refused(tmp_path: Path) -> None:
    run(tmp_path, trainer__steps=5)
    with pytest.raises(UserError, match=r"optimizer.learning_rate was 0.01 and is 0.1"):
        run(tmp_path, optimizer__learning_rate=0.1)
    task = TinyTask(tiny_config(tmp_path))
    task.records = lambda split: type(  # the same configuration, other content
        "Other", (), {"__len__": lambda s: 50, "fingerprint": lambda s: "other"}
    )()
    with pytest.raises(UserError, match="other data"):
        fit(task)


def test_damaged_state_is_refused_and_not_restarted_silently(tmp_path: Path) -> None:
    run(tmp_path, trainer__steps=5)
    weights = tmp_path / "states" / "step-00000005" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(DamagedError, match="step-00000005"):
        run(tmp_path)


def test_interrupted_save_is_passed_over(tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, trainer__ema=0.9, trainer__steps=15)
    (tmp_path / "states" / "step-00000020").mkdir()
    run(tmp_path, trainer__ema=0.9)
    assert "step-00000020" in caplog.text
    same_bits(tensors(tmp_path, 30), tensors(whole, 30))


def test_nan_stop_keeps_the_last_good_state_and_names_the_examples(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"step \d+: .*examples .*7.*trainer.nan=skip") as caught:
        run(tmp_path, data__poison=7, trainer__checkpoint_every=1)
    bad = int(str(caught.value).split("step ")[1].split(":")[0])
    sampler = ShuffleSampler(50, 8, 0)
    assert 7 in sampler(bad)
    assert all(7 not in sampler(n) for n in range(bad))
    if bad:
        good = tensors(tmp_path, bad)
        assert all(np.isfinite(x).all() for x in good.values() if x.dtype.kind == "f")


def test_nan_skip_counts_and_goes_on(tmp_path: Path) -> None:
    result = run(tmp_path, data__poison=7, trainer__nan="skip")
    sampler = ShuffleSampler(50, 8, 0)
    assert result.skipped == sum(7 in sampler(n) for n in range(30)) > 0
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(result.params))


def test_accumulation_equals_one_batch(tmp_path: Path) -> None:
    one = run(tmp_path / "1", model__dropout=0.0, optimizer__name="sgd", optimizer__learning_rate=0.1)
    four = run(
        tmp_path / "4", model__dropout=0.0, optimizer__name="sgd", optimizer__learning_rate=0.1, trainer__accumulate=4
    )
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(four.params)):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_frozen_leaves_keep_their_bits_and_have_no_optimiser_state(tmp_path: Path) -> None:
    task = TinyTask(tiny_config(tmp_path, model__freeze_first=True))
    result = fit(task)
    assert set(nnx.to_pure_dict(result.params)) == {"second"}
    saved = tensors(tmp_path, 30)
    assert not any("first" in name for name in saved)
    assert any("second" in name and name.startswith("opt_state") for name in saved)


def test_ema_follows_its_formula(tmp_path: Path) -> None:
    task = TinyTask(tiny_config(tmp_path, trainer__ema=0.9, trainer__steps=3))
    graphdef, params, frozen = nnx.split(task.init(jax.random.key(0)), nnx.Param, ...)
    tx = optimizer(task.config.optimizer, task.config.trainer)
    current, step = initial_state(params, tx, task.config.trainer), make_step(task, graphdef, tx)
    records = task.records(Split.TRAIN)
    expected = [np.asarray(x) for x in jax.tree.leaves(params)]
    for batch in training_batches(records, ShuffleSampler(50, 8, 0), 0, 3):
        batch.pop("index")
        current, _ = step(current, frozen, batch, jax.random.key(1))
        expected = [0.9 * e + 0.1 * np.asarray(p) for e, p in zip(expected, jax.tree.leaves(current.params))]
    for e, a in zip(expected, jax.tree.leaves(current.ema)):
        np.testing.assert_allclose(e, a, atol=1e-6)


def test_early_stopping_releases_the_best(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        optimizer__learning_rate=3.0,
        optimizer__name="sgd",
        trainer__patience=2,
        trainer__steps=200,
        trainer__nan="skip",
    )
    assert result.ledger.step < 200
    rows = [r for r in read_rows(tmp_path / "metrics.jsonl") if r["split"] == "valid"]
    finite = [(r["loss"], r["step"]) for r in rows if isinstance(r["loss"], float)]
    assert (result.ledger.best_value, result.ledger.best_step) == min(finite)
    assert result.ledger.step == result.ledger.best_step + 10


def test_metrics_have_no_gap_and_no_repeat(whole: Path) -> None:
    steps = [row["step"] for row in logged(whole) if row["split"] == "train"]
    assert steps == list(range(1, 31))


def test_batches_see_every_example_once_an_epoch() -> None:
    sampler = ShuffleSampler(50, 8, seed=3)
    flat = np.concatenate([sampler(n) for n in range(50)])
    for epoch in range(8):
        assert sorted(flat[epoch * 50 : (epoch + 1) * 50]) == list(range(50))
    assert not np.array_equal(flat[:50], flat[50:100])
    assert not np.array_equal(flat[:50], np.concatenate([ShuffleSampler(50, 8, seed=4)(n) for n in range(7)])[:50])
    assert np.array_equal(ShuffleSampler(50, 8, seed=3)(17), sampler(17))


def test_evaluation_batches_are_exact_when_uneven() -> None:
    records = TinyTask(tiny_config("x")).records(Split.VALID)
    batches = list(evaluation_batches(records, 16, multiple=8))
    assert [len(b["weight"]) for b in batches] == [16, 16, 16, 8]
    assert sum(b["weight"].sum() for b in batches) == 50


def test_uneven_device_split_is_refused() -> None:
    from zoo.core.mesh import data_mesh

    assert data_mesh(8).devices.size == jax.device_count()
    if jax.device_count() == 1:
        assert data_mesh(7, 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: [object()] * 3)
        with pytest.raises(ConfigError, match=r"batch_size=8 .* 3 devices: use a multiple of 3"):
            data_mesh(8)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("sgd", lambda: optax.sgd(0.01)),
        ("momentum", lambda: optax.sgd(0.01, momentum=0.9)),
        ("adam", lambda: optax.adam(0.01)),
        ("adamax", lambda: optax.adamax(0.01)),
        ("adabelief", lambda: optax.adabelief(0.01, eps=1e-8)),
    ],
)
def test_optimisers_by_name(name: str, oracle, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, optimizer__name=name)
    ours, theirs = optimizer(config.optimizer, config.trainer), oracle()
    x = jnp.array([1.0, -2.0])
    a, b = ours.init(x), theirs.init(x)
    for _ in range(3):
        u, a = ours.update(2 * x, a, x)
        v, b = theirs.update(2 * x, b, x)
        np.testing.assert_allclose(u, v, rtol=1e-6)
        x = x + u


def test_schedules_against_their_formulas() -> None:
    def rate(**keys):
        return schedule(OptimizerConfig(name="sgd", learning_rate=0.1, **keys), 100)

    assert float(rate()(50)) == pytest.approx(0.1)
    assert float(rate(schedule="inverse", decay=1e-2)(50)) == pytest.approx(0.1 / 1.5)
    assert float(rate(schedule="cosine")(50)) == pytest.approx(0.05)
    assert float(rate(schedule="linear", final_fraction=0.1)(50)) == pytest.approx(0.055)
    assert float(rate(schedule="exponential", decay=0.01)(50)) == pytest.approx(0.01)
    warm = rate(schedule="cosine", warmup_steps=20)
    assert [float(warm(n)) for n in (0, 10, 20)] == pytest.approx([0.0, 0.05, 0.1])
    assert float(warm(100)) == pytest.approx(0.0, abs=1e-9)


def test_tensorboard_events_are_written(tmp_path: Path) -> None:
    run(tmp_path, trainer__steps=5, logger__tensorboard=True)
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    assert b"valid/loss" in events.read_bytes()


def test_metrics_lines_are_json_even_when_not_finite(tmp_path: Path) -> None:
    run(tmp_path, data__poison=7, trainer__nan="skip")
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
