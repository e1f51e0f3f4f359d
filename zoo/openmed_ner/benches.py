"""``zoo bench openmed_ner``: training step, tagging and first answer beside transformers, peft and torch; one thread and two in one run.

The peer joins where the parity extra is installed; without it the rows say N/A.
"""

from __future__ import annotations

from typing import Any

from zoo.core.bench import by_threads


def openmed_ner_rows(*, quick: bool = False) -> list[dict[str, Any]]:
    """All rows; ``threads`` says how many each had.

    Args:
        quick: few batches and texts, once: whether it runs, not how fast.

    Raises:
        ZooError: a measuring process that failed.
    """
    return by_threads("zoo.openmed_ner.timings", *(["--quick"] if quick else []))
