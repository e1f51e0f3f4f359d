"""NumPy's BLAS kept to one thread beside tblite and XLA, which have threads of their own.

The threads of all three wait by spinning. On as many cores as each of them has threads they take the cores from one another: a
prediction of 50 orbitals took 24 ms on two cores, and takes 13 ms so.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

# Above this many orbitals the products are long enough to gain from threads, by a few hundredths of the whole.
LARGEST = 256
_limiting = threading.Lock()


@functools.cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def one_thread(n_orbitals: int) -> Iterator[None]:
    """Within, BLAS has one thread, unless the matrices are large; afterwards what it had before.

    Who comes while another limits, in this thread or another, changes nothing: OpenBLAS obeys some threads alone, so whoever
    has limited must restore.

    Args:
        n_orbitals: rows of the matrices that are worked on.
    """
    if n_orbitals > LARGEST or not _limiting.acquire(blocking=False):
        yield
        return
    try:
        with _libraries().limit(limits=1):
            yield
    finally:
        _limiting.release()
