"""Which examples each step sees: a pure function of (seed, step), so that a resumed run needs no saved iterator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from zoo.core.errors import UserError
from zoo.core.task import Records


@runtime_checkable
class Sampler(Protocol):
    """The indices of the examples of training step n."""

    def __call__(self, step: int) -> np.ndarray: ...


class ShuffleSampler:
    """Every example once per epoch, in an order drawn anew for each; a batch may straddle two epochs.

    Args:
        size: number of examples.
        batch_size: examples a step.
        seed: the order of epoch e is a function of (seed, e) alone.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        if size < 1:
            raise UserError("the training split is empty: there is nothing to train on")
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self._orders: dict[int, np.ndarray] = {}

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch])))
            self._orders = {e: o for e, o in self._orders.items() if e >= epoch - 2}  # prefetch reads a little ahead
            self._orders[epoch] = generator.permutation(self.size)
        return self._orders[epoch]

    def __call__(self, step: int) -> np.ndarray:
        flat = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(flat, self.size)
        return np.concatenate([self._order(int(e))[within[epochs == e]] for e in np.unique(epochs)])


class _StepSource:  # a grain.sources.RandomAccessDataSource
    """Grain's view of the training stream: element n is the batch of step n."""

    def __init__(self, records: Records, sampler: Sampler, steps: int) -> None:
        self._records, self._sampler, self._steps = records, sampler, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: Any) -> dict[str, np.ndarray]:
        indices = self._sampler(int(step))
        batch = dict(self._records.take(indices))
        batch.setdefault("weight", np.ones(len(indices), np.float32))
        batch["index"] = indices.astype(np.int64)
        return batch


def training_batches(records: Records, sampler: Sampler, start: int, steps: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches of steps ``start`` to ``steps`` - 1, prefetched in this process (workers would outlive a SIGKILL)."""
    import grain

    dataset = grain.MapDataset.source(cast(Any, _StepSource(records, sampler, steps)))
    iterator = iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))
    iterator.set_state({"next_index": start})
    return iterator


def evaluation_batches(records: Records, batch_size: int, multiple: int = 1) -> Iterator[dict[str, np.ndarray]]:
    """The whole split in order. The last batch is short; where it must be a multiple of the number of devices it is filled
    with repeated examples of weight 0."""
    for start in range(0, len(records), batch_size):
        indices = np.arange(start, min(start + batch_size, len(records)))
        missing = -len(indices) % multiple
        padded = np.concatenate([indices, np.full(missing, indices[-1])]) if missing else indices
        batch = dict(records.take(padded))
        weight = np.asarray(batch.get("weight", np.ones(len(padded), np.float32)), np.float32).copy()
        weight[len(indices) :] = 0.0
        yield {**batch, "weight": weight, "index": padded.astype(np.int64)}
