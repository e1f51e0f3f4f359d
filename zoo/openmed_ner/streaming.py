"""Tagging without end: texts are read, tagged and written in chunks, and a run that was stopped goes on where it was.

What is done stands in ``.<out>.partial-<settings>`` beside the output, a line a text, until the last line is written; then it gets
the output's name. The name holds a hash of the models and thresholds, so that a run of others does not go on with it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from zoo.core.atomic import locked, sync_folder
from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.records import refuse
from zoo.openmed_ner.formats import Tagged, check_target, to_jsonl
from zoo.openmed_ner.sources import Source

# A chunk is full at either: memory is bounded for many short texts and for few long ones.
CHUNK_TEXTS, CHUNK_CHARACTERS = 256, 500_000


def stream_jsonl(
    sources: Iterable[Source],
    tag: Callable[[Sequence[Source]], Sequence[Tagged]],
    out: Path,
    *,
    settings: Sequence[str],
    resume: bool = False,
) -> int:
    """Tag texts into a new JSON lines file.

    Args:
        sources: the texts, read as they are needed.
        tag: tags a chunk.
        out: the file, which must not exist.
        settings: what the entities depend on: models by digest, thresholds.
        resume: go on with a run of the same settings that was stopped, if there is one; its texts are not tagged again.

    Returns:
        how many texts were tagged now.

    Raises:
        UserError: ``out`` exists or cannot be written; there is an unfinished run and ``resume`` is not set; what it did is not how
            the texts begin; another process writes it. What was written before an error in the texts is kept for ``resume``.
    """
    check_target("jsonl", [], out)
    digest = hashlib.sha256("\0".join(settings).encode()).hexdigest()[:12]
    partial = out.with_name(f".{out.name}.partial-{digest}")
    if partial.exists() and not resume:
        raise UserError(f"{partial} is there, of a run that was stopped: go on with --resume, or remove it")
    try:
        done = 0
        texts = iter(sources)
        first = next(texts, None)  # an input that cannot be read leaves no file
        texts = itertools.chain([] if first is None else [first], texts)
        partial.touch()
        with locked(partial) as free, partial.open("r+b") as file:
            if not free:
                raise UserError(f"{partial}: another process is writing it: wait for it, or name another --out")
            try:
                _skip(file, texts, partial)
                for chunk in _chunks(texts):
                    file.write(to_jsonl(tag(chunk)).encode())
                    file.flush()
                    os.fsync(file.fileno())
                    done += len(chunk)
                if out.exists():  # it came meanwhile
                    raise UserError(f"{out} is there already: move it, and run again with --resume")
                os.replace(partial, out)
            finally:
                if partial.exists() and partial.stat().st_size == 0:
                    partial.unlink()
        sync_folder(out.absolute().parent)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}): mend that, and run again with --resume"
        ) from None
    return done


def _skip(file, texts: Iterator[Source], partial: Path) -> None:
    """Pass over the texts whose lines are whole, and cut off a line that is not; the file stands at its end."""
    end = 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            before, found = row["id"], [(e["start"], e["end"], e["text"]) for e in row["entities"]]
        except (ValueError, KeyError, TypeError):
            raise refuse(partial, number, "not a line of a run", "remove the file and start anew") from None
        source = next(texts, None)
        if source is None or source.id != before:
            there = "no text" if source is None else repr(source.id[:60])
            reason = f"id {str(before)[:60]!r} where the input has {there}"
            raise refuse(partial, number, reason, "give the same input, or remove the file and start anew")
        if any(source.text[start:stop] != text for start, stop, text in found):
            reason = f"the text of id {str(before)[:60]!r} is not what was tagged"
            raise refuse(partial, number, reason, "give the same input, or remove the file and start anew")
        end += len(line)
    file.seek(end)
    file.truncate()


def _chunks(texts: Iterable[Source]) -> Iterator[list[Source]]:
    held: list[Source] = []
    size = 0
    for source in texts:
        held.append(source)
        size += len(source.text)
        if len(held) >= CHUNK_TEXTS or size >= CHUNK_CHARACTERS:
            yield held
            held, size = [], 0
    if held:
        yield held
