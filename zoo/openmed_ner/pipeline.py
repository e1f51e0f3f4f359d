"""The tagger: texts of any length in, entities with exact places out."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from flax import nnx

from zoo.core import machine
from zoo.core.errors import UserError
from zoo.core.precision import whole_float32
from zoo.openmed_ner.decode import entities, log_probabilities
from zoo.openmed_ner.encoders.common import TokenClassifier, check_batch
from zoo.openmed_ner.labels import LabelMap
from zoo.openmed_ner.tokenize import NO_PIECE, Pieces, Tokenizer
from zoo.openmed_ner.windows import Window, WindowBatch, batches, windows

MOST_AT_ONCE = 8  # batches


@dataclass(frozen=True)
class Entity:
    """A mention found in a text.

    Attributes:
        text: ``input[start:end]``, character for character.
        label: its type.
        start: first character in the input.
        end: past its last character.
        score: in (0, 1]; the geometric mean of the probabilities of its words' labels.
        model: the tagger that found it, where several were asked; else None.
    """

    text: str
    label: str
    start: int
    end: int
    score: float
    model: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON; ``model`` where there is one."""
        return {name: value for name, value in asdict(self).items() if name != "model" or value is not None}


class Tagger:
    """Finds entities in texts of any length.

    Args:
        model: a token classifier; adapters are used as they are (merge them first for speed).
        tokenizer: the one that it was trained with.
        labels: its label map.
        window: most pieces that the model sees at once, special ones included; None for the model's own limit.
        overlap: pieces shared by neighbouring windows; None for a quarter of the window.
        threshold: entities with a lower score are left out; a number, or one for each type.
        batch_tokens: pieces of a batch; None for 512 on a CPU, whose cache holds what lies between two products of so many, and
            16,384 on an accelerator.
        default_type: the type of bare B and I labels.

    Raises:
        UserError: settings that do not fit the model.
    """

    def __init__(
        self,
        model: TokenClassifier,
        tokenizer: Tokenizer,
        labels: LabelMap,
        *,
        window: int | None = None,
        overlap: int | None = None,
        threshold: float | dict[str, float] = 0.0,
        batch_tokens: int | None = None,
        default_type: str = "ENTITY",
    ) -> None:
        limit = model.config.max_length
        window = limit if window is None else window
        if not 3 <= window <= limit:
            raise UserError(f"window={window}: it must lie in 3..{limit}, the model's limit")
        if labels.size != model.n_labels:
            raise UserError(
                f"the label map has {labels.size} labels and the head {model.n_labels}: use the head's own map"
            )
        if tokenizer.vocab_size > model.config.vocab_size:
            raise UserError(
                f"the tokenizer has {tokenizer.vocab_size} pieces and the model {model.config.vocab_size}: use its own tokenizer"
            )
        thresholds = threshold.values() if isinstance(threshold, dict) else [threshold]
        if bad := [t for t in thresholds if not 0 <= t <= 1]:
            raise UserError(f"threshold={bad[0]}: a score lies in [0, 1]")
        names = [kind or default_type for kind in labels.types]
        if isinstance(threshold, dict) and (unknown := sorted(set(threshold) - set(names))):
            raise UserError(f"threshold for {unknown[0]!r}: the model's types are {', '.join(names)}")
        self.tokenizer, self.labels, self.config = tokenizer, labels, model.config
        self.window, self.overlap = window, (window - 2) // 4 if overlap is None else overlap
        windows(_EMPTY, size=window - 2, overlap=self.overlap)  # refuse an impossible overlap now
        if batch_tokens is None:
            batch_tokens = 512 if jax.default_backend() == "cpu" else 16_384
        self.threshold, self.batch_tokens, self.default_type = threshold, batch_tokens, default_type
        self._graphdef, self._state = nnx.split(model)
        self._shapes: set[tuple[int, ...]] = set()  # of batches seen before

    @overload
    def __call__(self, text: str) -> list[Entity]: ...
    @overload
    def __call__(self, text: list[str] | tuple[str, ...]) -> list[list[Entity]]: ...

    def __call__(self, text: str | list[str] | tuple[str, ...]) -> list[Entity] | list[list[Entity]]:
        """The entities of a text in order of their place, or of each text of a list.

        Raises:
            UserError: not a str or a list of str.
        """
        if isinstance(text, str):
            return self._tag([text])[0]
        if not isinstance(text, list | tuple):
            raise UserError(f"text is a {type(text).__name__}: give a str, or a list of str")
        texts = list(text)
        for i, one in enumerate(texts):
            if not isinstance(one, str):
                raise UserError(f"text {i} is a {type(one).__name__}: give a str, or a list of str")
        return self._tag(texts)

    def stream(self, texts: Iterable[str], *, chunk: int = 256) -> Iterator[list[Entity]]:
        """Entities of texts one after another, in memory for ``chunk`` texts at a time.

        Raises:
            UserError: ``texts`` is one str, which would be taken letter by letter, or ``chunk`` is below 1.
        """
        if isinstance(texts, str) or chunk < 1:
            what = "texts is a str: give a list of str" if isinstance(texts, str) else f"chunk={chunk}: at least 1"
            raise UserError(what)
        held: list[str] = []
        for text in texts:
            held.append(text)
            if len(held) == chunk:
                yield from self(held)
                held = []
        if held:
            yield from self(held)

    def word_log_probabilities(self, pieces: Sequence[Pieces]) -> list[np.ndarray]:
        """Log probabilities of the labels of every word, (number of words, labels) for each text.

        A word's are those of its first piece. A word without one (characters that the normaliser drops) goes on with the
        entity around it, or is outside.
        """
        todo = [
            window
            for i, one in enumerate(pieces)
            for window in windows(one, size=self.window - 2, overlap=self.overlap, document=i)
        ]
        scores = [np.zeros((len(one), self.labels.size), np.float32) for one in pieces]
        for batch, logits in self._run(todo, [one.ids for one in pieces]):
            for w, (row, at) in zip(batch.windows, batch.places):
                scores[w.document][w.own] = logits[row, w.own_at(at)]
        out = []
        for one, score in zip(pieces, scores):
            log_p = np.zeros((len(one.first), self.labels.size))
            seen = one.first != NO_PIECE
            if seen.any():
                log_p[seen] = log_probabilities(score[one.first[seen]], self.labels)
            out.append(log_p)
        return out

    def model(self) -> TokenClassifier:
        """The token classifier, for example to save it."""
        return nnx.merge(self._graphdef, self._state)

    def _run(self, todo: list[Window], ids: list[np.ndarray]) -> Iterator[tuple[WindowBatch, np.ndarray]]:
        t = self.tokenizer
        made = batches(todo, ids, cls=t.cls, sep=t.sep, pad=t.pad, limit=self.window, tokens=self.batch_tokens)

        def logits(batch: WindowBatch) -> np.ndarray:
            check_batch(self.config, batch.input_ids)
            return np.asarray(
                _forward(self._graphdef, self._state, batch.input_ids, batch.position_ids, batch.segments)
            )

        # As many batches at once as there are threads: one alone leaves some of them idle between its products.
        with ThreadPoolExecutor(min(machine.threads(), MOST_AT_ONCE)) as pool:
            waiting: deque[tuple[WindowBatch, Future[np.ndarray]]] = deque()
            for batch in made:
                answer = pool.submit(logits, batch)
                if batch.input_ids.shape not in self._shapes:
                    answer.result()  # two threads that meet a new shape would both compile it
                    self._shapes.add(batch.input_ids.shape)
                waiting.append((batch, answer))
                if len(waiting) > MOST_AT_ONCE:
                    first, answer = waiting.popleft()
                    yield first, answer.result()
            for batch, answer in waiting:
                yield batch, answer.result()

    def _tag(self, texts: list[str]) -> list[list[Entity]]:
        read = [self.tokenizer.text(text) for text in texts]
        probabilities = self.word_log_probabilities([pieces for pieces, _ in read])
        found = []
        for text, (pieces, bounds), log_p in zip(texts, read, probabilities):
            seen = np.flatnonzero(pieces.first != NO_PIECE)
            here = []
            for first, last, kind, score in entities(log_p[seen], self.labels):
                label = kind or self.default_type
                start, end = int(bounds[seen[first], 0]), int(bounds[seen[last - 1], 1])
                if score >= self._least(label):
                    here.append(Entity(text[start:end], label, start, end, score))
            found.append(here)
        return found

    def _least(self, label: str) -> float:
        return self.threshold.get(label, 0.0) if isinstance(self.threshold, dict) else self.threshold


_EMPTY = Pieces(np.zeros(0, np.int32), np.zeros((0, 2), np.int32), np.zeros(0, np.int32), np.zeros(0, np.int32))


@functools.partial(jax.jit, static_argnums=0)
@whole_float32
def _forward(graphdef: Any, state: Any, ids: jax.Array, position_ids: jax.Array, segments: jax.Array) -> jax.Array:
    return nnx.merge(graphdef, state)(ids, segments, position_ids=position_ids, segments=segments)


def compiled_programs() -> int:
    """How many programs tagging has compiled in this process: one for each model and shape."""
    return _forward._cache_size()  # pyright: ignore[reportAttributeAccessIssue]


def tagger_from_folder(folder: str | Path, **settings: Any) -> Tagger:
    """The tagger of a Hugging Face folder with a token-classification head, such as a published OpenMed model.

    Args:
        folder: config.json, safetensors weights, tokenizer.json.
        **settings: those of :class:`Tagger`.
    """
    from zoo.openmed_ner.convert import load_token_classifier

    loaded = load_token_classifier(folder)
    assert loaded.labels is not None
    return Tagger(loaded.model, Tokenizer(folder), loaded.labels, **settings)
