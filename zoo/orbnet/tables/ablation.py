"""What helped: short runs that differ from the released model's first piece in one thing, judged on held-out molecules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.core.tables import Metric, Row, Table
from zoo.orbnet.tables.common import PAPER

EXPERIMENT = "orbnet/torsions-start"
METRICS = (
    Metric("mae", "kcal/mol", "valid.mae", 3),
    Metric("mae_total", "kcal/mol", "valid.mae_total", 2),
    Metric("mae_dimers", "kcal/mol", "valid.mae_dimers", 3),
    Metric("mae_reactions", "kcal/mol", "valid.mae_reactions", 2),
    Metric("train_seconds", "s", "run.train_seconds", 0),
)
# What each row changes.
ROWS: Mapping[str, tuple[str, ...]] = {
    "as released": (),
    "conformers without dimers and reactions": ("loss.dimers=0", "loss.reactions=0"),
    "totals without differences": ("loss.alpha=0",),
    "differences without totals": ("loss.alpha=1",),
    "no average of parameters": ("trainer.ema=0",),
    "half the width": ("model.width=32", "model.edge_width=32"),
}
# The average of the parameters looks back as far in proportion: 0.999 over a thousand steps would still remember the start.
STEPS = (
    "trainer.steps=1000",
    "trainer.eval_every=1000",
    "trainer.checkpoint_every=500",
    "trainer.ema=0.99",
    "optimizer.warmup_steps=100",
)


def _held_out(predictor: Any) -> Mapping[str, Any]:
    """Validation as the run measured it on its best state."""
    return {"valid": predictor.info.metrics["valid"]}


def table() -> Table:
    """The ablation of ``orbnet/torsions``."""
    return Table(
        name="orbnet/ablation",
        title="OrbNet: what the released model's settings bring, on held-out molecules of its training sets",
        paper_label="paper",
        source=f"{PAPER}. It has no such table.",
        metrics=METRICS,
        rows=tuple(Row(name, {}, EXPERIMENT, overrides=changes) for name, changes in ROWS.items()),
        reduced={
            "quick": "1,000 steps of 16 structures, a fifteenth of the released model's first piece",
            "paper": None,
        },
        overrides={"quick": STEPS, "paper": ()},
        evaluate=_held_out,
        note="mae is of conformers, centred within each molecule. No test was looked at. GFN1-xTB with the linear part fitted to the "
        "same training set has 0.66 for conformers, 12.6 for totals, 1.31 for dimers and 4.9 for reactions.",
    )
