"""Documents of any length in windows of bounded length: each window overlaps the next and owns its middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from zoo.core.errors import UserError
from zoo.openmed_ner.tokenize import NO_PIECE, Pieces

# Lengths that inputs are padded to, special pieces included: each is compiled once for training and evaluation, some seconds each.
# Padding to fewer would lengthen an epoch of sentences by a sixth.
LENGTHS = (16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256, 384, 512)
# Lengths of rows that windows are packed into. Shorter ones leave more of a row empty, longer ones cost more attention.
ROW_LENGTHS = (64, 128, 256, 512)


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

    @property
    def own(self) -> slice:
        """Its pieces to label, in the document."""
        return slice(self.own_start, self.own_end)

    def own_at(self, at: int) -> slice:
        """The same in a row where its first special piece stands at ``at``."""
        shift = at + 1 - self.start
        return slice(self.own_start + shift, self.own_end + shift)


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
    """Windows in rows of one length, as the model takes them; several that are short share a row and do not see each other.

    Attributes:
        windows: those of the batch.
        places: row and column of each window's first special piece.
        input_ids: int32, (rows, length), special pieces included.
        position_ids: int32, (rows, length), from 0 in each window.
        segments: int32, (rows, length); 0 at padding, else which window of its row a piece belongs to, from 1.
    """

    windows: list[Window]
    places: list[tuple[int, int]]
    input_ids: np.ndarray
    position_ids: np.ndarray
    segments: np.ndarray


def batches(
    todo: Sequence[Window], ids: Sequence[np.ndarray], *, cls: int, sep: int, pad: int, limit: int, tokens: int
) -> Iterator[WindowBatch]:
    """Windows packed into rows of few lengths, in batches of at most ``tokens`` pieces; shapes come from a small fixed set.

    Args:
        todo: windows of any documents.
        ids: piece ids of each document.
        cls, sep, pad: special pieces put before, after and behind a window.
        limit: the model's longest input.
        tokens: pieces of a batch, if one row has no more; rows are a power of two, so that the last batch adds few shapes.
    """
    for length, rows in packed(todo, limit).items():
        most = most_rows(length, tokens)
        for at in range(0, len(rows), most):
            filled, wide = rows[at : at + most], length
            if len(filled) == 1:  # a short text by itself need not wait for a long row
                wide = padded_length(sum(len(w) + 2 for w in filled[0]), limit)
            yield laid_out(filled, (1 << (len(filled) - 1).bit_length(), wide), ids, cls=cls, sep=sep, pad=pad)


def row_lengths(limit: int) -> list[int]:
    """The lengths of rows that windows are packed into where the longest input has ``limit`` pieces."""
    return [*(n for n in ROW_LENGTHS if n < limit), limit]


def most_rows(length: int, tokens: int) -> int:
    """How many rows of ``length`` a batch of ``tokens`` pieces holds: a power of two."""
    return 1 << (max(tokens // length, 1).bit_length() - 1)


def packed(todo: Sequence[Window], limit: int) -> dict[int, list[list[Window]]]:
    """Windows in rows of few lengths, shortest first, each at most ``limit`` pieces long.

    Longest first, a window goes where it leaves least room, or into a new row, the shortest that holds it.
    """
    lengths = row_lengths(limit)
    rows: dict[int, list[list[Window]]] = {length: [] for length in lengths}
    room: list[list[list[Window]]] = [[] for _ in range(limit + 1)]  # by how many pieces are free: rows
    for window in sorted(todo, key=len, reverse=True):
        size = len(window) + 2
        free = next((n for n in range(size, limit + 1) if room[n]), None)
        if free is not None:
            row = room[free].pop()
        else:
            free = next(n for n in lengths if n >= size)
            row = []
            rows[free].append(row)
        row.append(window)
        room[free - size].append(row)
    return rows


def laid_out(
    filled: Sequence[Sequence[Window]],
    shape: tuple[int, int],
    ids: Sequence[np.ndarray],
    *,
    cls: int,
    sep: int,
    pad: int,
) -> WindowBatch:
    """Rows of windows as arrays.

    Args:
        filled: the windows of each row.
        shape: rows and length; what lies behind a row's windows, and below the rows, is padding.
        ids: piece ids of each document.
        cls, sep, pad: special pieces put before, after and behind a window.
    """
    input_ids, positions, segments = np.full(shape, pad, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    windows, places = [], []
    for i, row in enumerate(filled):
        at = 0
        for number, window in enumerate(row, 1):
            n = len(window) + 2
            input_ids[i, at], input_ids[i, at + n - 1] = cls, sep
            input_ids[i, at + 1 : at + n - 1] = ids[window.document][window.start : window.end]
            positions[i, at : at + n], segments[i, at : at + n] = np.arange(n), number
            windows.append(window)
            places.append((i, at))
            at += n
    return WindowBatch(windows, places, input_ids, positions, segments)
