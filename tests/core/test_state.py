"""States on disk: every byte is checked, a save is whole or not at all, a kill or a full disk loses nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load as safetensors_load
from safetensors.numpy import save as safetensors_save

from zoo.core import atomic, state
from zoo.core.errors import DamagedError, UserError, ZooError

TENSORS = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, -2], np.int16)}
META = {"kind": "test", "step": 3, "loss": 0.1}
CARD = "# A card\n\nsome text\n"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return state.save(tmp_path / "s", TENSORS, META, files={"README.md": CARD})


def assert_intact(folder: Path, tensors: dict[str, np.ndarray] = TENSORS) -> None:
    loaded, _ = state.load(folder)
    assert loaded.keys() == tensors.keys()
    for name, x in tensors.items():
        assert loaded[name].dtype == x.dtype
        assert loaded[name].shape == x.shape
        assert loaded[name].tobytes() == x.tobytes()


def reseal(folder: Path, change) -> None:
    """Change a manifest as somebody would who knows the format, its own hash made right again."""
    content = json.loads((folder / "state.json").read_text())
    change(content)
    content.pop("sha256", None)

    def dump() -> bytes:
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    content["sha256"] = hashlib.sha256(dump()).hexdigest()
    (folder / "state.json").write_bytes(dump())


def replace_weights(folder: Path, data: bytes) -> None:
    """Other weights, with size and hash made right in the manifest."""
    (folder / "weights.safetensors").write_bytes(data)
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    reseal(folder, lambda content: content["files"].update({"weights.safetensors": entry}))


# -- round trip ------------------------------------------------------------------------------------------------------


def test_a_state_comes_back_bit_for_bit(saved: Path):
    assert_intact(saved)
    assert state.load(saved)[1] == META
    assert sorted(p.name for p in saved.iterdir()) == ["README.md", "state.json", "weights.safetensors"]
    assert [p.name for p in saved.parent.iterdir()] == ["s"]


def test_weights_are_what_the_safetensors_library_reads(saved: Path):
    theirs = safetensors_load((saved / "weights.safetensors").read_bytes())
    assert {k: v.tobytes() for k, v in theirs.items()} == {k: v.tobytes() for k, v in TENSORS.items()}


def test_same_content_gives_the_same_bytes(tmp_path: Path):
    for name, tensors in (("x", TENSORS), ("y", dict(reversed(TENSORS.items())))):
        state.save(tmp_path / name, tensors, META)
    for file in ("state.json", "weights.safetensors"):
        assert (tmp_path / "x" / file).read_bytes() == (tmp_path / "y" / file).read_bytes()


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]
    + ["complex64", "complex128", ">f4", ">i8", ">c16"]
    + [np.dtype(getattr(ml_dtypes, n)) for n in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4")],
    ids=str,
)
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 2)], ids=str)
def test_every_number_type(tmp_path: Path, dtype, shape):
    dtype = np.dtype(dtype)
    x = np.array([0, 1, 1, 0, 1, 1][: int(np.prod(shape))]).reshape(shape).astype(dtype)
    loaded, _ = state.load(state.save(tmp_path / "s", {"x": x}, {}))
    assert loaded["x"].dtype.name == dtype.name
    assert loaded["x"].shape == shape
    assert loaded["x"].tobytes() == x.astype(dtype.newbyteorder("<")).tobytes()
    assert loaded["x"].flags.writeable


def test_special_floats_keep_their_bits(tmp_path: Path):
    bits = np.array([0x7FC00001, 0xFFC0BEEF, 0x7F800000, 0x80000000, 1], np.uint32)  # NaN payloads, inf, -0, subnormal
    loaded, _ = state.load(state.save(tmp_path / "s", {"x": bits.view(np.float32)}, {}))
    assert (loaded["x"].view(np.uint32) == bits).all()


def test_views_are_saved_by_value(tmp_path: Path):
    x = np.arange(12.0).reshape(3, 4)
    loaded, _ = state.load(state.save(tmp_path / "s", {"t": x.T, "s": x[:, ::2]}, {}))
    np.testing.assert_array_equal(loaded["t"], x.T)
    np.testing.assert_array_equal(loaded["s"], x[:, ::2])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.array(["text"]), "<U4"),
        (np.array([object()]), "object"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
        pytest.param([1, 2], "list", marks=pytest.mark.wrong_types),
    ],
)
def test_what_is_not_an_array_of_numbers_is_refused(tmp_path: Path, bad, says):
    with pytest.raises(UserError, match=says):
        state.save(tmp_path / "s", {"x": bad}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({"x": float("nan")}, "meta.x is nan"),
        ({"x": [float("-inf")]}, r"meta.x\[0\] is -inf"),
        ({"x": {1: 2}}, "key 1"),
        ({"x": (1, 2)}, "tuple"),
        ({"x": np.float64(1)}, "float64"),
        ({"x": Path("a")}, "Path"),
    ],
)
def test_meta_that_json_would_change_is_refused(tmp_path: Path, meta, says):
    with pytest.raises(UserError, match=says):
        state.save(tmp_path / "s", TENSORS, meta)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "state.json", "weights.safetensors", "a\nb"])
def test_names_of_further_files_must_be_plain(tmp_path: Path, name):
    with pytest.raises(UserError, match="file names must be plain"):
        state.save(tmp_path / "s", TENSORS, {}, files={name: "text"})


# -- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["state.json", "weights.safetensors", "README.md"])
def test_every_flipped_bit_is_refused(saved: Path, file: str):
    path = saved / file
    good = path.read_bytes()
    assert_intact(saved)
    handle = os.open(path, os.O_WRONLY)
    for position, byte in enumerate(good):
        for bit in range(8):
            os.pwrite(handle, bytes([byte ^ 1 << bit]), position)
            with pytest.raises(DamagedError) as caught:
                state.load(saved)
            text = str(caught.value)
            assert file in text, (position, bit, text)
            assert "restore" in text, (position, bit, text)
            assert "\n" not in text, (position, bit, text)
        os.pwrite(handle, bytes([byte]), position)
    os.close(handle)
    assert path.read_bytes() == good
    assert_intact(saved)


@pytest.mark.parametrize("file", ["state.json", "weights.safetensors", "README.md"])
def test_every_truncation_and_extension_is_refused(saved: Path, file: str):
    path = saved / file
    good = path.read_bytes()
    for data in (*(good[:n] for n in range(len(good))), good + b"\0", good + b"\n", good * 2):
        path.write_bytes(data)
        with pytest.raises(DamagedError, match=file):
            state.load(saved)
    path.write_bytes(good)
    assert_intact(saved)


@pytest.mark.parametrize("file", ["weights.safetensors", "README.md"])
def test_a_missing_file_is_refused(saved: Path, file: str):
    (saved / file).unlink()
    for read in (state.load, state.read_manifest):
        with pytest.raises(DamagedError, match=f"{file}: the file is missing"):
            read(saved)


def test_a_folder_without_manifest_is_an_interrupted_save(saved: Path):
    (saved / "state.json").unlink()
    with pytest.raises(DamagedError, match="interrupted"):
        state.load(saved)


def test_a_folder_that_does_not_exist(tmp_path: Path):
    with pytest.raises(DamagedError, match="does not exist"):
        state.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({**TENSORS, "c": np.zeros(1)}, "'c' is not in the manifest"),
        ({"b": TENSORS["b"]}, "'a/kernel' is missing"),
        ({**TENSORS, "a/kernel": TENSORS["a/kernel"].astype(np.float16)}, r"'a/kernel' is F16\[2, 3\]"),
        ({**TENSORS, "a/kernel": TENSORS["a/kernel"].view(np.int32)}, r"'a/kernel' is I32\[2, 3\]"),
        ({**TENSORS, "a/kernel": TENSORS["a/kernel"].T.copy()}, r"'a/kernel' is F32\[3, 2\]"),
        ({"a/Kernel": TENSORS["a/kernel"], "b": TENSORS["b"]}, "'a/Kernel' is not in the manifest"),
    ],
)
def test_weights_that_hash_right_but_are_others(saved: Path, other, says):
    replace_weights(saved, safetensors_save(other))
    with pytest.raises(DamagedError, match=says):
        state.load(saved)


def test_other_weights_of_the_same_form_load(saved: Path):
    """The control of the test above: with the right form the rewritten folder is a state."""
    other = {name: x + 1 for name, x in TENSORS.items()}
    replace_weights(saved, safetensors_save(other))
    assert_intact(saved, other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(version=2), "format version 2 is newer than 1"),
        (lambda c: c.update(version=0), "does not match the SHA-256"),
        (lambda c: c.update(version=True), "does not match the SHA-256"),
        (lambda c: c.update(format="other"), "not a sci-model-zoo manifest"),
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c.pop("meta"), "meta"),
        (lambda c: c.update(meta=[]), "not those of a manifest"),
        (lambda c: c.update(weights="other"), "not those of a manifest"),
        (lambda c: c.update(weights={}), "not those of a manifest"),
        (lambda c: c["files"].update({"../../etc/passwd": {"size": 1, "sha256": "0"}}), "not a plain file name"),
        (lambda c: c["files"].update({"x": {"size": -1, "sha256": "0"}}), "not those of a manifest"),
        (lambda c: c["files"].update({"x": 1}), "not those of a manifest"),
        (lambda c: c["tensors"]["b"].update(dtype="object"), "unknown dtype 'object'"),
        (lambda c: c["tensors"]["b"].update(dtype=["int16"]), "unknown dtype"),
        (lambda c: c["tensors"]["b"].update(shape=[-2]), "not those of a manifest"),
        (lambda c: c["tensors"]["b"].update(shape=[True, 2]), "not those of a manifest"),
        (lambda c: c["tensors"]["b"].update(shape="2"), "not those of a manifest"),
        (lambda c: c["tensors"].pop("b"), "'b' is not in the manifest"),
    ],
)
def test_manifests_made_by_hand_are_refused(saved: Path, change, says):
    reseal(saved, change)
    with pytest.raises(DamagedError, match=says):
        state.load(saved)


def test_resealing_nothing_changes_nothing(saved: Path):
    before = (saved / "state.json").read_bytes()
    reseal(saved, lambda content: None)
    assert (saved / "state.json").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"kind": "test"', b'"kind": "test",\n  "kind": "test"', "'kind' occurs twice"),
        (b'"loss": 0.1', b'"loss": NaN', "NaN"),
        (b'"loss": 0.1', b'"loss": -Infinity', "-Infinity"),
        (b'"loss": 0.1', b'"loss": 1e999', "compliant"),
        (b'"loss": 0.1', b'"loss": 0.10', "does not match"),
        (b'"loss": 0.1', b'"loss": ' + b"9" * 5000, "digits"),
        (b'"loss": 0.1', b'"loss": ' + b"[" * 100000 + b"]" * 100000, "nested"),
        (b'"kind"', b'"k\\u0069nd"', "does not match"),
        (b"{", b" {", "does not match"),
        (b"}\n", b"}\r\n", "does not match"),
    ],
)
def test_other_spellings_of_a_manifest_are_refused(saved: Path, old: bytes, new: bytes, says: str):
    path = saved / "state.json"
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(DamagedError, match=says):
        state.load(saved)


def test_an_enormous_manifest_is_not_parsed(saved: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(DamagedError, match="larger than 100 bytes"):
        state.load(saved)


def test_a_pickle_in_place_of_weights_is_never_run(saved: Path, tmp_path: Path):
    import pickle

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    replace_weights(saved, pickle.dumps(Hostile()))
    with pytest.raises(DamagedError, match="not a safetensors file"):
        state.load(saved)
    assert not (tmp_path / "ran").exists()


def test_links_out_of_the_folder_are_refused(saved: Path, tmp_path: Path):
    for file in ("weights.safetensors", "state.json"):
        outside = tmp_path / "outside"
        shutil.move(saved / file, outside)
        (saved / file).symlink_to(outside)
        with pytest.raises(DamagedError, match=f"{file}: it is a link that leads out"):
            state.load(saved)
        (saved / file).unlink()
        shutil.move(outside, saved / file)
    assert_intact(saved)


def test_devices_pipes_and_folders_in_place_of_files_are_refused(saved: Path):
    path = saved / "weights.safetensors"
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedError, match="not a file"):
        state.load(saved)
    path.rmdir()
    os.mkfifo(path)  # reading it would wait for ever
    with pytest.raises(DamagedError, match="not a file"):
        state.load(saved)
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(DamagedError, match=r"weights\.safetensors"):
        state.load(saved)


def test_a_moved_or_linked_folder_is_the_same_state(saved: Path, tmp_path: Path):
    shutil.copytree(saved, tmp_path / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "copy")
    assert_intact(tmp_path / "copy")
    assert_intact(tmp_path / "link")


def test_expected_entries_of_meta(saved: Path):
    assert state.load(saved, expect={"kind": "test", "step": 3})[1] == META
    with pytest.raises(UserError, match="kind='test', not 'release'"):
        state.load(saved, expect={"kind": "release"})


# -- saving ----------------------------------------------------------------------------------------------------------


def test_a_state_in_place_is_not_overwritten_unasked(saved: Path):
    with pytest.raises(UserError, match="exists"):
        state.save(saved, {"x": np.zeros(1)}, {})
    assert_intact(saved)


def test_replace(saved: Path):
    other = {"x": np.ones(3)}
    state.save(saved, other, {}, replace=True)
    assert_intact(saved, other)
    assert sorted(p.name for p in saved.iterdir()) == ["state.json", "weights.safetensors"]
    assert [p.name for p in saved.parent.iterdir()] == ["s"]


def test_replace_leaves_a_folder_of_something_else_alone(tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"'chapter\.tex', which is not part of a saved state"):
        state.save(tmp_path / "thesis", TENSORS, META, replace=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        state.save(tmp_path / "file", TENSORS, META, replace=True)


def test_an_empty_folder_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "s").mkdir()
    assert_intact(state.save(tmp_path / "s", TENSORS, META))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert_intact(state.save(".", TENSORS, META))
    assert_intact(tmp_path / "here")


POINTS = ("before-manifest", "before-rename", "between-renames", "after-rename")
NEW = {"x": np.ones(4)}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("replace", [False, True])
def test_an_error_at_any_point_leaves_the_old_or_the_new_state(tmp_path: Path, monkeypatch, point: str, replace: bool):
    folder = tmp_path / "s"
    if replace:
        state.save(folder, TENSORS, META)

    def fault(reached: str) -> None:
        if reached == point:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "_fault", fault)
    if point == "between-renames" and not replace:
        state.save(folder, NEW, {})  # there is no such point without an old state
        return
    with pytest.raises(KeyboardInterrupt):
        state.save(folder, NEW, {}, replace=replace)
    monkeypatch.undo()
    if point == "after-rename":
        assert_intact(folder, NEW)
    elif replace:
        assert_intact(folder, TENSORS)
    else:
        assert not folder.exists()
    assert not list(tmp_path.glob(".*saving*"))
    assert_intact(state.save(folder, NEW, {}, replace=True), NEW)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


SAVER = """
import sys, numpy as np
from zoo.core import state
state.save(sys.argv[1], {"x": np.ones(4)}, {}, replace=True)
print("saved", flush=True)
"""


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("replace", [False, True])
def test_a_kill_at_any_point_leaves_the_old_or_the_new_state(tmp_path: Path, caplog, point: str, replace: bool):
    folder = tmp_path / "run-00000007"
    state.save(tmp_path / "run-00000003", {"old": np.zeros(2)}, {})
    if replace:
        state.save(folder, TENSORS, META)
    environment = {**os.environ, "ZOO_TEST_FAULT": f"{point}:1"}
    ended = subprocess.run([sys.executable, "-c", SAVER, str(folder)], env=environment, capture_output=True, text=True)
    if point == "between-renames" and not replace:
        assert ended.stdout == "saved\n"
        return
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert ended.stdout == ""

    caplog.set_level(logging.WARNING, "zoo")
    newest = state.latest(tmp_path, "run")
    if point == "after-rename":
        assert newest == folder
        assert_intact(newest, NEW)
    elif replace:
        assert newest == folder
        assert_intact(newest, TENSORS)
    else:
        assert newest == tmp_path / "run-00000003"
    if point != "after-rename":
        assert "interrupted" in caplog.text
    assert_intact(state.save(folder, NEW, {}, replace=True), NEW)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-00000003", "run-00000007"]


def test_the_fault_counts_its_passes(tmp_path: Path):
    code = SAVER + 'state.save(sys.argv[1], {"x": np.zeros(4)}, {}, replace=True)\n'
    environment = {**os.environ, "ZOO_TEST_FAULT": "before-rename:2"}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "saved\n")
    assert_intact(tmp_path / "s", NEW)


def test_a_save_under_way_elsewhere_is_left_alone(tmp_path: Path, caplog):
    state.save(tmp_path / "run-00000001", TENSORS, META)
    with atomic.temporary_sibling(tmp_path / "run-00000002") as under_way:
        assert state.latest(tmp_path, "run") == tmp_path / "run-00000001"
        state.prune(tmp_path, "run", 1)
        state.save(tmp_path / "run-00000002", TENSORS, META)
        assert under_way.is_dir()
    assert caplog.text == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("replace", [False, True])
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch, number: int, after: int, replace: bool):
    folder = tmp_path / "s"
    if replace:
        state.save(folder, TENSORS, META, files={"README.md": CARD})
    calls = 0
    real = os.write

    def write(handle: int, data) -> int:
        nonlocal calls
        calls += 1
        if calls <= after:
            return real(handle, data)
        if calls == after + 1:
            return real(handle, data[:5])  # a short write, and then nothing more fits
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, "write", write)
    with pytest.raises(ZooError) as caught:
        state.save(folder, NEW, {}, files={"README.md": "new"}, replace=True)
    monkeypatch.undo()
    assert not isinstance(caught.value, UserError)  # a failed run, exit status 1
    assert str(folder) in str(caught.value)
    assert ("no space left" in str(caught.value)) == (number != errno.EIO)
    if replace:
        assert_intact(folder)
    assert [p.name for p in tmp_path.iterdir()] == (["s"] if replace else [])


def test_short_writes_are_continued(tmp_path: Path, monkeypatch):
    real = os.write
    monkeypatch.setattr(atomic.os, "write", lambda handle, data: real(handle, data[:7]))
    assert_intact(state.save(tmp_path / "s", TENSORS, META))


def test_a_disk_that_is_really_full(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        state.save(disk / "s", TENSORS, META)
        with pytest.raises(ZooError, match="no space left"):
            state.save(disk / "s", {"big": np.zeros(50_000)}, {}, replace=True)
        assert_intact(disk / "s")
        assert [p.name for p in disk.iterdir()] == ["s"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ZooError, match="was not saved"):
        state.save(tmp_path / "file" / "s", TENSORS, META)


# -- many states -----------------------------------------------------------------------------------------------------


def test_latest_and_prune(tmp_path: Path, caplog):
    assert state.latest(tmp_path, "step") is None
    assert state.latest(tmp_path / "nothing", "step") is None
    for step in (5, 100, 20, 99_999_999):
        state.save(tmp_path / f"step-{step:08d}", TENSORS, {"step": step})
    state.save(tmp_path / "best-00000200", TENSORS, {})
    (tmp_path / "step-123").mkdir()
    (tmp_path / "step-000000001").mkdir()
    (tmp_path / "step-00000999.txt").write_text("no state")
    (tmp_path / "step-99999999" / "state.json").unlink()
    assert state.latest(tmp_path, "step") == tmp_path / "step-00000100"
    assert "step-99999999: it has no state.json" in caplog.text

    state.prune(tmp_path, "step", 1, keep_steps=[5])
    left = {"step-00000005", "step-00000100", "best-00000200", "step-123", "step-000000001", "step-00000999.txt"}
    assert {p.name for p in tmp_path.iterdir()} == left
    state.prune(tmp_path, "step", 0)
    assert {p.name for p in tmp_path.iterdir()} == left - {"step-00000005", "step-00000100"}


def test_a_damaged_newest_state_is_an_error_and_not_passed_over(tmp_path: Path):
    state.save(tmp_path / "step-00000001", TENSORS, {})
    newest = state.save(tmp_path / "step-00000002", TENSORS, {})
    data = bytearray((newest / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "weights.safetensors").write_bytes(data)
    assert state.latest(tmp_path, "step") == newest
    with pytest.raises(DamagedError, match="SHA-256"):
        state.load(newest)
