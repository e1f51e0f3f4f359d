"""Smooth SAAOs: pooled over near-degenerate partners, so that no arbitrary choice inside a shell can be seen.

Pi_i = sum_j w(l_i - l_j) y_j y_j^T / sum_j w(l_i - l_j), a smooth function of the density block (:mod:`windows`). Two
orbitals of one eigenvalue get one projector; far apart, Pi_i goes back to y_i y_i^T.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.orbnet.features.layout import Layout
from zoo.orbnet.features.saao import shell_blocks
from zoo.orbnet.features.windows import windowed

# Half width of the window in electrons. 0.01 is too narrow to be smooth; in nearly every drug-like molecule some pair
# of orbitals lies within 0.05.
WIDTH = 0.05


def projectors(density: Any, layout: Layout, xp: Any, width: float = WIDTH) -> dict[int, Any]:
    """Pi by angular momentum, (n, d, d, d) with the orbital in axis 1; with jax.numpy differentiable by ``density``."""
    result = {}
    for ell, blocks in shell_blocks(density, layout).items():
        if ell == 0:
            result[ell] = xp.ones((len(blocks), 1, 1, 1))
        elif xp is np:
            result[ell] = windowed(*np.linalg.eigh(blocks), width, np)[0]
        else:
            from zoo.orbnet.features.derivatives import smooth_projectors

            result[ell] = smooth_projectors(blocks, width)
    return result
