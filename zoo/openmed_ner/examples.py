"""Tagged sentences as arrays: words of the tagger's own kind, labels at their first pieces, batches by length."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from zoo.core.errors import UserError
from zoo.core.task import Split
from zoo.openmed_ner.corpora.records import Sentence
from zoo.openmed_ner.decode import entities, log_probabilities
from zoo.openmed_ner.labels import OUTSIDE, LabelMap
from zoo.openmed_ner.tokenize import NO_PIECE, Pieces, Tokenizer
from zoo.openmed_ner.windows import Window, laid_out, padded_length, windows
from zoo.openmed_ner.windows import packed as packed_rows

IGNORED = -1


class TaggedRecords:
    """The examples of a split, sorted by length: a row for each window of each sentence, or rows that several windows share.

    A corpus's word may be several words to the tagger ("IL-2" is IL, -, 2): each gets a label, I- after the first, so that training
    sees what tagging will. Scores are taken on the corpus's own words.

    Args:
        sentences: the split.
        tokenizer: the base's.
        labels: the label map.
        max_length: longest input in pieces, special ones included.
        split: which split it is; its number goes with every batch.
        packed: short windows share rows of few lengths and do not see each other, so that hardly any of a batch is padding.

    Raises:
        UserError: a training tag is not in the label map, or no sentence has a piece.
    """

    def __init__(
        self,
        sentences: Sequence[Sentence],
        tokenizer: Tokenizer,
        labels: LabelMap,
        max_length: int,
        split: Split,
        *,
        packed: bool = False,
    ) -> None:
        self.sentences, self.labels, self.max_length, self.split = sentences, labels, max_length, split
        self.tokenizer, self.packed = tokenizer, packed
        self.pieces: list[Pieces] = []
        self._ids: list[np.ndarray] = []
        self._owner: list[np.ndarray] = []  # corpus word of each of the tagger's words
        self._targets: list[np.ndarray] = []
        made: list[Window] = []
        overlap = (max_length - 2) // 4
        for number, sentence in enumerate(sentences):
            pieces, bounds = tokenizer.text(" ".join(sentence.words))
            starts = np.cumsum([0] + [len(word) + 1 for word in sentence.words])
            owner = np.searchsorted(starts, bounds[:, 0], "right") - 1
            target = np.full(len(pieces), IGNORED, np.int32)
            for word, (first, source) in enumerate(zip(pieces.first.tolist(), owner.tolist())):
                if first != NO_PIECE:
                    tag = sentence.tags[source]
                    continued = word > 0 and owner[word - 1] == source and tag[0] == "B"
                    tag = f"I{tag[1:]}" if continued else tag
                    # A type that training never saw cannot be predicted; the scores count it as missed.
                    if split is Split.TRAIN or tag in labels.names:
                        target[first] = labels.id(tag)
            self.pieces.append(pieces)
            self._ids.append(pieces.ids)
            self._owner.append(owner)
            self._targets.append(target)
            made += windows(pieces, size=max_length - 2, overlap=overlap, document=number)
        if not made:
            raise UserError("the split holds no sentence with a piece: check the corpus and the tokenizer")
        alone = groupby(sorted(made, key=len), lambda w: len(w) + 2)
        by_length = packed_rows(made, max_length) if packed else {n: [[w] for w in group] for n, group in alone}
        self.rows = [row for rows in by_length.values() for row in rows]
        self.lengths = np.repeat(list(by_length), [len(rows) for rows in by_length.values()])

    def __len__(self) -> int:
        return len(self.rows)

    @functools.cached_property
    def mean_labels(self) -> float:
        """Labelled pieces of a mean example."""
        return sum(int((target != IGNORED).sum()) for target in self._targets) / len(self)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """int32 input_ids, attention_mask, labels (IGNORED where there is none), (batch, length of a fixed set); split, (batch,).

        Of packed rows position_ids and segments too. And float32 mean_labels, (batch,): as data, so that every corpus of as many
        labels is trained by the same compiled step.
        """
        chosen = [self.rows[int(i)] for i in indices]
        length = padded_length(int(self.lengths[indices].max()), self.max_length)
        t = self.tokenizer
        batch = laid_out(chosen, (len(chosen), length), self._ids, cls=t.cls, sep=t.sep, pad=t.pad)
        labels = np.full((len(chosen), length), IGNORED, np.int32)
        for w, (row, at) in zip(batch.windows, batch.places):
            labels[row, w.own_at(at)] = self._targets[w.document][w.own]
        number = np.full(len(chosen), list(Split).index(self.split), np.int32)
        mean = np.full(len(chosen), self.mean_labels, np.float32)
        arrays = {
            "input_ids": batch.input_ids,
            "attention_mask": np.minimum(batch.segments, 1),
            "labels": labels,
            "split": number,
            "mean_labels": mean,
        }
        if self.packed:
            arrays |= {"position_ids": batch.position_ids, "segments": batch.segments}
        return arrays

    def fingerprint(self) -> str:
        """A hash of sentences, tags, tokenizer and length, and of whether rows are shared."""
        shared = " packed" if self.packed else ""
        digest = hashlib.sha256(f"{self.tokenizer.fingerprint} {self.max_length}{shared}".encode())
        for sentence in self.sentences:
            digest.update("\x1f".join((*sentence.words, *sentence.tags)).encode() + b"\x1e")
        return digest.hexdigest()[:16]

    def predictions(self, outputs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[list[tuple[int, int, str]]]:
        """Predicted entities of each sentence, on the corpus's words.

        Args:
            outputs: (example numbers, logits (batch, length, labels)) that together hold every example.
        """
        scores = [np.zeros((len(p), self.labels.size), np.float32) for p in self.pieces]
        for indices, logits in outputs:
            for row, i in enumerate(indices.tolist()):
                at = 0
                for w in self.rows[i]:
                    scores[w.document][w.own] = logits[row, w.own_at(at)]
                    at += len(w) + 2
        for pieces, owner, score in zip(self.pieces, self._owner, scores):
            seen = np.flatnonzero(pieces.first != NO_PIECE)
            yield self._on_words(owner[seen], log_probabilities(score[pieces.first[seen]], self.labels))

    def tagged(self, log_p: Sequence[np.ndarray]) -> Iterator[tuple[list[tuple[int, int, str]], list[str]]]:
        """Predicted entities of each sentence on the corpus's words, and the best label of each word by itself.

        Args:
            log_p: log probabilities of the tagger's words of each sentence, (words, labels), as
                :meth:`zoo.openmed_ner.pipeline.Tagger.word_log_probabilities` gives them for ``self.pieces``.
        """
        for sentence, pieces, owner, score in zip(self.sentences, self.pieces, self._owner, log_p):
            seen = np.flatnonzero(pieces.first != NO_PIECE)
            tags = [OUTSIDE] * len(sentence.words)
            for word in reversed(seen.tolist()):  # of a word that is several to the tagger, the first one's label stays
                tags[int(owner[word])] = self.labels.names[int(score[word].argmax())] or OUTSIDE
            yield self._on_words(owner[seen], score[seen]), tags

    def _on_words(self, owner: np.ndarray, log_p: np.ndarray) -> list[tuple[int, int, str]]:
        found, past = [], 0
        for first, last, kind, _ in entities(log_p, self.labels):
            start, end = int(owner[first]), int(owner[last - 1]) + 1
            if start >= past:  # two entities in one word of the corpus: its tags can hold the first alone
                found.append((start, end, kind))
                past = end
        return found


class LengthSampler:
    """Batches of examples of about one length, every example once an epoch; batch n is a function of (seed, n) alone.

    Args:
        lengths: of the examples.
        batch_size: examples a step.
        seed: the epoch's order is drawn from (seed, epoch).
        pool: batches that are sorted together.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, pool: int = 50) -> None:
        if len(lengths) == 0:
            raise UserError("the training split is empty: there is nothing to train on")
        self.lengths, self.batch_size, self.seed, self.pool = lengths, batch_size, seed, pool
        self.batches = -(-len(lengths) // batch_size)
        self._epochs: dict[int, np.ndarray] = {}

    def __call__(self, step: int) -> np.ndarray:
        epoch, within = divmod(step, self.batches)
        return self._epoch(epoch)[within]

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch])))
            order = generator.permutation(len(self.lengths))
            missing = self.batches * self.batch_size - len(order)
            order = np.concatenate([order, np.resize(order, missing)])  # the last batch is filled with others
            span = self.batch_size * self.pool
            pools = [order[i : i + span] for i in range(0, len(order), span)]
            ordered = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools])
            table = ordered.reshape(self.batches, self.batch_size)[generator.permutation(self.batches)]
            self._epochs = {e: t for e, t in self._epochs.items() if e >= epoch - 2} | {epoch: table}
        return self._epochs[epoch]
