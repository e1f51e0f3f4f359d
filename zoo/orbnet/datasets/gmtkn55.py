"""GMTKN55: 55 sets of reaction energies, barriers and non-covalent interactions (Goerigk et al., PCCP 2017, 19, 32184).

The archive's ``.res`` files are shell scripts, one line a reaction:
``$tmer a/$f b{1,2}/$f x -1 1 1 $w 12.3`` names species with bash's braces, then coefficients, then the reference in kcal/mol.
"""

from __future__ import annotations

import csv
import functools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.core.data import locate
from zoo.core.errors import DamagedError, UserError
from zoo.orbnet.datasets.archive import members, xyz_atoms
from zoo.orbnet.datasets.files import FILES, PUBLISHED
from zoo.orbnet.datasets.reactions import Reaction, ReactionSet
from zoo.orbnet.metrics import MEAN_ABSOLUTE_REFERENCE_KCAL
from zoo.orbnet.molecule import Molecule

_ARCHIVE = FILES["gmtkn55/grimme_gmtkn55_light.tar.gz"]
_LINE = re.compile(r"^(\$tmer|tmer2\+\+)\s")


def gmtkn55() -> dict[str, ReactionSet]:
    """The 55 sets by name (1,505 reactions of 2,442 species), references in kcal/mol.

    Raises:
        MissingDataError, DamagedError: the archive is absent or is another file.
    """
    return _read(locate(_ARCHIVE))


@functools.cache
def _read(path: Path) -> dict[str, ReactionSet]:
    files = members(path, ("/.res", "/.resRC", "/struc.xyz", "/.CHRG", "/.UHF"))
    sets = {}
    for member in sorted(files):
        folder, _, kind = member.rpartition("/")
        if kind in (".res", ".resRC"):
            name = folder + ("RC" if kind == ".resRC" else "")
            sets[name] = _reaction_set(name, folder, files[member], files)
    return sets


def parse_reactions(text: str, where: str) -> list[tuple[list[float], list[str], float]]:
    """Coefficients, species and the reference in kcal/mol of each line of a ``.res`` script.

    Raises:
        DamagedError: a line with other numbers of species and coefficients.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not _LINE.match(line):
            continue
        words = line.split()[1:]
        if "x" not in words:
            continue
        at = words.index("x")
        species = [_folder(s) for word in words[:at] for s in expand_braces(word)]
        rest = words[at + 1 :]
        weight = next((i for i, w in enumerate(rest) if w.startswith("$w")), None)
        if weight is None or weight + 1 >= len(rest) or weight != len(species):
            raise DamagedError(f"{where}, line {number}: {len(species)} species and the rest {' '.join(rest)!r}")
        found.append(([float(c) for c in rest[:weight]], species, float(rest[weight + 1])))
    return found


def expand_braces(word: str) -> list[str]:
    """Bash's brace expansion of a word with at most one pair: ``B_{T,G}/x`` gives ``B_T/x`` and ``B_G/x``."""
    match = re.match(r"^([^{}]*)\{([^{}]*)\}([^{}]*)$", word)
    if match is None:
        return [word]
    return [match[1] + middle + match[3] for middle in match[2].split(",")]


def _folder(species: str) -> str:
    return re.sub(r"/?\$f.*$", "", species).rstrip("/")


def _reaction_set(name: str, folder: str, script: str, files: dict[str, str]) -> ReactionSet:
    molecules: list[Molecule] = []
    index: dict[str, int] = {}
    reactions = []
    for coefficients, species, reference in parse_reactions(script, f"{folder}/.res"):
        for one in species:
            if one not in index:
                index[one] = len(molecules)
                molecules.append(_species(folder, one, files))
        pairs = tuple((c, index[s]) for c, s in zip(coefficients, species))
        reactions.append(Reaction(f"{name}:{len(reactions) + 1}", pairs, reference))
    return ReactionSet(name, tuple(molecules), tuple(reactions))


def _species(folder: str, name: str, files: dict[str, str]) -> Molecule:
    base = f"{folder}/{name}"
    if f"{base}/struc.xyz" not in files:
        raise DamagedError(f"GMTKN55's archive has no geometry of {base}")
    (symbols, positions), _ = xyz_atoms(files[f"{base}/struc.xyz"], base)
    charge, unpaired = (round(float(files.get(f"{base}/{f}", "0").split()[0])) for f in (".CHRG", ".UHF"))
    return Molecule.from_angstrom(symbols, positions, charge, unpaired, base)


class Subset(NamedTuple):
    """Facts of a set: its category, its mean |reference| in kcal/mol, its number of reactions."""

    category: str
    mean_reference_kcal: float
    reactions: int


def subsets() -> dict[str, Subset]:
    """The facts of each set, by the names of :func:`gmtkn55`.

    The means are those of the paper's own references (56.84 / weight): today's reference files differ a little.
    """
    by_folded = {name.lower(): name for name in gmtkn55()}
    rows = csv.DictReader(locate(PUBLISHED["subsets"]).read_text(encoding="utf-8").splitlines())
    return {
        by_folded[r["subset"].lower()]: Subset(
            r["category"], MEAN_ABSOLUTE_REFERENCE_KCAL / float(r["weight"]), int(r["num"])
        )
        for r in rows
    }


def published(method: str) -> dict[str, float]:
    """Published mean absolute errors in kcal/mol by set, of the sets that the method completes.

    Args:
        method: a file's stem without ``-gmtkn55``, for example ``orbnet-denali``.

    Raises:
        UserError: there is no such method.
    """
    stem = f"{method}-gmtkn55"
    if stem not in PUBLISHED:
        known = ", ".join(s.removesuffix("-gmtkn55") for s in PUBLISHED if s != "subsets")
        raise UserError(f"no published errors of {method!r} on GMTKN55 (known: {known})")
    by_folded = {name.lower(): name for name in gmtkn55()}
    found = {}
    for raw in csv.DictReader(locate(PUBLISHED[stem]).read_text(encoding="utf-8-sig").splitlines()):
        row = {key.strip().lower(): (value or "").strip() for key, value in raw.items() if key}
        if row["mae"] and row.get("completed", "true").lower() == "true":
            found[by_folded[row["subset"].lower()]] = float(row["mae"])
    return found


def denali_sets() -> tuple[str, ...]:
    """The 37 sets (936 reactions) that OrbNet Denali completes."""
    return tuple(sorted(published("orbnet-denali")))


def references_mean(reactions: ReactionSet) -> float:
    """Mean |reference| of a set as the archive has it, kcal/mol."""
    return float(np.abs(reactions.references).mean())
