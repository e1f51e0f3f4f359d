"""Names to releases: every place and its order, nearest names, damage, the hub with and without a network."""

from __future__ import annotations

import hashlib
import http.server
import importlib.metadata
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import zoo
from zoo.core import families, hub, huggingface, release, state
from zoo.core.errors import DamagedError, UserError

TENSORS = {"w": np.arange(5, dtype=np.float32)}


def write(folder: Path, name: str) -> Path:
    info = release.ReleaseInfo(
        name=name, family=name.split("/")[0], task="t", config={}, metrics={}, command="c", seed=0, versions={}, machine={},
        data="d", licence="MIT", limits=[], created="2026-01-02",
    )  # fmt: skip
    return release.write_release(folder, TENSORS, info)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A family ``toy`` with packaged releases, one folder of models and a cache."""
    site = tmp_path / "site"
    (site / "toy_models").mkdir(parents=True)
    (site / "toy_models" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(site))
    points = [importlib.metadata.EntryPoint("toy", "toy_models.family:FAMILY", families.GROUP)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    monkeypatch.setenv("ZOO_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return {
        "packaged": site / "toy_models" / "pretrained",
        "models": tmp_path / "models" / "toy",
        "cache": tmp_path / "cache" / "models" / "toy",
    }


def test_names_are_looked_up_in_order(places: dict[str, Path]):
    for place in ("cache", "models", "packaged"):
        folder = write(places[place] / "one", "toy/one")
        assert hub.resolve("toy/one") == folder


def test_a_path_comes_first(places: dict[str, Path], tmp_path: Path):
    write(places["packaged"] / "one", "toy/one")
    here = write(tmp_path / "toy" / "one", "toy/one")
    assert hub.resolve("toy/one").resolve() == here
    run = tmp_path / "runs" / "a"
    inside = write(run / "release", "toy/two")
    for path in (run, str(run), inside, "runs/a", "./runs/a", "runs/a/release"):
        assert hub.resolve(path).resolve() == inside


@pytest.mark.parametrize(
    "name",
    ["toy", "toy/", "/", ".", "./toy/one", "../toy/one", "toy/../one", "a/b/c", "", "~/nothing", "~nobody-here/x"],
)
def test_what_is_no_name_and_no_release_folder(places: dict[str, Path], name: str):
    with pytest.raises(UserError, match=r"release name"):
        hub.resolve(name)


def test_a_name_longer_than_any_file_name(places: dict[str, Path]):
    with pytest.raises(UserError, match="cannot be read"):
        hub.resolve("toy/" + "a" * 5000)


def test_a_folder_without_release(places: dict[str, Path], tmp_path: Path):
    (tmp_path / "toy" / "one").mkdir(parents=True)
    for name in ("toy/one", tmp_path / "nothing"):
        with pytest.raises(UserError, match=r"nor a folder with model\.json"):
            hub.resolve(name)


def test_an_unknown_name_gets_the_nearest(places: dict[str, Path]):
    write(places["packaged"] / "digits-vanilla", "toy/digits-vanilla")
    with pytest.raises(UserError, match=r"no model 'toy/digits-vanila': did you mean 'toy/digits-vanilla'\?"):
        hub.resolve("toy/digits-vanila")
    with pytest.raises(UserError, match=r"did you mean 'toy/digits-vanilla'\?"):
        hub.resolve("other/digits-vanilla")
    with pytest.raises(UserError, match="no revisions"):
        hub.resolve("toy/digits-vanilla", revision="v1")


def test_the_catalogue(places: dict[str, Path]):
    write(places["packaged"] / "one", "toy/one")
    write(places["models"] / "two", "toy/two")
    write(places["cache"] / "one", "toy/one")
    (places["packaged"] / "__pycache__").mkdir()
    assert [row["name"] for row in hub.catalogue()] == zoo.list_models() == ["toy/one", "toy/two"]
    row = hub.catalogue()[0]
    size = sum(p.stat().st_size for p in (places["packaged"] / "one").iterdir() if p.name != "model.json")
    assert row == {"name": "toy/one", "family": "toy", "task": "t", "size_mb": round(size / 1e6, 2), "licence": "MIT"}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "model.json").write_text("{}"), "not a sci-model-zoo manifest"),
        (lambda f: (f / "model.json").unlink(), "interrupted"),
        (lambda f: (f / "weights.safetensors").unlink(), "missing"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"x"), "has 1 bytes"),
    ],
)
def test_damage_is_listed_and_named(places: dict[str, Path], damage: Any, says: str):
    write(places["packaged"] / "good", "toy/good")
    damage(write(places["packaged"] / "bad", "toy/bad"))
    bad, good = hub.catalogue()
    assert says in bad["error"]
    assert "error" not in good
    with pytest.raises(DamagedError, match=says):
        release.read_release(hub.resolve("toy/bad"))


def test_a_renamed_folder_is_listed_with_a_note(places: dict[str, Path]):
    write(places["models"] / "alias", "toy/one")
    (row,) = hub.catalogue()
    assert "says that it is toy/one" in row["error"]


def test_a_link_out_of_a_release_is_refused(places: dict[str, Path], tmp_path: Path):
    folder = write(places["models"] / "one", "toy/one")
    shutil.move(folder / "weights.safetensors", tmp_path / "elsewhere")
    (folder / "weights.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedError, match="leads out of its folder"):
        release.read_release(hub.resolve("toy/one"))


def test_an_interrupted_replacement_is_found_by_name(places: dict[str, Path]):
    folder = write(places["models"] / "one", "toy/one")
    folder.rename(state._aside(folder))
    assert release.read_release(hub.resolve("toy/one")).info.name == "toy/one"
    assert release.read_release(hub.resolve(folder)).info.name == "toy/one"


# -- the Hugging Face hub, played by a server on loopback -------------------------------------------------------------

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


class Handler(http.server.BaseHTTPRequestHandler):
    root: ClassVar[Path]
    requests: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.requests.append(f"{self.command} {self.path}")
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:4] == ["api", "models", "owner", "toy"]:
            commit = COMMITS.get(parts[5]) if len(parts) == 6 else COMMITS["main"]
            if commit is None:
                return self.refuse("RevisionNotFound")
            return self.give(json.dumps({"id": "owner/toy", "sha": commit}).encode(), "application/json", commit, body)
        if parts[:3] == ["owner", "toy", "resolve"]:
            path = self.root / parts[3] / parts[4]
            if not path.is_file():
                return self.refuse("EntryNotFound")
            return self.give(path.read_bytes(), "application/octet-stream", parts[3], body)
        return self.refuse("RepoNotFound")

    def give(self, data: bytes, kind: str, commit: str, body: bool) -> None:
        self.send_response(200)
        for key, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            ("ETag", f'"{hashlib.sha256(data).hexdigest()}"'),
            ("X-Repo-Commit", commit),
        ):
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of what the hub offers: one release at each commit."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(Handler, "root", tmp_path / "offered", raising=False)
    monkeypatch.setattr(Handler, "requests", [])
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for revision, commit in COMMITS.items():
        write(tmp_path / "offered" / commit, f"toy/{revision}")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(huggingface, "_api", lambda repo: huggingface_hub.HfApi(endpoint=endpoint, token=False))
        yield tmp_path / "offered"
        running.shutdown()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to use a socket fails, and is noted."""
    attempts: list[Any] = []

    def refuse(*args: Any, **options: Any) -> Any:
        attempts.append(args)
        raise OSError(101, "Network is unreachable")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return attempts


def test_a_model_of_the_hub_is_pinned_checked_and_kept(server: Path, tmp_path: Path):
    folder = hub.resolve("hf:owner/toy")
    assert folder == tmp_path / "cache" / "hub" / "owner--toy" / COMMITS["main"]
    assert release.read_release(folder).info.name == "toy/main"
    assert {p.name for p in folder.iterdir()} == {"model.json", "weights.safetensors", "README.md"}
    assert {p.name for p in folder.parent.iterdir()} == {folder.name, "refs"}
    assert (folder.parent / "refs" / "main").read_text().strip() == COMMITS["main"]
    seen = len(Handler.requests)
    for name, revision in (
        ("hf:owner/toy", None),
        ("hf:owner/toy@main", None),
        (f"hf:owner/toy@{COMMITS['main']}", None),
    ):
        assert hub.resolve(name, revision=revision) == folder
    assert len(Handler.requests) == seen
    assert [row["name"] for row in hub.catalogue()] == [f"hf:owner/toy@{COMMITS['main']}"]
    assert "error" not in hub.catalogue()[0]


def test_revisions(server: Path):
    assert release.read_release(hub.resolve("hf:owner/toy@v1")).info.name == "toy/v1"
    assert release.read_release(hub.resolve("hf:owner/toy", revision="v1")).info.name == "toy/v1"
    assert release.read_release(hub.resolve("hf:owner/toy", revision=COMMITS["main"])).info.name == "toy/main"
    with pytest.raises(UserError, match="disagree"):
        hub.resolve("hf:owner/toy@v1", revision="main")


def test_a_branch_that_moved_is_followed_only_when_asked(server: Path, monkeypatch: pytest.MonkeyPatch):
    first = hub.resolve("hf:owner/toy")
    monkeypatch.setitem(COMMITS, "main", "c" * 40)
    write(server / ("c" * 40), "toy/moved")
    assert hub.resolve("hf:owner/toy") == first
    assert hub.resolve("hf:owner/toy", refresh=True).name == "c" * 40
    assert hub.resolve("hf:owner/toy").name == "c" * 40
    assert hub.resolve(f"hf:owner/toy@{first.name}") == first


def test_cached_models_make_no_request_and_others_say_the_mend(server: Path, request: pytest.FixtureRequest):
    folder = hub.resolve("hf:owner/toy")
    attempts = request.getfixturevalue("no_network")
    assert release.read_release(hub.resolve("hf:owner/toy")).path == folder
    assert attempts == []
    with pytest.raises(UserError, match=r"not in the cache and the hub cannot be reached .*connect once"):
        hub.resolve("hf:owner/toy@v1")
    assert attempts != []


def test_offline_mode_of_the_client(places: dict[str, Path], no_network: list[Any], monkeypatch: pytest.MonkeyPatch):
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        hub.resolve("hf:owner/toy")
    assert no_network == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf:owner/other", "does not exist on the hub, or is private"),
        ("hf:owner/toy@v9", "has no revision 'v9'"),
        ("hf:owner", "must be hf:owner/repo"),
        ("hf:../../etc", "must be hf:owner/repo"),
        ("hf:owner/..", "must be hf:owner/repo"),
        ("hf:owner/toy/more", "must be hf:owner/repo"),
        ("hf:", "must be hf:owner/repo"),
    ],
)
def test_wrong_names_of_the_hub(server: Path, tmp_path: Path, name: str, says: str):
    with pytest.raises(UserError, match=says) as caught:
        hub.resolve(name)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("model.json"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "weights.safetensors").write_bytes(b"x" * 300), "weights.safetensors"),
        (lambda f: (f / "weights.safetensors").unlink(), "EntryNotFound|not a release"),
        (lambda f: (f / "model.json").unlink(), "not a release of the zoo"),
        (lambda f: (f / "model.json").write_text('{"architectures": ["Bert"]}'), "not a release of the zoo"),
    ],
)
def test_what_is_no_intact_release_never_enters_the_cache(server: Path, tmp_path: Path, damage: Any, says: str):
    damage(server / COMMITS["main"])
    with pytest.raises(UserError, match=says):
        hub.resolve("hf:owner/toy")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert not list((tmp_path / "cache").rglob("*saving*"))


def test_a_missing_client_names_the_extra(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'sci-model-zoo\[hub\]'"):
        hub.resolve("hf:owner/toy")


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch):
    from zoo.core.paths import cache_dir

    monkeypatch.setenv("ZOO_CACHE", "/a")
    assert cache_dir() == Path("/a")
    monkeypatch.delenv("ZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_dir() == Path("/b/sci-model-zoo")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/c")
    assert cache_dir() == Path("/c/.cache/sci-model-zoo")
    assert os.environ["HOME"] == "/c"
