"""Entity scores: exact spans (what strict seqeval gives for well-formed tags) and overlapping ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Span = tuple[int, int, str]


def f1_scores(pairs: Iterable[tuple[Sequence[Span], Sequence[Span]]]) -> dict[str, float]:
    """Micro-averaged scores in percent.

    Args:
        pairs: (gold, predicted) entities (first, past the last, type) of each sentence.

    Returns:
        precision, recall and f1 of exact entities; f1_partial, where a prediction of the right type that overlaps a gold
        entity counts, each gold entity once and each prediction once.
    """
    gold_count = predicted_count = exact = touched_gold = touched_predicted = 0
    for gold, predicted in pairs:
        gold_count += len(set(gold))
        predicted_count += len(set(predicted))
        exact += len(set(gold) & set(predicted))
        touched_gold += sum(any(_overlap(g, p) for p in predicted) for g in set(gold))
        touched_predicted += sum(any(_overlap(p, g) for g in gold) for p in set(predicted))
    precision, recall = _share(exact, predicted_count), _share(exact, gold_count)
    partial = _harmonic(_share(touched_predicted, predicted_count), _share(touched_gold, gold_count))
    return {"precision": precision, "recall": recall, "f1": _harmonic(precision, recall), "f1_partial": partial}


def _overlap(a: Span, b: Span) -> bool:
    return a[2] == b[2] and a[0] < b[1] and b[0] < a[1]


def _share(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
