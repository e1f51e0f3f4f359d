"""The published label layout on a small folder made here: what is read, what is kept for tests, what is refused; one short run."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tblite", reason="orbnet features need tblite")

from zoo.core.config import compose
from zoo.core.errors import ConfigError, UserError
from zoo.core.train import run, typed
from zoo.orbnet.datasets.denali import denali

WATER = np.array([[0, 0, 0.117], [0, 0.757, -0.469], [0, -0.757, -0.469]])
HEADER = ",sample_id,subset,mol_id,test_set,test_set_plus,prelim_1,training_set_plus,charge,dft_energy,xtb1_energy"


def folder_of(root: Path, edit=lambda rows: rows, *, charge: str = "0") -> Path:
    """Three molecules of four structures, one structure of each kept for tests."""
    rows, random = [], np.random.default_rng(0)
    for m, scale in enumerate((1.0, 1.01, 1.02)):
        (root / "xyz_files" / f"mol{m}").mkdir(parents=True)
        for s in range(4):
            moved = WATER * scale + random.normal(0, 0.02, WATER.shape)
            atoms = "\n".join(f"{e} {x:.5f} {y:.5f} {z:.5f}" for e, (x, y, z) in zip("OHH", moved))
            (root / "xyz_files" / f"mol{m}" / f"m{m}s{s}.xyz").write_text(f"3\n0 1\n{atoms}\n")
            flag = "True" if s == 3 else "False"
            rows.append(
                f"{len(rows)},m{m}s{s},conformers,mol{m},{flag},{flag},False,True,{charge},{-76.4 - 0.001 * s},-5.7"
            )
    (root / "denali_labels.csv").write_text("\n".join([HEADER, *edit(rows)]) + "\n")
    return root


def test_training_rows_with_their_energies_and_groups(tmp_path: Path) -> None:
    found = denali(folder_of(tmp_path))
    assert len(found.molecules) == 9
    assert found.left_out == 3
    np.testing.assert_allclose(found.energies, [-76.4, -76.401, -76.402] * 3)
    assert list(dict.fromkeys(found.groups)) == ["mol0 +0", "mol1 +0", "mol2 +0"]
    assert found.molecules[0].formula == "H2O"
    assert len(denali(tmp_path, limit=2).molecules) == 6


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda r: [r[0].replace("-76.4", "nan"), *r[1:]], r"line 2: dft_energy=nan is not a finite number"),
        (lambda r: [r[0].replace("m0s0", "../m0s0"), *r[1:]], r"sample_id=\.\./m0s0 is no name of a file"),
        (lambda r: [r[0].replace("m0s0", "m9s9"), *r[1:]], r"line 2: xyz_files/mol0/m9s9\.xyz is not there"),
        (lambda r: [r[0] + ",1", *r[1:]], "another number of columns"),
        (lambda r: [r[0].rsplit(",", 1)[0], *r[1:]], "another number of columns"),
        (lambda r: [x for x in r if "True,True" in x], "no row is left to train on"),
        (lambda r: [r[0].replace(",0,-76.4", ",0.5,-76.4"), *r[1:]], r"charge=0\.5 is not an integer"),
        (lambda r: [r[0].replace(",0,-76.4", ",1,-76.4"), *r[1:]], "open shell"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, edit, said: str) -> None:
    folder_of(tmp_path, edit)
    with pytest.raises(UserError, match=said):
        denali(tmp_path)


def test_a_folder_without_labels_or_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"denali_labels\.csv is not there"):
        denali(tmp_path)
    (tmp_path / "denali_labels.csv").write_text("sample_id,mol_id,charge,energy\n")
    with pytest.raises(UserError, match="has no column dft_energy"):
        denali(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.folder"):
        typed(compose(["orbnet/denali"]))


def test_the_papers_network_trains_on_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    small = [
        "model.width=8",
        "model.edge_width=8",
        "model.heads=2",
        "trainer.steps=2",
        "optimizer.warmup_steps=0",
        "logger=jsonl",
    ]
    overrides = [
        "orbnet/denali", "debug=fast", f"data.folder={folder_of(tmp_path / 'data')}", "data.valid=0.3", "data.test=0.3",
        "trainer.batch_size=1", f"run.dir={tmp_path / 'run'}", *small,
    ]  # fmt: skip
    said = run(typed(compose(overrides)), "zoo train")
    assert said["metrics"]["test"]["structures"] == 3
    assert np.isfinite(said["metrics"]["valid"]["mae_total"])
