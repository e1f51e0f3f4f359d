"""A release's card: README.md with the front matter of the Hugging Face hub, made from what model.json says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from zoo.core.release import ReleaseInfo

# Licence names that the hub knows by these ids.
LICENCE_IDS = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-sa-3.0", "cc0-1.0", "odc-by")


def render(info: ReleaseInfo, tensors: Mapping[str, np.ndarray]) -> str:
    """The card as Markdown text."""
    count = sum(x.size for x in tensors.values())
    size = sum(x.nbytes for x in tensors.values())
    facts = [
        ("family, task", f"{info.family}, {info.task}"),
        ("parameters", f"{count:,} ({size / 1e6:.2f} MB)"),
        ("licence", info.licence),
        ("trained on", info.data),
        ("made by", f"`{info.command}`"),
        ("seed", info.seed),
        ("created", info.created),
    ]
    if info.base:
        facts.append(
            ("base model", f"{info.base['name']}, revision {info.base['revision']}, SHA-256 {info.base['sha256']}")
        )
    sections = [
        _front_matter(info),
        f"# {info.name}",
        info.summary,
        _table(("", ""), facts),
        f'```python\nimport zoo\n\nmodel = zoo.load("{info.name}")\n```',
        *_metrics(info.metrics),
        "## Limits\n\n" + ("\n".join(f"- {_line(x)}" for x in info.limits) or "- none stated"),
        "## Configuration\n\n```json\n" + json.dumps(info.config, indent=2) + "\n```",
        "## Machine and versions\n\n" + _table(("", ""), [*info.machine.items(), *info.versions.items()]),
    ]
    return "\n\n".join(s for s in sections if s) + "\n"


def _front_matter(info: ReleaseInfo) -> str:
    plain = info.licence.lower()
    licence = (
        [f"license: {plain}"] if plain in LICENCE_IDS else ["license: other", f"license_name: {_quoted(info.licence)}"]
    )
    base = [f"base_model: {_quoted(info.base['name'])}"] if info.base else []
    tags = [f"- {_quoted(x)}" for x in ("jax", info.family, info.task)]
    return "\n".join(["---", "library_name: sci-model-zoo", *licence, *base, "tags:", *tags, "---"])


def _metrics(metrics: Mapping[str, Any]) -> Iterable[str]:
    """A table for each group of numbers; groups of the same numbers, such as the splits, share one as its columns."""
    loose = {key: value for key, value in metrics.items() if not isinstance(value, dict)}
    groups = {"value": loose, **{key: value for key, value in metrics.items() if isinstance(value, dict)}}
    tables: dict[tuple[str, ...], dict[str, Any]] = {}
    for title, values in groups.items():
        if values:
            tables.setdefault(tuple(values), {})[title] = values
    for keys, columns in tables.items():
        rows = [(key, *(values[key] for values in columns.values())) for key in keys]
        yield "## Metrics: " + _line(", ".join(columns)) + "\n\n" + _table(("", *columns), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [" | ".join(map(_cell, row)) for row in (head, *rows)]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join(["---"] * len(head)), *lines[1:]))


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(str(text).split())


def _quoted(text: str) -> str:
    return json.dumps(_line(text))  # a JSON string is a YAML string
