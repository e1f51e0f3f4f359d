"""A command keeps its memory, in huge pages where they can be had, by starting itself again once."""

import os
import subprocess
import sys

import pytest

from zoo.core import pages

KEPT = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.arena_max=1"


class Started(Exception):
    """What the process would have become."""


@pytest.fixture
def ask(monkeypatch, tmp_path):
    def execv(path, argv):
        raise Started(path, argv, os.environ["GLIBC_TUNABLES"])

    def ask(setting, tunables=None):
        if setting is not None:
            (tmp_path / "enabled").write_text(setting, encoding="utf-8")
        monkeypatch.setattr(pages, "SETTING", tmp_path / "enabled")
        monkeypatch.setattr(os, "execv", execv)
        monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "zoo.cli", "train", "a b"])
        monkeypatch.setenv("GLIBC_TUNABLES", "")  # so that what the call sets is undone
        monkeypatch.delenv("GLIBC_TUNABLES")
        if tunables is not None:
            monkeypatch.setenv("GLIBC_TUNABLES", tunables)
        pages.keep_memory()

    return ask


def test_the_same_command_starts_again_with_huge_pages_kept(ask):
    with pytest.raises(Started) as found:
        ask("always [madvise] never\n")
    again = [sys.executable, "-X", "dev", "-m", "zoo.cli", "train", "a b"]
    assert found.value.args == (sys.executable, again, f"glibc.malloc.hugetlb=1:{KEPT}")


def test_tunables_of_the_users_stay(ask):
    with pytest.raises(Started) as found:
        ask("always [madvise] never\n", "glibc.malloc.arena_max=8:glibc.malloc.tcache_count=0")
    mine = "glibc.malloc.arena_max=8:glibc.malloc.tcache_count=0"
    added = f"glibc.malloc.hugetlb=1:{KEPT}".removesuffix(":glibc.malloc.arena_max=1")
    assert found.value.args[2] == f"{mine}:{added}"


@pytest.mark.parametrize(
    "tunables",
    [
        "glibc.malloc.hugetlb=1",
        "glibc.malloc.hugetlb=0",
        "a=1:glibc.malloc.hugetlb=2",
        f"{KEPT}:glibc.malloc.hugetlb=1",
    ],
)
def test_it_is_not_done_twice_nor_against_the_user(ask, tunables):
    ask("always [madvise] never\n", tunables)
    assert os.environ["GLIBC_TUNABLES"] == tunables


@pytest.mark.parametrize("setting", ["[always] madvise never\n", "always madvise [never]\n", "\xff", None])
def test_no_huge_pages_are_asked_for_where_that_cannot_help(ask, setting):
    with pytest.raises(Started) as found:
        ask(setting)
    assert found.value.args[2] == KEPT
    ask(setting, KEPT)  # what starts then goes on
    assert os.environ["GLIBC_TUNABLES"] == KEPT


def test_nothing_is_started_on_other_systems(ask, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    ask("always [madvise] never\n")
    assert "GLIBC_TUNABLES" not in os.environ


def test_status_and_words_of_a_command_are_the_same():
    command = [sys.executable, "-m", "zoo.cli", "evaluate", "nobody/nothing"]
    plain = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    found = []
    for env in (plain, {**plain, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        found.append((done.returncode, done.stdout, done.stderr))
    assert found[0] == found[1]
    assert found[0][0] != 0
    assert found[0][2].startswith("zoo: ")
