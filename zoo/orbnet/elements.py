"""Facts of the elements that GFN1-xTB knows, H to Rn.

Shells in the engine's order, valence electrons and chemical hardness are GFN1-xTB's parameters (Grimme, Bannwarth and
Shushkov, J. Chem. Theory Comput. 2017, 13, 1989; lanthanoids keep f electrons in the core). Covalent radii are those of
Cordero et al., Dalton Trans. 2008, 2832.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from zoo.core.errors import UserError

BOHR_ANGSTROM = 0.529177210903  # CODATA 2018
HARTREE_KCAL = 627.5094740631  # CODATA 2018, thermochemical calorie

# symbol, shells, valence electrons, hardness in hartree, covalent radius in angstrom
_TABLE = """
H ss 1 0.470099 0.31 | He s 2 1.441379 0.28 | Li sp 1 0.205342 1.28 | Be sp 2 0.274022 0.96
B sp 3 0.340530 0.84 | C sp 4 0.479988 0.76 | N sp 5 0.476106 0.71 | O sp 6 0.583349 0.66
F sp 7 0.788194 0.57 | Ne spd 8 0.612878 0.58 | Na sp 1 0.165908 1.66 | Mg sp 2 0.354151 1.41
Al spd 3 0.221658 1.21 | Si spd 4 0.438331 1.11 | P spd 5 0.798319 1.07 | S spd 6 0.643959 1.05
Cl spd 7 0.519712 1.02 | Ar spd 8 0.529906 1.06 | K sp 1 0.114358 2.03 | Ca spd 2 0.134187 1.76
Sc dsp 3 0.778545 1.70 | Ti dsp 4 1.044998 1.60 | V dsp 5 0.985157 1.53 | Cr dsp 6 0.468100 1.39
Mn dsp 7 0.609868 1.39 | Fe dsp 8 0.900000 1.32 | Co dsp 9 0.426680 1.26 | Ni dsp 10 0.367019 1.24
Cu dsp 11 0.260192 1.32 | Zn sp 2 0.209459 1.22 | Ga spd 3 0.193302 1.22 | Ge spd 4 0.800000 1.20
As spd 5 0.732367 1.19 | Se spd 6 0.714534 1.20 | Br spd 7 0.732530 1.20 | Kr spd 8 0.820312 1.16
Rb sp 1 0.075735 2.20 | Sr spd 2 0.122861 1.95 | Y dsp 3 0.351290 1.90 | Zr dsp 4 0.168219 1.75
Nb dsp 5 0.175875 1.64 | Mo dsp 6 0.384677 1.54 | Tc dsp 7 0.405474 1.47 | Ru dsp 8 0.305394 1.46
Rh dsp 9 0.293973 1.42 | Pd dsp 10 0.280766 1.39 | Ag dsp 11 0.472978 1.45 | Cd sp 2 0.130828 1.44
In spd 3 0.132120 1.42 | Sn spd 4 0.480655 1.39 | Sb spd 5 0.564406 1.39 | Te spd 6 0.400301 1.38
I spd 7 0.520472 1.39 | Xe spd 8 0.935394 1.40 | Cs sp 1 0.085110 2.44 | Ba spd 2 0.137819 2.15
La dsp 3 0.495969 2.07 | Ce dsp 3 0.350000 2.04 | Pr dsp 3 0.342306 2.03 | Nd dsp 3 0.334612 2.01
Pm dsp 3 0.326917 1.99 | Sm dsp 3 0.319223 1.98 | Eu dsp 3 0.311529 1.98 | Gd dsp 3 0.303835 1.96
Tb dsp 3 0.296140 1.94 | Dy dsp 3 0.288446 1.92 | Ho dsp 3 0.280752 1.92 | Er dsp 3 0.273058 1.89
Tm dsp 3 0.265364 1.90 | Yb dsp 3 0.257669 1.87 | Lu dsp 3 0.249975 1.87 | Hf dsp 4 0.269977 1.75
Ta dsp 5 0.239696 1.70 | W dsp 6 0.243663 1.62 | Re dsp 7 0.362512 1.51 | Os dsp 8 0.354318 1.44
Ir dsp 9 0.290898 1.41 | Pt dsp 10 0.370447 1.36 | Au dsp 11 0.496380 1.36 | Hg sp 2 0.334997 1.32
Tl sp 3 0.671316 1.45 | Pb sp 4 1.000000 1.46 | Bi sp 5 0.944879 1.48 | Po spd 6 1.091248 1.40
At spd 7 1.264162 1.50 | Rn spd 8 0.798170 1.50
"""


@dataclass(frozen=True)
class Element:
    """One element as GFN1-xTB sees it.

    Attributes:
        symbol: chemical symbol.
        number: atomic number.
        shells: angular momenta of its shells, in the engine's order.
        valence: valence electrons of the neutral atom.
        hardness: chemical hardness, hartree.
        radius_angstrom: covalent radius.
    """

    symbol: str
    number: int
    shells: tuple[int, ...]
    valence: int
    hardness: float
    radius_angstrom: float

    @property
    def orbitals(self) -> int:
        """Number of atomic orbitals."""
        return sum(2 * ell + 1 for ell in self.shells)


def _parse() -> tuple[Element, ...]:
    rows = [row.split() for line in _TABLE.split("\n") for row in line.split("|") if row.strip()]
    return tuple(
        Element(symbol, number, tuple("spd".index(s) for s in shells), int(valence), float(hardness), float(radius))
        for number, (symbol, shells, valence, hardness, radius) in enumerate(rows, start=1)
    )


ELEMENTS = _parse()
LARGEST = len(ELEMENTS)
SHELLS_PER_ATOM = max(len(e.shells) for e in ELEMENTS)
_BY_SYMBOL = {e.symbol.lower(): e for e in ELEMENTS}


def element(key: int | str) -> Element:
    """The element of an atomic number or a symbol (any case); UserError for one outside H to Rn."""
    if isinstance(key, str):
        if key.lower() not in _BY_SYMBOL:
            raise UserError(f"{key!r} is not an element that GFN1-xTB knows: use a symbol from H to Rn")
        return _BY_SYMBOL[key.lower()]
    if not 1 <= key <= LARGEST:
        raise UserError(f"atomic number {key} is outside GFN1-xTB's 1 (H) to {LARGEST} (Rn)")
    return ELEMENTS[key - 1]


def symbols(numbers: Iterable[int] | np.ndarray) -> str:
    """Symbols of atomic numbers for a message: ``H, C, O``."""
    return ", ".join(ELEMENTS[z - 1].symbol for z in numbers)


@cache
def _column(name: str) -> np.ndarray:
    values = np.array([0.0] + [float(getattr(e, name)) for e in ELEMENTS])
    values.setflags(write=False)
    return values


def hardness(numbers: np.ndarray) -> np.ndarray:
    """Chemical hardness in hartree, (n_atoms,), of atomic numbers (n_atoms,)."""
    return _column("hardness")[numbers]


def valence_electrons(numbers: np.ndarray) -> np.ndarray:
    """Valence electrons of the neutral atoms, int64, (n_atoms,)."""
    return _column("valence")[numbers].astype(np.int64)


def orbital_counts(numbers: np.ndarray) -> np.ndarray:
    """Atomic orbitals, int64, (n_atoms,)."""
    return _column("orbitals")[numbers].astype(np.int64)


def covalent_radii(numbers: np.ndarray) -> np.ndarray:
    """Covalent radii in angstrom, (n_atoms,)."""
    return _column("radius_angstrom")[numbers]
