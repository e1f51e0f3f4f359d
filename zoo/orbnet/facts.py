"""What a model must know of its training set to be used: saved with its weights, never trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.batch import ElementIndex
from zoo.orbnet.elements import symbols
from zoo.orbnet.graph import MolecularGraph
from zoo.orbnet.linear import LinearPart
from zoo.orbnet.model import Normalisation
from zoo.orbnet.molecule import Molecule


class NotApplicable(UserError):
    """A molecule unlike those a model was trained on."""


@dataclass(frozen=True, eq=False)
class Facts:
    """Measured on the training split.

    Attributes:
        elements: atomic numbers seen, ascending.
        charges: total charges seen, ascending.
        spins: numbers of unpaired electrons seen, ascending.
        sizes: fewest and most atoms seen.
        linear: the linear part of the energy; zero where only differences are known.
        normalisation: of the features.
    """

    elements: tuple[int, ...]
    charges: tuple[int, ...]
    spins: tuple[int, ...]
    sizes: tuple[int, int]
    linear: LinearPart
    normalisation: Normalisation

    @cached_property
    def index(self) -> ElementIndex:
        """The elements as a model counts them."""
        return ElementIndex(self.elements)

    @classmethod
    def of(
        cls,
        molecules: Sequence[Molecule],
        graphs: Sequence[MolecularGraph],
        fitted: Sequence[MolecularGraph],
        residuals: np.ndarray,
        start: Facts | None = None,
    ) -> Facts:
        """Measured.

        Args:
            molecules: of the training split.
            graphs: of some of them, to measure the scales of features on.
            fitted: of those whose total energies are known.
            residuals: reference minus GFN1-xTB of ``fitted``, hartree; where there is none the linear part is zero.
            start: of the model that training begins with: its elements and scales stay, what it saw counts too.

        Raises:
            UserError: an element that is not among those of ``start``.
        """
        found = tuple(sorted({int(z) for m in molecules for z in m.numbers}))
        elements = ElementIndex(found if start is None else start.elements)
        unknown = sorted(set(found) - set(elements.numbers))
        if unknown:
            raise UserError(
                f"the data hold {symbols(unknown)}, the model to start from knows {symbols(elements.numbers)}: start without it"
            )
        linear = LinearPart(np.zeros(len(elements) + 1))
        if len(fitted):
            linear = LinearPart.fit(np.stack([elements.composition(g) for g in fitted]), residuals)
        sizes = [len(m) for m in molecules]
        charges, spins = {m.charge for m in molecules}, {m.spin or 0 for m in molecules}
        if start is not None:
            charges, spins, sizes = charges | {*start.charges}, spins | {*start.spins}, [*sizes, *start.sizes]
        return cls(
            elements.numbers,
            tuple(sorted(charges)),
            tuple(sorted(spins)),
            (min(sizes), max(sizes)),
            linear,
            Normalisation.of(graphs) if start is None else start.normalisation,
        )

    @property
    def absolute(self) -> bool:
        """Whether total energies were learned from, rather than differences alone; of which elements, :meth:`unfitted` says."""
        return bool(np.any(self.linear.coefficients))

    def unfitted(self, numbers: Iterable[int]) -> list[int]:
        """Those of the atomic numbers, ascending, that no total energy of the training set holds: their constant is exactly 0.

        A total energy with such an element is near GFN1-xTB's, which counts valence electrons alone: only differences in which
        the element cancels mean something.
        """
        known = {z for z, c in zip(self.elements, self.linear.coefficients) if c != 0.0}
        return sorted({int(z) for z in numbers} - known)

    def arrays(self) -> dict[str, np.ndarray]:
        """As named arrays, for a release."""
        integers = {name: np.array(getattr(self, name), np.int64) for name in ("elements", "charges", "spins", "sizes")}
        scales = {name: np.asarray(getattr(self.normalisation, name), np.float64) for name in _SCALES}
        return {**integers, **scales, "linear": np.asarray(self.linear.coefficients, np.float64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Facts:
        """From what :meth:`arrays` gave; UserError where one is missing."""
        missing = {"elements", "charges", "spins", "sizes", "linear", *_SCALES} - arrays.keys()
        if missing:
            raise UserError(f"the release lacks {min(missing)} of its training set: it is no energy model, train anew")
        elements, charges, spins, sizes = (
            tuple(int(x) for x in arrays[name]) for name in ("elements", "charges", "spins", "sizes")
        )
        normalisation = Normalisation(*(arrays[name] for name in _SCALES))
        return cls(elements, charges, spins, (sizes[0], sizes[1]), LinearPart(arrays["linear"]), normalisation)

    def stated(self) -> str:
        """A sentence or two for people: what training saw."""
        charges = ", ".join(f"{q:+d}" if q else "0" for q in self.charges)
        unfitted = self.unfitted(self.elements) if self.absolute else []
        apart = f" Of {symbols(unfitted)} it saw no total energies, only differences." if unfitted else ""
        return (
            f"It saw the elements {symbols(self.elements)}; charges {charges}; {_list(self.spins)} unpaired electrons; "
            f"{self.sizes[0]} to {self.sizes[1]} atoms.{apart}"
        )

    def check(self, molecule: Molecule) -> None:
        """Refuse a molecule with an element, charge, spin or size that training never saw; NotApplicable."""
        label = molecule.label or f"{molecule.formula}: "
        unknown = sorted(set(molecule.numbers.tolist()) - set(self.elements))
        if unknown:
            _refuse(f"{label}this model never saw {symbols(unknown)}; its elements are {symbols(self.elements)}")
        if molecule.charge not in self.charges:
            _refuse(f"{label}this model never saw charge {molecule.charge:+d}; its charges are {_list(self.charges)}")
        if molecule.spin not in self.spins:
            _refuse(f"{label}this model never saw {molecule.spin} unpaired electrons; it saw {_list(self.spins)}")
        least, most = self.sizes
        if not least <= len(molecule) <= most:
            _refuse(f"{label}{len(molecule)} atoms; this model saw {least} to {most}")


_SCALES = ("node_mean", "node_scale", "edge_scale")


def _list(values: Sequence[int]) -> str:
    return ", ".join(str(v) for v in values)


def _refuse(text: str) -> None:
    raise NotApplicable(f"{text}: use another model, or ask for GFN1-xTB with fallback gfn1")
