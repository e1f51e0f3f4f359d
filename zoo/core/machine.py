"""Facts of the machine and of the versions behind a number."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import sys
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "diffrax", "numpy")
# Besides the machine, what changes speed or bits; XLA_FLAGS last, for their order does not.
SETTINGS = (
    "NPROC",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "XLA_FLAGS",
)


def facts() -> dict[str, Any]:
    """What a result's card states of where it was made, JSON-ready.

    Returns:
        ``summary`` (one line), ``cpu``, ``cores`` (usable by this process), ``isa``, ``threads`` (limits set in the
        environment), ``malloc`` (glibc's tunables), ``os``, ``python``, ``devices`` (only where JAX is in use already)
        and ``versions`` (a dict).
    """
    found = {
        "cpu": _cpu()[0],
        "cores": cores(),
        "isa": _cpu()[1],
        "threads": ", ".join(f"{name}={os.environ[name]}" for name in SETTINGS if os.environ.get(name)) or "no limits",
        "malloc": os.environ.get("GLIBC_TUNABLES") or "no tunables",
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "devices": _devices(),
    }
    parts = [found["cpu"], f"{found['cores']} cores", found["isa"], found["devices"]]
    return {"summary": ", ".join(p for p in parts if p), **found, "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of the zoo and of the libraries that its numbers depend on."""
    found = {"zoo": _version("sci-model-zoo")}
    return {**found, **{name: _version(name) for name in PACKAGES}}


def fingerprint() -> str:
    """What the bits of a computation depend on besides its input: jaxlib, instruction set, threads, devices."""
    flags = " ".join(sorted(os.environ.get("XLA_FLAGS", "").split()))
    parts = [f"jaxlib {_version('jaxlib')}", platform.machine(), _cpu()[1], f"{cores()} cores"]
    parts += [f"{name}={os.environ[name]}" for name in SETTINGS[:-1] if os.environ.get(name)]
    return ", ".join(p for p in (*parts, flags, _devices()) if p)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Threads that XLA computes with: NPROC where it is set, else one a core."""
    return int(os.environ.get("NPROC") or cores())


@functools.cache
def _cpu() -> tuple[str, str]:
    """The processor's name and the widest of its vector instruction sets, as far as the system tells."""
    entries: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                entries.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    flags = set(entries.get("flags", "").split())
    isa = "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else ""
    return entries.get("model name") or platform.processor() or platform.machine(), isa


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "devices"):
        return ""
    kinds = [f"{d.platform} {d.device_kind}" if d.platform != d.device_kind else d.platform for d in jax.devices()]
    return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
