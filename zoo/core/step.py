"""The jitted training step: one pure function of (state, batch)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from zoo.core.precision import whole_float32
from zoo.core.schema import TrainerConfig
from zoo.core.task import Task


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything a step reads and writes, and so everything a run state holds.

    Attributes:
        step: int32 scalar, the number of steps taken, skipped ones included.
        params: the trainable parameters, an nnx.State.
        opt_state: the optax state of the trainable parameters only.
        ema: their moving average, or None.
        skipped: int32 scalar, steps whose loss or gradient was not finite.
        bad_step: int32 scalar, the first such step under the policy ``stop`` (the state is then the last good one and
            no later step changes it), else -1.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any
    skipped: jax.Array
    bad_step: jax.Array


def initial_state(params: Any, tx: optax.GradientTransformation, trainer: TrainerConfig) -> TrainState:
    """The state before step 0."""
    # Each leaf is an array of its own: the state is donated, and one buffer cannot be donated twice.
    ema = jax.tree.map(jnp.copy, params) if trainer.ema else None
    counters = [jnp.full((), start, jnp.int32) for start in (0, 0, -1)]
    return TrainState(counters[0], params, tx.init(params), ema, counters[1], counters[2])


def make_step(
    task: Task, graphdef: Any, tx: optax.GradientTransformation
) -> Callable[[TrainState, Any, dict[str, jax.Array], jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step ``(state, frozen, batch, key) -> (state, scalars to log)``; ``state`` is donated.

    Gradients are averaged over ``trainer.accumulate`` micro-batches by weight, so that k micro-batches of b examples give the
    update of one batch of k b. The step's key is fold_in(key, step): randomness needs no saved state.
    """
    trainer = task.config.trainer

    def loss_of(params: Any, frozen: Any, batch: Any, step: jax.Array, key: jax.Array):
        return task.loss(nnx.merge(graphdef, params, frozen), batch, step=step, key=key)

    gradient = jax.value_and_grad(loss_of, has_aux=True)

    def accumulated(params: Any, frozen: Any, batch: Any, step: jax.Array, key: jax.Array):
        k = trainer.accumulate
        if k == 1:
            return gradient(params, frozen, batch, step, key)
        micro = jax.tree.map(lambda x: x.reshape(k, x.shape[0] // k, *x.shape[1:]), batch)
        weight = micro["weight"].astype(
            float
        )  # 64 bit where that is on: the shares of a float64 run are no coarser than it
        share = weight.sum(1) / jnp.maximum(weight.sum(), 1e-30)

        def one(total: Any, piece: Any) -> tuple[Any, None]:
            part, weight, i = piece
            value = gradient(params, frozen, part, step, jax.random.fold_in(key, i))
            return jax.tree.map(lambda t, v: t + weight.astype(v.dtype) * v, total, value), None

        shapes = jax.eval_shape(gradient, params, frozen, jax.tree.map(lambda x: x[0], micro), step, key)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return jax.lax.scan(one, zeros, (micro, share, jnp.arange(k)))[0]

    @whole_float32
    def step_fn(state: TrainState, frozen: Any, batch: dict[str, jax.Array], key: jax.Array):
        key = jax.random.fold_in(key, state.step)
        (loss, logs), grads = accumulated(state.params, frozen, batch, state.step, key)
        norm = optax.tree.norm(grads)
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        halted = state.bad_step >= 0
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:
            ema = jax.tree.map(lambda e, p: e + (1.0 - trainer.ema) * (p - e).astype(e.dtype), ema, params)
        keep = good & ~halted

        def choose(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.where(keep, n, o), new, old)

        stop = trainer.nan == "stop"
        new = TrainState(
            step=state.step + jnp.where(halted | (~good & stop), 0, 1),
            params=choose(params, state.params),
            opt_state=choose(opt_state, state.opt_state),
            ema=choose(ema, state.ema),
            skipped=state.skipped + jnp.where(good | halted, 0, 1),
            bad_step=jnp.where(~halted & ~good & stop, state.step, state.bad_step),
        )
        return new, {"loss": loss, "grad_norm": norm, **logs}

    return jax.jit(step_fn, donate_argnums=0)
