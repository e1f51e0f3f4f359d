"""Tables as data: documents, cells, files."""

from __future__ import annotations

import csv
import dataclasses
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from zoo.core import reproduce as reproduce_module
from zoo.core import tables
from zoo.core.errors import UserError
from zoo.core.reproduce import reproduce
from zoo.core.tables import Metric, Row, Table

TABLE = Table(
    name="tiny/table",
    title="A tiny table",
    paper_label="paper",
    source="nowhere",
    metrics=(Metric("test_accuracy", "%", "test.accuracy"), Metric("train_seconds", "s", "run.train_seconds", 1)),
    rows=(Row("Vanilla", {"test_accuracy": 97.94}, "tiny/vanilla", "tiny/vanilla"), Row("ER", {}, "tiny/er")),
    reduced={"quick": "fewer steps"},
)


def document() -> dict:
    numbers = [{"test": {"accuracy": a}, "run": {"train_seconds": 2.0}} for a in (90.0, 92.0, 97.0)]
    row = tables.row_document(TABLE, TABLE.rows[0], numbers, release="r", command="zoo ...", scale="quick")
    return {"table": TABLE.name, "scale": "quick", "rows": [{**row, "config_hash": "abc", "machine": "some machine"}]}


def test_row_has_the_contract_s_keys_and_sample_statistics() -> None:
    row = document()["rows"][0]
    assert {"name", "metrics", "seeds", "release", "command", "reduced"} <= row.keys()
    accuracy = row["metrics"]["test_accuracy"]
    assert accuracy == {"ours": 93.0, "std": pytest.approx(13**0.5), "paper": 97.94, "unit": "%"}
    assert (row["seeds"], row["reduced"]) == (3, "fewer steps")


def test_one_seed_has_no_spread_and_a_missing_number_is_null() -> None:
    row = tables.row_document(
        TABLE, TABLE.rows[1], [{"test": {"accuracy": 90.0}}], release=None, command="", scale="paper"
    )
    assert row["metrics"]["test_accuracy"]["std"] is None
    assert row["metrics"]["train_seconds"]["ours"] is None
    assert row["metrics"]["test_accuracy"]["paper"] is None
    assert row["reduced"] is None


def test_files_hold_the_command_and_the_machine(tmp_path: Path) -> None:
    path = tables.write_results(TABLE, document(), tmp_path)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert [r["metric"] for r in rows] == ["test_accuracy", "train_seconds"]
    assert rows[0]["command"] == "zoo ..."
    assert rows[0]["machine"] == "some machine"
    assert float(rows[0]["value"]) == 93.0
    assert json.loads(path.with_suffix(".json").read_text())["rows"][0]["name"] == "Vanilla"
    text = path.with_suffix(".md").read_text()
    assert "93.00 ± 3.61" in text
    assert "97.94" in text
    assert "fewer steps" in text


def test_rows_that_were_not_made_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def made(name: str, accuracy: float, machine: str, scale: str = "quick") -> dict:
        row = next(r for r in TABLE.rows if r.name == name)
        entry = tables.row_document(
            TABLE, row, [{"test": {"accuracy": accuracy}}], release="r", command=name, scale=scale
        )
        return {"table": TABLE.name, "scale": scale, "rows": [{**entry, "machine": machine}]}

    def write(document: dict) -> dict:
        former = tables.former_results(TABLE, tmp_path, document["scale"])
        path = tables.write_results(TABLE, tables.with_former(TABLE, document, former), tmp_path)
        return {r["row"]: r for r in csv.DictReader(path.open(encoding="utf-8")) if r["metric"] == "test_accuracy"}

    write(made("ER", 90.0, "one"))
    both = write(made("Vanilla", 95.0, "two"))
    assert list(both) == ["Vanilla", "ER"]  # the table's order
    assert [(r["value"], r["machine"], r["command"]) for r in both.values()] == [
        ("95.0", "two", "Vanilla"), ("90.0", "one", "ER"),
    ]  # fmt: skip
    assert write(made("ER", 91.0, "three"))["ER"]["value"] == "91.0"
    assert list(write(made("ER", 99.0, "four", "paper"))) == ["ER"]  # a file of its own
    assert list(write(made("ER", 92.0, "three"))) == ["Vanilla", "ER"]
    assert capsys.readouterr().err == ""
    of_another_form = {**made("ER", 93.0, "five")["rows"][0], "metrics": {"other": {}}}
    other = tables.with_former(TABLE, made("Vanilla", 95.0, "six"), {"ER": of_another_form})
    assert [row["name"] for row in other["rows"]] == ["Vanilla"]
    assert "replaced: ER" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tmp"))
    path = (tmp_path / TABLE.name).with_suffix(".json")
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="not a table's results"):
        tables.former_results(TABLE, tmp_path, "quick")


def test_unknown_table_row_and_family_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'neural_de/digits_node'"):
        tables.find("neural_de/digits_nod")
    with pytest.raises(UserError, match="no table 'digits'"):
        tables.find("digits")
    with pytest.raises(UserError, match=r"no row 'Vanila': did you mean 'Vanilla'"):
        TABLE.select(["Vanila"])
    assert [r.name for r in TABLE.select(["ER"])] == ["ER"]


def test_names_with_commas_are_found_in_a_list():
    table = dataclasses.replace(
        TABLE, rows=tuple(Row(n) for n in ("ER", "local, biased", "local, unbiased", "a", "a,b"))
    )
    assert table.named("ER,local, unbiased") == ["ER", "local, unbiased"]
    assert table.named("local, biased,local, unbiased, ER") == ["local, biased", "local, unbiased", "ER"]
    assert table.named("a,b") == ["a,b"]
    assert table.named("local, none,ER") == ["local", "none", "ER"]


def test_every_command_that_results_state_names_its_own_row():
    for path in sorted((Path(__file__).parents[2] / "results").rglob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        for row in document.get("rows", ()):
            if "command" in row and "table" in document:
                words = shlex.split(row["command"])
                assert tables.find(document["table"]).named(words[words.index("--rows") + 1]) == [row["name"]], path


def test_reproduce_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--seeds 0"):
        reproduce("neural_de/digits_node", seeds=0, out=tmp_path)
    with pytest.raises(UserError, match="needs --train"):
        reproduce("neural_de/digits_node", seeds=3, out=tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written: Not a directory: name another folder with --out"):
        reproduce("neural_de/digits_node", out=tmp_path / "file" / "x")


def methods_table(**more) -> Table:
    rows = (
        Row("Paper only", {"test_accuracy": 99.0}),
        Row("Baseline", {}, compute=lambda: {"test": {"accuracy": 61.5}, "sets": {"a": 1.0}}),
        Row("Untrained", {}, "tiny/er"),
    )
    return Table("tiny/methods", "Methods", "paper", "nowhere", TABLE.metrics, rows, **more)


def test_methods_and_the_paper_s_rows_stand_beside_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def artefacts(numbers, folder: Path) -> list[Path]:
        seen.update(numbers)
        (folder / "sets.csv").write_text("a")
        return [folder / "sets.csv"]

    table = methods_table(artefacts=artefacts)
    monkeypatch.setattr(tables, "find", lambda name: table)
    found = reproduce("tiny/methods", out=tmp_path)
    assert [row["name"] for row in found["rows"]] == ["Paper only", "Baseline"]  # nothing answers for the third
    paper, baseline = found["rows"]
    assert (paper["metrics"]["test_accuracy"]["ours"], paper["metrics"]["test_accuracy"]["paper"]) == (None, 99.0)
    assert (baseline["metrics"]["test_accuracy"]["ours"], baseline["release"], baseline["seeds"]) == (61.5, None, 1)
    assert (paper["seeds"], paper["release"]) == (0, None)
    assert seen == {"Baseline": {"test": {"accuracy": 61.5}, "sets": {"a": 1.0}}}
    assert str(tmp_path / "sets.csv") in found["files"]
    text = (tmp_path / "tiny/methods.md").read_text(encoding="utf-8")
    assert "61.50" in text
    assert "99.00" in text


def test_a_table_of_the_paper_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "find", lambda name: methods_table())
    with pytest.raises(UserError, match="none of the rows asked for"):
        reproduce("tiny/methods", rows=["Paper only"], out=tmp_path)
    with pytest.raises(UserError, match="--picture draws the training"):
        reproduce("tiny/methods", rows=["Baseline"], picture=tmp_path / "x.png", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_table_measures_a_release_through_its_predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a table has its own measurement, a release is measured by it and not by the splits of its task."""
    rows = (
        Row("Ours", {}, "tiny/vanilla", "tiny/vanilla"),
        Row("Baseline", {}, compute=lambda: {"test": {"accuracy": 1}}),
    )
    table = Table(
        "tiny/own",
        "Own",
        "paper",
        "",
        TABLE.metrics,
        rows,
        evaluate=lambda predictor: {"test": {"accuracy": predictor}},
    )
    info = SimpleNamespace(
        family="tiny", config={"seed": 0}, metrics={"run": {"train_seconds": 3.0}}, machine={"summary": "a GPU"}
    )
    family = SimpleNamespace(measures=lambda releases: [{}], predictor=lambda release: 77.0)
    monkeypatch.setattr(tables, "find", lambda name: table)
    monkeypatch.setattr(reproduce_module, "family", lambda name: family)
    monkeypatch.setattr(reproduce_module.hub, "resolve", lambda name: Path(name))
    monkeypatch.setattr(reproduce_module.release, "read_release", lambda path: SimpleNamespace(info=info))
    found = {row["name"]: row for row in reproduce("tiny/own", out=tmp_path)["rows"]}
    assert found["Ours"]["metrics"]["test_accuracy"]["ours"] == 77.0
    assert found["Ours"]["metrics"]["train_seconds"]["ours"] == 3.0
    assert found["Ours"]["release"] == "tiny/vanilla"
    assert found["Baseline"]["metrics"]["test_accuracy"]["ours"] == 1.0
    assert found["Ours"]["machine"] == f"{found['Baseline']['machine']}; trained on a GPU"


def test_rows_of_one_experiment_train_in_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row's own overrides come last, and its run is another's neighbour, not its continuation."""
    plain, changed = Row("Plain", {}, "tiny/er"), Row("x 3, E^2", {}, "tiny/er", overrides=("a=3",))
    table = Table("tiny/t", "T", "paper", "", TABLE.metrics, (plain, changed), overrides={"quick": ("a=1", "b=2")})
    composed = []
    monkeypatch.setattr(reproduce_module, "compose", lambda overrides: composed.append(overrides))
    monkeypatch.setattr(reproduce_module, "typed", lambda plain: plain)
    monkeypatch.setattr(reproduce_module, "run", lambda config, command: {"already_finished": False, "said": command})
    folders = [reproduce_module._trained(table, row, 1, "quick", tmp_path) for row in table.rows]
    assert folders == [tmp_path / "quick/tiny/er/seed-1", tmp_path / "quick/tiny/er/x-3-e-2/seed-1"]
    assert composed[0] == ["tiny/er", "seed=1", "a=1", "b=2", f"run.dir={folders[0]}"]
    assert composed[1] == ["tiny/er", "seed=1", "a=1", "b=2", "a=3", f"run.dir={folders[1]}"]


def test_a_release_answers_at_the_scale_that_it_was_made_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the scales of a table train differently; a table that trains alike at both has releases for both."""
    quick, paper = Row("A", {}, "tiny/a", "tiny/a"), Row("B", {}, "tiny/b", "tiny/b", released_at="paper")
    alike = Table("tiny/t", "T", "paper", "", TABLE.metrics, (quick, paper))
    assert [alike.answering(row, "paper") for row in alike.rows] == ["tiny/a", "tiny/b"]
    table = dataclasses.replace(alike, overrides={"quick": ("a=1",), "paper": ()})
    assert [table.answering(row, "paper") for row in table.rows] == [None, "tiny/b"]
    assert [table.answering(row, "quick") for row in table.rows] == ["tiny/a", None]
    monkeypatch.setattr(tables, "find", lambda name: table)
    with pytest.raises(UserError, match=r"packaged release of scale paper: add --train .* or --scale quick"):
        reproduce("tiny/t", rows=["A"], scale="paper", out=tmp_path)


def test_a_chart_is_drawn_from_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def chart(document, stem: Path) -> list[Path]:
        seen.append([row["name"] for row in document["rows"]])
        return [stem.with_name(stem.name + "_chart.png")]

    table = methods_table(chart=chart)
    monkeypatch.setattr(tables, "find", lambda name: table)
    found = reproduce("tiny/methods", rows=["Baseline"], out=tmp_path)
    assert seen == [["Baseline"]]
    assert str(tmp_path / "tiny/methods_chart.png") in found["files"]
