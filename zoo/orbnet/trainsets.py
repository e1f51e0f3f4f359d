"""Training data as groups: structures whose energies differ by known amounts at one level of theory.

Total energies of different levels never meet. A group says which combinations of its structures' energies are known:
``coefficients @ energies = targets``. For conformers these are the energies minus their mean; for a dimer E(AB) - E(A) - E(B); for a
reaction its stoichiometry. A loss of differences needs no more, and every group carries the label of its level.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from zoo.core.config import nearest
from zoo.core.data import locate
from zoo.core.errors import UserError
from zoo.orbnet import leakage
from zoo.orbnet.datasets import torsions
from zoo.orbnet.datasets.files import FILES
from zoo.orbnet.datasets.structures import Structures, load_npz, structures
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.molecule import Molecule, formula


@dataclass(frozen=True)
class Part:
    """Atoms ``first`` to ``last`` of a structure, as a molecule of its own."""

    structure: int
    first: int
    last: int
    charge: int
    name: str


@dataclass(frozen=True, eq=False)
class Group:
    """Structures with known differences.

    Attributes:
        name: what reports call it.
        source: the set it is of.
        level: the label of the level of theory of its targets.
        kind: conformers (energies minus their mean), dimers (interaction energies) or reaction.
        key: the molecule it is of; groups of one key fall on one side of a split.
        parts: which atoms its molecules are, (n_molecules,).
        coefficients: float64, (n_targets, n_molecules).
        targets_kcal: float64, (n_targets,).
    """

    name: str
    source: str
    level: str
    kind: Literal["conformers", "dimers", "reaction"]
    key: str
    parts: tuple[Part, ...]
    coefficients: np.ndarray
    targets_kcal: np.ndarray
    of: Structures

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """Its molecules, built now."""
        return tuple(self.of.part(p.structure, p.first, p.last, p.charge, p.name) for p in self.parts)

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers of its molecules, without building them."""
        return frozenset(int(z) for p in self.parts for z in self.of.atoms(p.structure)[p.first : p.last])


# The sets of reactions and dimers at coupled-cluster levels.
REFDATA = {
    "ssi": "DW-CCSD(T)-F12/aug-cc-pVDZ",
    "bh9": "DLPNO-CCSD(T)/CBS",
    "cyclo70": "DLPNO-CCSD(T)/CBS",
    "water2510": "CCSD(T)/CBS",
    "hbc6": "CCSD(T)/CBS",
    "nbc10ext": "CCSD(T)/CBS",
    "achc": "CCSD(T)/CBS",
    "ionichb": "CCSD(T)/CBS",
    "chal336": "DLPNO-CCSD(T)/CBS or W1-F12",
    "w1_sn2_bh": "W1w",
}
# These hold pairs of S22 and S66 at other distances. No geometry is shared, but whoever reports S66 may want to leave them out.
SHARES_PAIRS_OF_S66 = ("water2510", "hbc6", "nbc10ext")
NCIA = ("D1200", "D442x10", "HB300SPXx10", "HB375x10", "IHB100x10", "R739x5", "SH250x10")


def training_groups(names: Sequence[str] | None = None) -> list[Group]:
    """The groups of the named sets, of all if None, with everything that a test contains left out.

    Raises:
        UserError: an unknown set.
        MissingDataError: a file is absent.
    """
    groups: list[Group] = []
    for name in SETS if names is None else names:
        if name not in SETS:
            raise UserError(f"no training set {name!r}{nearest(name, SETS)} (known: {', '.join(SETS)})")
        groups += SETS[name]()
    return groups


def split(groups: Sequence[Group], valid: float = 0.1, salt: str = "") -> tuple[list[Group], list[Group]]:
    """Groups for training and for validation: a molecule's key decides, whatever else is in the list.

    Args:
        groups: what to split.
        valid: share of the keys that go to validation, between 0 and 1.
        salt: another text is another split.

    Raises:
        UserError: a share outside 0 to 1.
    """
    if not 0 <= valid <= 1:
        raise UserError(f"valid={valid} must lie between 0 and 1")
    sides: tuple[list[Group], list[Group]] = ([], [])
    for group in groups:
        sides[_position(group.key, salt) < valid].append(group)
    return sides


def _position(key: str, salt: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{salt}|{key}".encode()).digest()[:8], "big") / 2**64


def conformers(
    name: str, source: str, level: str, key: str, of: Structures, indices: np.ndarray, energies_kcal: np.ndarray
) -> Group | None:
    """The group of the structures that have an energy; None where fewer than two have."""
    present = np.isfinite(energies_kcal)
    if present.sum() < 2:
        return None
    kept = [int(i) for i in indices[present]]
    parts = tuple(Part(i, 0, of.size(i), int(of.charges[i]), str(of.names[i])) for i in kept)
    values = energies_kcal[present]
    centring = np.eye(len(kept)) - 1.0 / len(kept)
    return Group(name, source, level, "conformers", key, parts, centring, values - values.mean(), of)


def _torsiontest2000() -> Iterator[Group]:
    scans = torsions.torsiontest2000()
    skeletons = leakage.scan_skeletons(scans)
    energies = scans.energies_hartree[torsions.WB97X] * HARTREE_KCAL
    rows = zip(scans.group_names, scans.groups(), skeletons, leakage.in_tests(skeletons))
    yield from _present(
        conformers(n, "torsiontest2000", torsions.WB97X, s, scans.molecules, g, energies[g])
        for n, g, s, tested in rows
        if not tested
    )


def _flagged(
    source: str, path: str, level: str, energies_kcal: Callable[[dict[str, Any]], np.ndarray], flags: tuple[str, ...]
) -> Iterator[Group]:
    """Conformers of an npz whose own flags, and whose molecules, say what a test contains."""
    arrays = load_npz(locate(FILES[path]))
    group = arrays["group"]
    names = [str(n) for n in arrays["name"]] if "name" in arrays else [f"{g}-{i}" for i, g in enumerate(group)]
    of = structures(arrays, names, source)
    energies = energies_kcal(arrays)
    keep = ~np.any([arrays[flag] for flag in flags], axis=0)
    for g in np.unique(group):
        indices = np.flatnonzero((group == g) & keep)
        if len(indices) < 2:
            continue
        key = leakage.skeleton_of_geometry(of[int(indices[0])])
        if not leakage.in_tests([key])[0]:
            title = f"{source}:{arrays['group_name'][g] if 'group_name' in arrays else g}"
            yield from _present([conformers(title, source, level, key, of, indices, energies[indices])])


def _pepconf() -> Iterator[Group]:
    flags = ("molecule_in_tests", "molecule_in_gmtkn55")
    yield from _flagged("pepconf", "pepconf/pepconf.npz", "LC-wPBE-XDM/aug-cc-pVTZ", lambda a: a["rel_kcal"], flags)


def _dipconfs() -> Iterator[Group]:
    flags = ("molecule_in_tests", "molecule_in_gmtkn55")
    yield from _flagged("dipconfs", "dipconfs/dipconfs.npz", "wB97X-V", lambda a: _column(a, "rel", "wB97X-V"), flags)


def _qm_theory_torsions() -> Iterator[Group]:
    def energies(arrays: dict[str, Any]) -> np.ndarray:
        return _column(arrays, "energy", "wB97X-D3BJ/DZVP") * HARTREE_KCAL

    path = "qm_theory_torsions/qm_theory_torsions.npz"
    flags = ("molecule_in_tests", "molecule_in_gmtkn55")
    yield from _flagged("qm_theory_torsions", path, "wB97X-D3BJ/DZVP", energies, flags)


def _column(arrays: dict[str, Any], kind: Literal["rel", "energy"], level: str) -> np.ndarray:
    at = [str(k) for k in arrays[f"{kind}_keys"]].index(level)
    return arrays["rel_kcal" if kind == "rel" else "energies_hartree"][:, at]


def _ncia() -> Iterator[Group]:
    """Dissociation curves: dimers at several distances and their two frozen monomers, once each."""
    for name in NCIA:
        arrays = load_npz(locate(FILES[f"ncia/NCIA_{name}.npz"]))
        of = structures(arrays, [str(n) for n in arrays["name"]], name)
        dft = arrays["Eint_dft_qzvp_kcal"][:, [str(k) for k in arrays["dft_keys"]].index("wB97X-D3(BJ)")]
        for curve in np.unique(arrays["group"]):
            indices = np.flatnonzero((arrays["group"] == curve) & ~arrays["s66_monomer_pair"])
            for level, values in (("wB97X-D3BJ/def2-QZVP", dft), ("CCSD(T)/CBS", arrays["Eint_ccsdt_cbs_kcal"])):
                own = indices[np.isfinite(values[indices])]
                if len(own):
                    yield _curve(name, level, of, arrays, own, values[own].astype(np.float64))
                    break  # the level nearest to that of the torsions; CCSD(T) where it is absent


def _curve(
    source: str, level: str, of: Structures, arrays: dict[str, Any], indices: np.ndarray, values: np.ndarray
) -> Group:
    first = int(indices[0])
    cut, size, title = int(arrays["natoms_a"][first]), of.size(first), str(of.names[first]).rpartition("_")[0]
    a = Part(first, 0, cut, int(arrays["charge_a"][first]), f"{source}:{title}_A")
    b = Part(first, cut, size, int(arrays["charge_b"][first]), f"{source}:{title}_B")
    dimers = [Part(int(i), 0, size, int(of.charges[i]), f"{source}:{of.names[i]}") for i in indices]
    coefficients = np.hstack([np.eye(len(dimers)), -np.ones((len(dimers), 2))])
    atoms = of.atoms(first)
    key = "+".join(sorted((formula(atoms[:cut], a.charge), formula(atoms[cut:], b.charge))))
    return Group(f"{source}:{title}", "ncia", level, "dimers", key, (*dimers, a, b), coefficients, values, of)


def _gscdb138() -> Iterator[Group]:
    arrays = load_npz(locate(FILES["gscdb138/gscdb138_closedshell.npz"]))
    of = structures(arrays, [str(n) for n in arrays["name"]], "gscdb138")
    rows = json.loads(locate(FILES["gscdb138/reactions.json"]).read_text(encoding="utf-8"))
    at = [str(k) for k in arrays["energy_keys"]].index("wB97X-V")
    energies = arrays["energies_hartree"][:, at] * HARTREE_KCAL
    for row in rows:
        species = [int(i) for _, i in row["stoich"]]
        basis = {str(arrays["basis"][i]) for i in species}
        # Differences only within one basis; a species that a test has too is no label, its reaction is.
        if not row["train_safe"] or len(basis) != 1:
            continue
        target = sum(c * energies[int(i)] for c, i in row["stoich"])
        if np.isfinite(target):
            yield _reaction(str(row["id"]), "gscdb138", f"wB97X-V/{basis.pop()}", row["stoich"], float(target), of)


def _refdata(name: str) -> Iterator[Group]:
    """Reactions at coupled-cluster levels; one whose largest species has the geometry of a test's is left out."""
    base = f"refdata_noncovalent_reactions/{name}"
    arrays = load_npz(locate(FILES[f"{base}.npz"]))
    of = structures(arrays, [str(n) for n in arrays["name"]], name)
    rows = json.loads(locate(FILES[f"{base}_reactions.json"]).read_text(encoding="utf-8"))
    for number, row in enumerate(rows, 1):
        largest = max((int(i) for _, i in row["stoich"]), key=of.size)
        if not arrays["test_geometry_match"][largest]:
            yield _reaction(f"{name}:{number}", name, REFDATA[name], row["stoich"], float(row["ref_kcal"]), of)


def _reaction(
    name: str, source: str, level: str, stoichiometry: list[list[float]], target_kcal: float, of: Structures
) -> Group:
    species = [int(i) for _, i in stoichiometry]
    parts = tuple(Part(i, 0, of.size(i), int(of.charges[i]), str(of.names[i])) for i in species)
    coefficients = np.array([[float(c) for c, _ in stoichiometry]])
    key = "+".join(sorted({formula(of.atoms(i), int(of.charges[i])) for i in species}))
    return Group(name, source, level, "reaction", key, parts, coefficients, np.array([target_kcal]), of)


def _present(groups: Any) -> Iterator[Group]:
    yield from (group for group in groups if group is not None)


SETS: dict[str, Callable[[], Iterator[Group]]] = {
    "torsiontest2000": _torsiontest2000,
    "ncia": _ncia,
    "gscdb138": _gscdb138,
    "pepconf": _pepconf,
    "qm_theory_torsions": _qm_theory_torsions,
    "dipconfs": _dipconfs,
    **{name: lambda name=name: _refdata(name) for name in REFDATA},
}
