"""Compiled functions kept on disk, so that a command started again does not compile again."""

from __future__ import annotations

import hashlib

from zoo.core import machine
from zoo.core.paths import cache_dir


def use_disk_cache() -> None:
    """Keep what JAX compiles in ``<cache>/xla/<set-up>``; called by the command line, never on import.

    The folder is one for each set-up (jaxlib, instruction set, threads): code compiled for another processor is not loaded.
    A folder of the user's own (JAX_COMPILATION_CACHE_DIR) is left as it is.
    """
    import jax

    if jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        return
    setup = hashlib.sha256(machine.fingerprint().encode()).hexdigest()[:12]
    jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla" / setup))
    # The small ones too: a score of them, some hundredths of a second each, was a sixth of a tagger's first answer.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
