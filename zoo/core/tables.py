"""A paper's table as data: rows, the paper's values, and what answers for ours: a release, or a method that needs none."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zoo.core.config import nearest
from zoo.core.errors import UserError
from zoo.core.progress import say

Scale = Literal["quick", "paper"]
SCALES: tuple[Scale, ...] = ("quick", "paper")


@dataclass(frozen=True)
class Metric:
    """A column.

    Attributes:
        name: as in the JSON output, e.g. ``test_accuracy``.
        unit: its unit.
        source: where a release's numbers hold it: ``<split>.<metric>``, ``run.<fact>`` or ``measured.<timing>``.
        digits: decimals shown to a person.
    """

    name: str
    unit: str
    source: str
    digits: int = 2


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        name: the paper's name of the method.
        paper: the paper's value of each metric that it gives.
        experiment: the experiment that trains it, ``<family>/<name>``.
        release: the packaged release that answers for it when nothing is trained, or None.
        released_at: the scale of that release, where the table's scales train differently.
        overrides: Hydra overrides of this row's experiment, after the scale's.
        compute: makes the row's numbers where no release stands behind it (a baseline, published values), or None.
            A row with neither experiment, release nor compute shows the paper's values alone.
    """

    name: str
    paper: Mapping[str, float] = field(default_factory=dict)
    experiment: str | None = None
    release: str | None = None
    released_at: Scale = "quick"
    compute: Callable[[], Mapping[str, Any]] | None = None
    overrides: Sequence[str] = ()

    @property
    def paper_only(self) -> bool:
        """Whether nothing here can answer for it."""
        return self.experiment is None and self.release is None and self.compute is None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: ``<family>/<name>``.
        title: what it shows.
        paper_label: what the paper's numbers beside ours are (they may be of another data set: say so).
        source: the paper's table.
        metrics: the columns.
        rows: the rows.
        curves: metrics of the validation rows in metrics.jsonl that the picture draws over training.
        reduced: per scale, what was reduced against the paper, or None.
        overrides: per scale, the Hydra overrides that make it.
        note: on the machine-independent protocol, shown under the table.
        evaluate: the numbers of a release's predictor, where the table measures another thing than the splits of its task.
        artefacts: writes further files (per-set values, pictures) from the numbers of each row, by name, into a folder and
            returns their paths.
        chart: draws from the table's document (of the rows asked for), given the path that its files have without their ending,
            and returns what it wrote.
    """

    name: str
    title: str
    paper_label: str
    source: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    curves: tuple[str, ...] = ()
    reduced: Mapping[str, str | None] = field(default_factory=dict)
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""
    evaluate: Callable[[Any], Mapping[str, Any]] | None = None
    artefacts: Callable[[Mapping[str, Mapping[str, Any]], Path], Sequence[Path]] | None = None
    chart: Callable[[Mapping[str, Any], Path], Sequence[Path]] | None = None

    def answering(self, row: Row, scale: Scale) -> str | None:
        """The packaged release that answers for ``row`` at ``scale``, or None."""
        return row.release if not self.overrides or row.released_at == scale else None

    def select(self, names: Sequence[str] | None) -> tuple[Row, ...]:
        """The rows of ``names`` in the table's order; UserError with the nearest name for an unknown one."""
        if not names:
            return self.rows
        known = [row.name for row in self.rows]
        for name in names:
            if name not in known:
                raise UserError(
                    f"table {self.name} has no row {name!r}{nearest(name, known)} (rows: {', '.join(known)})"
                )
        return tuple(row for row in self.rows if row.name in names)

    def named(self, text: str) -> list[str]:
        """The names in ``A,B``, where a row's own name may hold commas; what is no row's stays as it is."""
        names, parts = [], text.split(",")
        known = {row.name for row in self.rows}
        while parts:
            ends = range(len(parts), 0, -1)
            end = next((n for n in ends if ",".join(parts[:n]).strip() in known), 1)
            names.append(",".join(parts[:end]).strip())
            parts = parts[end:]
        return names


def find(name: str) -> Table:
    """The table ``<family>/<name>``; UserError with the nearest name for an unknown one."""
    from zoo.core.families import families, family

    member, _, short = name.partition("/")
    if member not in families() or not short:
        raise UserError(
            f"no table {name!r}: tables are named <family>/<name>, families: {', '.join(sorted(families()))}"
        )
    tables = family(member).tables
    if short not in tables:
        known = [f"{member}/{t}" for t in tables]
        raise UserError(f"no table {name!r}{nearest(name, known)} (known: {', '.join(known) or 'none yet'})")
    return tables[short]()


def pick(numbers: Mapping[str, Any], source: str) -> float | None:
    """The number at a dotted place, or None where there is none."""
    value: Any = numbers
    for key in source.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else float(value)


def row_document(
    table: Table, row: Row, numbers: Sequence[Mapping[str, Any]], *, release: str | None, command: str, scale: str
) -> dict[str, Any]:
    """One row of ``zoo reproduce``'s JSON from the numbers of each seed."""
    metrics: dict[str, Any] = {}
    for metric in table.metrics:
        values = [v for n in numbers if (v := pick(n, metric.source)) is not None]
        metrics[metric.name] = {
            "ours": statistics.fmean(values) if values else None,
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "paper": row.paper.get(metric.name),
            "unit": metric.unit,
        }
    return {
        "name": row.name,
        "metrics": metrics,
        "seeds": len(numbers),
        "release": release,
        "command": command,
        "reduced": table.reduced.get(scale),
    }


def cell(entry: Mapping[str, Any], key: str, digits: int) -> str:
    """``97.94 ± 0.02``, or an empty cell's dash."""
    value = entry[key]
    if value is None:
        return "-"
    spread = f" ± {entry['std']:.{digits}f}" if key == "ours" and entry["std"] is not None else ""
    return f"{value:.{digits}f}{spread}"


def cells(table: Table, document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and body for a person: for each metric our value and, where any row has one, the paper's."""
    head, body = ["row"], [[row["name"]] for row in document["rows"]]
    for metric in table.metrics:
        entries = [row["metrics"][metric.name] for row in document["rows"]]
        head.append(f"{metric.name} ({metric.unit})" if metric.unit else metric.name)
        for line, entry in zip(body, entries):
            line.append(cell(entry, "ours", metric.digits))
        if any(e["paper"] is not None for e in entries):
            head.append(f"{table.paper_label}: {metric.name}")
            for line, entry in zip(body, entries):
                line.append(cell(entry, "paper", metric.digits))
    return head, body


def markdown(table: Table, document: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    head, body = cells(table, document)
    lines = [f"## {table.title}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(line) + " |" for line in body]
    notes = [table.source, table.note, *sorted({r["reduced"] for r in document["rows"] if r["reduced"]})]
    return "\n".join([*lines, "", *(n for n in notes if n)]) + "\n"


COLUMNS = (
    "row",
    "metric",
    "value",
    "std",
    "paper",
    "unit",
    "seeds",
    "scale",
    "config",
    "machine",
    "reduced",
    "command",
)


def stem(table: Table, scale: Scale, folder: Path) -> Path:
    """``<folder>/<table>``, ``<folder>/<table>_paper`` at that scale: the path of its files without their endings."""
    return folder / (table.name if scale == "quick" else f"{table.name}_{scale}")


def former_results(table: Table, folder: Path, scale: Scale) -> dict[str, Any]:
    """The rows that ``folder`` holds of the table at ``scale``, by name; none where there is nothing yet.

    Raises:
        UserError: the JSON there cannot be read.
    """
    path = stem(table, scale, folder).with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {row["name"]: row for row in document["rows"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a table's results ({error!r}): move it away, or name another folder with --out"
        ) from None


def with_former(table: Table, document: Mapping[str, Any], former: Mapping[str, Any]) -> dict[str, Any]:
    """The document with those rows of :func:`former_results` that were not made now, in the table's order.

    A row is kept where it has the table's metrics and the table still names it; one line on stderr names the others.
    """
    names, metrics = [row.name for row in table.rows], {metric.name for metric in table.metrics}
    made = {row["name"]: row for row in document["rows"]}
    rest = {name: row for name, row in former.items() if name not in made}
    kept = {name: row for name, row in rest.items() if name in names and row["metrics"].keys() == metrics}
    if len(kept) < len(rest):
        lost = ", ".join(name for name in rest if name not in kept)
        say(f"{table.name}: rows of another form of the table are replaced: {lost}")
    return {**document, "rows": sorted([*made.values(), *kept.values()], key=lambda row: names.index(row["name"]))}


def write_results(table: Table, document: Mapping[str, Any], folder: Path) -> Path:
    """Write :func:`stem` with ``.csv`` (a row a metric, with command and machine), ``.md`` and ``.json``.

    Returns:
        the CSV's path.
    """
    place = stem(table, document["scale"], folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in document["rows"]:
        for name, entry in row["metrics"].items():
            line = [row["name"], name, entry["ours"], entry["std"], entry["paper"], entry["unit"], row["seeds"]]
            line += [document["scale"], row.get("config_hash", ""), row.get("machine", ""), row["reduced"] or ""]
            writer.writerow(["" if v is None else v for v in [*line, row["command"]]])
    contents = {
        ".csv": text.getvalue(),
        ".md": markdown(table, document),
        ".json": json.dumps(document, indent=1) + "\n",
    }
    for suffix, content in contents.items():
        path = place.with_suffix(suffix)
        draft = path.with_name(f".{path.name}.tmp")
        draft.write_text(content, encoding="utf-8", newline="")
        draft.replace(path)
    return place.with_suffix(".csv")
