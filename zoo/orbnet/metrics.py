"""The paper's measures, in kcal/mol: torsion profiles, conformers' correlation, WTMAD-1 and -2, mean errors.

A value that is missing (NaN) never counts as right: it takes its profile, molecule or set out of the measure, and the counts say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.core.errors import UserError

# The mean over the 55 sets of each set's mean |reference| (Goerigk et al., PCCP 2017, 19, 32184). Fixed, as in that paper:
# today's reference files give 57.82.
MEAN_ABSOLUTE_REFERENCE_KCAL = 56.84


@dataclass(frozen=True, eq=False)
class ProfileErrors:
    """Errors of relative energies along profiles, kcal/mol, float64, (n_profiles,), NaN for a profile with a point missing.

    Attributes:
        centred: mean absolute difference of the two profiles, each minus its own mean.
        min_zeroed: the same, each minus its own minimum.
        barrier: absolute difference of the two heights, maximum minus minimum.
    """

    centred: np.ndarray
    min_zeroed: np.ndarray
    barrier: np.ndarray

    def summary(self) -> dict[str, float]:
        """Means over the profiles that are whole, and their number."""
        whole = np.isfinite(self.centred)
        if not whole.any():
            return {"profiles": 0.0}
        means = {
            "mae_centred": self.centred,
            "mae_min_zeroed": self.min_zeroed,
            "barrier_mae": self.barrier,
        }
        return {name: float(values[whole].mean()) for name, values in means.items()} | {"profiles": float(whole.sum())}


def profile_errors(predicted: np.ndarray, reference: np.ndarray, profiles: Sequence[np.ndarray]) -> ProfileErrors:
    """Errors of torsion profiles.

    Args:
        predicted: energies in kcal/mol, any zero for each profile, float64, (n_structures,).
        reference: likewise.
        profiles: indices of each profile's structures.

    Raises:
        UserError: lengths that differ, a profile without structures.
    """
    predicted, reference = _alike(predicted, reference)
    errors = np.full((3, len(profiles)), np.nan)
    for i, indices in enumerate(profiles):
        if len(indices) == 0:
            raise UserError(f"profile {i} has no structures")
        ours, theirs = predicted[indices], reference[indices]
        if not np.isfinite(ours + theirs).all():
            continue
        difference = ours - theirs
        errors[0, i] = np.abs(difference - difference.mean()).mean()
        errors[1, i] = np.abs((ours - ours.min()) - (theirs - theirs.min())).mean()
        errors[2, i] = abs(np.ptp(ours) - np.ptp(theirs))
    return ProfileErrors(*errors)


def correlations(predicted: np.ndarray, reference: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Squared Pearson correlation of each molecule's conformers, float64, (n_groups,).

    NaN for a molecule with fewer than three conformers that both have, or with energies that do not differ. As in the literature the
    square hides an order that is upside down.

    Args:
        predicted: energies, any zero and unit for each group, float64, (n_conformers,), NaN where absent.
        reference: likewise.
        groups: indices of each molecule's conformers.
    """
    predicted, reference = _alike(predicted, reference)
    found = np.full(len(groups), np.nan)
    for i, indices in enumerate(groups):
        pairs = np.stack([predicted[indices], reference[indices]])
        pairs = pairs[:, np.isfinite(pairs).all(0)]
        if pairs.shape[1] >= 3 and (pairs.std(1) > 1e-9).all():
            found[i] = np.corrcoef(pairs)[0, 1] ** 2
    return found


def median_of_present(values: np.ndarray) -> float:
    """The median of what is not NaN; NaN where nothing is."""
    present = values[np.isfinite(values)]
    return float(np.median(present)) if len(present) else float("nan")


@dataclass(frozen=True)
class SetError:
    """A method on one set of reactions.

    Attributes:
        mae: mean absolute error, kcal/mol, of the reactions that have an energy; NaN where none has.
        count: reactions of the set.
        missing: reactions without an energy.
    """

    mae: float
    count: int
    missing: int = 0

    @property
    def complete(self) -> bool:
        return self.count > 0 and self.missing == 0


def set_error(predicted: np.ndarray, reference: np.ndarray) -> SetError:
    """The error of a set from reaction energies and references, kcal/mol, float64, (n_reactions,)."""
    predicted, reference = _alike(predicted, reference)
    error = np.abs(predicted - reference)
    present = np.isfinite(error)
    mae = float(error[present].mean()) if present.any() else float("nan")
    return SetError(mae, len(error), int((~present).sum()))


def wtmad1(errors: Mapping[str, float], mean_references: Mapping[str, float]) -> float:
    """WTMAD-1 = (1 / n_sets) sum_i w_i MAD_i with w = 10 below a mean |reference| of 7.5 kcal/mol, 0.1 above 75, else 1.

    Args:
        errors: mean absolute error of each set, kcal/mol.
        mean_references: mean |reference| of at least these sets, kcal/mol.

    Raises:
        UserError: no sets, an error that is not finite, or a set without a mean reference.
    """
    _check_sets(errors, mean_references)
    return float(np.mean([_weight(mean_references[name]) * error for name, error in errors.items()]))


def wtmad2(errors: Mapping[str, float], mean_references: Mapping[str, float], counts: Mapping[str, int]) -> float:
    """WTMAD-2 = sum_i N_i (56.84 / mean|reference|_i) MAD_i / sum_i N_i.

    Args:
        errors: mean absolute error of each set, kcal/mol.
        mean_references: mean |reference| of at least these sets, kcal/mol.
        counts: number of reactions of at least these sets.

    Raises:
        UserError: as for :func:`wtmad1`.
    """
    _check_sets(errors, mean_references)
    weighted = sum(counts[s] * MEAN_ABSOLUTE_REFERENCE_KCAL / mean_references[s] * e for s, e in errors.items())
    return weighted / sum(counts[s] for s in errors)


def _weight(mean_reference: float) -> float:
    if mean_reference < 7.5:
        return 10.0
    return 0.1 if mean_reference > 75 else 1.0


def _check_sets(errors: Mapping[str, float], mean_references: Mapping[str, float]) -> None:
    if not errors:
        raise UserError("WTMAD of no sets: give at least one")
    for name, error in errors.items():
        if not np.isfinite(error):
            raise UserError(f"WTMAD: set {name} has no error (NaN): leave incomplete sets out and say so")
        if not mean_references.get(name, 0.0) > 0:
            raise UserError(f"WTMAD: set {name} has no mean reference above 0")


def _alike(predicted: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, reference = np.asarray(predicted, np.float64), np.asarray(reference, np.float64)
    if predicted.shape != reference.shape or predicted.ndim != 1:
        raise UserError(
            f"{predicted.shape} predicted values for {reference.shape} references: the shapes must be equal"
        )
    return predicted, reference
