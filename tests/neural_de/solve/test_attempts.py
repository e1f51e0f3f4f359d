"""The replayed attempts against the solve's own counts and sums, and against diffrax's steps."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.neural_de.solve.attempts import attempts

from .problems import PID, field, parameters, run, start, stock


def test_attempts_are_those_of_the_solve() -> None:
    with jax.enable_x64(True):
        p, y0 = parameters(), start()
        found = attempts(lambda t, y: field(t, y, p), diffrax.Tsit5(), 0.0, 1.0, y0, PID, dt0=0.03)
        solved = run(p, y0, regularizers=("R_E", "S"), reduce={"S": "max"})
        theirs = stock(p, y0, saveat=diffrax.SaveAt(steps=True))
    assert len(found.error) == int(solved.stats["num_steps"])
    assert int((~found.accepted).sum()) == int(solved.stats["num_rejected_steps"]) > 0
    kept = found.accepted
    lengths = found.end - found.start
    assert float((found.error * lengths)[kept].sum()) == pytest.approx(float(solved.regularizers["R_E"]), rel=1e-6)
    assert found.stiffness[kept].max() == pytest.approx(float(solved.regularizers["S"]), rel=1e-6)
    steps = np.asarray(theirs.ts)
    np.testing.assert_allclose(found.end[kept], steps[np.isfinite(steps)], rtol=1e-8)
    assert (found.error[~kept] >= 1).all()


def test_a_record_stops_at_the_most_steps_allowed() -> None:
    found = attempts(lambda t, y: -y, diffrax.Tsit5(), 0.0, 1.0, jnp.ones(3), PID, max_steps=2)
    assert len(found.start) == 2


def test_time_that_does_not_run_forwards_is_refused() -> None:
    with pytest.raises(UserError, match=r"t1=0\.0 is not above t0=1\.0"):
        attempts(lambda t, y: -y, diffrax.Tsit5(), 1.0, 0.0, jnp.ones(3), PID)
