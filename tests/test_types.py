"""What conftest.py sets up: in tests, every call of zoo's functions is held to its annotations."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError


def test_the_core_is_checked() -> None:
    from zoo.core import state

    with pytest.raises(TypeCheckError, match="parameter 'tensors'"):
        state.save(Path("nowhere"), {"x": [1, 2]}, {})  # pyright: ignore[reportArgumentType]


def test_orbnet_is_checked() -> None:
    from zoo.orbnet.molecule import Molecule

    with pytest.raises(TypeCheckError, match="parameter 'charge'"):
        Molecule.from_angstrom(["H"], [[0, 0, 0]], charge="1")  # pyright: ignore[reportArgumentType]


def test_neural_de_is_checked() -> None:
    import diffrax

    from zoo.neural_de.solve.api import solve

    term = diffrax.ODETerm(lambda t, y, args: -y)
    with pytest.raises(TypeCheckError, match="parameter 'h_grad'"):
        solve(term, diffrax.Tsit5(), 0.0, 1.0, 0.1, jnp.ones(2), h_grad="full")  # pyright: ignore[reportArgumentType]


def test_openmed_ner_is_checked() -> None:
    from zoo.openmed_ner.encoders.dropout import dropout

    with pytest.raises(TypeCheckError, match="parameter 'x'"):
        dropout(np.ones(3), 0.5, jax.random.key(0))  # pyright: ignore[reportArgumentType]


def test_a_whole_number_is_a_float_too() -> None:
    from zoo.openmed_ner.encoders.dropout import dropout

    assert dropout(jnp.ones(3), 0, None).shape == (3,)


def test_fields_of_a_dataclass_are_checked() -> None:
    from zoo.core.task import Monitor

    with pytest.raises(TypeCheckError, match="mode"):
        Monitor("loss", "low")  # pyright: ignore[reportArgumentType]


@pytest.mark.wrong_types
def test_the_marker_turns_the_checks_off() -> None:
    from zoo.core.task import Monitor

    assert Monitor("loss", "low").mode == "low"  # pyright: ignore[reportArgumentType]
