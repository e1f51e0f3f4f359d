"""ASE's view of an energy model. Imported by name alone: ASE takes its time."""

from __future__ import annotations

from typing import Any

from ase.calculators.calculator import Calculator, all_changes
from ase.units import Hartree

from zoo.core import hub, release
from zoo.orbnet.predictor import EnergyPredictor, Fallback


class ZooCalculator(Calculator):
    """Energies in eV of molecules in vacuum.

    Args:
        model: a release's name or folder, or a predictor.
        charge: total charge in e; None takes ``atoms.info["charge"]``, or 0.
        spin: number of unpaired electrons; None takes ``atoms.info["spin"]``, or 0.
        fallback: "gfn1" answers molecules unlike the training set with GFN1-xTB.

    Raises:
        UserError: no such release; on calculation as :meth:`EnergyPredictor.energy`.
    """

    implemented_properties = ["energy"]  # noqa: RUF012  ASE's own declaration

    def __init__(
        self,
        model: str | EnergyPredictor,
        *,
        charge: int | None = None,
        spin: int | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, EnergyPredictor):
            model = EnergyPredictor(release.read_release(hub.resolve(model)))
        self.predictor, self._charge, self._spin = model, charge, spin
        self._fallback: Fallback | None = fallback

    def check_state(self, atoms: Any, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; ASE's own list leaves out charge and spin, which stand in ``info``."""
        changes = super().check_state(atoms, tol)
        if self.atoms is not None and _charge_and_spin(atoms) != _charge_and_spin(self.atoms):
            changes = [*changes, "info"]
        return changes

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Fill ``results`` for ``atoms``."""
        super().calculate(atoms, properties, system_changes)
        energy = self.predictor.energy(self.atoms, self._charge, self._spin, fallback=self._fallback)
        self.results = {"energy": energy * Hartree}


def _charge_and_spin(atoms: Any) -> tuple[Any, Any]:
    return atoms.info.get("charge"), atoms.info.get("spin")
