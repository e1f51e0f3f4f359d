"""The training sets, read into groups of known differences, with everything that a test contains left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
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
from zoo.orbnet.groups import Group, Part, conformers
from zoo.orbnet.molecule import formula

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


def _torsiontest2000() -> Iterator[Group]:
    scans = torsions.torsiontest2000()
    skeletons = leakage.scan_skeletons(scans)
    energies = scans.energies_hartree[torsions.WB97X] * HARTREE_KCAL
    rows = zip(scans.group_names, scans.groups(), skeletons, leakage.in_tests(skeletons))
    yield from _present(
        conformers(n, "torsiontest2000", torsions.WB97X, s, scans.molecules, g, energies[g], total=True)
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


def labelled(scans: torsions.Scans, level: str, predictor: Any, per_molecule: int = 8) -> list[Group]:
    """Groups of conformers labelled here, for pretraining: geometries from a set without energies, energies from a method.

    Args:
        scans: the geometries, for example :func:`zoo.orbnet.datasets.flexisol.flexisol`.
        level: the label of the method, for example ``GFN2-xTB``.
        predictor: what has ``energies(molecules)`` in hartree, NaN for what fails, as :class:`zoo.orbnet.baselines.XTB`.
        per_molecule: at most this many conformers of each, evenly spread over those there are.

    Raises:
        UserError: ``per_molecule`` below 2.
    """
    if per_molecule < 2:
        raise UserError(f"per_molecule={per_molecule}: a difference needs at least 2 conformers")
    chosen = []
    for title, group in zip(scans.group_names, scans.groups()):
        picked = group[np.unique(np.linspace(0, len(group) - 1, min(per_molecule, len(group))).round().astype(int))]
        key = leakage.skeleton(scans.smiles[int(picked[0])], scans.molecules[int(picked[0])])
        if not leakage.in_tests([key])[0]:
            chosen.append((title, key, picked))
    flat = [int(i) for _, _, picked in chosen for i in picked]
    energies = dict(zip(flat, predictor.energies([scans.molecules[i] for i in flat]) * HARTREE_KCAL))
    found = (
        conformers(
            f"{scans.name}:{t}",
            scans.name.lower(),
            level,
            k,
            scans.molecules,
            p,
            np.array([energies[int(i)] for i in p]),
        )
        for t, k, p in chosen
    )
    return list(_present(found))
