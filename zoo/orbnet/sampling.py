"""Batches of examples of like size, so that padding to the largest costs little."""

from __future__ import annotations

import numpy as np

from zoo.core.errors import UserError


class SizedSampler:
    """Every example once an epoch; a batch holds examples of like size, drawn anew each epoch.

    An epoch's permutation is cut into pools of ``pool`` batches, each pool sorted by size and cut into batches, and the order
    of all batches is shuffled: a function of (seed, epoch) alone. What does not fill the last batch comes in a later epoch.

    Args:
        sizes: of the examples, (n,).
        batch_size: examples a step.
        seed: of the order.
        pool: batches that are sorted together; more make batches tighter and less random.
    """

    def __init__(self, sizes: np.ndarray, batch_size: int, seed: int, pool: int = 32) -> None:
        if len(sizes) < 1:
            raise UserError("the training split is empty: there is nothing to train on")
        self._sizes, self._batch, self._seed, self._pool = np.asarray(sizes), batch_size, seed, pool
        self._epochs: dict[int, np.ndarray] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return max(len(self._sizes) // self._batch, 1)

    def _order(self, epoch: int) -> np.ndarray:
        """The batches of an epoch, (steps, batch)."""
        if epoch not in self._epochs:
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, epoch])))
            steps, n = self.steps_per_epoch, len(self._sizes)
            drawn = generator.permutation(n)
            if n < self._batch:  # fewer examples than a batch: some twice
                drawn = np.concatenate([drawn, generator.choice(n, self._batch - n)])
            drawn = drawn[: steps * self._batch]
            pools = np.array_split(np.arange(steps), -(-steps // self._pool))
            sorted_pools = []
            for pool in pools:
                own = drawn[pool[0] * self._batch : (pool[-1] + 1) * self._batch]
                sorted_pools.append(own[np.argsort(self._sizes[own], kind="stable")])
            batches = np.concatenate(sorted_pools).reshape(steps, self._batch)
            self._epochs = {e: o for e, o in self._epochs.items() if e >= epoch - 2}  # prefetch reads a little ahead
            self._epochs[epoch] = batches[generator.permutation(steps)]
        return self._epochs[epoch]

    def __call__(self, step: int) -> np.ndarray:
        epoch, within = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[within]
