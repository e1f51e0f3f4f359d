"""A molecule that can be computed: every bad input is refused here, before an engine turns it into a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.core.errors import UserError
from zoo.orbnet.elements import (
    BOHR_ANGSTROM,
    ELEMENTS,
    covalent_radii,
    element,
    orbital_counts,
    valence_electrons,
)

# Below this share of the sum of covalent radii GFN1-xTB returns energies without a warning and without a meaning
# (H2 at 0.01 A: +64 hartree); bonds seen in practice stay above 0.75 of it.
NEAREST = 0.4


@dataclass(frozen=True, eq=False)
class Molecule:
    """Atoms in space with a charge and a number of unpaired electrons; checked on construction and read-only.

    Args:
        numbers: atomic numbers 1 to 86, int, (n_atoms,).
        positions_bohr: Cartesian positions in bohr, float64, (n_atoms, 3).
        charge: total charge in e, an integer.
        spin: number of unpaired electrons (multiplicity - 1). None means 0, and is refused where the number of
            electrons is odd: a radical must be asked for.
        name: what errors and tables call it.

    Raises:
        UserError: an empty molecule, shapes that do not fit, an unknown element, a coordinate that is not finite, atoms
            nearer than 0.4 x the sum of their covalent radii, a charge that the atoms cannot carry, or a spin that does
            not fit the number of electrons.
    """

    numbers: np.ndarray
    positions_bohr: np.ndarray
    charge: int = 0
    spin: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        numbers = _integers(self.numbers, self.label)
        positions = np.array(self.positions_bohr, np.float64)
        charge = _integer(self.charge, "charge", self.label)
        if len(numbers) == 0:
            raise UserError(f"{self.label}no atoms: an empty molecule has no energy")
        if positions.shape != (len(numbers), 3):
            raise UserError(
                f"{self.label}positions of shape {positions.shape} for {len(numbers)} atoms: give ({len(numbers)}, 3)"
            )
        _check_elements(numbers, self.label)
        _check_positions(numbers, positions, self.label)
        electrons = _check_charge(numbers, charge, self.label)
        spin = _check_spin(numbers, electrons, charge, self.spin, self.label)
        numbers.setflags(write=False)
        positions.setflags(write=False)
        for field, value in (("numbers", numbers), ("positions_bohr", positions), ("charge", charge), ("spin", spin)):
            object.__setattr__(self, field, value)

    @classmethod
    def from_angstrom(
        cls,
        atoms: Sequence[int | str] | np.ndarray,
        positions: np.ndarray | Sequence[Sequence[float]],
        charge: int = 0,
        spin: int | None = None,
        name: str = "",
    ) -> Molecule:
        """A molecule from symbols or atomic numbers, (n_atoms,), and positions in angstrom, (n_atoms, 3)."""
        numbers = [element(a).number if isinstance(a, str) else a for a in atoms]
        try:
            bohr = np.asarray(positions, np.float64).reshape(-1, 3) / BOHR_ANGSTROM
        except ValueError:
            raise UserError(f"{_label(name)}positions do not form an array of shape (n_atoms, 3)") from None
        return cls(np.array(numbers), bohr, charge, spin, name)

    @property
    def label(self) -> str:
        """``name: `` where there is a name, to open an error's line."""
        return _label(self.name)

    @property
    def n_electrons(self) -> int:
        """Valence electrons in GFN1-xTB's count."""
        return int(valence_electrons(self.numbers).sum()) - self.charge

    @property
    def n_orbitals(self) -> int:
        """Atomic orbitals in GFN1-xTB's basis."""
        return int(orbital_counts(self.numbers).sum())

    @property
    def positions_angstrom(self) -> np.ndarray:
        """Positions in angstrom, (n_atoms, 3)."""
        return self.positions_bohr * BOHR_ANGSTROM

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols, (n_atoms,)."""
        return [ELEMENTS[z - 1].symbol for z in self.numbers]

    @property
    def formula(self) -> str:
        """Hill formula with the charge, for example C2H3O2-."""
        return formula(self.numbers, self.charge)

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        return f"Molecule({self.label}{self.formula}, charge={self.charge}, spin={self.spin})"


def formula(numbers: np.ndarray, charge: int = 0) -> str:
    """The Hill formula of atomic numbers, with the charge appended."""
    symbols = [ELEMENTS[z - 1].symbol for z in numbers]
    order = sorted(set(symbols))
    if "C" in order:
        order = ["C"] + (["H"] if "H" in order else []) + [s for s in order if s not in ("C", "H")]
    counts = "".join(s + (str(symbols.count(s)) if symbols.count(s) > 1 else "") for s in order)
    sign = "" if charge == 0 else ("+" if charge > 0 else "-")
    return counts + sign + (str(abs(charge)) if abs(charge) > 1 else "")


def _label(name: str) -> str:
    return f"{name}: " if name else ""


def _integer(value: object, what: str, label: str) -> int:
    try:
        number = int(value)  # pyright: ignore[reportArgumentType]
        whole = number == value
    except (TypeError, ValueError, OverflowError):
        whole, number = False, 0
    if not whole:
        raise UserError(f"{label}{what}={value!r} is not an integer")
    return number


def _integers(values: object, label: str) -> np.ndarray:
    array = np.array(values)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or not np.all(array == np.floor(array)):
        raise UserError(f"{label}atomic numbers must be a list of integers, not {values!r:.60}")
    return array.astype(np.int64)


def _check_elements(numbers: np.ndarray, label: str) -> None:
    for i, z in enumerate(numbers):
        try:
            element(int(z))
        except UserError as error:
            raise UserError(f"{label}atom {i + 1}: {error}") from None


def _check_positions(numbers: np.ndarray, positions: np.ndarray, label: str) -> None:
    for i, row in enumerate(positions):
        if not np.all(np.isfinite(row)):
            bad = float(row[~np.isfinite(row)][0])
            raise UserError(f"{label}atom {i + 1} ({ELEMENTS[numbers[i] - 1].symbol}) has the coordinate {bad}")
    if np.abs(positions).max() > 1e6:
        raise UserError(f"{label}a coordinate of {np.abs(positions).max():.3g} bohr: are these angstrom or bohr?")
    radii = covalent_radii(numbers)
    i, j = np.triu_indices(len(numbers), 1)
    if len(i) == 0:
        return
    distance = np.sqrt(((positions[i] - positions[j]) ** 2).sum(1)) * BOHR_ANGSTROM
    ratio = distance / (radii[i] + radii[j])
    k = int(np.argmin(ratio))
    if ratio[k] < NEAREST:
        a, b = (f"{n + 1} ({ELEMENTS[numbers[n] - 1].symbol})" for n in (i[k], j[k]))
        least = NEAREST * (radii[i[k]] + radii[j[k]])
        raise UserError(
            f"{label}atoms {a} and {b} are {distance[k]:.4f} A apart, at least {least:.2f} A is needed: "
            "check the geometry and its unit"
        )


def _check_charge(numbers: np.ndarray, charge: int, label: str) -> int:
    valence, orbitals = int(valence_electrons(numbers).sum()), int(orbital_counts(numbers).sum())
    electrons = valence - charge
    what = f"{label}charge={charge:+d} leaves {electrons} valence electrons on {formula(numbers)}"
    if electrons < 0 or (electrons == 0 and len(numbers) > 1):
        raise UserError(f"{what} ({valence} available): give a charge that leaves some")
    if electrons > 2 * orbitals:
        raise UserError(f"{what}, whose {orbitals} orbitals hold {2 * orbitals}: give a less negative charge")
    return electrons


def _check_spin(numbers: np.ndarray, electrons: int, charge: int, spin: int | None, label: str) -> int:
    what = f"{label}{formula(numbers)} with charge={charge:+d} has {electrons} valence electrons"
    if spin is None:
        if electrons % 2:
            raise UserError(f"{what}, an open shell: give spin, the number of unpaired electrons (1 for a doublet)")
        return 0
    spin = _integer(spin, "spin", label)
    if spin < 0:
        raise UserError(f"{label}spin={spin} is negative: give the number of unpaired electrons (0 for a closed shell)")
    if (electrons - spin) % 2:
        raise UserError(f"{what}: spin={spin} unpaired electrons do not fit that parity; check the charge or the spin")
    orbitals = int(orbital_counts(numbers).sum())
    if spin > electrons or (electrons + spin) // 2 > orbitals:
        raise UserError(f"{what} in {orbitals} orbitals: spin={spin} unpaired electrons do not fit in them")
    return spin
