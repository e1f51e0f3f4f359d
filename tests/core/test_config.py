"""Typos, wrong types and impossible values are refused by name, wherever they stand; every experiment composes."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.core.config import compose, config_hash, experiments, nearest, structure
from zoo.core.errors import ConfigError
from zoo.core.train import typed

ER = "neural_de/digits-er"


def refused(*overrides: str, config_dirs: tuple[Path, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        typed(compose(overrides, config_dirs))
    text = str(caught.value)
    assert "\n" not in text
    return text


NEEDED = {"orbnet/denali": ("data.folder=labels",)}  # what only the user knows


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_composes(name: str) -> None:
    needed = NEEDED.get(name, ())
    for value in needed:
        assert f"{value.split('=')[0]} has no value" in refused(name)
    config = typed(compose([name, *needed]))
    assert config.name == name
    assert config.family == name.split("/")[0]


def test_there_are_experiments() -> None:
    assert {"neural_de/digits-vanilla", ER} <= set(experiments())


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["trainer.stpes=3"], ["trainer.stpes", "trainer.steps"]),
        (["+trainer.stpes=3"], ["trainer.stpes", "trainer.steps"]),
        (["++trainer.stpes=3"], ["trainer.stpes", "trainer.steps"]),
        (["trainr.steps=3"], ["trainr", "'trainer'"]),
        (["+foo=1"], ["foo", "valid there"]),
        (["optimiser=adam"], ["optimiser", "'optimizer'"]),
        (["optimizer=admw"], ["admw", "'adamw'"]),
        (["model=neural_de/mnist_nod"], ["mnist_nod", "'neural_de/mnist_node'"]),
        (["+regularize.R_EE.coefficient=1"], ["regularize.R_EE", "'regularize.R_E'"]),
        (["regularize.R_E.coeficient=1"], ["regularize.R_E.coeficient", "'regularize.R_E.coefficient'"]),
        (["family=neural_dee"], ["neural_dee", "neural_de"]),
        (["task=clasify"], ["clasify", "'classify'"]),
        (["trainer.steps=ten"], ["trainer.steps='ten'", "whole number"]),
        (["trainer.steps=3.5"], ["trainer.steps=3.5", "whole number"]),
        (["trainer.steps=null"], ["trainer.steps=None", "whole number"]),
        (["trainer.ema=true"], ["trainer.ema=True", "a number"]),
        (["name=mine"], ["name='mine'", "neural_de/"]),
        (["seed=a"], ["seed='a'"]),
        (["seed=-1"], ["seed=-1"]),
        (["logger.tensorboard=1"], ["logger.tensorboard=1"]),
        (["trainer.batch_size=-1"], ["trainer.batch_size=-1", "at least 1"]),
        (["trainer.accumulate=3"], ["accumulate=3", "batch_size=256"]),
        (["trainer.ema=1.0"], ["trainer.ema=1.0", "[0, 1)"]),
        (["trainer.nan=ignore"], ["trainer.nan='ignore'", "stop, skip"]),
        (["optimizer.warmup_steps=100000"], ["optimizer.warmup_steps=100000", "trainer.steps"]),
        (["optimizer.learning_rate=0"], ["optimizer.learning_rate=0", "above 0"]),
        (["optimizer.weight_decay=0.1"], ["optimizer.weight_decay=0.1", "adamw"]),
        (["regularize=null"], ["regularize", "section"]),
        (["+regularize.R_S=3"], ["regularize.R_S", "section"]),
        (["regularize.steer=2.0"], ["regularize.steer=2.0", "solver.t1=1.0"]),
        (["regularize.R_E.reduce=avg"], ["regularize.R_E.reduce='avg'", "mean"]),
        (["~trainer.steps"], ["trainer.steps"]),
        (["run.dir=${nam}"], ["nam", "run.dir"]),
        (["trainer.steps=[1,2"], ["[1,2"]),
        (["trainer.steps=1,2"], ["trainer.steps=1,2", "-m"]),
        (["trainer=3"], ["trainer=3", "default"]),
    ],
)
def test_refused_by_name(overrides: list[str], named: list[str]) -> None:
    text = refused(ER, *overrides)
    for part in named:
        assert part in text, text


def test_unknown_experiment_names_the_nearest() -> None:
    assert "'neural_de/digits-er'" in refused("neural_de/digits-err")


def test_no_experiment_names_the_known() -> None:
    assert ER in refused("trainer.steps=3")


def test_typo_inside_an_experiment_file(tmp_path: Path) -> None:
    folder = tmp_path / "experiment" / "mine"
    folder.mkdir(parents=True)
    base = f"# @package _global_\ndefaults:\n  - /experiment/{ER}\nname: neural_de/mine\n"
    (folder / "good.yaml").write_text(base + "trainer: {steps: 7}\n")
    (folder / "bad.yaml").write_text(base + "trainer: {setps: 7}\n")
    config = typed(compose(["mine/good"], [tmp_path]))
    assert (config.trainer.steps, config.name) == (7, "neural_de/mine")
    assert "'trainer.steps'" in refused("mine/bad", config_dirs=(tmp_path,))


def test_missing_config_dir_is_named(tmp_path: Path) -> None:
    assert "nowhere" in refused(ER, config_dirs=(tmp_path / "nowhere",))


def test_target_is_data_and_refused(tmp_path: Path) -> None:
    """`_target_` would be code execution elsewhere; here it is one more unknown key."""
    text = refused(ER, "+model._target_=os.system")
    assert "model._target_" in text


def test_several_problems_are_told_at_once() -> None:
    text = refused(ER, "trainer.batch_size=0", "solver.rtol=-1.0")
    assert "trainer.batch_size=0" in text
    assert "solver.rtol=-1.0" in text


def test_values_reach_the_dataclass() -> None:
    config = typed(compose([ER, "solver.rtol=1e-5", "seed=3", "optimizer.learning_rate=1"]))
    assert config.solver.rtol == 1e-5
    assert config.seed == 3
    assert isinstance(config.optimizer.learning_rate, float)
    assert config.run.dir.endswith("digits-er/seed-3")


def test_every_valid_key_can_be_set_without_plus() -> None:
    """Keys that no YAML file mentions are set like all others."""
    config = typed(compose(["neural_de/digits-vanilla", "regularize.R_S.coefficient=2", "regularize.R_S.reduce=max"]))
    assert config.regularize.R_S.reduce == "max"


def test_hash_ignores_the_folder_and_sees_the_rest() -> None:
    one, two, three = (compose([ER, o]) for o in ("run.dir=a", "run.dir=b", "seed=9"))
    assert config_hash(one) == config_hash(two) != config_hash(three)


def test_nearest_finds_a_leaf_in_another_section() -> None:
    assert "trainer.batch_size" in nearest("batch_size", ["trainer.batch_size", "optimizer.name"])
    assert nearest("zzzz", ["trainer.steps"]) == ""


def test_structure_takes_no_text_for_a_list() -> None:
    import dataclasses

    @dataclasses.dataclass(frozen=True)
    class Lists:
        names: tuple[str, ...] = ()

    assert structure({"names": ["a", "b"]}, Lists).names == ("a", "b")
    with pytest.raises(ConfigError, match="must be a list"):
        structure({"names": "ab"}, Lists)
