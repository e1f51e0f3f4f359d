"""Word pieces with exact places: the ``tokenizers`` library on tokenizer.json, its offsets made fit for use.

Offsets count the input's own characters (code points of the str), whatever the normaliser did. What fast tokenizers give is
mended: a piece never starts with white space (DeBERTa and XLM-R include the space before a word), pieces never overlap
(byte-level pieces of one emoji, a lone "▁"), and a word that the normaliser drops whole keeps its place in the count.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.errors import DamagedError, UserError, one_line
from zoo.openmed_ner.hf_folder import read_json

NO_PIECE = -1


@dataclass(frozen=True)
class Pieces:
    """One text or sentence in pieces, without special ones.

    Attributes:
        ids: int32, (n,), piece ids.
        offsets: int32, (n, 2), characters [start, end) of each piece in the text (of a sentence given as words: in its words
            joined by spaces). In order, apart, without white space; empty where a piece shares its characters with the
            piece before.
        words: int32, (n,), the word of each piece; non-decreasing.
        first: int32, (number of words,), the first piece of each word, NO_PIECE where the word has none.
    """

    ids: np.ndarray
    offsets: np.ndarray
    words: np.ndarray
    first: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer:
    """A Hugging Face tokenizer read from tokenizer.json, without truncation or padding.

    Args:
        folder: holds tokenizer.json; tokenizer_config.json, where there is one, names the special pieces.

    Raises:
        UserError: there is no tokenizer.json, or it lacks a piece that every input needs.
        DamagedError: it cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tokenizers import Tokenizer as Fast
        except ModuleNotFoundError:
            raise UserError("the tokenizers library is absent: pip install 'sci-model-zoo[ner]'") from None
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"{path}: no such file: save the tokenizer in its fast form (tokenizer.json)")
        try:
            self._fast = Fast.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise DamagedError(f"{path}: not a tokenizer ({one_line(str(error))}): get the file again") from None
        self._fast.no_truncation()
        self._fast.no_padding()
        # "[SEP]" in a text is five characters of the text, not an order to the model.
        self._fast.encode_special_tokens = True
        self.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
        named = path.with_name("tokenizer_config.json")
        special = read_json(named) if named.is_file() else {}
        self.cls = self._special(special, "cls_token", ("[CLS]", "<s>"))
        self.sep = self._special(special, "sep_token", ("[SEP]", "</s>"))
        self.pad = self._special(special, "pad_token", ("[PAD]", "<pad>"))
        self.mask = self._special(special, "mask_token", ("[MASK]", "<mask>"), required=False)
        self.unknown = self._special(special, "unk_token", ("[UNK]", "<unk>"), required=False)

    def _special(self, named: dict[str, Any], key: str, usual: tuple[str, ...], required: bool = True) -> int:
        given = named.get(key)
        given = given.get("content") if isinstance(given, dict) else given
        for piece in (given, *usual):
            if piece is not None and (number := self._fast.token_to_id(piece)) is not None:
                return number
        if required:
            raise UserError(f"the tokenizer has no {key} (tried {', '.join(usual)}): name it in tokenizer_config.json")
        return NO_PIECE

    @property
    def vocab_size(self) -> int:
        """Number of pieces, added ones included."""
        return self._fast.get_vocab_size(with_added_tokens=True)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Piece ids of texts without their places: what masked language modelling needs, several times as fast."""
        forbidden = {self.cls, self.sep, self.pad, self.mask}
        out = []
        for start in range(0, len(texts), 1024):
            for one in self._fast.encode_batch_fast(
                [_readable(t) for t in texts[start : start + 1024]], add_special_tokens=False
            ):
                found = one.ids
                if self.unknown != NO_PIECE and not forbidden.isdisjoint(found):
                    found = [self.unknown if i in forbidden else i for i in found]
                out.append(found)
        return out

    def piece(self, number: int) -> str:
        """The piece of an id, as the vocabulary spells it."""
        return self._fast.id_to_token(number) or ""

    def sentences(self, sentences: Sequence[Sequence[str]]) -> list[Pieces]:
        """Sentences given as words, as corpora have them: they are joined by single spaces; no word may hold white space.

        Raises:
            UserError: a word is empty or holds white space.
        """
        spans, texts = [], []
        for words in sentences:
            bad = next((w for w in words if not w or any(c.isspace() for c in w)), None)
            if bad is not None:
                raise UserError(f"word {bad!r}: a word is one or more characters without white space: split it first")
            ends = np.cumsum([len(w) + 1 for w in words]) - 1 if words else np.zeros(0)
            spans.append(np.stack([ends - [len(w) for w in words], ends], 1).astype(np.int32).reshape(-1, 2))
            texts.append(_readable(" ".join(words)))
        encoded = self._fast.encode_batch(texts, add_special_tokens=False)
        return [self._align(e, text, bounds) for e, text, bounds in zip(encoded, texts, spans)]

    def text(self, text: str) -> tuple[Pieces, np.ndarray]:
        """A text in words of :func:`word_spans`; words that share a piece are made one.

        Returns:
            The pieces and int32 (number of words, 2), the characters of each word, in order and apart.
        """
        encoded = self._fast.encode(_readable(text), add_special_tokens=False)
        bounds = word_spans(text)
        pieces = self._align(encoded, text, bounds)
        shared = (np.diff(pieces.first, prepend=NO_PIECE) == 0) & (pieces.first != NO_PIECE)
        if shared.any():
            head = ~shared
            last = np.append(np.flatnonzero(head)[1:], len(bounds)) - 1
            bounds = np.stack([bounds[head, 0], bounds[last, 1]], 1)
            pieces = self._align(encoded, text, bounds)
        return pieces, bounds

    def _align(self, encoding: Any, text: str, bounds: np.ndarray) -> Pieces:
        ids = np.asarray(encoding.ids, np.int32)
        if self.unknown != NO_PIECE:
            # A unigram model may spell "</s>" in a text with the special piece itself, which would end the input there.
            ids = np.where(np.isin(ids, [self.cls, self.sep, self.pad, self.mask]), np.int32(self.unknown), ids)
        return _align(ids, np.asarray(encoding.offsets, np.int32).reshape(-1, 2), text, bounds)


_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_])+|[^\w\s]|_")


def word_spans(text: str) -> np.ndarray:
    """The words of a text: runs of letters and digits with their combining marks; every other character but space alone.

    Corpora cut their words at punctuation in the same way, and so do BERT's tokenizers.

    Returns:
        int32, (number of words, 2), characters [start, end); together they hold all that is not white space.
    """
    if text.isascii():  # no combining marks
        return np.asarray([m.span() for m in _WORD.finditer(text)], np.int32).reshape(-1, 2)
    spans: list[list[int]] = []
    after_mark = False
    for match in _WORD.finditer(text):
        start, end = match.span()
        mark = unicodedata.category(text[start])[0] == "M"
        if spans and spans[-1][1] == start and (mark or (after_mark and text[start].isalnum())):
            spans[-1][1] = end
        else:
            spans.append([start, end])
        after_mark = mark
    return np.asarray(spans, np.int32).reshape(-1, 2)


def _readable(text: str) -> str:
    """Lone surrogates, which no UTF-8 text has, as U+FFFD: one character for one, so that places stay."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", text)


def _mend(offsets: np.ndarray, text: str) -> np.ndarray:
    """Offsets without surrounding white space, inside the text, in order and without overlap."""
    if not _needs_mending(offsets, text):
        return offsets
    out, floor = offsets.copy(), 0
    for i, (start, end) in enumerate(offsets.tolist()):
        start, end = max(floor, min(start, len(text))), min(end, len(text))
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        out[i] = start, max(start, end)
        floor = out[i, 1]
    return out


def _needs_mending(offsets: np.ndarray, text: str) -> bool:
    start, end = offsets[:, 0], offsets[:, 1]
    if not len(offsets) or end[-1] > len(text) or (start >= end).any() or (start[1:] < end[:-1]).any():
        return len(offsets) > 0
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    spaces = np.asarray([ord(c) for c in set(text) if c.isspace()], np.uint32)
    return bool(np.isin(codes[start], spaces).any() or np.isin(codes[end - 1], spaces).any())


def _align(ids: np.ndarray, raw: np.ndarray, text: str, bounds: np.ndarray) -> Pieces:
    """Pieces with the words ``bounds`` that they belong to."""
    offsets = _mend(raw, text)
    first = np.full(len(bounds), NO_PIECE, np.int32)
    if not len(bounds):  # white space alone: what a tokenizer makes of it belongs to no word
        return Pieces(ids[:0], offsets[:0], ids[:0], first)
    start, end = offsets[:, 0], offsets[:, 1]
    some = end > start
    low = np.searchsorted(bounds[:, 1], start, "right")
    high = np.searchsorted(bounds[:, 0], end, "left") - 1
    # A piece without characters of its own belongs to the word before it.
    owner = np.maximum.accumulate(np.where(some, low, 0)).astype(np.int32) if len(ids) else ids
    for i in np.flatnonzero(some)[::-1].tolist():
        first[low[i] : high[i] + 1] = i
    return Pieces(ids, offsets, owner, first)
