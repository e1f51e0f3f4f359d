"""Tables as data: documents, cells, files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

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
    return {"table": TABLE.name, "scale": "quick", "rows": [{**row, "config_hash": "abc"}]}


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
    path = tables.write_results(TABLE, document(), {"summary": "some machine"}, tmp_path)
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


def test_unknown_table_row_and_family_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'neural_de/digits_node'"):
        tables.find("neural_de/digits_nod")
    with pytest.raises(UserError, match="no table 'digits'"):
        tables.find("digits")
    with pytest.raises(UserError, match=r"no row 'Vanila': did you mean 'Vanilla'"):
        TABLE.select(["Vanila"])
    assert [r.name for r in TABLE.select(["ER"])] == ["ER"]


def test_reproduce_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--seeds 0"):
        reproduce("neural_de/digits_node", seeds=0, out=tmp_path)
    with pytest.raises(UserError, match="needs --train"):
        reproduce("neural_de/digits_node", seeds=3, out=tmp_path)
    assert not list(tmp_path.iterdir())
