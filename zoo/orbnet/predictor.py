"""What ``zoo.load("orbnet/...")`` returns: energies of molecules like those the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from zoo.core.errors import UserError, ZooError
from zoo.core.release import Release
from zoo.core.train import load_params, load_task
from zoo.orbnet.batch import ElementIndex, Sizes, collate
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.facts import NotApplicable
from zoo.orbnet.features import features
from zoo.orbnet.gfn1 import EngineError, converge
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.task import EnergyTask, model_function

Fallback = Literal["gfn1"]
# The smallest of the padded shapes (nodes, edges): one organic molecule of about ten atoms.
_SIZES = Sizes(24, 256)


@dataclass(frozen=True)
class Answer:
    """An energy and what it is.

    Attributes:
        energy: hartree; NaN where there is an error.
        method: "orbnet", "GFN1-xTB" (the fallback), or "" where there is an error.
        error: one line that says why there is no energy, or why it is the fallback's; else "".
    """

    energy: float
    method: str
    error: str = ""


class EnergyPredictor:
    """A trained energy model: E = E_GFN1 + E_linear + E_ML.

    Args:
        release: the checked release.

    Attributes:
        info: the release's card as data.
        facts: what it was trained on: elements, charges, sizes.
        absolute: whether energies are total ones of the reference method; else only differences between structures of one
            molecule mean something.
    """

    def __init__(self, release: Release) -> None:
        task = load_task(release)
        if not isinstance(task, EnergyTask):
            raise UserError(f"{release.path}: task {release.info.task!r} is no energy model")
        self.info, self.facts = release.info, task.facts
        self.absolute = task.config.data.source != "sets"
        self._model = task.config.model
        self._elements = ElementIndex(self.facts.elements)
        self._network = model_function(task, load_params(task, release))

    def energy(
        self, atoms: Any, charge: int | None = None, spin: int | None = None, *, fallback: Fallback | None = None
    ) -> float:
        """The energy of one molecule, in hartree.

        Args:
            atoms: a :class:`~zoo.orbnet.molecule.Molecule`, or ASE's Atoms (angstrom).
            charge: total charge in e; None takes the molecule's, or 0.
            spin: number of unpaired electrons; None takes the molecule's, or 0.
            fallback: "gfn1" gives GFN1-xTB's own energy for a molecule unlike the training set.

        Raises:
            NotApplicable: an element, charge, spin or size that training never saw.
            UserError: a molecule that is none; see :class:`~zoo.orbnet.molecule.Molecule`.
            EngineError: GFN1-xTB did not converge.
        """
        return self._answer(as_molecule(atoms, charge, spin), fallback).energy

    def energies(self, molecules: Sequence[Any], *, fallback: Fallback | None = None) -> np.ndarray:
        """Energies in hartree, float64, (n_molecules,); see :meth:`energy`, whose errors the first bad molecule raises."""
        return np.array([self.energy(m, fallback=fallback) for m in molecules], np.float64)

    def answers(self, molecules: Sequence[Molecule], *, fallback: Fallback | None = None) -> list[Answer]:
        """An answer for each molecule; what fails is said there and the others go on."""
        found = []
        for molecule in molecules:
            try:
                found.append(self._answer(molecule, fallback))
            except ZooError as error:
                found.append(Answer(float("nan"), "", str(error)))
        return found

    def _answer(self, molecule: Molecule, fallback: Fallback | None) -> Answer:
        if fallback not in (None, "gfn1"):
            raise UserError(f"fallback={fallback!r} is not gfn1: leave it out to refuse unknown molecules")
        refused = ""
        try:
            self.facts.check(molecule)
        except NotApplicable as error:
            if fallback is None:
                raise
            refused = str(error)
        converged = converge(molecule)
        if refused:
            return Answer(converged.energy, "GFN1-xTB", refused)
        graph = features(converged, self._model.kind, self._model.cutoff)
        # One molecule at a time: an energy cannot depend on its company, to the last bit.
        batch = collate([graph], self._elements, _SIZES.shape(graph.n_nodes, graph.n_edges), 1)
        learned = float(np.asarray(self._network(batch))[0])
        linear = float(self.facts.linear(self._elements.composition(graph)))
        energy = converged.energy + linear + learned / HARTREE_KCAL
        if not np.isfinite(energy):
            raise EngineError(
                f"{molecule.label}{molecule.formula}: the network's energy is not finite: check the geometry"
            )
        return Answer(energy, "orbnet")


def as_molecule(atoms: Any, charge: int | None = None, spin: int | None = None) -> Molecule:
    """A molecule from a Molecule or from ASE's Atoms, whose ``info`` may hold charge and spin (unpaired electrons).

    Raises:
        UserError: something else, or what no molecule is.
    """
    if isinstance(atoms, Molecule):
        if charge is None and spin is None:
            return atoms
        unpaired = spin if spin is not None else (atoms.spin if charge in (None, atoms.charge) else None)
        total = atoms.charge if charge is None else charge
        return Molecule(atoms.numbers, atoms.positions_bohr, total, unpaired, atoms.name)
    if not hasattr(atoms, "get_atomic_numbers"):
        raise UserError(f"{type(atoms).__name__} is no molecule: give zoo.orbnet.molecule.Molecule or ase.Atoms")
    if np.any(atoms.get_pbc()):
        raise UserError("the atoms are periodic: energies are of molecules in vacuum, set pbc=False")
    total = atoms.info.get("charge", 0) if charge is None else charge
    unpaired = atoms.info.get("spin") if spin is None else spin
    return Molecule.from_angstrom(atoms.get_atomic_numbers(), atoms.get_positions(), total, unpaired)
