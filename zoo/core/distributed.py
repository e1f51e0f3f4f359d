"""Several processes of one run: whether there are any, who writes, and how they agree.

The launcher says it all through the environment; with one process every function here costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.core.errors import UserError, ZooError, one_line

# (number of processes, this one's number) as the launchers put them into the environment.
COUNTS = (
    ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    ("SLURM_NTASKS", "SLURM_PROCID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
)
SLURM_STEP = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")


def plan(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The arguments of jax.distributed.initialize() for this environment, or None for a run of one process.

    Args:
        environ: environment variables. JAX_COORDINATOR_ADDRESS (host:port of process 0) starts a run of several processes under any
            launcher, its count and number taken from JAX_NUM_PROCESSES and JAX_PROCESS_ID or from Slurm's, Open MPI's or
            MPICH's own; a Slurm step of several tasks and Open MPI 4 need nothing. ZOO_DISTRIBUTED=0 switches it off,
            ZOO_DISTRIBUTED=1 asks for it where JAX alone can tell (a TPU pod).

    Raises:
        UserError: half of what is needed is set.
    """
    asked = environ.get("ZOO_DISTRIBUTED", "")
    if asked not in ("", "0", "1"):
        raise UserError(f"ZOO_DISTRIBUTED={asked}: it must be 0 (one process) or 1 (several)")
    if asked == "0":
        return None
    if "JAX_COORDINATOR_ADDRESS" in environ or "JAX_NUM_PROCESSES" in environ:
        return _explicit(environ)
    if all(name in environ for name in SLURM_STEP) and _number(environ, "SLURM_NTASKS", "1") > 1:
        return {}
    for count, _ in COUNTS[2:]:
        if _number(environ, count, "1") > 1:
            if "OMPI_MCA_orte_hnp_uri" in environ:
                return {}
            raise UserError(
                f"{count}={environ[count]}: this MPI does not say where process 0 is; start it with "
                "JAX_COORDINATOR_ADDRESS=HOST:PORT of process 0, or ZOO_DISTRIBUTED=0 for independent runs"
            )
    return {} if asked == "1" else None


def _explicit(environ: Mapping[str, str]) -> dict[str, Any]:
    address = environ.get("JAX_COORDINATOR_ADDRESS", "")
    if not address.rpartition(":")[2].isdigit():
        raise UserError(f"JAX_COORDINATOR_ADDRESS={address!r}: it must be HOST:PORT of process 0")
    for count, number in COUNTS:
        if count in environ and number in environ:
            total, own = _number(environ, count), _number(environ, number)
            if not 0 <= own < total:
                raise UserError(f"{number}={own} is not below {count}={total}: processes are numbered from 0")
            return {"coordinator_address": address, "num_processes": total, "process_id": own}
    raise UserError(
        f"JAX_COORDINATOR_ADDRESS={address} without a number of processes: set JAX_NUM_PROCESSES and JAX_PROCESS_ID"
    )


def _number(environ: Mapping[str, str], name: str, default: str = "") -> int:
    text = environ.get(name, default)
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{name}={text!r}: it must be a whole number") from None


def initialise() -> None:
    """Join the other processes of this run if the launcher started several (see :func:`plan`); must come before JAX is used.

    Raises:
        UserError: the environment is half set, or the other processes cannot be reached.
    """
    arguments = plan(os.environ)
    if arguments is None:
        return
    import jax

    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(**arguments)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"this process could not join the others ({one_line(str(error))}): check the launcher and "
            "JAX_COORDINATOR_ADDRESS, or set ZOO_DISTRIBUTED=0"
        ) from error


def primary() -> bool:
    """Whether this process is the one that writes: number 0."""
    import jax

    return jax.process_index() == 0


def several() -> bool:
    """Whether this run has more than one process."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def from_primary(values: Sequence[float]) -> list[float]:
    """The numbers that process 0 passed, to the bit, on every process; all must call it with as many."""
    if not several():
        return list(values)
    from jax.experimental.multihost_utils import broadcast_one_to_all

    bits = np.asarray(values, np.float64).view(np.uint32)  # JAX would round 64-bit numbers
    return np.asarray(broadcast_one_to_all(bits), np.uint32).view(np.float64).tolist()


def largest(value: int) -> int:
    """The largest of the values that the processes passed; all must call it."""
    if not several():
        return value
    from jax.experimental.multihost_utils import process_allgather

    return int(np.max(process_allgather(np.asarray(value, np.int32))))


def primary_does(action: Callable[[], Any]) -> None:
    """Process 0 does ``action`` while the others wait; if it fails there, all of them fail."""
    if not several():
        action()
        return
    failure: Exception | None = None
    if primary():
        try:
            action()
        except Exception as error:
            failure = error
    failed = largest(int(failure is not None))
    if failure is not None:
        raise failure
    if failed:
        raise ZooError("process 0 could not write: its message says why")


@contextlib.contextmanager
def results_from_primary() -> Iterator[bool]:
    """Within it what the libraries print on stdout goes to stderr, if there are several processes; tells whether this
    process is the one that shows the result."""
    if not several():
        yield True
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)  # collectives on CPU greet on stdout, which belongs to the result
    try:
        yield primary()
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def leave(code: int) -> None:
    """End this process of several at once after an error of its own: an orderly exit would wait for the others, and they wait
    for it in their next sum over processes. With one process, nothing."""
    if several():
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
