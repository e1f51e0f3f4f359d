"""Schemes and label maps, against seqeval where it has an answer."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.core.errors import UserError
from zoo.openmed_ner.labels import LabelMap, is_bare, spans, split_tag, tags_of, to_iob2, to_iobes

tag = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])
iobes = st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "E-Y", "S-Y"])


@settings(deadline=None)
@given(st.lists(tag, max_size=12))
def test_lenient_reading_is_seqevals_default(tags):
    from seqeval.metrics.sequence_labeling import get_entities

    assert spans(tags) == [(a, b + 1, kind) for kind, a, b in get_entities(tags)]


@settings(deadline=None)
@given(st.lists(iobes, max_size=12))
def test_iobes_reading_is_seqevals_default(tags):
    from seqeval.metrics.sequence_labeling import get_entities

    # seqeval lets I follow E without a break; a new entity begins there
    if not any(a[:1] in "ES" and b[:1] in "IE" for a, b in pairwise(tags)):
        assert spans(tags) == [(a, b + 1, kind) for kind, a, b in get_entities(tags)]


@settings(deadline=None)
@given(st.lists(st.one_of(tag, iobes), max_size=12))
def test_conversions_keep_entities_and_are_strict(tags):
    from seqeval.metrics.sequence_labeling import get_entities
    from seqeval.scheme import IOB2, IOBES, Entities

    want = spans(tags)
    two, five = to_iob2(tags), to_iobes(tags)
    assert spans(two) == spans(five) == want
    for scheme, converted in ((IOB2, two), (IOBES, five)):
        strict = [(e.start, e.end, e.tag) for e in Entities([converted], scheme).entities[0]]
        assert strict == want  # nothing ill-formed was left
    assert [(a, b + 1, k) for k, a, b in get_entities(two)] == want


def test_tags():
    assert split_tag("O") == ("O", "")
    assert split_tag("B-Cell-line-name") == ("B", "Cell-line-name")
    assert split_tag("Cell-line-name") == ("I", "Cell-line-name")
    assert split_tag("GENE/PROTEIN") == ("I", "GENE/PROTEIN")
    assert split_tag("U-X") == ("S", "X")
    assert split_tag("M-X") == ("I", "X")
    assert split_tag("B-cell", bare=True) == ("I", "B-cell")
    assert spans(["B-X", "I-Y", "O", "I-X"]) == [(0, 1, "X"), (1, 2, "Y"), (3, 4, "X")]
    assert spans(["B", "I", "B", "O"]) == [(0, 2, ""), (2, 3, "")]


@pytest.mark.parametrize(
    ("names", "bare"),
    [
        (["O", "B-X", "I-X"], False),
        (["B", "I", "O"], False),
        (["GENE/PROTEIN", "O"], True),
        (["B-cell", "T-cell", "O"], True),
        (["B-CL", "I-CL", "GENE/PROTEIN", "O"], False),
        (["S-X", "B-X", "M-X", "E-X", "O"], False),
        (["M-phase", "O"], True),
        (["S-protein", "M-protein", "N-protein", "O"], True),
        (["O"], False),
    ],
)
def test_bare_label_sets(names, bare):
    assert is_bare(names) is bare
    assert LabelMap(tuple(names)).bare is bare


def test_overlaps_and_places_outside_are_refused():
    with pytest.raises(UserError, match="entity 1:3 overlaps another"):
        tags_of([(0, 2, "X"), (1, 3, "X")], 4)
    with pytest.raises(UserError, match="does not lie within 4 words"):
        tags_of([(3, 5, "X")], 4)
    with pytest.raises(UserError, match="does not lie within"):
        tags_of([(2, 2, "X")], 4)


def test_maps_of_config_files():
    raw = {"id2label": {"0": "B-CL", "2": "O", "3": "I-CL"}}
    gap = LabelMap.from_config(raw, n_rows=5)
    assert gap.names == ("B-CL", None, "O", "I-CL", None)
    assert (gap.size, gap.outside, gap.types) == (5, 2, ("CL",))
    assert LabelMap.from_config({"label2id": {"O": 1, "B-X": 0}}).names == ("B-X", "O")
    written = LabelMap(("B-X", "O")).to_config()
    assert written == {"id2label": {"0": "B-X", "1": "O"}, "label2id": {"B-X": 0, "O": 1}}
    assert LabelMap.of_types(["b", "a", "b"]).names == ("O", "B-a", "I-a", "B-b", "I-b")


@pytest.mark.parametrize("rest", [(None, "B-Y", "I-Y"), ("B-Y", None), (None, None)])
@pytest.mark.parametrize("sized", [True, False])
def test_gaps_of_a_map_survive_config_files(rest, sized):
    labels = LabelMap(("O", "B-X", "I-X", *rest))
    back = LabelMap.from_config(labels.to_config(), labels.size if sized else None)
    assert back == labels
    assert back.allowed() == labels.allowed()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({}, "neither id2label nor label2id"),
        ({"id2label": {"x": "O"}}, "not a whole number"),
        ({"id2label": {"0": "O", "7": "B"}}, "label id 7 has no output: the head has 2"),
        ({"id2label": {"-1": "B", "0": "O"}}, "label id -1"),
        ({"id2label": {"0": "A", "1": "B-X"}}, "no label O"),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "no label O among LABEL_0, LABEL_1"),
        ({"id2label": {"0": "O", "1": "O"}}, "O has more than one id"),
        (
            {"id2label": {"0": "O", "1": "B"}, "label2id": {"O": 1, "B": 0}},
            "id 0 is 'O' in id2label and 'B' in label2id",
        ),
    ],
)
def test_maps_that_are_refused(raw, says):
    with pytest.raises(UserError) as error:
        LabelMap.from_config(raw, n_rows=2)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_label_is_named():
    with pytest.raises(UserError, match=r"label 'B-Y' is not in the label map \(O, B-X, I-X\)"):
        LabelMap.of_types(["X"]).id("B-Y")


def test_what_may_follow_what():
    two = LabelMap(("B-X", "I-X", "B-Y", "I-Y", "O"))
    table = two.allowed()
    ids = {name: i for i, name in enumerate(two.names)}
    may = {(a, b) for a in two.names for b in two.names if table[ids[a]][ids[b]]}
    assert ("B-X", "I-X") in may
    assert ("I-X", "I-X") in may
    assert not {("O", "I-X"), ("B-Y", "I-X"), ("I-Y", "I-X")} & may
    assert all((a, b) in may for a in two.names for b in ("O", "B-X", "B-Y"))
    assert table[-1] == [True, False, True, False, True]
    bare = LabelMap(("GENE/PROTEIN", None, "O"))
    assert bare.allowed() == [[True, False, True]] * 4
    five = LabelMap(("O", "B-X", "I-X", "E-X", "S-X"))
    assert five.allowed()[1] == [False, False, True, True, False]  # begun must end
    assert five.allowed()[3] == [True, True, False, False, True]
