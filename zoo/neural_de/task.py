"""Training a neural ODE to classify, regularised by its own solver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from zoo.core.task import Batch, Monitor, Split
from zoo.neural_de.classifier import Forward, forward
from zoo.neural_de.config import CoefficientConfig, NodeClassifierConfig
from zoo.neural_de.data import ImageRecords, image_records
from zoo.neural_de.models import NodeClassifier


class NodeClassifierTask:
    """The Task of ``task: classify`` (see zoo.core.task.Task).

    Args:
        config: the typed experiment.
    """

    monitor = Monitor("accuracy", "max")

    def __init__(self, config: NodeClassifierConfig) -> None:
        self.config = config
        self._records: dict[Split, ImageRecords] = {}

    def init(self, key: Array) -> NodeClassifier:
        size = self.records(Split.TRAIN).images.shape[1]
        shape = self.config.model
        return NodeClassifier(
            size,
            shape.hidden,
            shape.classes,
            rngs=nnx.Rngs(key),
            outer_scale=shape.outer_scale,
            head_scale=shape.head_scale,
        )

    def trainable(self) -> Any:
        return nnx.Param

    def records(self, split: Split) -> ImageRecords:
        if split not in self._records:
            self._records[split] = image_records(self.config.data, split)
        return self._records[split]

    def loss(self, model: NodeClassifier, batch: Batch, *, step: Array, key: Array) -> tuple[Array, dict[str, Array]]:
        """Cross-entropy plus the coefficients times the regularisers; NaN where the solve failed, for the NaN policy."""
        regularize, solver = self.config.regularize, self.config.solver
        t1 = solver.t1
        if regularize.steer:  # STEER (Ghosh et al. 2020): one end time a batch
            t1 = t1 + regularize.steer * jax.random.uniform(key, (), minval=-1.0, maxval=1.0)
        key = jax.random.fold_in(key, 1)
        out = forward(model, batch["image"], solver, t1=t1, regularize=regularize, key=key)
        entropy, correct = _scores(out, batch)
        weight = batch["weight"]
        mean = lambda x: jnp.sum(x * weight) / jnp.maximum(jnp.sum(weight), 1e-30)  # noqa: E731
        loss = mean(entropy)
        logs = {"cross_entropy": loss, "accuracy": 100 * mean(correct), "nfe": out.nfe, "rejected": out.rejected}
        # Counts in the whole batch, of which this may be a part.
        size = self.config.trainer.batch_size
        logs |= {"failed": size * mean(~out.ok), "out_of_steps": size * mean(out.out_of_steps)}
        for name, term in regularize.terms().items():
            scale = coefficient(term, step, self.config.trainer.steps, out.nfe)
            loss = loss + scale * out.regularizers[name]
            logs |= {name: out.regularizers[name], f"{name}_coefficient": scale}
        return jnp.where(jnp.all(out.ok | (weight == 0)), loss, jnp.nan), logs

    def not_finite(self, logs: Mapping[str, float]) -> str | None:
        """Why a step is not finite and what mends it, where that is its solve; see zoo.core.task.Task."""
        if logs["out_of_steps"]:
            solver = self.config.solver
            return (
                f"The solve of {logs['out_of_steps']:.0f} examples did not reach its end in solver.max_steps={solver.max_steps} "
                f"steps: raise it, loosen solver.rtol={solver.rtol:g} and solver.atol={solver.atol:g}"
            )
        if logs["failed"]:
            return (
                f"The solve of {logs['failed']:.0f} examples did not reach its end, as its steps became too small or its state "
                "too large: lower optimizer.learning_rate, set trainer.grad_clip"
            )
        return None

    def evaluate(self, model: NodeClassifier, batch: Batch) -> dict[str, Array]:
        out = forward(model, batch["image"], self.config.solver, weight=batch["weight"])
        entropy, correct = _scores(out, batch)
        return {"loss": entropy, "correct": correct, "ok": out.ok, "nfe": out.nfe, "steps": out.steps}

    def summarise(self, outputs: Iterable[tuple[Batch, Any]]) -> dict[str, float]:
        """accuracy (percent; a failed solve counts as wrong), loss, nfe and steps a batch, failed examples."""
        totals = dict.fromkeys(("count", "correct", "loss", "nfe", "steps", "failed"), 0.0)
        for batch, out in outputs:
            weight = np.asarray(batch["weight"], np.float64)
            totals["count"] += weight.sum()
            totals["correct"] += float((weight * out["correct"] * out["ok"]).sum())
            totals["loss"] += float((weight * np.where(weight > 0, out["loss"], 0)).sum())
            totals["nfe"] += float(out["nfe"]) * weight.sum()
            totals["steps"] += float(out["steps"]) * weight.sum()
            totals["failed"] += float((weight * ~np.asarray(out["ok"])).sum())
        count = max(totals["count"], 1.0)
        return {
            "accuracy": 100 * totals["correct"] / count,
            "loss": totals["loss"] / count,
            "nfe": totals["nfe"] / count,
            "steps": totals["steps"] / count,
            "failed": totals["failed"],
        }


def coefficient(term: CoefficientConfig, step: Array, steps: int, nfe: Array) -> Array:
    """The coefficient of ``term`` at ``step`` of a run of ``steps`` steps, where the batch's solve took ``nfe`` evaluations."""
    part = jnp.asarray(step, jnp.float32) / steps
    value = jnp.asarray(term.coefficient, jnp.float32)
    if term.final is not None:
        value = value * (term.final / term.coefficient) ** part
    if term.warmup_steps:
        value = value * jnp.minimum(1.0, jnp.asarray(step, jnp.float32) / term.warmup_steps)
    if term.target_nfe is not None:
        value = value * jnp.clip(10 * (jax.lax.stop_gradient(nfe) / term.target_nfe - 1), 0.0, 1.0)
    return value


def _scores(out: Forward, batch: Batch) -> tuple[Array, Array]:
    """Cross-entropy and correctness (float) of each example, shape (batch,)."""
    entropy = optax.softmax_cross_entropy_with_integer_labels(out.logits, batch["label"])
    return entropy, (out.logits.argmax(-1) == batch["label"]).astype(out.logits.dtype)
