"""Archives from elsewhere unpack whole and inside their folder, or not at all."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from zoo.core.archive import unpack
from zoo.core.errors import UserError

FILES = {"a.txt": b"one", "folder/b.bin": bytes(range(256)) * 50, "folder/empty": b""}


def tar(path: Path, *members: tuple[str, bytes, bytes, str], mode: str = "w") -> Path:
    """A tar file of (name, type, content, link target)."""
    with tarfile.open(path, mode) as file:
        for name, kind, content, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), target
            file.addfile(member, io.BytesIO(content))
    return path


def plain(name: str, content: bytes = b"x") -> tuple[str, bytes, bytes, str]:
    return name, tarfile.REGTYPE, content, ""


def zipped(path: Path, files: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            file.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path


def refused(archive: Path, says: str, **limits: int) -> None:
    folder = archive.parent / "out"
    before = set(archive.parent.rglob("*"))
    with pytest.raises(UserError, match=says) as caught:
        unpack(archive, folder, **limits)
    assert "\n" not in str(caught.value)
    assert set(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".zip"])
def test_good_archives(tmp_path: Path, suffix: str):
    path = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        zipped(path, FILES)
    else:
        mode = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2"}.get(suffix, "w:xz")
        tar(path, ("folder", tarfile.DIRTYPE, b"", ""), *(plain(n, c) for n, c in FILES.items()), mode=mode)
    out = unpack(path, tmp_path / "new" / "out")
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == FILES
    assert [p.name for p in out.parent.iterdir()] == ["out"]


OUTSIDE = ["../x", "a/../../x", "/etc/x", "..", "C:/x", "C:x", "a\\..\\x", "a/b/../../../x"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_outside_the_folder(tmp_path: Path, name: str):
    refused(tar(tmp_path / "x.tar", plain("good"), plain(name)), "lies outside")
    refused(zipped(tmp_path / "x.zip", {"good": b"", name: b"x"}), "lies outside")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE], ids=repr
)
def test_links_and_devices_in_tar(tmp_path: Path, kind: bytes):
    refused(tar(tmp_path / "x.tar", plain("good"), ("bad", kind, b"", "good")), "'bad', a link or device")


def test_a_file_through_a_link_in_tar(tmp_path: Path):
    (tmp_path / "target").mkdir()
    members = (("d", tarfile.SYMTYPE, b"", str(tmp_path / "target")), plain("d/evil"))
    refused(tar(tmp_path / "x.tar", *members), "link")
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR], ids=oct)
def test_links_and_devices_in_zip(tmp_path: Path, mode: int):
    refused(zipped(tmp_path / "x.zip", {"bad": b"/etc/passwd"}, mode), "'bad', a link or device")


def test_a_name_twice(tmp_path: Path):
    refused(tar(tmp_path / "x.tar", plain("a"), plain("./a", b"other")), "twice")
    refused(tar(tmp_path / "y.tar", plain("a"), plain("a/b")), "cannot be unpacked")


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_bombs(tmp_path: Path, suffix: str):
    content = b"\0" * 5_000_000
    path = tmp_path / f"x.{suffix}"
    _ = zipped(path, {"zeros": content}) if suffix == "zip" else tar(path, plain("zeros", content), mode="w:gz")
    assert path.stat().st_size < 20_000
    refused(path, "more than 4000000 bytes", max_bytes=4_000_000)
    assert (unpack(path, tmp_path / "out") / "zeros").stat().st_size == len(content)


def test_a_zip_that_lies_about_a_size(tmp_path: Path):
    path = zipped(tmp_path / "x.zip", {"zeros": b"\0" * 5_000_000})
    data = path.read_bytes()
    assert data.count((5_000_000).to_bytes(4, "little")) == 2
    path.write_bytes(data.replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused(path, "damaged", max_bytes=1000)


def test_too_many_files(tmp_path: Path):
    path = tar(tmp_path / "x.tar", *(plain(str(i)) for i in range(20)))
    refused(path, "more than 19 files", max_files=19)
    assert len(list(unpack(path, tmp_path / "out", max_files=20).iterdir())) == 20


def test_a_header_that_would_fill_the_memory(tmp_path: Path):
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as file:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"comment": "x" * 8_000_000}
        file.addfile(member, io.BytesIO(b""))
    refused(path, "a header of more than 1048576 bytes")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip"])
def test_damaged_archives(tmp_path: Path, suffix: str):
    (tmp_path / f"junk{suffix}").write_bytes(b"this is no archive" * 100)
    refused(tmp_path / f"junk{suffix}", "damaged or not an archive|cannot be unpacked")
    path = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        zipped(path, FILES)
    else:
        tar(path, *(plain(n, c) for n, c in FILES.items()), mode={".tar": "w"}.get(suffix, f"w:{suffix[5:]}"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 if suffix != ".tar" else 2000])
    refused(path, "damaged or not an archive|cannot be unpacked")


def test_other_endings_and_places(tmp_path: Path):
    (tmp_path / "x.rar").write_bytes(b"x")
    refused(tmp_path / "x.rar", "unknown ending")
    with pytest.raises(UserError, match="does not exist"):
        unpack(tmp_path / "nothing.tar", tmp_path / "out")
    path = tar(tmp_path / "x.tar", plain("a"))
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists"):
        unpack(path, tmp_path / "there")
