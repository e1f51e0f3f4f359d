"""S66x10: dissociation curves of 66 dimers at ten distances, CCSD(T)/CBS (Smith et al., J. Phys. Chem. Lett. 2016, 7, 2197).

The archive's ``.din`` grammar: comment lines begin with ``#``, then for each reaction pairs of lines coefficient and name, a line
``0`` and the reference in kcal/mol.
"""

from __future__ import annotations

import functools
from pathlib import Path

from zoo.core.data import locate
from zoo.core.errors import DamagedError
from zoo.orbnet.datasets.archive import members, xyz_atoms
from zoo.orbnet.datasets.files import FILES
from zoo.orbnet.datasets.reactions import Reaction, ReactionSet
from zoo.orbnet.molecule import Molecule


def s66x10() -> ReactionSet:
    """660 interaction energies E(AB) - E(A) - E(B), the monomers as they are in the dimer at its minimum."""
    return _read(locate(FILES["s66/refdata_s66.tar.gz"]))


@functools.lru_cache(maxsize=1)
def _read(path: Path) -> ReactionSet:
    files = members(path, ("10_din/s66x10.din", ".xyz"))
    molecules: list[Molecule] = []
    index: dict[str, int] = {}
    reactions = []
    for pairs, reference in parse_din(files["10_din/s66x10.din"], "s66x10.din"):
        for _, name in pairs:
            if name not in index:
                index[name] = len(molecules)
                molecules.append(_molecule(name, files))
        title = next(name for _, name in pairs if name.endswith("_dimer")).removesuffix("_dimer")
        reactions.append(Reaction(title, tuple((c, index[n]) for c, n in pairs), reference))
    return ReactionSet("S66x10", tuple(molecules), tuple(reactions))


def parse_din(text: str, where: str) -> list[tuple[list[tuple[float, str]], float]]:
    """The reactions of a ``.din`` text: (coefficient, name) pairs and the reference in kcal/mol.

    Raises:
        DamagedError: a text that ends inside a reaction, or a coefficient or reference that is no number.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found, pairs = [], []
    rest = iter(lines)
    for line in rest:
        following = next(rest, None)
        try:
            coefficient = float(line)
            if following is None:
                raise ValueError
            if coefficient == 0:
                found.append((pairs, float(following)))
                pairs = []
            else:
                pairs.append((coefficient, following))
        except ValueError:
            raise DamagedError(
                f"{where}: after {len(found)} reactions, {line!r} and {following!r} are no pair"
            ) from None
    if pairs:
        raise DamagedError(f"{where}: it ends inside reaction {len(found) + 1}")
    return found


def _molecule(name: str, files: dict[str, str]) -> Molecule:
    member = f"20_s66x10/{name}.xyz"
    if member not in files:
        raise DamagedError(f"S66's archive has no geometry of {name}")
    (symbols, positions), _ = xyz_atoms(files[member], name)
    return Molecule.from_angstrom(symbols, positions, 0, 0, name)  # all of S66 is neutral with closed shells
