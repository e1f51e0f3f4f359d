"""Timing: what is called how often, and what a row says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zoo.core import bench
from zoo.core.bench import Timing, interleaved, row
from zoo.core.errors import UserError, ZooError


def test_functions_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    timings = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=2)
    assert calls == ["a", "a", "b", "b", "a", "b", "a", "b", "a", "b"]
    assert timings.keys() == {"a", "b"}
    assert all(t.ms >= 0 and t.spread_ms >= 0 for t in timings.values())


def test_the_median_and_not_an_outlier_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.001, 1.0, 1.002, 2.0, 7.0, 10.0, 10.003, 20.0, 20.002])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    assert interleaved({"a": lambda: None}, repeats=5, warmup=0)["a"].ms == pytest.approx(2.0, abs=1.01)


def test_ratio_is_peer_over_ours() -> None:
    line = row("solve", Timing(2.0, 0.1), floor_ms=1.5, peer="other", peer_timing=Timing(8.0, 0.5))
    assert line == {
        "name": "solve", "ms": 2.0, "spread_ms": 0.1, "floor_ms": 1.5, "peer": "other", "peer_ms": 8.0, "ratio": 4.0,
    }  # fmt: skip
    assert row("alone", Timing(1.0, 0.0))["ratio"] is None


def test_unknown_benchmark_is_named() -> None:
    with pytest.raises(UserError, match=r"no benchmark .cor.*core"):
        bench.run("cor")


def test_switches_are_the_keyword_flags_of_a_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(repeats: int = 3, *, with_peer: bool = False, size: int = 4) -> list[dict]:
        return [{"name": f"{with_peer}"}]

    monkeypatch.setattr(bench, "benches", lambda: {"one": rows})
    assert bench.switches(bench.find("one")) == ["with_peer"]
    assert bench.run("one", with_peer=True)["rows"] == [{"name": "True"}]
    assert bench.run("one")["rows"] == [{"name": "False"}]


def test_each_number_of_threads_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rows_of_threads.py").write_text(
        "import json, os, sys\n"
        "e = os.environ\n"
        "print(json.dumps([{'name': sys.argv[1], 'omp': e['OMP_NUM_THREADS'], 'xla': e['NPROC'], 'on': e['JAX_PLATFORMS']}]))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    monkeypatch.setattr(bench.machine, "cores", lambda: 2)
    rows = bench.by_threads("rows_of_threads", "quick")
    assert [(r["threads"], r["omp"], r["xla"], r["on"], r["name"]) for r in rows] == [
        (1, "1", "1", "cpu", "quick"), (2, "2", "2", "cpu", "quick"),
    ]  # fmt: skip
    monkeypatch.setattr(bench.machine, "cores", lambda: 1)
    assert len(bench.by_threads("rows_of_threads", "quick")) == 1
    with pytest.raises(ZooError, match="no_such_rows with 1 threads ended with status 1"):
        bench.by_threads("no_such_rows")


@pytest.mark.parametrize(("kind", "status"), [("UserError", 2), ("ZooError", 1)])
def test_what_stops_a_measuring_process_is_the_benchmarks_own_error(
    kind: str, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows_that_fail.py").write_text(
        f"from zoo.core import bench, errors\ndef rows():\n    raise errors.{kind}('no such corpus')\nbench.print_rows(rows)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(bench.__file__).parents[2])]))
    with pytest.raises(ZooError, match=r"^no such corpus$") as caught:
        bench.by_threads("rows_that_fail", threads=(1,))
    assert caught.value.exit_code == status
    assert "Traceback" not in capfd.readouterr().err
