"""Memory that XLA computes in on a CPU: in huge pages where Linux grants them, and kept between the runs of a program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HUGE = {"glibc.malloc.hugetlb": "1"}
# No piece of memory is mapped by itself, the heap never shrinks, and all threads share it: what one frees serves another, and only the
# heap that a process begins with holds pieces over 64 MiB; in further ones each such piece is mapped anew. The waits for it cost less.
KEPT = {"glibc.malloc.mmap_max": "0", "glibc.malloc.trim_threshold": str(2**40), "glibc.malloc.arena_max": "1"}
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def keep_memory() -> None:
    """Start this process again with glibc's malloc told to keep freed memory, and to ask for huge pages where Linux grants them on
    request; called by the command line.

    XLA takes the memory of a program's intermediate values anew each time the program runs and frees it afterwards. malloc
    returns so large a piece to the system at once, and every run pays for the first touch of each page: a tenth of a training
    step with pages of 4 KiB, a twentieth with pages of 2 MiB. On a virtual machine whose host takes free memory back, a larger
    batch after smaller ones took nearly twice its time. A process keeps up to half as much again in return. glibc reads its
    tunables when a process starts, hence the second start; the arguments, the process's id and the results are the same. What
    GLIBC_TUNABLES says of one of them stays, and any value of ``glibc.malloc.hugetlb``, 0 included, leaves them all as they are.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or any(name in tunables for name in HUGE) or not sys.executable:
        return
    wanted = (HUGE if _on_request() else {}) | KEPT
    missing = [f"{name}={value}" for name, value in wanted.items() if name not in tunables]
    if missing:
        os.environ["GLIBC_TUNABLES"] = ":".join([tunables, *missing] if tunables else missing)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _on_request() -> bool:
    try:
        return "[madvise]" in SETTING.read_text(encoding="ascii")  # always: there already; never: no use
    except (OSError, UnicodeDecodeError):
        return False
