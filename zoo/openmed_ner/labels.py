"""Label maps and tagging schemes: which id means what, and how tags become entities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.core.errors import UserError

OUTSIDE = "O"
# A tag is a scheme letter and a type. Bare B and I have no type; anything else without a letter is a type alone,
# so that "GENE/PROTEIN" and "Cell-line-name" stay whole.
_TAG = re.compile(r"(?P<letter>[BIESLUM])(?:-(?P<type>.+))?", re.DOTALL)
_CANONICAL = {"L": "E", "U": "S", "M": "I"}  # BILOU spells IOBES's E and S as L and U, BMES its I as M


def split_tag(tag: str, *, bare: bool = False) -> tuple[str, str]:
    """(letter, type) of a tag: ``B-Disease`` is (B, Disease), ``O`` (O, ""), ``Cell-line-name`` (I, Cell-line-name).

    Args:
        tag: the tag.
        bare: the tags are types without letters, so that even ``B-cell`` is a type.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = None if bare else _TAG.fullmatch(tag)
    if match is None:
        return "I", tag
    letter = match["letter"]
    return _CANONICAL.get(letter, letter), match["type"] or ""


def lettered(tags: Iterable[str]) -> set[str]:
    """Those of a set of tags that look like a scheme letter with or without a type; M is one only beside B of the same type."""
    seen = set(tags)
    return {tag for tag in seen if _TAG.fullmatch(tag) and (tag[0] != "M" or f"B{tag[1:]}" in seen)}


def continues(tags: Iterable[str]) -> bool:
    """Whether some type has both B and what follows it (I, E, L or M): no set of types without letters has."""
    seen = lettered(tags)
    return any(tag[0] in "IELM" and f"B{tag[1:]}" in seen for tag in seen)


def is_bare(tags: Iterable[str]) -> bool:
    """Whether a label set is types without scheme letters: some label lacks one, and no type has B and what follows it.

    A set of labels was chosen, and holds no stray one; for the tags of a file see :mod:`zoo.openmed_ner.corpora.schemes`.
    """
    seen = {tag for tag in tags if tag != OUTSIDE}
    return not continues(seen) and lettered(seen) != seen


def spans(tags: Sequence[str], *, bare: bool = False) -> list[tuple[int, int, str]]:
    """Entities as (first, past the last, type), read leniently: I or E that continues nothing begins an entity.

    IOB1, IOB2, IOBES, BILOU, BMES and bare types are all read by the same rule: an entity ends before O, B, S or another
    type, or after E or S. Adjacent entities stay apart where B or S says so.
    """
    found: list[tuple[int, int, str]] = []
    start, kind = -1, ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        letter, this = split_tag(tag, bare=bare)
        if start >= 0 and (letter in "OBS" or this != kind):
            found.append((start, i, kind))
            start = -1
        if letter == OUTSIDE:
            continue
        if start < 0:
            start, kind = i, this
        if letter in "ES":
            found.append((start, i + 1, kind))
            start = -1
    return found


def to_iob2(tags: Sequence[str], *, default_type: str = "", bare: bool = False) -> list[str]:
    """The same entities in IOB2; ``default_type`` names those of bare B and I tags."""
    return tags_of(spans(tags, bare=bare), len(tags), default_type=default_type)


def to_iobes(tags: Sequence[str], *, default_type: str = "", bare: bool = False) -> list[str]:
    """The same entities in IOBES."""
    out = [OUTSIDE] * len(tags)
    for start, end, kind in spans(tags, bare=bare):
        suffix = f"-{kind or default_type}" if kind or default_type else ""
        letters = ["S"] if end - start == 1 else ["B", *"I" * (end - start - 2), "E"]
        out[start:end] = [letter + suffix for letter in letters]
    return out


def tags_of(entities: Iterable[tuple[int, int, str]], length: int, *, default_type: str = "") -> list[str]:
    """IOB2 tags of entities (first, past the last, type) over ``length`` words.

    Raises:
        UserError: an entity is empty, outside the words, or overlaps another: flat tags cannot hold it.
    """
    out = [OUTSIDE] * length
    for start, end, kind in entities:
        if not 0 <= start < end <= length:
            raise UserError(f"entity {start}:{end} does not lie within {length} words")
        if any(tag != OUTSIDE for tag in out[start:end]):
            raise UserError(f"entity {start}:{end} overlaps another: flat tags cannot hold both")
        suffix = f"-{kind or default_type}" if kind or default_type else ""
        out[start:end] = [f"B{suffix}"] + [f"I{suffix}"] * (end - start - 1)
    return out


def _gap(i: int) -> str:
    """What transformers calls an output without a name."""
    return f"LABEL_{i}"


@dataclass(frozen=True)
class LabelMap:
    """Which label each id of a head means.

    Attributes:
        names: the label of each id, in order; None at an id that no label uses (a gap), which is never predicted.
    """

    names: tuple[str | None, ...]

    def __post_init__(self) -> None:
        used = [name for name in self.names if name is not None]
        twice = sorted({name for name in used if used.count(name) > 1})
        if twice:
            raise UserError(f"label map: {', '.join(twice)} has more than one id: give each label one id")
        if OUTSIDE not in used:
            raise UserError(f"label map: no label O among {', '.join(used) or 'none'}: add it")

    @classmethod
    def of_types(cls, types: Iterable[str]) -> LabelMap:
        """IOB2 labels of entity types: O, B-X, I-X, ... with the types sorted."""
        return cls((OUTSIDE, *(f"{letter}-{kind}" for kind in sorted(set(types)) for letter in "BI")))

    @classmethod
    def from_config(cls, raw: Mapping[str, Any], n_rows: int | None = None) -> LabelMap:
        """The map of a config.json (``id2label``, else ``label2id``).

        Args:
            raw: config.json.
            n_rows: number of outputs of the head in the weights; ids below it without a label are gaps.

        ``LABEL_<id>`` at that id is a gap as well: so this package and transformers name an output that means nothing. A map
        of such names alone has no O and is refused.

        Raises:
            UserError: no map, an id that is no number, below 0 or past the head, two maps that disagree, or no O.
        """
        id2label, label2id = raw.get("id2label") or {}, raw.get("label2id") or {}
        if not id2label and not label2id:
            raise UserError("config.json: neither id2label nor label2id: the labels of the head are unknown")
        try:
            by_id = {int(i): str(name) for i, name in id2label.items()}
            inverse = {int(i): str(name) for name, i in label2id.items()}
        except (TypeError, ValueError):
            raise UserError("config.json: an id of id2label or label2id is not a whole number") from None
        clash = [i for i in by_id if i in inverse and inverse[i] != by_id[i]]
        if clash:
            i = clash[0]
            raise UserError(f"config.json: id {i} is {by_id[i]!r} in id2label and {inverse[i]!r} in label2id: mend one")
        by_id = {**inverse, **by_id}
        size = max(by_id) + 1 if n_rows is None else n_rows
        if min(by_id) < 0 or max(by_id) >= size:
            wrong = min(by_id) if min(by_id) < 0 else max(by_id)
            raise UserError(f"config.json: label id {wrong} has no output: the head has {size}")
        named = {i: name for i, name in by_id.items() if name != _gap(i)}
        return cls(tuple((named or by_id).get(i) for i in range(size)))

    def to_config(self) -> dict[str, Any]:
        """``id2label`` and ``label2id`` as config.json holds them; a gap becomes ``LABEL_<id>``, as transformers has it."""
        id2label = {str(i): _gap(i) if name is None else name for i, name in enumerate(self.names)}
        return {"id2label": id2label, "label2id": {name: int(i) for i, name in id2label.items()}}

    @property
    def size(self) -> int:
        """Number of outputs of the head, gaps included."""
        return len(self.names)

    @property
    def outside(self) -> int:
        """The id of O."""
        return self.names.index(OUTSIDE)

    @property
    def bare(self) -> bool:
        """Whether the labels are types without scheme letters."""
        return is_bare(name for name in self.names if name is not None)

    @property
    def types(self) -> tuple[str, ...]:
        """The entity types, sorted."""
        tags = [name for name in self.names if name not in (None, OUTSIDE)]
        return tuple(sorted({split_tag(tag, bare=self.bare)[1] for tag in tags}))

    def id(self, label: str | None) -> int:
        """The id of a label; UserError for one that the map lacks."""
        if label not in self.names:
            known = ", ".join(name for name in self.names if name is not None)
            raise UserError(f"label {label!r} is not in the label map ({known}): retrain the head, or mend the data")
        return self.names.index(label)

    def allowed(self) -> list[list[bool]]:
        """Which label may follow which: row = before, column = after, and a last row for the start of a sentence.

        I-X and E-X may follow only B-X or I-X; in IOBES an entity that began must go on to its end. Bare labels, and
        maps where some type has I but no B, are not restricted.
        """
        bare = self.bare
        parts = [None if name is None else split_tag(name, bare=bare) for name in self.names]
        inner = {part[1] for part in parts if part is not None and part[0] in "IE"}
        strict = not bare and all(("B", kind) in parts for kind in inner)
        ends = {part[1] for part in parts if part is not None and part[0] == "E"}

        def ok(before: tuple[str, str] | None, after: tuple[str, str] | None) -> bool:
            if after is None:
                return False
            if not strict:
                return True
            inside = before is not None and before[0] in "BI"
            if after[0] in "IE":
                return before is not None and inside and before[1] == after[1]
            return not (inside and before is not None and before[1] in ends)

        starts = [part is not None and (not strict or part[0] not in "IE") for part in parts]
        return [[ok(before, after) for after in parts] for before in parts] + [starts]
