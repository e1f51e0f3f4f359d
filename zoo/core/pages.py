"""Huge pages for the memory that XLA computes in on a CPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb"
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def ask_for_huge_pages() -> None:
    """Start this process again with glibc's malloc asking Linux for huge pages, where it can and does not yet; called by the command line.

    XLA takes the memory of a program's intermediate values anew each time the program runs and frees it afterwards. malloc
    returns so large a piece to the system at once, and every run pays for the first touch of each page: a tenth of a training
    step with pages of 4 KiB, little with pages of 2 MiB. (Keeping the memory instead saves as much time, and fragments: a
    process grew to six times its largest use.) glibc reads its tunables when a process starts, hence the second start; the
    arguments, the process's id and the results are the same. A value of ``glibc.malloc.hugetlb`` in GLIBC_TUNABLES, 0
    included, is left as it is.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if TUNABLE in tunables or not sys.executable:
        return
    try:
        asked = "[madvise]" in SETTING.read_text(encoding="ascii")  # always: there already; never: no use
    except (OSError, UnicodeDecodeError):
        return
    if asked:
        os.environ["GLIBC_TUNABLES"] = ":".join(part for part in (tunables, f"{TUNABLE}=1") if part)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
