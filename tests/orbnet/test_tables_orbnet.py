"""The tables' code on predictors whose answers are known, and on a live subset of GFN2-xTB against its published errors."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")

from zoo.core import families, tables
from zoo.core.config import compose, config_hash, unstructure
from zoo.core.errors import UserError
from zoo.core.reproduce import reproduce
from zoo.core.train import typed
from zoo.orbnet.baselines import XTB
from zoo.orbnet.datasets import gmtkn55 as gmtkn55_data
from zoo.orbnet.datasets import s66, torsions
from zoo.orbnet.datasets.reactions import reaction_energies
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.metrics import SetError, set_error
from zoo.orbnet.tables import TABLES, gmtkn55, hutchison, pictures, s66x10, speed, tautobase, torsionnet500
from zoo.orbnet.tables.common import energies_of, write_csv

RESULTS = Path(__file__).parent.parent.parent / "results" / "orbnet"


class Fixed:
    """A predictor that answers from a mapping of names, NaN for the others."""

    def __init__(self, energies: dict[str, float]) -> None:
        self.known = energies

    def energies(self, molecules) -> np.ndarray:
        return np.array([self.known.get(m.name, np.nan) for m in molecules])


def test_a_predictor_that_refuses_the_list_is_asked_for_each(molecule) -> None:
    class Strict:
        def energies(self, molecules) -> np.ndarray:
            if any(m.name == "SF6" for m in molecules):
                raise UserError("SF6: sulphur was never seen")
            return np.full(len(molecules), -1.5)

    found, reasons = energies_of(Strict(), [molecule("water"), molecule("SF6"), molecule("N2")])
    assert found[[0, 2]].tolist() == [-1.5, -1.5]
    assert np.isnan(found[1])
    assert reasons == {"SF6": "SF6: sulphur was never seen"}


def test_a_predictor_that_answers_for_nothing_says_why(molecule) -> None:
    class Broken:
        def energies(self, molecules) -> np.ndarray:
            raise UserError("orbnet needs tblite")

    with pytest.raises(UserError, match="orbnet needs tblite"):
        energies_of(Broken(), [molecule("water"), molecule("N2")])


def test_missing_and_infinite_energies_are_listed(molecule) -> None:
    found, reasons = energies_of(Fixed({"water": -5.0, "N2": np.inf}), [molecule(n) for n in ("water", "CH4", "N2")])
    assert np.isnan(found).tolist() == [False, True, True]
    assert set(reasons) == {"CH4", "N2"}
    with pytest.raises(UserError, match=r"energies of shape \(1,\) for 2 molecules"):
        energies_of(SimpleNamespace(energies=lambda molecules: np.zeros(1)), [molecule("water"), molecule("N2")])


def test_a_perfect_predictor_has_no_error_on_torsions(data_dir: Path) -> None:
    scans = torsions.torsionnet500()
    exact = torsionnet500.measure(scans.energies_hartree[torsions.WB97X] * HARTREE_KCAL, {})["test"]
    assert (exact["mae_centred"], exact["mae_min_zeroed"], exact["barrier_mae"]) == pytest.approx((0, 0, 0), abs=1e-6)
    assert (exact["profiles"], exact["failed"]) == (500, 0)
    assert exact["mae_min_zeroed_dlpno"] == pytest.approx(0.161, abs=5e-4)
    level = torsionnet500.level()["test"]
    assert "mae_centred" not in level
    assert level["mae_min_zeroed_dlpno"] == exact["mae_min_zeroed_dlpno"]


def test_a_profile_with_a_failed_point_leaves_the_mean_and_is_listed(data_dir: Path, tmp_path: Path) -> None:
    scans = torsions.torsionnet500()
    energies = scans.energies_hartree[torsions.WB97X] * HARTREE_KCAL
    missing = list(scans.molecules.names).index("fragment_003-7")
    energies[missing] = np.nan
    row = torsionnet500.measure(energies, {scans.molecules[missing].name: "why"})
    assert (row["test"]["profiles"], row["test"]["failed"]) == (499, 1)
    written = torsionnet500.artefacts({"ours": row}, tmp_path)
    assert {p.name for p in written} == {
        "torsionnet500-failed.csv",
        "torsionnet500-fragments.csv",
        "torsionnet500-profiles.png",
    }
    failed = list(csv.DictReader(written[0].open(encoding="utf-8")))
    assert [(f["row"], f["molecule"]) for f in failed] == [("ours", "fragment_003-7")]
    fragments = list(csv.DictReader(written[1].open(encoding="utf-8")))
    assert len(fragments) == 500
    assert fragments[2]["ours centred (kcal/mol)"] == ""


def test_a_predictor_s_errors_on_s66x10_are_those_put_in(data_dir: Path, tmp_path: Path) -> None:
    """Monomers at 0 and dimers at the reference plus 2 kcal/mol at the minimum and 1 elsewhere."""
    data = s66.s66x10()
    known = dict.fromkeys((m.name for m in data.molecules), 0.0)
    for reaction in data.reactions:
        extra = 2.0 if reaction.name.endswith("_1.0") else 1.0
        known[data.molecules[reaction.stoichiometry[0][1]].name] = (reaction.reference_kcal + extra) / HARTREE_KCAL
    row = s66x10.evaluate(Fixed(known))
    assert row["test"] == pytest.approx(
        {"mae": 1.1, "mae_equilibrium": 2.0, "max_error": 2.0, "points": 660, "failed": 0}
    )
    by_distance = list(csv.DictReader(s66x10.artefacts({"ours": row}, tmp_path)[0].open(encoding="utf-8")))
    assert [float(r["ours MAE (kcal/mol)"]) for r in by_distance] == [1, 1, 1, 1, 2, 1, 1, 1, 1, 1]


def test_tautomers_by_hand() -> None:
    found = tautobase.summary(np.array([1.0, -2.0, np.nan, 4.0]), np.array([2.0, 2.0, 1.0, 4.0]))
    assert found == pytest.approx(
        {"mae": 5 / 3, "median_error": 1.0, "rmse": (17 / 3) ** 0.5, "order_right": 200 / 3, "pairs": 3}
    )
    assert tautobase.differences(np.array([-1.0, -0.5, 0.0, -1.0])) == pytest.approx(
        [0.5 * HARTREE_KCAL, -HARTREE_KCAL]
    )
    assert tautobase.summary(np.array([np.nan]), np.array([1.0])) == {"pairs": 0.0}


def test_what_the_model_covers(data_dir: Path) -> None:
    scopes = gmtkn55.scopes()
    assert {key: len(names) for key, names in scopes.items()} == {"": 37, "_covered": 34, "_all": 55}
    sets = gmtkn55_data.gmtkn55()
    assert gmtkn55.outside(sets["ALK8"]) == "elements Li Na"
    assert str(gmtkn55.outside(sets["RSE43"])).endswith("species with open shells")
    assert gmtkn55.outside(sets["ACONF"]) is None


def test_an_incomplete_set_is_not_counted(data_dir: Path, tmp_path: Path) -> None:
    whole = gmtkn55.measure({"ACONF": SetError(1.0, 15), "S22": SetError(2.0, 22, missing=1)}, {"S22/x": "why"})
    assert whole["test"]["sets"] == 1
    assert whole["test"]["wtmad1"] == pytest.approx(10.0)  # ACONF's references are small
    nothing = gmtkn55.measure({"ACONF": SetError(float("nan"), 15, missing=15)}, {})
    assert "wtmad1" not in nothing["test"]
    written = gmtkn55.artefacts({"ours": whole}, tmp_path)
    rows = {r["set"]: r for r in csv.DictReader(written[0].open(encoding="utf-8"))}
    assert len(rows) == 55
    assert (rows["ACONF"]["ours MAE (kcal/mol)"], rows["S22"]["ours MAE (kcal/mol)"]) == ("1", "")
    assert (rows["ALK8"]["covered"], rows["ALK8"]["outside"]) == ("False", "elements Li Na")


def test_gfn2_live_has_its_published_errors(data_dir: Path, tmp_path: Path) -> None:
    """Four small sets: the whole path from the archive to a set's error, against numbers of other people's GFN2-xTB."""
    published = gmtkn55_data.published("gfn2-xtb")
    xtb = XTB("GFN2-xTB", folder=tmp_path, workers=1, progress=False)
    for name in ("ACONF", "INV24", "AHB21", "WCPT18"):
        one = gmtkn55_data.gmtkn55()[name]
        found = set_error(reaction_energies(one.reactions, xtb.energies(one.molecules)), one.references)
        assert found.mae == pytest.approx(published[name], abs=0.011), name


def test_gfn1_live_on_a_few_fragments(data_dir: Path, tmp_path: Path) -> None:
    """GFN1-xTB through the table's code agrees with the committed errors of the same fragments."""
    path = RESULTS / "torsionnet500-fragments.csv"
    if not path.is_file():
        pytest.skip("results/orbnet/torsionnet500-fragments.csv is not made yet")
    committed = {r["fragment"]: r for r in csv.DictReader(path.open(encoding="utf-8"))}
    scans = torsions.torsionnet500()
    xtb = XTB("GFN1-xTB", folder=tmp_path, workers=1, progress=False)
    energies = np.full(12000, np.nan)
    for index in (0, 100, 300):
        group = scans.groups()[index]
        energies[group] = xtb.energies([scans.molecules[int(i)] for i in group])
    errors = torsionnet500.measure(energies * HARTREE_KCAL, {})["errors"]
    for index in (0, 100, 300):
        stated = committed[scans.group_names[index]]
        assert float(stated["GFN1-xTB centred (kcal/mol)"]) == pytest.approx(errors.centred[index], abs=1e-4)


def test_committed_gmtkn55_table_is_the_one_measured_before() -> None:
    rows = csv.DictReader((RESULTS / "gmtkn55.csv").open(encoding="utf-8"))
    found = {(r["row"], r["metric"]): r for r in rows}
    expected = {
        ("GFN1-xTB", "wtmad1"): 14.37,
        ("GFN1-xTB", "wtmad2"): 22.86,
        ("GFN1-xTB", "wtmad1_all"): 20.98,
        ("GFN1-xTB", "wtmad2_all"): 35.65,
        ("GFN2-xTB", "wtmad1"): 11.43,
        ("GFN2-xTB", "wtmad2"): 19.82,
    }
    for key, value in expected.items():
        assert float(found[key]["value"]) == pytest.approx(value, abs=0.006), key
    assert found["GFN1-xTB", "wtmad2"]["command"].startswith("zoo reproduce orbnet/gmtkn55 --rows GFN1-xTB")
    assert found["GFN1-xTB", "wtmad2"]["machine"]


def test_committed_torsions_hold_the_value_of_the_subset_measured_before() -> None:
    """Every eighth fragment: GFN1-xTB 0.849 zeroed at the minimum, barriers 1.42 (another script's figures)."""
    path = RESULTS / "torsionnet500-fragments.csv"
    if not path.is_file():
        pytest.skip("results/orbnet/torsionnet500-fragments.csv is not made yet")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))[::8]
    assert len(rows) == 63
    means = [np.mean([float(r[f"GFN1-xTB {kind} (kcal/mol)"]) for r in rows]) for kind in ("min_zeroed", "barrier")]
    assert means == pytest.approx([0.849, 1.42], abs=4e-3)


def test_best_median_and_worst() -> None:
    assert pictures.three_of(np.array([3.0, np.nan, 1.0, 2.0])) == (2, 3, 0)
    assert pictures.three_of(np.array([5.0])) == (0, 0, 0)
    with pytest.raises(UserError, match="nothing to draw"):
        pictures.three_of(np.array([np.nan]))


def test_csv_has_empty_cells_for_what_is_missing(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a" / "x.csv", ["a", "b"], [[1.23456789, None], [float("nan"), 3]])
    assert path.read_text() == "a,b\n1.23457,\n,3\n"


def test_every_table_is_named_and_shows_denali() -> None:
    for name, make in TABLES.items():
        table = make()
        assert table.name == f"orbnet/{name}"
        rows = [row.name for row in table.rows]
        if name != "ablation":  # that one is ours
            assert rows[0] == "OrbNet Denali"
            assert {"GFN1-xTB", "GFN2-xTB", "orbnet/torsions"} <= set(rows)
        assert len(set(rows)) == len(rows)
        assert not any("," in row for row in rows)  # --rows takes names between commas
        assert {metric.name for metric in table.metrics} >= set(table.rows[0].paper)


def test_rows_of_the_ablation_differ_in_what_they_say() -> None:
    table = TABLES["ablation"]()
    made = {}
    for row in table.rows:
        config = typed(compose([str(row.experiment), *table.overrides["quick"], *row.overrides]))
        made[row.name] = config_hash(unstructure(config))
        assert config.trainer.steps == 1000
    assert len(set(made.values())) == len(table.rows)


def test_reproduce_makes_a_table_of_published_methods(data_dir: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tables, "find", lambda name: TABLES[name.partition("/")[2]]())
    monkeypatch.setattr(families, "family", lambda name: None)
    names = ["OrbNet Denali", "PBE-D3BJ (published)", "GFN1-xTB (published)"]
    document = reproduce("orbnet/hutchison", rows=names, out=tmp_path)
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["OrbNet Denali"]["metrics"]["r2_median"]["paper"] == 0.97
    assert rows["GFN1-xTB (published)"]["metrics"]["r2_median"]["ours"] == pytest.approx(0.658, abs=6e-4)
    assert rows["GFN1-xTB (published)"]["metrics"]["r2_median_dlpno"]["ours"] == pytest.approx(0.622, abs=6e-4)
    assert rows["PBE-D3BJ (published)"]["metrics"]["r2_median_dlpno"]["ours"] == pytest.approx(0.885, abs=6e-4)
    molecules = (tmp_path / "orbnet/hutchison-molecules.csv").read_text().splitlines()
    assert len(molecules) == 709


def test_a_reference_has_no_correlation_with_itself_in_the_table(data_dir: Path) -> None:
    row = next(r for r in TABLES["hutchison"]().rows if r.name == "wB97X-D (published)")
    assert row.compute is not None
    test = row.compute()["test"]
    assert "r2_median" not in test
    assert test["r2_median_dlpno"] == pytest.approx(0.929, abs=6e-4)


def test_speed_takes_molecules_of_growing_size(data_dir: Path, monkeypatch) -> None:
    """Each molecule is called once to warm up and then as often as counted."""
    called = []
    small = [SimpleNamespace(name=str(i)) for i in range(3)]
    monkeypatch.setattr(speed, "molecules", lambda: small)
    row = speed.time_each(lambda m: called.append(m.name))
    assert called == [name for name in ("0", "1", "2") for _ in range(speed.WARM_UP + speed.REPEATS)]
    assert set(row["seconds"]) == {"0", "1", "2"}
    assert row["test"]["molecules"] == 3


def test_hutchison_s_measure_counts_only_molecules_with_enough_conformers(data_dir: Path) -> None:
    conformers = hutchison.data.published()
    energies = np.full(len(conformers.group), np.nan)
    first = np.flatnonzero(conformers.group == 0)
    energies[first] = conformers.energies_kcal["wB97X-D"][first]
    test = hutchison.measure(energies, conformers, {})["test"]
    assert (test["r2_median"], test["molecules"]) == (pytest.approx(1.0), 1)
