"""Releases are plain data: what they say is checked, what they hold is never run; families are found without importing them."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import zoo
from zoo.core import families, machine, release, state
from zoo.core.errors import DamagedError, UserError

TENSORS = {"params/kernel": np.ones((2, 3), np.float32), "params/bias": np.zeros(3, np.float32)}
INFO = release.ReleaseInfo(
    name="neural_de/test-one",
    family="neural_de",
    task="classify",
    config={"model": {"_target_": "os.system", "args": ["touch ran"]}, "seed": 0},
    metrics={"test": {"accuracy": 97.25}, "run": {"steps": 10}, "note": "a | b"},
    command="zoo train experiment=neural_de/test-one",
    seed=0,
    versions={"jax": "0.10.2"},
    machine={"cpu": "one", "cores": 2},
    data="scikit-learn's digits (CC BY 4.0)",
    licence="Apache-2.0",
    limits=["It knows digits\nonly."],
    created="2026-01-02",
)


def write(folder: Path, **changes: Any) -> Path:
    return release.write_release(folder, TENSORS, dataclasses.replace(INFO, **changes))


def write_raw(folder: Path, **changes: Any) -> Path:
    """A release as another program would write it: no check of its own, hashes right."""
    meta = {"kind": "release", **dataclasses.asdict(INFO), **changes}
    meta = {k: v for k, v in meta.items() if v is not Ellipsis}
    return state.save(folder, TENSORS, meta, manifest="model.json", files={"README.md": "card"})


# -- round trip and card ---------------------------------------------------------------------------------------------


def test_round_trip(tmp_path: Path):
    base = {"name": "hf:owner/base", "revision": "0" * 40, "sha256": "1" * 64}
    loaded = release.read_release(write(tmp_path / "r", base=base))
    assert loaded.info == dataclasses.replace(INFO, base=base)
    assert {k: v.tobytes() for k, v in loaded.tensors.items()} == {k: v.tobytes() for k, v in TENSORS.items()}
    assert loaded.path == tmp_path / "r"
    assert loaded.parameters == 9
    assert {p.name for p in loaded.path.iterdir()} == {"weights.safetensors", "model.json", "README.md"}


def test_the_card_is_valid_front_matter_and_says_what_matters(tmp_path: Path):
    card = (write(tmp_path / "r") / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "sci-model-zoo", "license": "apache-2.0", "tags": ["jax", "neural_de", "classify"],
    }  # fmt: skip
    for text in (
        "# neural_de/test-one",
        'zoo.load("neural_de/test-one")',
        INFO.command,
        INFO.data,
        "| accuracy | 97.25 |",
    ):
        assert text in body
    assert "- It knows digits only." in body
    assert "a \\| b" in body


def test_splits_share_a_table(tmp_path: Path):
    metrics = {"train": {"accuracy": 99.0, "nfe": 20}, "test": {"accuracy": 97.25, "nfe": 20}, "run": {"steps": 10}}
    card = (write(tmp_path / "r", metrics=metrics) / "README.md").read_text()
    assert (
        "## Metrics: train, test\n\n|  | train | test |\n| --- | --- | --- |\n| accuracy | 99 | 97.25 |\n| nfe | 20 | 20 |\n"
        in card
    )
    assert "|  | run |\n| --- | --- |\n| steps | 10 |\n" in card


def test_a_licence_the_hub_does_not_know(tmp_path: Path):
    licence = 'weights "CC0": text, #1'
    card = (write(tmp_path / "r", licence=licence) / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n", 2)[1])
    assert (front["license"], front["license_name"]) == ("other", licence)


def test_a_flipped_bit_in_the_card_or_weights_is_refused(tmp_path: Path):
    folder = write(tmp_path / "r")
    for name in ("README.md", "weights.safetensors", "model.json"):
        good = (folder / name).read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 4
        (folder / name).write_bytes(bad)
        with pytest.raises(DamagedError, match=name):
            release.read_release(folder)
        (folder / name).write_bytes(good)
    assert release.read_release(folder).info == INFO


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "no-family"}, "not a release name"),
        ({"name": "neural_de/../x"}, "not a release name"),
        ({"name": "../neural_de"}, "not a release name"),
        ({"name": "neural_de/a/b"}, "not a release name"),
        ({"name": "neural_de/Upper"}, "not a release name"),
        ({"name": "neural_de/.hidden"}, "not a release name"),
        ({"name": "neural_de/x\n"}, "not a release name"),
        ({"name": "orbnet/x"}, "must start with neural_de/"),
        pytest.param({"seed": "0"}, "seed of release .* is str: it must be int", marks=pytest.mark.wrong_types),
        ({"seed": True}, "is bool"),
        pytest.param({"limits": "one"}, "limits of release .* is str: it must be list", marks=pytest.mark.wrong_types),
        pytest.param({"limits": [1]}, "must be sentences", marks=pytest.mark.wrong_types),
        pytest.param({"config": None}, "is NoneType: it must be dict", marks=pytest.mark.wrong_types),
        ({"base": {"name": "x"}}, "needs name, revision, sha256"),
        pytest.param({"base": "x"}, "must be dict or null", marks=pytest.mark.wrong_types),
    ],
)
def test_wrong_information_is_refused_in_writing_and_in_reading(tmp_path: Path, changes: dict[str, Any], says: str):
    with pytest.raises(UserError, match=says):
        write(tmp_path / "r", **changes)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match=says):
        release.read_release(write_raw(tmp_path / "r", **changes))


def test_a_release_of_the_future_is_refused_by_name(tmp_path: Path):
    with pytest.raises(UserError, match="unknown key 'quantised': upgrade"):
        release.read_release(write_raw(tmp_path / "a", quantised=True))
    with pytest.raises(DamagedError, match="lacks the key 'licence'"):
        release.read_release(write_raw(tmp_path / "b", licence=...))
    with pytest.raises(UserError, match="of kind 'run-state', not a release"):
        release.read_release(write_raw(tmp_path / "c", kind="run-state"))
    assert release.read_release(write_raw(tmp_path / "d")).info == INFO


def test_nan_metrics_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"meta\.metrics\.test\.accuracy is nan"):
        write(tmp_path / "r", metrics={"test": {"accuracy": float("nan")}})


def test_a_target_in_a_release_is_inert_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    loaded = release.read_release(write(tmp_path / "r"))
    assert loaded.info.config["model"]["_target_"] == "os.system"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_a_release_is_replaced_only_when_asked(tmp_path: Path):
    folder = write(tmp_path / "r")
    with pytest.raises(UserError, match="exists"):
        write(folder)
    release.write_release(folder, TENSORS, dataclasses.replace(INFO, seed=1), replace=True)
    assert release.read_release(folder).info.seed == 1


# -- families --------------------------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed family ``toy`` whose module notes its import."""
    package = tmp_path / "site" / "toy_family"
    (package / "pretrained").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "family.py").write_text(
        "from types import SimpleNamespace\n"
        "def predictor(release, *, scale=1.0):\n"
        "    return lambda x: scale * x + float(release.tensors['params/kernel'].sum())\n"
        "FAMILY = SimpleNamespace(name='toy', predictor=predictor)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    points = [importlib.metadata.EntryPoint("toy", "toy_family.family:FAMILY", families.GROUP)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    yield package
    for name in [n for n in sys.modules if n.partition(".")[0] == "toy_family"]:
        del sys.modules[name]


def test_families_are_listed_and_located_without_import(toy: Path):
    assert list(families.families()) == ["toy"]
    assert families.packaged_folder("toy") == toy / "pretrained"
    assert "toy_family.family" not in sys.modules
    assert families.family("toy").name == "toy"
    assert "toy_family.family" in sys.modules


def test_load_builds_the_predictor(toy: Path):
    write_toy = dataclasses.replace(INFO, name="toy/one", family="toy")
    release.write_release(toy / "pretrained" / "one", TENSORS, write_toy)
    assert zoo.list_models() == ["toy/one"]
    assert zoo.load("toy/one")(1.0) == 7.0
    assert zoo.load(toy / "pretrained" / "one", scale=2.0)(1.0) == 8.0
    with pytest.raises(UserError, match="'speed': the options of its predictor are: scale"):
        zoo.load("toy/one", speed=3)


def test_an_unknown_family(toy: Path):
    with pytest.raises(UserError, match=r"no family 'toi': did you mean 'toy'\? \(installed: toy\)"):
        families.family("toi")


def test_a_release_of_a_family_that_is_not_installed(toy: Path, tmp_path: Path):
    with pytest.raises(UserError, match="no family 'neural_de'"):
        zoo.load(write(tmp_path / "r"))


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("tblite.interface", r"tblite is not installed: pip install 'sci-model-zoo\[orbnet\]'"),
        ("rdkit", r"'sci-model-zoo\[orbnet\]'"),
        ("huggingface_hub", r"'sci-model-zoo\[hub\]'"),
        ("unheard_of", "unheard_of is not installed: pip install unheard_of"),
    ],
)
def test_a_missing_library_names_its_extra(toy: Path, module: str, says: str):
    (toy / "family.py").write_text(f"raise ModuleNotFoundError('No module', name={module!r})\n")
    with pytest.raises(UserError, match=says):
        families.family("toy")


def test_a_bug_is_not_called_a_missing_extra(toy: Path):
    (toy / "family.py").write_text("import zoo.core.no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        families.family("toy")


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    with pytest.raises(UserError, match="pip install -e"):
        families.families()


def test_zoo_and_its_lists_import_neither_jax_nor_a_family():
    code = (
        "import sys, zoo; zoo.list_models()\n"
        "from zoo.core import machine, data, hub, release; machine.facts(); data.found()\n"
        "heavy = {'jax', 'flax', 'torch', 'huggingface_hub', 'hydra', 'sklearn'} & sys.modules.keys()\n"
        "own = [m for m in sys.modules if m.startswith('zoo.') and m.split('.')[1] not in ('core',)]\n"
        "print(sorted(heavy), own)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[] []"


# -- machine ---------------------------------------------------------------------------------------------------------


def test_machine_facts_are_plain_and_complete():
    facts = machine.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["versions"]["zoo"] == zoo.__version__
    assert facts["versions"]["numpy"] == np.__version__
    assert str(facts["cores"]) in facts["summary"]
    assert facts["cores"] >= 1


def test_the_fingerprint_follows_threads_and_flags(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = machine.fingerprint()
    assert before == machine.fingerprint()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert machine.fingerprint() != before
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    assert machine.fingerprint() != before
