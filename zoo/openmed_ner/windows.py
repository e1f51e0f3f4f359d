"""Documents of any length in windows of bounded length: each window overlaps the next and owns its middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from zoo.core.errors import UserError
from zoo.openmed_ner.tokenize import NO_PIECE, Pieces

# Lengths that inputs are padded to, special pieces included: each is compiled once for tagging, and for training and evaluation, some
# seconds each. Padding to fewer would lengthen an epoch of sentences by a sixth.
LENGTHS = (16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class Window:
    """Pieces [start, end) of a document, of which [own_start, own_end) are this window's to label.

    Attributes:
        document: index of the document.
        start, end: what the model sees.
        own_start, own_end: what its answer counts for; over all windows each piece is owned once.
    """

    document: int
    start: int
    end: int
    own_start: int
    own_end: int

    def __len__(self) -> int:
        return self.end - self.start


def windows(pieces: Pieces, *, size: int, overlap: int, document: int = 0) -> list[Window]:
    """Cut a document's pieces into windows.

    Windows begin and end at words wherever a word fits into one; a border between two owners lies in the middle of their
    overlap, at a word.

    Args:
        pieces: the document.
        size: most pieces of a window, special ones not counted.
        overlap: pieces that neighbours share, at least: the context on either side of a border is half of it.
        document: the number put into the windows.

    Raises:
        UserError: size below 1, or an overlap that leaves no way forward.
    """
    if size < 1:
        raise UserError(f"window size={size}: it must be at least 1")
    if not 0 <= overlap <= size // 2:
        raise UserError(f"window overlap={overlap}: it must lie in 0..{size // 2} for size={size}")
    n = len(pieces)
    if n <= size:
        return [Window(document, 0, n, 0, n)] if n else []
    starts = np.unique(pieces.first[pieces.first != NO_PIECE])  # pieces that begin a word

    def word_start(at: int, after: int) -> int:
        """The last word that begins at or before ``at``, if it begins after ``after``; else ``at`` itself."""
        i = int(np.searchsorted(starts, at, "right")) - 1
        return int(starts[i]) if i >= 0 and starts[i] > after else at

    cuts = [(0, size)]
    while cuts[-1][1] < n:
        low, high = cuts[-1]
        high = word_start(high, low + overlap)
        cuts[-1] = low, high
        begin = word_start(high - overlap, low)
        cuts.append((begin, min(begin + size, n)))
    borders = [0]
    for (_, high), (begin, _) in pairwise(cuts):
        borders.append(word_start((begin + high) // 2, max(begin - 1, borders[-1])))
    borders.append(n)
    return [Window(document, a, b, borders[i], borders[i + 1]) for i, (a, b) in enumerate(cuts)]


def padded_length(length: int, limit: int) -> int:
    """The smallest of LENGTHS that holds ``length`` pieces, at most ``limit``."""
    return next((n for n in LENGTHS if length <= n <= limit), limit)


@dataclass(frozen=True)
class WindowBatch:
    """Windows of about one length, as the model takes them.

    Attributes:
        windows: the real ones; rows beyond them are padding.
        input_ids: int32, (rows, length), special pieces included.
        attention_mask: int32, (rows, length).
    """

    windows: list[Window]
    input_ids: np.ndarray
    attention_mask: np.ndarray


def batches(
    todo: Sequence[Window], ids: Sequence[np.ndarray], *, cls: int, sep: int, pad: int, limit: int, tokens: int
) -> Iterator[WindowBatch]:
    """Windows sorted by length in batches of about ``tokens`` pieces; shapes come from a small fixed set.

    Args:
        todo: windows of any documents.
        ids: piece ids of each document.
        cls, sep, pad: special pieces put before, after and behind a window.
        limit: the model's longest input.
        tokens: pieces of a batch; rows are a power of two, so that the last batch adds few shapes.
    """
    order = sorted(todo, key=len)
    at = 0
    while at < len(order):
        length = padded_length(len(order[at]) + 2, limit)
        most = max(1, 1 << (max(tokens // length, 1).bit_length() - 1))
        chosen = [w for w in order[at : at + most] if len(w) + 2 <= length]
        rows = min(most, 1 << (len(chosen) - 1).bit_length())
        input_ids = np.full((rows, length), pad, np.int32)
        mask = np.zeros((rows, length), np.int32)
        for row, window in enumerate(chosen):
            n = len(window) + 2
            input_ids[row, 0], input_ids[row, n - 1] = cls, sep
            input_ids[row, 1 : n - 1] = ids[window.document][window.start : window.end]
            mask[row, :n] = 1
        yield WindowBatch(chosen, input_ids, mask)
        at += len(chosen)
