"""Data files: the right bytes from ZOO_DATA_DIR, the cache or the source, or one clear error."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from zoo.core import data
from zoo.core.data import DataFile
from zoo.core.errors import DamagedError, MissingDataError, UserError, ZooError

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        body = {"/wrong": CONTENT[::-1], "/truncated": CONTENT[:300_000]}.get(self.path, CONTENT)
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Handler, "requests", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    return tmp_path / "cache" / "data"


def file(url: str | None, sha256: str | tuple[str, ...] = SHA256) -> DataFile:
    return DataFile("toy/set/file.bin", "the Toy Archive (example.org)", url, sha256, "CC0")


def put(root: Path, content: bytes = CONTENT) -> Path:
    path = root / "toy/set/file.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def leftovers(cache: Path) -> list[str]:
    return [str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file()]


def test_download_is_checked_kept_and_not_repeated(server: str, cache: Path):
    path = data.locate(file(f"{server}/good"))
    assert path == cache / "toy/set/file.bin"
    assert path.read_bytes() == CONTENT
    assert data.locate(file(f"{server}/good")) == path
    assert Handler.requests == ["/good"]
    assert leftovers(cache) == ["toy/set/file.bin"]


@pytest.mark.parametrize(
    ("page", "says"),
    [("wrong", "gave SHA-256"), ("missing", "404"), ("truncated", "300000 of 1280000 bytes|IncompleteRead")],
)
def test_bad_downloads_leave_nothing(server: str, cache: Path, page: str, says: str):
    with pytest.raises(MissingDataError, match=says) as caught:
        data.locate(file(f"{server}/{page}"))
    text = str(caught.value)
    for part in ("toy/set/file.bin", "the Toy Archive", "ZOO_DATA_DIR (which is not set)"):
        assert part in text
    assert "\n" not in text
    assert leftovers(cache) == []


def test_nobody_answers(cache: Path):
    with pytest.raises(MissingDataError, match="could not be fetched"):
        data.locate(file("http://127.0.0.1:1/nothing"))
    assert leftovers(cache) == []


def test_a_file_that_cannot_be_fetched(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "mine"))
    with pytest.raises(MissingDataError, match=r"is not in ZOO_DATA_DIR=.*mine and it cannot be fetched automatically"):
        data.locate(file(None))


def test_data_dir_comes_first_and_nothing_is_requested(
    server: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put(cache)
    mine = put(tmp_path / "mine")
    monkeypatch.setenv("ZOO_DATA_DIR", f"{tmp_path / 'none'}{os.pathsep}{tmp_path / 'mine'}")
    assert data.locate(file(f"{server}/good")) == mine
    assert Handler.requests == []


@pytest.mark.parametrize("where", ["data_dir", "cache"])
def test_another_hash_is_an_error_that_names_both(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "mine"))
    bad = bytearray(CONTENT)
    bad[1000] ^= 1
    path = put(tmp_path / "mine" if where == "data_dir" else cache, bytes(bad))
    with pytest.raises(DamagedError) as caught:
        data.locate(file("http://127.0.0.1:1/"))
    for part in (str(path), SHA256, hashlib.sha256(bad).hexdigest(), "the Toy Archive"):
        assert part in str(caught.value)
    put(path.parents[2])
    assert data.locate(file(None)) == path


def test_several_accepted_hashes(cache: Path):
    path = put(cache)
    assert data.locate(file(None, ("0" * 64, SHA256))) == path
    with pytest.raises(DamagedError, match=f"{'0' * 64} or {'1' * 64}"):
        data.locate(file(None, ("0" * 64, "1" * 64)))


def test_a_hash_is_computed_once_until_the_file_changes(cache: Path):
    path = put(cache)
    before = data._hash.cache_info().misses
    for _ in range(3):
        data.locate(file(None))
    assert data._hash.cache_info().misses == before + 1
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DamagedError):
        data.locate(file(None))


def test_a_cache_that_cannot_be_written(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    with pytest.raises(ZooError, match=r"was not written: .*ZOO_CACHE"):
        data.locate(file(f"{server}/good"))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", "a/../b", "./a"])
def test_names_stay_below_the_data_folder(name: str):
    with pytest.raises(UserError, match="plain path"):
        DataFile(name, "x", None, SHA256, "CC0")


@pytest.mark.parametrize("sha256", ["", "abc", SHA256.upper(), (), (SHA256, "x")])
def test_hashes_are_required(sha256: str | tuple[str, ...]):
    with pytest.raises(UserError, match="sha256"):
        DataFile("x", "x", None, sha256, "CC0")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "x"])
def test_only_http(url: str):
    with pytest.raises(UserError, match="http"):
        DataFile("x", "x", url, SHA256, "CC0")


def test_found(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "mine")
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "mine"))
    assert data.found() == [
        {"folder": str(tmp_path / "mine"), "origin": "ZOO_DATA_DIR", "sets": ["toy/set"]},
        {"folder": str(cache), "origin": "cache", "sets": []},
    ]
