"""What a regularised solve returns."""

from __future__ import annotations

import diffrax
from jax import Array


class RegularizedSolution(diffrax.Solution):
    """A diffrax.Solution with the regularisers' values.

    Attributes:
        regularizers: scalars by name (one entry per trajectory under vmap), real dtype of the state.
        stats: num_steps, num_accepted_steps, num_rejected_steps, max_steps, and nfe: evaluations of the field that were
            made, those of the first step's choice and of rejected attempts included.

    The others are diffrax.Solution's.
    """

    regularizers: dict[str, Array]
