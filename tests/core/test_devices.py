"""Data parallelism: eight devices, and two processes, compute what one does."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from programs import Program, pair, reached

from zoo.core import distributed, state
from zoo.core.errors import UserError
from zoo.core.metrics import read_rows

EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
DOUBLE = {"model__dtype": "float64", "data__dtype": "float64", "trainer__ema": 0.9}


def tensors(folder: Path, step: int) -> dict[str, np.ndarray]:
    return state.load(folder / "states" / f"step-{step:08d}")[0]


@pytest.fixture(scope="module")
def one_and_eight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same float64 run on one device and on eight."""
    folder = tmp_path_factory.mktemp("devices")
    runs = {"one": {}, "eight": EIGHT}
    for name, environment in runs.items():
        # 16 does not divide the 50 examples of the validation data.
        done = Program(folder / name, {"JAX_ENABLE_X64": "1", **environment}, trainer__eval_batch_size=16, **DOUBLE)
        assert done.wait() == 0, done.said()
    return folder / "one", folder / "eight"


def test_eight_devices_compute_what_one_does(one_and_eight: tuple[Path, Path]) -> None:
    one, eight = (tensors(folder, 30) for folder in one_and_eight)
    assert one.keys() == eight.keys()
    for name in one:
        np.testing.assert_allclose(eight[name], one[name], rtol=0, atol=1e-10, err_msg=name)


def test_the_run_really_had_eight_devices(one_and_eight: tuple[Path, Path]) -> None:
    machines = [state.load(folder / "states" / "step-00000030")[1]["machine"] for folder in one_and_eight]
    assert ["8 x cpu" in machine for machine in machines] == [False, True]


def test_float64_runs_stay_float64(one_and_eight: tuple[Path, Path]) -> None:
    saved = tensors(one_and_eight[0], 30)
    for part in ("params", "ema", "opt_state"):
        kinds = {x.dtype for name, x in saved.items() if name.startswith(part) and x.dtype.kind == "f"}
        assert kinds == {np.dtype(np.float64)}, part
    losses = [row["loss"] for row in read_rows(one_and_eight[0] / "metrics.jsonl")]
    assert any(float(np.float32(loss)) != loss for loss in losses)


def test_uneven_evaluation_batches_are_exact_on_eight_devices(one_and_eight: tuple[Path, Path]) -> None:
    one, eight = ([r for r in read_rows(folder / "metrics.jsonl") if r["split"] == "valid"] for folder in one_and_eight)
    assert [row["count"] for row in eight] == [50.0] * len(eight)
    np.testing.assert_allclose([r["loss"] for r in eight], [r["loss"] for r in one], rtol=0, atol=1e-10)


def test_two_processes_train_are_killed_and_resume_to_the_same_bits(tmp_path: Path) -> None:
    keys = {"trainer__ema": 0.9, "data__slow": 0.02}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for one in (runs := pair(whole, **keys)):
        assert one.wait() == 0, "\n".join(r.said() for r in runs)
    assert "step 30/30" in runs[0].said()
    assert "step 30/30" not in runs[1].said()

    first = pair(killed, **keys)
    first[0].wait_until(reached(killed, 12))
    first[1].kill()
    assert first[0].wait() != 0  # it notices, and does not wait for ever
    assert state.latest(killed / "states", "step").name < "step-00000030"  # type: ignore[union-attr]
    for one in (again := pair(killed, **keys)):
        assert one.wait() == 0, "\n".join(r.said() for r in again)
    assert "going on from step" in again[0].said()
    a, b = tensors(whole, 30), tensors(killed, 30)
    assert {n: x.tobytes() for n, x in a.items()} == {n: x.tobytes() for n, x in b.items()}
    steps = [row["step"] for row in read_rows(killed / "metrics.jsonl") if row["split"] == "train"]
    assert steps == list(range(1, 31))

    alone = Program(tmp_path / "alone", **keys)
    assert alone.wait() == 0
    for name, x in tensors(tmp_path / "alone", 30).items():
        np.testing.assert_allclose(a[name], x, atol=1e-5, err_msg=name)


def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    both = pair(folder, data__slow=0.02, trainer__steps=10**6, trainer__log_every=2)
    both[0].wait_until(reached(folder, 6))
    both[1].send(signal.SIGTERM)
    assert [one.wait() for one in both] == [143, 143], "\n".join(one.said() for one in both)
    saved = state.latest(folder / "states", "step")
    assert saved is not None
    for one in both:
        assert f"stopped at step {int(saved.name[-8:])} of" in one.said()


def test_a_failed_save_of_process_0_ends_both(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "states").write_text("in the way")
    both = pair(folder)
    assert [one.wait() != 0 for one in both] == [True, True]
    assert "was not saved" in both[0].said()


STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "n1",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
}
ADDRESS = {"JAX_COORDINATOR_ADDRESS": "n1:1234"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (STEP, {}),
        ({**STEP, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        ({**STEP, "ZOO_DISTRIBUTED": "0"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a batch script, not a step of it
        ({"ZOO_DISTRIBUTED": "1"}, {}),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://h:1"}, {}),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None),
        (
            {**ADDRESS, "JAX_NUM_PROCESSES": "3", "JAX_PROCESS_ID": "2"},
            {"coordinator_address": "n1:1234", "num_processes": 3, "process_id": 2},
        ),
        (
            {**ADDRESS, "PMI_SIZE": "2", "PMI_RANK": "1"},
            {"coordinator_address": "n1:1234", "num_processes": 2, "process_id": 1},
        ),
    ],
)
def test_the_launcher_says_how_many_processes_there_are(environment: dict[str, str], expected: object) -> None:
    assert distributed.plan(environment) == expected


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"ZOO_DISTRIBUTED": "yes"}, "ZOO_DISTRIBUTED=yes"),
        (ADDRESS, "set JAX_NUM_PROCESSES and JAX_PROCESS_ID"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "HOST:PORT"),
        ({**ADDRESS, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"}, "numbered from 0"),
        ({**ADDRESS, "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES='two'"),
        ({"PMI_SIZE": "2", "PMI_RANK": "0"}, "JAX_COORDINATOR_ADDRESS=HOST:PORT"),
    ],
)
def test_half_an_environment_is_refused(environment: dict[str, str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        distributed.plan(environment)


def test_one_process_agrees_with_itself_at_no_cost() -> None:
    assert not distributed.several()
    assert distributed.largest(15) == 15
    assert distributed.from_primary([0.1, float("inf")]) == [0.1, float("inf")]
    assert distributed.primary()
    assert jax.process_count() == 1
