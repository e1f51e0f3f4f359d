"""Whether the tags of token files have scheme letters or are bare types, and which of them do not fit beside the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from zoo.openmed_ner.labels import OUTSIDE, continues, lettered

_SIGN = re.compile(r"^[_:.]")


def undecided(tags: Iterable[str]) -> bool:
    """Whether tags that look lettered may be types all the same: ``B-cell``, where no type has B and what follows it."""
    seen = set(tags)
    return bool(lettered(seen)) and not continues(seen)


def judged(counts: Mapping[str, int]) -> tuple[bool, set[str]]:
    """Whether tags are bare types, and those without a letter among lettered ones: stray tags, not to be read either way.

    Tags are bare if none has a letter. If some have, as ``B-cell`` beside ``T-cell`` and ``Protein``, they are bare only if no type
    has B and what follows it (``I-cell``), none stands there with and without a letter, and most do without: most of the
    distinct tags, and of the words. Lettered tags in another spelling (``b-X`` and ``i-X``, ``B_X`` and ``I_X``) are stray.

    Args:
        counts: how many words have each tag.
    """
    seen = counts.keys() - {OUTSIDE}
    with_letter = lettered(seen)
    without = seen - with_letter
    if not without:
        return False, set()
    words = [sum(counts[tag] for tag in part) for part in (without, with_letter)]
    most = len(without) > len(with_letter) and words[0] > words[1]
    both = continues(with_letter) or any(tag[2:] in without for tag in with_letter)
    misspelt = continues({tag[:1].upper() + _SIGN.sub("-", tag[1:]) for tag in without})
    return (True, set()) if most and not both and not misspelt else (False, without)
