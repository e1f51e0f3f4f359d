"""A model trained through the whole loop: it learns, its release answers without data, it refuses what it never saw."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")

from zoo import cli
from zoo.core import release
from zoo.core.config import compose
from zoo.core.errors import ConfigError, UserError
from zoo.core.task import Split
from zoo.core.train import evaluate, run, typed
from zoo.orbnet.config import EnergyDataConfig
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.facts import NotApplicable
from zoo.orbnet.gfn1 import converge, single_point
from zoo.orbnet.labelled import EV_HARTREE, labelled, with_totals, without_rare
from zoo.orbnet.linear import LinearPart
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.predictor import EnergyPredictor
from zoo.orbnet.records import split
from zoo.orbnet.rows import for_reading, predict_rows
from zoo.orbnet.tables.common import energies_of
from zoo.orbnet.task import EnergyTask

WATER = np.array([[0, 0, 0.117], [0, 0.757, -0.469], [0, -0.757, -0.469]])
HCN = np.array([[0, 0, -0.5], [0, 0, 0.65], [0, 0, -1.566]])
SULFIDE = np.array([[0, 0, 0.1], [0, 0.97, -0.82], [0, -0.97, -0.82]])
KINDS = {"OHH": WATER, "CNH": HCN}
# What the reference of these tests adds to GFN1-xTB: known exactly, and linear in the composition (hartree).
SHIFTS = {"H": -0.3, "C": -37.0, "N": -54.0, "O": -75.0}


def reference(molecule: Molecule) -> float:
    return single_point(molecule, accuracy=1e-2).energy + sum(SHIFTS[s] for s in molecule.symbols)


def frame(symbols: str, positions: np.ndarray, comment: str) -> str:
    atoms = "\n".join(f"{s} {x:.6f} {y:.6f} {z:.6f}" for s, (x, y, z) in zip(symbols, positions))
    return f"{len(symbols)}\n{comment}\n{atoms}\n"


def write_frames(path: Path) -> list[Molecule]:
    generator = np.random.default_rng(3)
    molecules, text = [], ""
    for i in range(10):
        for symbols, positions in KINDS.items():
            moved = np.round(positions + generator.normal(0, 0.04, positions.shape), 6)
            molecules.append(Molecule.from_angstrom(list(symbols), moved, name=f"{symbols}{i}"))
            energy = reference(molecules[-1]) / EV_HARTREE
            text += frame(symbols, moved, f"energy={energy:.9f} name={symbols}{i} group={symbols}")
    path.write_text(text)
    return molecules


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """(folder of a release, its training molecules, what the run said)."""
    folder = tmp_path_factory.mktemp("energy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder / "cache"))
        molecules = write_frames(folder / "mine.xyz")
        overrides = [
            "orbnet/tiny", "debug=fast", "data=orbnet/file", f"data.file={folder / 'mine.xyz'}", "data.unit=eV",
            "data.hold_out=structure", "data.valid=0.2", "data.test=0.2",
            "trainer.batch_size=2", f"run.dir={folder / 'run'}", "model.width=8",
            "model.edge_width=8", "model.layers=1", "optimizer.warmup_steps=0", "logger=jsonl",
        ]  # fmt: skip
        said = run(typed(compose(overrides)), "zoo train " + " ".join(overrides))
    return Path(said["release"]), molecules, said


@pytest.fixture(scope="module")
def predictor(trained) -> EnergyPredictor:
    return EnergyPredictor(release.read_release(trained[0]))


def test_the_linear_part_is_what_the_reference_adds(predictor, trained) -> None:
    # The reference is GFN1-xTB plus a constant for each atom, which least squares finds up to the ridge.
    water = trained[1][0]
    converged = converge(water)
    assert predictor.energy(water) == pytest.approx(reference(water), abs=0.02)
    assert predictor.energy(water) < converged.energy - 70


def test_metrics_are_stated_and_computed_anew_from_the_release(trained) -> None:
    folder, _, said = trained
    assert said["steps"] == 4
    assert said["metrics"]["valid"]["structures"] == 4
    seen = "It saw the elements H, C, N, O; charges 0; 0 unpaired electrons; 3 to 3 atoms."
    assert seen in release.read_release(folder).info.limits
    again = evaluate(str(folder), ["test"])
    assert again["agrees"]
    assert again["metrics"]["test"]["structures"] == 4


def test_the_release_answers_without_its_data(trained, tmp_path: Path, monkeypatch, predictor) -> None:
    monkeypatch.setattr("zoo.orbnet.task.labelled", lambda config: pytest.fail("prediction read the training data"))
    fresh = EnergyPredictor(release.read_release(trained[0]))
    assert fresh.energy(trained[1][0]) == predictor.energy(trained[1][0])
    assert fresh.facts.elements == (1, 6, 7, 8)
    assert fresh.facts.sizes == (3, 3)


def test_an_energy_does_not_depend_on_its_company(predictor, trained) -> None:
    some = trained[1][:5]
    together = predictor.energies(some)
    assert np.array_equal(together, [predictor.energy(m) for m in some])
    assert np.array_equal(together[::-1], predictor.energies(some[::-1]))


def test_an_energy_does_not_depend_on_the_frame(predictor, trained) -> None:
    water = trained[1][0]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = Molecule(water.numbers[::-1], water.positions_bohr[::-1] @ turn + 1.0)
    assert predictor.energy(turned) == pytest.approx(predictor.energy(water), abs=1e-6)


@pytest.mark.parametrize(
    ("molecule", "said"),
    [
        (Molecule.from_angstrom("SHH", SULFIDE, name="sulfide"), "never saw S"),
        (Molecule.from_angstrom("OH", WATER[:2], charge=-1), "never saw charge -1"),
        (Molecule.from_angstrom("OHH", WATER, spin=2), "never saw 2 unpaired electrons"),
        (Molecule.from_angstrom("HH", WATER[1:] * 0.5), "2 atoms; this model saw 3 to 3"),
    ],
)
def test_what_training_never_saw_is_refused_or_answered_with_gfn1(predictor, molecule, said) -> None:
    with pytest.raises(NotApplicable, match=said):
        predictor.energy(molecule)
    (answer,) = predictor.answers([molecule], fallback="gfn1")
    assert answer.method == "GFN1-xTB"
    assert said in answer.error
    assert answer.energy == pytest.approx(single_point(molecule).energy, abs=1e-5)


def test_tables_take_what_it_answers_and_the_reason_of_what_it_refuses(predictor, trained) -> None:
    sulfide = Molecule.from_angstrom("SHH", SULFIDE, name="sulfide")
    energies, reasons = energies_of(predictor, [sulfide, trained[1][0]])
    assert np.isnan(energies[0])
    assert energies[1] == predictor.energy(trained[1][0])
    assert "never saw S" in reasons.pop("sulfide")
    assert not reasons
    with pytest.raises(UserError, match="never saw S"):
        energies_of(predictor, [sulfide])


def test_what_is_no_molecule_is_refused(predictor) -> None:
    with pytest.raises(UserError, match="no molecule"):
        predictor.energy("water")


@pytest.mark.wrong_types
def test_an_unknown_fallback_is_refused(predictor) -> None:
    with pytest.raises(UserError, match="fallback='gfn2'"):
        predictor.energy(Molecule.from_angstrom("OHH", WATER), fallback="gfn2")


def predict(capsys, *arguments: str):
    status = cli.run(["predict", *arguments])
    out = capsys.readouterr()
    return status, out.out, out.err


def test_rows_of_a_file_with_a_bad_entry(trained, tmp_path: Path, capsys, predictor) -> None:
    path = tmp_path / "some.xyz"
    longer = WATER + np.array([[0, 0, 0.1], [0, 0, 0], [0, 0, 0]])
    path.write_text(
        frame("OHH", longer, "name=long") + frame("SHH", SULFIDE, "name=sulfide") + frame("OHH", WATER, "name=short")
    )
    status, out, err = predict(capsys, str(trained[0]), str(path), "--json", "--rank")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 1
    assert err == "zoo: 1 of 3 molecules have no energy\n"
    assert rows["sulfide"]["energy_hartree"] is None
    assert "never saw S" in rows["sulfide"]["error"]
    energies = predictor.energies([Molecule.from_angstrom("OHH", x) for x in (longer, WATER)])
    low, high = sorted(("long", "short"), key=lambda n: rows[n]["energy_hartree"])
    assert (rows[low]["rank"], rows[high]["rank"]) == (1, 2)
    assert rows[high]["relative_kcal"] == pytest.approx(np.ptp(energies) * HARTREE_KCAL)
    status, out, _ = predict(capsys, str(trained[0]), str(path), "--csv", "--fallback", "gfn1")
    assert status == 0
    table = list(csv.DictReader(io.StringIO(out)))
    _, shown, err = predict(capsys, str(trained[0]), str(path))
    assert f"{energies[1]:.8f}" in shown
    assert "never saw S" in err
    assert [row["method"] for row in table] == ["orbnet", "GFN1-xTB", "orbnet"]


def test_elements_without_total_energies_are_noted(predictor, trained, tmp_path: Path, capsys, monkeypatch) -> None:
    facts = predictor.facts
    apart = LinearPart(np.where(np.array([*facts.elements, 0]) == 8, 0.0, facts.linear.coefficients))  # oxygen
    partial = dataclasses.replace(facts, linear=apart)
    assert "Of O it saw no total energies, only differences." in partial.stated()
    assert "no total" not in facts.stated()
    model = dataclasses.replace(predictor._model, facts=partial)
    other = EnergyPredictor.of(model)
    water, cyanide = (Molecule.from_angstrom(list(s), x, name=s) for s, x in KINDS.items())
    assert (other.absolute, other.is_total(water), other.is_total(cyanide)) == (True, False, True)
    notes = [a.note for a in other.answers([water, cyanide])]
    assert notes == [
        "no total energy: training saw none with O; only differences in which it cancels mean something",
        "",
    ]
    path = tmp_path / "both.xyz"
    path.write_text(frame("OHH", WATER, "name=w") + frame("OHH", WATER, "name=v") + frame("CNH", HCN, "name=c"))
    rows = predict_rows(other, str(path))
    assert [bool(row["note"]) for row in rows] == [True, True, False]
    for_reading(rows)
    assert capsys.readouterr().err.splitlines() == [f"w, v: {notes[0]}"]


def test_a_file_without_an_energy_is_one_line_and_status_2(trained, tmp_path: Path, capsys) -> None:
    path = tmp_path / "bad.xyz"
    path.write_text(frame("SHH", SULFIDE, "name=sulfide"))
    status, out, err = predict(capsys, str(trained[0]), str(path), "--json")
    assert (status, out, err.count("\n")) == (2, "", 1)
    path.write_text(frame("OHH", WATER, "name=water"))
    status, _, err = predict(capsys, str(trained[0]), str(path), "--charge", "10")
    assert status == 2
    assert "charge=+10" in err


def test_ase_calculator(predictor, trained) -> None:
    ase = pytest.importorskip("ase")
    from zoo.orbnet import ZooCalculator

    water = trained[1][0]
    atoms = ase.Atoms(water.symbols, water.positions_angstrom)
    atoms.calc = ZooCalculator(str(trained[0]))
    assert atoms.get_potential_energy() * EV_HARTREE == pytest.approx(predictor.energy(water), abs=1e-6)
    with pytest.raises(UserError, match="periodic"):
        predictor.energy(ase.Atoms("OHH", WATER, pbc=True))
    atoms.info["charge"] = 1
    with pytest.raises(UserError, match="open shell"):
        ZooCalculator(predictor).get_potential_energy(atoms)


def test_the_ase_calculator_follows_charge_and_spin(predictor, trained) -> None:
    ase = pytest.importorskip("ase")
    from zoo.orbnet import ZooCalculator

    water = trained[1][0]
    atoms = ase.Atoms(water.symbols, water.positions_angstrom)
    atoms.calc = ZooCalculator(predictor, fallback="gfn1")
    energy = atoms.get_potential_energy()
    assert not atoms.calc.calculation_required(atoms, ["energy"])
    for info, spin in (({"charge": 1, "spin": 1}, 1), ({"charge": 1, "spin": 3}, 3)):
        atoms.info.update(info)
        ion = Molecule(water.numbers, water.positions_bohr, 1, spin)
        assert atoms.get_potential_energy() * EV_HARTREE == pytest.approx(single_point(ion).energy, abs=1e-5)
    atoms.info.clear()
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
    atoms.set_initial_charges([-1.0, 0.0, 0.0])
    with pytest.raises(UserError, match=r'initial charges add up to -1, .* set atoms\.info\["charge"\]'):
        atoms.get_potential_energy()
    atoms.info["charge"] = 0
    atoms.set_initial_magnetic_moments([2.0, 0.0, 0.0])
    with pytest.raises(UserError, match=r'magnetic moments add up to \+2, .* set atoms\.info\["spin"\]'):
        atoms.get_potential_energy()
    atoms.info["spin"] = 0
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (frame("OHH", WATER, "name=x"), "mine.xyz, line 2: the comment has no energy="),
        (frame("OHH", WATER, "energy=nan"), "energy=nan is not a finite number"),
        (frame("OHH", WATER, "energy=-5.0") + "3\nenergy=1\nO 0 0 0\n", "line 6"),
    ],
)
def test_a_broken_training_file_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.xyz"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        labelled(EnergyDataConfig(source="file", file=str(path), unit="eV"))


def test_too_few_molecules_are_refused_before_any_converges(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("zoo.orbnet.task.ready", lambda *_: pytest.fail("GFN1-xTB was asked"))
    path = tmp_path / "mine.xyz"
    path.write_text("".join(frame("OHH", WATER + 0.01 * i, f"energy={-5.0 - i}") for i in range(4)))
    task = EnergyTask(typed(compose(["orbnet/tiny", "data=orbnet/file", f"data.file={path}", "data.unit=eV"])))
    with pytest.raises(UserError, match=r"1 molecules cannot be split.* data\.hold_out=structure"):
        task.records(Split.TRAIN)


def test_splits_keep_molecules_whole() -> None:
    keys = [f"molecule {i // 4}" for i in range(80)]
    water = Molecule.from_angstrom("OHH", WATER)
    found = with_totals([water] * 80, np.arange(80.0), keys, "made")
    parts = split(found, EnergyDataConfig(source="tiny", valid=0.2, test=0.1))
    own = {s: {k.key for k in parts[s].known} for s in Split}
    assert [len(own[s]) for s in Split] == [14, 4, 2]
    assert not own[Split.TRAIN] & own[Split.VALID]
    assert not (own[Split.TRAIN] | own[Split.VALID]) & own[Split.TEST]
    few = with_totals([water] * 2, np.zeros(2), ["a", "b"], "made")
    with pytest.raises(UserError, match="hold_out=structure"):
        split(few, EnergyDataConfig(source="tiny"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data=orbnet/file", "data.file is empty"),
        ("data.file=x.xyz", "is not read with source=tiny"),
        ("data.valid=0.9", "leave nothing to train on"),
        ("loss.alpha=2", "loss.alpha=2"),
        ("model.heads=5", "heads=5"),
    ],
)
def test_impossible_settings_are_refused(override: str, said: str) -> None:
    plus = "+" if override.startswith(("data.file", "loss")) else ""
    with pytest.raises(ConfigError, match=said):
        typed(compose(["orbnet/tiny", plus + override]))


def test_a_run_starts_from_a_release(trained, tmp_path: Path) -> None:
    folder = trained[0]
    data = folder.parent.parent / "mine.xyz"
    common = [
        "orbnet/tiny", "debug=fast", "data=orbnet/file", f"data.file={data}", "data.unit=eV", "data.hold_out=structure",
        "data.valid=0.2", "data.test=0.2", "trainer.batch_size=2", "model.width=8", "model.edge_width=8", "model.layers=1",
        "logger=jsonl", f"+start={folder}", "optimizer.learning_rate=1e-30", "optimizer.warmup_steps=0",
    ]  # fmt: skip
    said = run(typed(compose([*common, f"run.dir={tmp_path / 'more'}", "trainer.ema=0.0"])), "zoo train")
    old, new = (release.read_release(Path(path)).tensors for path in (folder, said["release"]))
    assert all(np.allclose(old[name], new[name], atol=1e-12) for name in old if name.startswith("params"))
    water = trained[1][0]
    assert EnergyPredictor(release.read_release(Path(said["release"]))).energy(water) == pytest.approx(
        EnergyPredictor(release.read_release(folder)).energy(water), abs=1e-9
    )
    with pytest.raises(UserError, match=r"its model\.width is 8, the run's is 16: set model\.width=8"):
        run(typed(compose([*common, "model.width=16", f"run.dir={tmp_path / 'other'}"])), "zoo train")
    other = tmp_path / "sulfide.xyz"
    frames = [frame("SHH", SULFIDE + 0.01 * i, f"energy={-1.0 - i} name=s{i}") for i in range(6)]
    other.write_text("".join(frames))
    with pytest.raises(UserError, match="the data hold S, the model to start from knows H, C, N, O"):
        run(typed(compose([*common, f"data.file={other}", f"run.dir={tmp_path / 'third'}"])), "zoo train")


def test_rare_elements_and_charges_are_left_out_by_name(capsys) -> None:
    water, cyanide = Molecule.from_angstrom("OHH", WATER), Molecule.from_angstrom("CNH", HCN)
    ion = Molecule.from_angstrom("OH", WATER[:2], charge=-1)
    found = with_totals([water] * 5 + [cyanide, ion], np.zeros(7), ["w"] * 5 + ["c", "i"], "made")
    left = without_rare(found, 2)
    assert left.used.tolist() == [0, 1, 2, 3, 4]
    assert "C (1), N (1), charge -1 (1)" in capsys.readouterr().err
    assert without_rare(found, 1) is found
    with pytest.raises(UserError, match=r"data\.least=9 leaves nothing"):
        without_rare(found, 9)
