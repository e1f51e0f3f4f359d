"""What training reports of known combinations, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.core.config import compose
from zoo.core.train import typed
from zoo.orbnet.known import KINDS
from zoo.orbnet.task import EnergyTask


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_errors_do_not_depend_on_what_counts_in_the_loss(share: float) -> None:
    """Two conformers and one dimer of two molecules; the second row of the conformers is padding."""
    rows = np.zeros((2, 2, 2), np.float32)
    rows[0] = [[0.5, -0.5], [-0.5, 0.5]]
    rows[1, 0] = [1.0, -1.0]
    batch = {
        "kind": np.array([KINDS.index("conformers"), KINDS.index("dimers")]),
        "group": np.array([0, 1]),
        "weight": np.ones(2),
        "molecule_mask": np.ones((2, 2)),
        "residual": np.array([[1.0, 3.0], [0.0, 0.0]]),
        "rows": rows,
        "target": np.array([[-1.0, 1.0], [4.0, 0.0]]),
        "share": np.array([[1.0, 1.0], [share, 0.0]]),
    }
    task = EnergyTask(typed(compose(["orbnet/torsions-start"])))  # pyright: ignore[reportArgumentType]
    found = task.summarise([(batch, np.array([[0.0, 1.0], [3.0, 1.0]]))])
    assert found["structures"] == 2
    assert found["mae"] == pytest.approx(0.5)  # residuals -1, +1 about their mean, answers -0.5, +0.5
    assert found["gfn1_mae"] == pytest.approx(1.0)
    assert found["mae_dimers"] == pytest.approx(2.0)
    assert found["gfn1_mae_dimers"] == pytest.approx(4.0)
    assert "mae_reactions" not in found
