"""The solve's tests run in 64 bit, scoped."""

from __future__ import annotations

import jax
import pytest


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield
