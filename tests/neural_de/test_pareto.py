"""The front against brute force, and the picture's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from zoo.neural_de.pareto import Point, draw, front, points

numbers = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12)


@given(numbers)
def test_the_front_is_what_nothing_beats(values: list[tuple[int, int]]) -> None:
    every = [Point(str(i), nfe, accuracy) for i, (nfe, accuracy) in enumerate(values)]
    found = front(every)

    def beaten(p: Point) -> bool:
        return any(
            o.nfe <= p.nfe and o.accuracy >= p.accuracy and (o.nfe, o.accuracy) != (p.nfe, p.accuracy) for o in every
        )

    assert {(p.nfe, p.accuracy) for p in found} == {(p.nfe, p.accuracy) for p in every if not beaten(p)}
    assert len({(p.nfe, p.accuracy) for p in found}) == len(found)


def document(scale: str, rows: Mapping[str, tuple[float | None, float | None]]) -> dict:
    metric = lambda value: {"ours": value, "std": None, "paper": None, "unit": ""}  # noqa: E731
    made = [{"name": n, "metrics": {"nfe": metric(a), "test_accuracy": metric(b)}} for n, (a, b) in rows.items()]
    return {"table": "neural_de/t", "scale": scale, "rows": made}


def test_rows_without_numbers_are_no_points() -> None:
    assert points(document("quick", {"a": (91.0, 96.0), "paper only": (None, None)})) == [Point("a", 91.0, 96.0)]


def test_the_picture_is_drawn_beside_the_table_s_files(tmp_path: Path) -> None:
    stem = tmp_path / "neural_de" / "t"
    rows = {"Vanilla": (91.0, 96.5), "ER": (49.0, 94.6)}
    pictures = {}
    for scale in ("quick", "paper"):
        (path,) = draw({"quick": "400 steps", "paper": "75 epochs"}, document(scale, rows), stem)
        assert path == tmp_path / "neural_de" / "t_pareto.png"
        pictures[scale] = path.read_bytes()
        assert pictures[scale].startswith(b"\x89PNG")
    assert pictures["quick"] != pictures["paper"]  # the titles


def test_nothing_to_draw_writes_nothing(tmp_path: Path) -> None:
    assert draw({"quick": "T"}, document("quick", {"paper only": (None, None)}), tmp_path / "t") == []
    assert not list(tmp_path.iterdir())
