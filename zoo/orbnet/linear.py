"""The linear part of the energy: a constant for every element and one for the charge, fitted before the network is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zoo.core.errors import UserError


@dataclass(frozen=True, eq=False)
class LinearPart:
    """E_linear = sum over elements of n_element c_element + charge c_charge.

    Attributes:
        coefficients: hartree, float64, (n_elements + 1,), in the order of ``ElementIndex.composition``.
    """

    coefficients: np.ndarray

    @classmethod
    def fit(cls, compositions: np.ndarray, residuals: np.ndarray, ridge: float = 1e-6) -> LinearPart:
        """Ridge regression of what GFN1-xTB leaves of the reference.

        Args:
            compositions: (n_molecules, n_elements + 1).
            residuals: reference minus GFN1-xTB, hartree, (n_molecules,).
            ridge: times the number of molecules, added to the diagonal: it decides between elements that always come
                together and keeps those that never come at zero.

        Raises:
            UserError: no molecules, shapes that do not fit, or residuals that are not finite.
        """
        compositions, residuals = np.asarray(compositions, np.float64), np.asarray(residuals, np.float64)
        if len(residuals) == 0 or compositions.shape[:1] != residuals.shape:
            raise UserError(
                f"a linear part needs molecules: {compositions.shape} compositions, {residuals.shape} energies"
            )
        if not np.isfinite(residuals).all():
            raise UserError(
                f"energy {int(np.flatnonzero(~np.isfinite(residuals))[0])} of the training set is not finite"
            )
        normal = compositions.T @ compositions + ridge * len(residuals) * np.eye(compositions.shape[1])
        return cls(np.linalg.solve(normal, compositions.T @ residuals))

    def __call__(self, compositions: np.ndarray) -> np.ndarray | np.float64:
        """E_linear in hartree of compositions (..., n_elements + 1); a number for a single one."""
        return np.asarray(compositions, np.float64) @ self.coefficients
