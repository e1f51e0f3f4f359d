"""Tagged texts as JSON lines, CoNLL, BRAT and an HTML page."""

from __future__ import annotations

import html
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from zoo.core.atomic import sync_folder, temporary_sibling, write_file
from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.brat import brat_annotations, write_brat
from zoo.openmed_ner.corpora.records import Document, Span
from zoo.openmed_ner.corpora.segment import to_sentences
from zoo.openmed_ner.pipeline import Entity

_FILE_NAME = re.compile(r"[\w-][\w.-]*")
# Bytes of the name of a file or folder, which may get more letters on the way; most file systems allow 255.
_LONGEST_NAME = 200
# HTML has no place for these characters; an entity's place does not depend on the page.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Tagged:
    """A text and what was found in it.

    Attributes:
        id: its name.
        text: its characters.
        entities: in order of their place, apart.
    """

    id: str
    text: str
    entities: tuple[Entity, ...]

    def document(self) -> Document:
        """The same as corpora's readers give it."""
        spans = (Span(((e.start, e.end),), e.label, e.text) for e in self.entities)
        return Document(self.id, self.text, tuple(spans))


def to_jsonl(tagged: Sequence[Tagged]) -> str:
    """A line for each text: {"id", "entities": [{"text", "label", "start", "end", "score"}]}."""
    rows = ({"id": t.id, "entities": [e.to_dict() for e in t.entities]} for t in tagged)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_conll(tagged: Sequence[Tagged]) -> str:
    """Word, tab, IOB2 tag, with a blank line after each sentence; words and sentences are the zoo's own."""
    sentences, _ = to_sentences(t.document() for t in tagged)
    return "\n".join("".join(f"{w}\t{tag}\n" for w, tag in zip(s.words, s.tags)) for s in sentences)


def to_brat(tagged: Sequence[Tagged]) -> str:
    """The T lines of one text.

    Raises:
        UserError: there are several texts: offsets are counted in one.
    """
    if len(tagged) != 1:
        raise UserError(f"brat: {len(tagged)} texts do not fit into one .ann file: name a folder with --out")
    return brat_annotations(tagged[0].document())


_STYLE = """\
:root { color-scheme: light dark; --lightness: 86%; --ink: #1b1b1b; --quiet: #555; --label: #484848; --page: #fff; }
@media (prefers-color-scheme: dark) { :root { --lightness: 25%; --ink: #e6e6e6; --quiet: #aaa; --label: #d2d2d2; --page: #16181b; } }
body { font: 16px/1.9 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--page); }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; } h2 { font-size: 1rem; color: var(--quiet); margin: 2rem 0 .3rem; }
.types { margin: 0; padding: 0; list-style: none; font-size: .85rem; } .types li { display: inline-block; margin-right: 1em; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
mark { color: inherit; border-radius: .25rem; padding: .1rem .25rem;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.text mark::after { content: attr(data-label); font-size: .65em; font-weight: 600; margin-left: .35em; color: var(--label);
  white-space: nowrap; }
@media print { mark { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""


def to_html(tagged: Sequence[Tagged]) -> str:
    """One page with nothing to fetch and no script: how many of each type, and the texts with their entities marked, label and
    score beside them; it follows the reader's choice of light or dark."""
    counts = Counter(e.label for t in tagged for e in t.entities)
    number = {label: i for i, label in enumerate(sorted(counts))}
    # Hues by the golden angle: neighbours in the list differ most.
    colours = [
        f"mark.t{i} {{ background: hsl({(205 + i * 137.5) % 360:.0f} 70% var(--lightness)); }}" for i in number.values()
    ]
    types = "".join(
        f'<li><mark class="t{i}">{_shown(label)}</mark> {counts[label]}</li>' for label, i in number.items()
    )
    sections = "".join(
        f'<section>\n<h2>{_shown(t.id)}</h2>\n<div class="text" dir="auto">{_marked(t, number)}</div>\n</section>\n'
        for t in tagged
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Entities</title>\n'
        f"<style>\n{_STYLE}" + "\n".join(colours) + "\n</style>\n</head>\n<body>\n<h1>Entities</h1>\n"
        f'<ul class="types">{types or "<li>none found</li>"}</ul>\n{sections}</body>\n</html>\n'
    )


def _marked(tagged: Tagged, number: Mapping[str, int]) -> str:
    out, at = [], 0
    for e in tagged.entities:
        label = _shown(e.label)
        out.append(_shown(tagged.text[at : e.start]))
        out.append(f'<mark class="t{number[e.label]}" data-label="{label}" title="{label} {e.score:.3f}">')
        out.append(f"{_shown(tagged.text[e.start : e.end])}</mark>")
        at = e.end
    return "".join([*out, _shown(tagged.text[at:])])


def _shown(text: str) -> str:
    # A bare carriage return would be read as a line break.
    return html.escape(_CONTROL.sub("\ufffd", text)).replace("\r", "&#13;")


FORMATS: Mapping[str, Callable[[Sequence[Tagged]], str]] = MappingProxyType(
    {"jsonl": to_jsonl, "conll": to_conll, "brat": to_brat, "html": to_html}
)


def check_target(kind: str, names: Sequence[str], out: Path) -> None:
    """Refuse, before anything is computed, a place that :func:`write` cannot fill.

    Args:
        kind: a key of :data:`FORMATS`.
        names: of the texts.
        out: the file, or with brat the folder.

    Raises:
        UserError: it is there already, has too long a name, lies in no folder, or with brat an id makes no file name or too
            long a one.
    """
    if (length := len(os.fsencode(out.name))) > _LONGEST_NAME:
        raise UserError(f"--out: the name {out.name[:40]!r}... has {length} bytes: {_LONGEST_NAME} are the most")
    try:
        if out.exists() or out.is_symlink():
            raise UserError(f"{out} is there already: remove it, or name another place with --out")
        if not out.absolute().parent.is_dir():
            raise UserError(f"{out}: there is no folder {out.parent}: make it first")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--out {str(out)[:60]!r} is no path ({reason}): name another place") from None
    if kind == "brat":
        for name in names:
            if not _FILE_NAME.fullmatch(name):
                raise UserError(f"brat: id {name[:60]!r} makes no file name: use letters, digits, '-', '_' and '.'")
            if (size := len(f"{name}.ann".encode())) > _LONGEST_NAME:
                raise UserError(
                    f"brat: id {name[:60]!r} makes a file name of {size} bytes, over {_LONGEST_NAME}: shorten the id"
                )
        if len({name.casefold() for name in names}) < len(names):
            raise UserError("brat: two ids differ only in case and would share a file on some systems: rename one")


def write(kind: str, tagged: Sequence[Tagged], out: Path) -> None:
    """Write texts into a new file, or with brat a new folder of NAME.txt and NAME.ann; whole or not at all.

    Args:
        kind: a key of :data:`FORMATS`.
        tagged: the texts.
        out: where; see :func:`check_target` for the errors.

    Raises:
        UserError: also where it cannot be written.
    """
    check_target(kind, [t.id for t in tagged], out)
    try:
        with temporary_sibling(out.absolute()) as temporary:
            if kind == "brat":
                for t in tagged:
                    write_brat(temporary, t.document())
                temporary.rename(out)
            else:
                write_file(temporary / out.name, FORMATS[kind](tagged).encode())
                os.replace(temporary / out.name, out)
        sync_folder(out.absolute().parent)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}): choose another place with --out") from None
