"""Text packed into rows of one length, and the masking of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from zoo.core.errors import UserError
from zoo.core.task import Split
from zoo.openmed_ner.tokenize import Tokenizer

# BERT's masking (Devlin et al. 2019): of the chosen pieces 80 % become [MASK], 10 % another piece, 10 % stay.
SHARE_MASK, SHARE_OTHER = 0.8, 0.1


def pack(passages: Iterable[str], tokenizer: Tokenizer, length: int) -> np.ndarray:
    """Passages one after another in full rows [CLS] ... [SEP], with a [SEP] between two passages.

    Args:
        passages: the text.
        tokenizer: the base's.
        length: pieces of a row.

    Returns:
        int32, (rows, length); what does not fill the last row is left out.
    """
    parts: list[int] = []
    for ids in tokenizer.ids(list(passages)):
        if ids:
            parts += ids
            parts.append(tokenizer.sep)
    stream = np.asarray(parts, np.int32)
    inner = length - 2
    count = len(stream) // inner
    rows = np.empty((count, length), np.int32)
    rows[:, 0], rows[:, -1] = tokenizer.cls, tokenizer.sep
    rows[:, 1:-1] = stream[: count * inner].reshape(count, inner)
    return rows


class TextRecords:
    """The rows of a split.

    Args:
        rows: int32, (rows, length).
        split: which.

    Raises:
        UserError: there is no row.
    """

    def __init__(self, rows: np.ndarray, split: Split) -> None:
        if not len(rows):
            raise UserError(
                f"the {split} text does not fill one row of {rows.shape[1]} pieces: give more text, or a larger data.held_out"
            )
        self.rows, self.split = rows, split

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """int32 input_ids (batch, length) and row (batch,), the number that a held-out row's masking follows from."""
        return {"input_ids": self.rows[indices], "row": indices.astype(np.int32)}

    def fingerprint(self) -> str:
        """A hash of the rows."""
        return hashlib.sha256(self.rows.tobytes()).hexdigest()[:16]


def mask_row(
    key: jax.Array, ids: jax.Array, *, chosen: int, special: tuple[int, ...], mask: int, vocab: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Choose pieces of a row and hide them.

    A fixed number is chosen, so that the vocabulary product has a fixed shape.

    Args:
        key: random key.
        ids: int32, (length,).
        chosen: how many.
        special: ids that are never chosen.
        mask: the id of [MASK].
        vocab: another piece is drawn from this many ids.

    Returns:
        the hidden row (length,), the chosen positions (chosen,), and 1.0 where a position counts, 0.0 where the row has too
        few pieces (chosen,).
    """
    where, how, what = jax.random.split(key, 3)
    eligible = ~jnp.isin(ids, jnp.asarray(special, ids.dtype))
    score = jnp.where(eligible, jax.random.uniform(where, ids.shape), -1.0)
    best, positions = jax.lax.top_k(score, chosen)
    counts = (best >= 0).astype(jnp.float32)
    fate = jax.random.uniform(how, (chosen,))
    other = jax.random.randint(what, (chosen,), 0, vocab, ids.dtype)
    old = ids[positions]
    new = jnp.where(fate < SHARE_MASK, mask, jnp.where(fate < SHARE_MASK + SHARE_OTHER, other, old))
    return ids.at[positions].set(jnp.where(counts > 0, new, old)), positions.astype(jnp.int32), counts
