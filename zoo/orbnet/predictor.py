"""What ``zoo.load("orbnet/...")`` returns: energies of molecules like those the model was trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.core.errors import UserError, ZooError
from zoo.core.release import Release, ReleaseInfo
from zoo.core.train import load_params, load_task
from zoo.orbnet.elements import symbols
from zoo.orbnet.energy import EnergyModel
from zoo.orbnet.facts import NotApplicable
from zoo.orbnet.graph import MolecularGraph
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.parallel import Failed, Workers, attempt, each, graph_of
from zoo.orbnet.task import EnergyTask, model_function

Fallback = Literal["gfn1"]


@dataclass(frozen=True)
class Answer:
    """An energy and what it is.

    Attributes:
        energy: hartree; NaN where there is an error.
        method: "orbnet", "GFN1-xTB" (the fallback), or "" where there is an error.
        error: one line that says why there is no energy, or why it is the fallback's; else "".
        note: one line that says why it is no total energy of the reference method, but good for differences alone; else "".
    """

    energy: float
    method: str
    error: str = ""
    note: str = ""


class EnergyPredictor:
    """A trained energy model: E = E_GFN1 + E_linear + E_ML.

    Args:
        release: the checked release.

    Attributes:
        info: the release's card as data; None for a model that is no release.
        facts: what it was trained on: elements, charges, sizes.
        absolute: whether it learned from total energies of the reference method; else only differences between structures of one
            molecule mean something. Of a molecule, :meth:`is_total` says.
    """

    def __init__(self, release: Release) -> None:
        task = load_task(release)
        if not isinstance(task, EnergyTask):
            raise UserError(f"{release.path}: task {release.info.task!r} is no energy model")
        model = EnergyModel(task.config.model, task.facts, model_function(task, load_params(task, release)))
        self._hold(model, release.info)

    @classmethod
    def of(cls, model: EnergyModel) -> EnergyPredictor:
        """A predictor of a model in memory."""
        made = cls.__new__(cls)
        made._hold(model, None)
        return made

    def _hold(self, model: EnergyModel, info: ReleaseInfo | None) -> None:
        self.info, self.facts, self.absolute, self._model = info, model.facts, model.facts.absolute, model

    def is_total(self, molecule: Molecule) -> bool:
        """Whether its energy is a total one of the reference method: training saw total energies with each of its elements."""
        return not self.facts.unfitted(molecule.numbers.tolist())

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
        return _energy(next(self._found([as_molecule(atoms, charge, spin)], fallback, Workers())))

    def energies(self, molecules: Sequence[Any], *, fallback: Fallback | None = None, workers: int = 1) -> np.ndarray:
        """Energies in hartree, float64, (n_molecules,).

        Args:
            molecules: as :meth:`energy` takes them.
            fallback: likewise.
            workers: processes that converge GFN1-xTB, each with one thread; 1 stays in this process.

        Raises:
            ZooError: that of the first bad molecule, see :meth:`energy`; a molecule that ended its worker.
        """
        found = self._found([as_molecule(m) for m in molecules], fallback, Workers(workers))
        return np.array([_energy(one) for one in found], np.float64)

    def answers(
        self, molecules: Sequence[Molecule], *, fallback: Fallback | None = None, workers: int = 1
    ) -> list[Answer]:
        """An answer for each molecule; what fails is said there and the others go on."""
        found = self._found(molecules, fallback, Workers(workers))
        return [Answer(float("nan"), "", str(one)) if isinstance(one, ZooError) else one for one in found]

    def _found(
        self, molecules: Sequence[Molecule], fallback: Fallback | None, workers: Workers
    ) -> Iterator[Answer | ZooError]:
        """An answer or the error of each molecule, in order; in this process nothing is computed before it is asked for."""
        if fallback not in (None, "gfn1"):
            raise UserError(f"fallback={fallback!r} is not gfn1: leave it out to refuse unknown molecules")
        refused = [self._refusal(m) for m in molecules]
        todo = {i: m for i, m in enumerate(molecules) if refused[i] is None or fallback}
        make = partial(graph_of, kind=self._model.config.kind, cutoff=self._model.config.cutoff)
        ready: dict[int, Any] = {}
        if workers.count > 1:
            with tempfile.TemporaryDirectory(prefix="orbnet-") as marks:
                ready = dict(each(make, todo, workers, lambda i: Path(marks) / f"running-{i}"))
        for i, molecule in enumerate(molecules):
            if i not in todo:
                yield refused[i]  # pyright: ignore[reportReturnType]
                continue
            graph = ready.pop(i) if ready else attempt(make, molecule)
            yield self._answer(molecule, graph, refused[i])

    def _refusal(self, molecule: Molecule) -> NotApplicable | None:
        try:
            self.facts.check(molecule)
        except NotApplicable as error:
            return error
        return None

    def _answer(
        self, molecule: Molecule, graph: MolecularGraph | Failed, refused: NotApplicable | None
    ) -> Answer | ZooError:
        if isinstance(graph, Failed):
            return graph.error
        if refused is not None:
            return Answer(graph.energy, "GFN1-xTB", str(refused))
        try:
            return Answer(self._model.energy(graph), "orbnet", note=self._note(molecule))
        except ZooError as error:
            return error

    def _note(self, molecule: Molecule) -> str:
        if not (unfitted := self.facts.unfitted(molecule.numbers.tolist())):
            return ""
        them = "it cancels" if len(unfitted) == 1 else "they cancel"
        return f"no total energy: training saw none with {symbols(unfitted)}; only differences in which {them} mean something"


def _energy(found: Answer | ZooError) -> float:
    if isinstance(found, ZooError):
        raise found
    return found.energy


def as_molecule(atoms: Any, charge: int | None = None, spin: int | None = None) -> Molecule:
    """A molecule from a Molecule or from ASE's Atoms, whose ``info`` may hold charge and spin (unpaired electrons).

    Raises:
        UserError: something else, or what no molecule is; initial charges or magnetic moments that add up to a charge or to unpaired
            electrons where neither ``info`` nor the caller gives them.
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
    total = atoms.info.get("charge") if charge is None else charge
    unpaired = atoms.info.get("spin") if spin is None else spin
    if total is None:
        _refuse_initial(atoms.get_initial_charges(), "charges", "charge")
        total = 0
    if unpaired is None:
        _refuse_initial(atoms.get_initial_magnetic_moments(), "magnetic moments", "spin")
    return Molecule.from_angstrom(atoms.get_atomic_numbers(), atoms.get_positions(), total, unpaired)


def _refuse_initial(values: np.ndarray, what: str, key: str) -> None:
    """Refuse initial values of ASE's atoms that say that the molecule is no neutral closed shell: they would be passed over."""
    if found := round(float(np.sum(values))):
        raise UserError(
            f'the atoms\' initial {what} add up to {found:+d}, and atoms.info has no {key}: set atoms.info["{key}"] (0 where they '
            "mean nothing)"
        )
