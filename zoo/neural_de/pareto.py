"""The picture of what regularisation costs: test accuracy against evaluations of the field, and the front of what nothing beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MARKER = 34  # area in square points


class Point(NamedTuple):
    """A row of a table: evaluations and percent."""

    name: str
    nfe: float
    accuracy: float


def points(document: Mapping[str, Any]) -> list[Point]:
    """The rows of a table's document that have both numbers."""
    found = []
    for row in document["rows"]:
        nfe, accuracy = (row["metrics"][name]["ours"] for name in ("nfe", "test_accuracy"))
        if nfe is not None and accuracy is not None:
            found.append(Point(row["name"], nfe, accuracy))
    return found


def front(candidates: Sequence[Point]) -> list[Point]:
    """The points that no other equals or beats on both axes, by rising NFE; of equals the first."""
    best: list[Point] = []
    for point in sorted(candidates, key=lambda p: (p.nfe, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def draw(titles: Mapping[str, str], document: Mapping[str, Any], stem: Path) -> list[Path]:
    """Draw the rows of a table.

    Args:
        titles: over the picture, by the document's scale.
        document: the table's.
        stem: path of the table's files without their ending; the picture is ``<stem>_pareto.png``.
    """
    shown = points(document)
    if not shown:
        return []
    path = stem.with_name(f"{stem.name}_pareto.png")
    _paint(shown, titles[document["scale"]], path)
    return [path]


def _paint(shown: Sequence[Point], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from zoo.core.curves import COLOURS

    figure, axis = plt.subplots(figsize=(8.4, 5.4), layout="constrained")
    best = front(shown)
    axis.step([p.nfe for p in best], [p.accuracy for p in best], where="post", color="#888888", linewidth=1.2, zorder=1)
    for point in shown:
        axis.scatter(point.nfe, point.accuracy, s=MARKER, color=COLOURS[0], zorder=3)
    if max(p.nfe for p in shown) > 4 * min(p.nfe for p in shown):  # one far out would press the others together
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:.0f}")
    axis.set_xlabel("evaluations of the field for a batch of 512 test images (NFE, float32)")
    axis.set_ylabel("test accuracy (%)")
    axis.margins(x=0.12, y=0.1)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    figure.canvas.draw()
    _label(axis, shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _label(axis: Any, shown: Sequence[Point]) -> None:
    """Write each name where it covers least of the points and of the names already there, with a line where it is far."""
    renderer = axis.figure.canvas.get_renderer()
    pixels = axis.transData.transform([(p.nfe, p.accuracy) for p in shown])
    radius = MARKER**0.5 / 2 * axis.figure.dpi / 72
    taken: list[Any] = []
    for point in sorted(shown, key=lambda p: -p.accuracy):
        best = None
        for distance in (8, 18, 30, 44, 60):
            for dx, dy in ((1, 0), (-1, 0), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7), (0, 1), (0, -1)):
                side = "left" if dx > 0 else "right" if dx < 0 else "center"
                text = axis.annotate(
                    point.name, (point.nfe, point.accuracy), (dx * distance, dy * distance), textcoords="offset points",
                    ha=side, va="center", fontsize=8, color="black",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3, "alpha": 0.8},
                    arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.7} if distance > 8 else None,
                )  # fmt: skip
                words = _words(text, renderer)
                hits = sum(words.overlaps(other) for other in taken)
                hits += sum(words.padded(radius).contains(*p) for p in pixels)
                hits += 3 * (not axis.bbox.contains(words.x0, words.y0) or not axis.bbox.contains(words.x1, words.y1))
                cost = (hits, distance)
                if best is None or cost < best[0]:
                    if best is not None:
                        best[1].remove()
                    best = (cost, text, words)
                else:
                    text.remove()
        assert best is not None
        taken.append(best[2])


def _words(text: Any, renderer: Any) -> Any:
    """The box of an annotation's words, in pixels (its own box would span its line too)."""
    from matplotlib.text import Text

    text.update_positions(renderer)
    return Text.get_window_extent(text, renderer).expanded(1.02, 1.1)
