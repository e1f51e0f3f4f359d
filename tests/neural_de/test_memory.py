"""Memory rows of the benchmark: what is set aside grows with the states kept, and hardly with the attempts allowed."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import pytest

from zoo.neural_de import memory

STATE = jnp.ones((256, 256))
CONTROL = diffrax.PIDController(rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    term = diffrax.ODETerm(lambda t, y, w: -w * y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "SETTINGS", ((64, 4), (2048, 20)))
        return memory.memory_rows(term, CONTROL, jnp.float32(0.5), STATE)


def test_a_kept_state_costs_the_state_and_its_derivative_and_an_allowed_attempt_scalars_alone(rows: list[dict]) -> None:
    more = rows[1]["mib"] - rows[0]["mib"]
    assert more == pytest.approx(16 * 2 * STATE.nbytes / memory.MIB, rel=0.05)


def test_a_row_has_the_columns_of_the_benchmark_and_both_memories(rows: list[dict]) -> None:
    for line in rows:
        assert line["peer"].startswith("diffrax")
        assert line["ms"] > 0
        assert line["peer_mib"] > 0


def test_the_account_is_of_the_compiled_function() -> None:
    def many(x: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.scan(lambda c, i: (jnp.sin(c) @ c, None), x, None, length=8)[0])

    _, mib = memory.compiled(many, STATE)
    assert mib > 8 * STATE.nbytes / memory.MIB  # the gradient needs all eight carries
