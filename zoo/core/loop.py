"""fit(): the one training loop. Read it top to bottom."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from zoo.core import distributed, wandb_log
from zoo.core.atomic import locked
from zoo.core.batches import ShuffleSampler, evaluation_batches, training_batches
from zoo.core.checkpoint import Ledger, RunStates
from zoo.core.config import unstructure
from zoo.core.errors import UserError, ZooError
from zoo.core.mesh import data_mesh, device_mesh, replicate, replicated, shard
from zoo.core.metrics import MetricsLog, NoLog
from zoo.core.optim import optimizer, schedule
from zoo.core.precision import require_allowed, whole_float32
from zoo.core.progress import NoProgress, Progress, say
from zoo.core.step import TrainState, initial_state, make_step
from zoo.core.task import Split, Task
from zoo.core.tracing import Trace
from zoo.core.writing import require_writable


class Interrupted(ZooError):
    """The run was asked to stop (Ctrl-C, SIGTERM) and saved its state first."""

    def __init__(self, text: str, signal_number: int) -> None:
        super().__init__(text)
        self.exit_code = 128 + signal_number


class NotFinite(ZooError):
    """The loss or a gradient was not finite and the policy is to stop."""


@dataclass(frozen=True)
class FitResult:
    """What a finished run has.

    Attributes:
        folder: the run's folder.
        params: the parameters to release (best or last, averaged where EMA is on), an nnx.State.
        ledger: steps, best step and times.
        already: the run had been finished before and nothing was trained now.
        skipped: steps skipped because their loss or gradient was not finite.
    """

    folder: Path
    params: nnx.State
    ledger: Ledger
    already: bool
    skipped: int


def fit(task: Task) -> FitResult:
    """Train ``task`` to its last step, going on from the newest state in its run folder.

    The result depends on the configuration alone: a run killed at any moment and started again ends with the same bits as
    one never killed (same machine, threads and versions). Of several processes (see core.distributed) all call it alike; each
    computes its share of every batch and number 0 writes.

    Raises:
        UserError: the folder holds a run of another configuration or data, another process trains in it, or it cannot be written.
        ZooError: a state could not be saved; the one before it is whole.
        NotFinite: under ``trainer.nan=stop``.
        Interrupted: after Ctrl-C or SIGTERM, the state saved.
    """
    config, trainer = task.config, task.config.trainer
    folder = Path(config.run.dir)
    require_allowed(task)
    if config.logger.wandb is not None:
        wandb_log.library()  # refuse before anything is made
    mesh = data_mesh(trainer.batch_size, trainer.accumulate)
    records = task.records(Split.TRAIN)
    sampler = getattr(task, "sampler", ShuffleSampler)(len(records), trainer.batch_size, config.seed)

    root = jax.random.key(config.seed)
    init_key, step_key = jax.random.split(root)
    graphdef, params, frozen = nnx.split(task.init(init_key), task.trainable(), ...)
    tx = optimizer(config.optimizer, trainer)
    state = initial_state(params, tx, trainer)
    ledger = Ledger()

    states = RunStates(folder / "states", unstructure(config), records.fingerprint(), type(config))
    newest = states.latest()
    if newest is not None:
        state, ledger = states.restore(newest, state)
    state, frozen, step_key = replicate((state, frozen, step_key), mesh)

    def finished(already: bool) -> FitResult:
        chosen = state.ema if trainer.ema else state.params
        if trainer.release == "best" and ledger.best_step is not None:
            chosen = states.best(chosen, ledger)
        return FitResult(folder, chosen, ledger, already, int(state.skipped))

    out_of_patience = trainer.patience and ledger.stale >= trainer.patience
    if newest is not None and (ledger.step >= trainer.steps or out_of_patience):
        return finished(already=True)

    step_fn, rate = make_step(task, graphdef, tx), schedule(config.optimizer, trainer.steps)
    evaluator = Evaluator(task, graphdef, frozen)
    loss = float("nan")
    with contextlib.ExitStack() as opened:
        opened.enter_context(own_folder(folder))
        log, progress, trace = reporters(task, ledger.step, going_on=newest is not None)
        for one in (log, progress, trace):
            opened.callback(one.close)
        stop = opened.enter_context(stop_signals())
        clock = Clock(ledger)
        for batch in training_batches(records, sampler, ledger.step, trainer.steps):
            del batch["index"]
            trace.before()
            state, logs = clock.step(step_fn, state, frozen, shard(batch, mesh), step_key)
            trace.after(state)
            ledger.step += 1
            last = ledger.step == trainer.steps

            due = last or any(ledger.step % n == 0 for n in (trainer.log_every, trainer.eval_every))
            halt = due or ledger.step % trainer.checkpoint_every == 0
            stopping = stop_asked(stop, halt)
            if halt or stopping:
                clock.pause(state)
                if (bad := int(state.bad_step)) >= 0:
                    # The state stays as it was before that step, so this takes the same step again, for its logs.
                    again = next(training_batches(records, sampler, bad, bad + 1))
                    del again["index"]
                    _, logs = step_fn(state, frozen, shard(again, mesh), step_key)
                    raise _not_finite(task, bad, logs, sampler, states)
            if due:
                values = {name: float(value) for name, value in logs.items()}
                loss = values["loss"]
                seen = {"learning_rate": float(np.asarray(rate(ledger.step - 1))), "skipped": int(state.skipped)}
                log.write(ledger.step, "train", {**values, **seen, "seconds": round(ledger.train_seconds, 3)})
                progress.update(ledger.step, loss)
            if last or ledger.step % trainer.eval_every == 0:
                params = state.ema if trainer.ema else state.params
                metrics = evaluator(params, Split.VALID)
                log.write(ledger.step, "valid", metrics)
                progress.evaluated(ledger.step, loss, metrics)
                (value,) = distributed.from_primary([metrics[task.monitor.metric]])  # one decision for all
                if task.monitor.better(value, ledger.best_value):
                    ledger.best_step, ledger.best_value, ledger.stale = ledger.step, value, 0
                    states.save_best(params, ledger)
                else:
                    ledger.stale += 1
                out_of_patience = bool(trainer.patience) and ledger.stale >= trainer.patience
            if last or out_of_patience or stopping or ledger.step % trainer.checkpoint_every == 0:
                log.sync()
                states.save(state, ledger, trainer.keep)
            if out_of_patience and not last:
                progress.note(
                    f"{config.name}: no better {task.monitor.metric} in {ledger.stale} evaluations: stopped early"
                )
                break
            if stopping and not last:
                raise Interrupted(
                    f"stopped at step {ledger.step} of {trainer.steps}, state saved in {folder}: run the same command "
                    "again to go on",
                    stopping,
                )
            clock.resume()
    return finished(already=False)


def stop_asked(stop: list[int], halt: bool) -> int:
    """The number of the signal that asks the run to stop, or 0. Several processes agree on it at steps where they ``halt``
    anyway, so that a signal to one of them stops all at the same step."""
    asked = stop[0] if stop else 0
    if not distributed.several():
        return asked
    return distributed.largest(asked) if halt else 0


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """The run's folder, made and held by this run alone: two in one folder would write over each other's states."""
    with contextlib.ExitStack() as held:

        def hold() -> None:
            require_writable(folder, "name another run.dir")
            if not held.enter_context(locked(folder)):
                raise UserError(f"{folder}: another process is training in it: wait for it, or name another run.dir")

        distributed.primary_does(hold)
        yield


def reporters(task: Task, step: int, *, going_on: bool) -> tuple[Any, Any, Trace]:
    """The metrics log, the progress line and the profiler trace of this process; of several, number 0 alone reports."""
    config, trainer = task.config, task.config.trainer
    folder = Path(config.run.dir)
    made: list[Any] = [NoLog(), NoProgress(), Trace(folder, 0)]

    def open_log() -> None:
        options = config.logger.wandb
        wandb = wandb_log.WandbLog(folder, config.name, options, unstructure(config)) if options else None
        made[0] = MetricsLog(folder, step, config.logger.tensorboard, wandb)

    distributed.primary_does(open_log)
    if distributed.primary():
        if going_on:
            say(f"{config.name}: going on from step {step} of {trainer.steps} in {folder}")
        made[1:] = (
            Progress(f"{config.name} seed {config.seed}", trainer.steps, step),
            Trace(folder, trainer.profile_steps),
        )
    return made[0], made[1], made[2]


def _not_finite(task: Task, bad: int, logs: dict[str, jax.Array], sampler: Any, states: RunStates) -> NotFinite:
    """What is said of the step ``bad``, which logged ``logs``."""
    ids = ", ".join(str(i) for i in sampler(bad)[:16])
    good = states.latest()
    where = f"the last good state is {good}" if good else "no state had been saved yet"
    known = getattr(task, "not_finite", lambda logs: None)({name: float(value) for name, value in logs.items()})
    return NotFinite(
        f"step {bad}: the loss or its gradient is not finite (examples {ids}, ...); {where}. "
        f"{known or 'Lower optimizer.learning_rate, set trainer.grad_clip'}, or skip such steps with trainer.nan=skip"
    )


class Clock:
    """Time spent in training steps, without compilation, evaluation and saving."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._shapes: set[Any] = set()
        self._began: float | None = time.perf_counter()

    def step(self, step_fn: Any, state: TrainState, frozen: Any, batch: dict[str, jax.Array], key: jax.Array) -> Any:
        """Call the step; the first call of each batch shape is counted as compilation."""
        shapes = tuple((name, x.shape, str(x.dtype)) for name, x in sorted(batch.items()))
        if shapes in self._shapes:
            return step_fn(state, frozen, batch, key)
        self.pause(state)
        began = time.perf_counter()
        result = jax.block_until_ready(step_fn(state, frozen, batch, key))
        self._ledger.compile_seconds += time.perf_counter() - began
        self._shapes.add(shapes)
        self.resume()
        return result

    def pause(self, state: TrainState) -> None:
        """Wait for the steps under way and add their time."""
        jax.block_until_ready(state)
        if self._began is not None:
            self._ledger.train_seconds += time.perf_counter() - self._began
        self._began = None

    def resume(self) -> None:
        if self._began is None:
            self._began = time.perf_counter()


class Evaluator:
    """Metrics of a split for given parameters; compiled once per batch shape.

    Args:
        task: the task.
        graphdef: the model's static half.
        frozen: its untrained leaves.
    """

    def __init__(self, task: Task, graphdef: Any, frozen: Any) -> None:
        self._task, self._frozen = task, frozen
        self._mesh = device_mesh()

        @whole_float32
        def outputs(params: Any, frozen: Any, batch: Any) -> Any:
            return task.evaluate(nnx.merge(graphdef, params, frozen), batch)

        # Replicated, so that every process has the whole of it.
        self._outputs = jax.jit(outputs, out_shardings=replicated(self._mesh))

    def __call__(self, params: Any, split: Split) -> dict[str, float]:
        params, self._frozen = replicate((params, self._frozen), self._mesh)
        records = self._task.records(split)
        size = self._task.config.trainer.eval_batch_size

        def run() -> Iterator[tuple[Any, Any]]:
            for batch in evaluation_batches(records, size, self._mesh.devices.size):
                device_batch = shard({k: v for k, v in batch.items() if k != "index"}, self._mesh)
                yield batch, jax.tree.map(np.asarray, self._outputs(params, self._frozen, device_batch))

        return {name: float(value) for name, value in self._task.summarise(run()).items()}


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Within it Ctrl-C and SIGTERM put their number into the list instead of ending the process; a second one ends it."""
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        say("stopping after this step; the state will be saved (once more to stop at once, without)")

    try:
        previous = [signal.signal(n, handle) for n in numbers]
    except ValueError:  # not the main thread: signals are the caller's business
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in zip(numbers, previous):
            signal.signal(number, handler)
