"""What a release of ``task: mlm`` does for a user: fills gaps and measures how well it knows a text."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.core.errors import UserError
from zoo.core.precision import whole_float32
from zoo.core.release import Release
from zoo.core.train import load_params, load_task
from zoo.openmed_ner.lora import drop_adapters, merge_adapters
from zoo.openmed_ner.mlm.rows import pack
from zoo.openmed_ner.mlm.task import DomainTask

GAP = "[MASK]"
_ROWS = 16


@dataclass(frozen=True)
class Guess:
    """A piece for a gap and its probability."""

    piece: str
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


class ReleasedMaskedLM:
    """The masked language model of a release: base, adapters merged, vocabulary head.

    Args:
        release: the checked release.

    Attributes:
        info: the release's card as data.

    Raises:
        UserError: the base cannot be had or is another than the release was trained on.
        DamagedError: the release's tensors do not fit its configuration.
    """

    def __init__(self, release: Release) -> None:
        task = load_task(release)
        assert isinstance(task, DomainTask)
        self.info, self.task, self.tokenizer = release.info, task, task.tokenizer
        graphdef, _, rest = nnx.split(task.init(jax.random.key(task.config.seed)), task.trainable(), ...)
        model = nnx.merge(graphdef, load_params(task, release), rest)
        merge_adapters(model)
        drop_adapters(model)
        self.length = min(task.config.data.length, model.config.max_length)
        self._graphdef, self._state = nnx.split(model)

    def fill(self, text: str, *, top: int = 5) -> list[list[Guess]]:
        """Guesses for every ``[MASK]`` of a text, the most probable first.

        Args:
            text: with at least one ``[MASK]``, at most as long as the rows of training.
            top: guesses for each.

        Raises:
            UserError: no gap, a text that is too long, or ``top`` below 1.
        """
        parts = text.split(GAP)
        if len(parts) < 2:
            raise UserError(f"{text[:40]!r} has no {GAP}: write {GAP} where a word is to be guessed")
        if not 1 <= top <= self.tokenizer.vocab_size:
            raise UserError(f"top={top}: it must lie in 1..{self.tokenizer.vocab_size}")
        ids, gaps = [self.tokenizer.cls], []
        for i, part in enumerate(parts):
            if i:
                gaps.append(len(ids))
                ids.append(self.tokenizer.mask)
            ids += self.tokenizer.text(part)[0].ids.tolist()
        ids.append(self.tokenizer.sep)
        if len(ids) > self.length:
            raise UserError(
                f"{len(ids)} pieces are more than the {self.length} of training: cut the text around its {GAP}"
            )
        row = np.full((1, self.length), self.tokenizer.pad, np.int32)
        row[0, : len(ids)] = ids
        mask = (np.arange(self.length) < len(ids)).astype(np.int32)[None]
        scores = _scores(self._graphdef, self._state, row, mask, jnp.asarray([gaps], jnp.int32))
        found = []
        for p in np.asarray(jax.nn.softmax(scores[0], axis=-1)):
            best = np.argsort(-p)[:top]
            found.append([Guess(self.tokenizer.piece(int(i)), float(p[i])) for i in best])
        return found

    def perplexity(self, texts: str | list[str]) -> float:
        """exp of the mean negative log-likelihood of hidden pieces of a text, hidden as in training (15 % at a time, once).

        Args:
            texts: a text, or several that are packed into rows one after another.

        Raises:
            UserError: together they do not fill a row.
        """
        rows = pack([texts] if isinstance(texts, str) else texts, self.tokenizer, self.length)
        if not len(rows):
            raise UserError(
                f"the text does not fill a row of {self.length} pieces: a shorter one gives no stable number"
            )
        outputs = []
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            weight = (np.arange(_ROWS) < len(part)).astype(np.float32)
            ids = np.concatenate([part, np.repeat(part[:1], _ROWS - len(part), 0)])
            batch = {"input_ids": ids, "row": np.arange(start, start + _ROWS, dtype=np.int32)}
            outputs.append(({"weight": weight}, _evaluate(self.task, self._graphdef, self._state, batch)))
        return self.task.summarise(outputs)["perplexity"]


@functools.partial(jax.jit, static_argnums=0)
@whole_float32
def _scores(graphdef: Any, params: Any, ids: jax.Array, mask: jax.Array, positions: jax.Array) -> jax.Array:
    return nnx.merge(graphdef, params)(ids, mask, positions=positions)


@functools.partial(jax.jit, static_argnums=(0, 1))
@whole_float32
def _evaluate(task: DomainTask, graphdef: Any, params: Any, batch: Any) -> Any:
    return task.evaluate(nnx.merge(graphdef, params), batch)


def predict_rows(model: ReleasedMaskedLM, sources: list[Any]) -> list[dict[str, Any]]:
    """What ``zoo predict`` shows: guesses for each gap of texts with gaps, the perplexity of the others together."""
    rows: list[dict[str, Any]] = []
    whole = [s for s in sources if GAP not in s.text]
    for source in sources:
        if GAP in source.text:
            for i, guesses in enumerate(model.fill(source.text)):
                rows += [{"id": source.id, "gap": i + 1, **guess.to_dict()} for guess in guesses]
    if whole and rows:
        raise UserError(
            f"{whole[0].id} has no {GAP} where others have: give texts with gaps, or texts to measure, not both"
        )
    if whole:
        rows.append({"texts": len(whole), "perplexity": model.perplexity([s.text for s in whole])})
    return rows
