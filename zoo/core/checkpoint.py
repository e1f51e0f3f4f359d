"""A run's states on disk: what is saved, when a saved state may be gone on from, and how."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.core import distributed, machine, state
from zoo.core.config import flatten, structure, unstructure
from zoo.core.errors import ConfigError, DamagedError, UserError
from zoo.core.progress import say
from zoo.core.step import TrainState

STEP, BEST = "step", "best"

# Keys that may change between the parts of one run: how long it is and how it reports, not what a step computes.
MAY_CHANGE = (
    "trainer.steps", "trainer.eval_every", "trainer.checkpoint_every", "trainer.log_every", "trainer.keep",
    "trainer.patience", "trainer.profile_steps", "trainer.eval_batch_size", "trainer.release",
)  # fmt: skip
MAY_CHANGE_SECTIONS = ("run", "logger")


def may_change(key: str) -> bool:
    """Whether a run may go on with another value of the dotted ``key``."""
    return key in MAY_CHANGE or key.split(".")[0] in MAY_CHANGE_SECTIONS


@dataclass
class Ledger:
    """The host's side of a run, saved with each state.

    Attributes:
        step: steps taken.
        best_step: the step of the best state so far, or None.
        best_value: its monitored metric.
        stale: evaluations since then.
        train_seconds: time in steps, compilation and evaluation left out.
        compile_seconds: first calls of each batch shape.
    """

    step: int = 0
    best_step: int | None = None
    best_value: float | None = None
    stale: int = 0
    train_seconds: float = 0.0
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class RunStates:
    """The folder ``states`` of a run: ``step-<n>`` to go on from, ``best-<n>`` the parameters best on validation data.

    Of several processes all call its methods and number 0 writes; all read.

    Attributes:
        folder: where the states are.
        config: the run's plain configuration.
        data: the fingerprint of its training data.
        config_type: the dataclass of the configuration; it gives a state of an older version the defaults of newer keys.
    """

    folder: Path
    config: Mapping[str, Any] = field(repr=False)
    data: str
    config_type: type | None = None

    def save(self, train_state: TrainState, ledger: Ledger, keep: int) -> Path:
        """Save everything that a killed run needs to end as if it had never been killed."""
        meta = {
            "kind": "run-state",
            "config": dict(self.config),
            "data": self.data,
            "ledger": dataclasses.asdict(ledger),
        }
        meta["machine"] = machine.fingerprint()
        path = self.folder / f"{STEP}-{ledger.step:08d}"

        def write() -> None:
            state.save(path, state.flatten(_parts(train_state)), meta, replace=True)
            state.prune(self.folder, STEP, keep)
            self._drop_older_bests(ledger)

        distributed.primary_does(write)
        return path

    def save_best(self, params: Any, ledger: Ledger) -> None:
        """Save the evaluated parameters of the best step so far.

        Those before stay until the next run state is saved: a killed run goes on from a state that still names one of them.
        """
        meta = {"kind": "best-params", "config": dict(self.config), "step": ledger.step, "value": ledger.best_value}
        path = self.folder / f"{BEST}-{ledger.step:08d}"
        distributed.primary_does(lambda: state.save(path, state.flatten({"params": params}), meta, replace=True))

    def _drop_older_bests(self, ledger: Ledger) -> None:
        if ledger.best_step is not None:
            for old in self.folder.glob(f"{BEST}-*"):
                if old.name < f"{BEST}-{ledger.best_step:08d}":
                    shutil.rmtree(old)

    def best(self, template: Any, ledger: Ledger) -> Any:
        """The parameters saved by :meth:`save_best` at ``ledger.best_step``; DamagedError where they are missing or damaged."""
        path = self.folder / f"{BEST}-{ledger.best_step:08d}"
        if not state.present(path).is_dir():
            raise DamagedError(
                f"{path} is missing, the parameters that were best: put it back, or release the last step's with trainer.release=last"
            )
        tensors, _ = state.load(path)
        return state.unflatten({"params": template}, tensors)["params"]

    def latest(self) -> Path | None:
        """The newest complete state, or None for a new run."""
        try:
            here = distributed.primary() and self.folder.is_dir()
        except OSError as error:
            raise UserError(f"{self.folder} cannot be read: {error.strerror or error}: name another run.dir") from error
        path = state.latest(self.folder, STEP) if here else None
        (step,) = distributed.from_primary([int(path.name[-8:]) if path else -1])  # they may see the folder unequally
        return None if step < 0 else self.folder / f"{STEP}-{int(step):08d}"

    def restore(self, path: Path, template: TrainState) -> tuple[TrainState, Ledger]:
        """Load ``path`` into the structure of ``template``.

        Raises:
            DamagedError: the state is not what its manifest says.
            UserError: it is a state of another configuration or of other data, or past the end that is asked for.
        """
        tensors, meta = state.load(path)
        if meta.get("kind") != "run-state":
            raise DamagedError(f"{path} holds {meta.get('kind')!r}, not a run state: name another run.dir")
        differing = _differences(self._completed(meta["config"]), self.config)
        if differing:
            shown = ", ".join(f"{k} was {a!r} and is {b!r}" for k, a, b in differing[:4])
            raise UserError(
                f"{path.parent.parent} holds a run of another configuration ({shown}): name another run.dir, or remove it"
            )
        if meta["data"] != self.data:
            raise UserError(
                f"{path.parent.parent} was trained on other data (fingerprint {meta['data']}, now {self.data}): restore "
                "the data, or name another run.dir"
            )
        before, wanted = (int(flatten(c)["trainer.steps"]) for c in (meta["config"], self.config))
        done = meta["ledger"]["step"]
        if wanted < done:
            raise UserError(
                f"{path.parent.parent} has done {done} steps, more than trainer.steps={wanted}: name another run.dir, or remove it"
            )
        if before != wanted and distributed.primary():
            changed = "extended" if wanted > before else "shortened"
            say(
                f"note: {changed} from {before} to {wanted} steps: whatever is scheduled over the whole run is stretched "
                "from here on, which is not what one run of that length does"
            )
        if meta["machine"] != machine.fingerprint() and distributed.primary():
            say(f"note: this state was made on another set-up ({meta['machine']}); bit-equality is not promised")
        parts = state.unflatten(_parts(template), tensors, what=str(path))
        return TrainState(**parts), Ledger(**meta["ledger"])

    def _completed(self, old: Mapping[str, Any]) -> Mapping[str, Any]:
        """``old`` with the defaults of keys that came later; as it is where this version does not know one of its keys."""
        if self.config_type is None:
            return old
        try:
            return unstructure(structure(old, self.config_type))
        except ConfigError:
            return old


def _parts(train_state: TrainState) -> dict[str, Any]:
    return {f.name: getattr(train_state, f.name) for f in dataclasses.fields(train_state)}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    a, b = flatten(old), flatten(new)
    keys = sorted(k for k in a.keys() | b.keys() if not may_change(k))
    return [(k, a.get(k), b.get(k)) for k in keys if a.get(k) != b.get(k)]
