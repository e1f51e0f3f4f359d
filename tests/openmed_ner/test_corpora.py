"""The ten corpora against the counts of the paper page's table (section 3), and their flaws."""

import os
import time
from pathlib import Path

import pytest

from zoo.core.errors import DamagedError, MissingDataError, UserError
from zoo.openmed_ner.corpora.catalogue import CORPORA, SPLITS, corpus
from zoo.openmed_ner.corpora.conll import read_conll, write_conll
from zoo.openmed_ner.corpora.duplicates import duplicates
from zoo.openmed_ner.corpora.records import Sentence

DATA = Path(os.environ.get("ZOO_DATA_DIR", "").split(os.pathsep)[0]) / "openmed_ner"
needs_data = pytest.mark.skipif(not (DATA / "cll").is_dir(), reason="ZOO_DATA_DIR has no openmed_ner corpora")

# corpus: sentences/entities of train, devel, test; number of types; duplicates of test in train
TABLE = {
    "ncbi_disease": ((5424, 5134), (923, 787), (940, 960), 1, 1),
    "bc5cdr_chem": ((4560, 5203), (4581, 5347), (4797, 5385), 1, 8),
    "bc5cdr_disease": ((4560, 4182), (4581, 4246), (4797, 4424), 1, 8),
    "bc2gm": ((12574, 15197), (2519, 3061), (5038, 6325), 1, 33),
    "jnlpba": ((16808, 46750), (1739, 4551), (3856, 8662), 5, 103),
    "bionlp2013cg": ((3033, 10826), (1003, 3616), (1906, 6881), 16, 0),
    "linnaeus": ((11935, 2119), (4078, 711), (7142, 1433), 1, 144),
    "species800": ((5733, 2557), (830, 384), (1630, 767), 1, 8),
    "anatem": ((5861, 6946), (2118, 2139), (3830, 4616), 1, 42),
    "cll": ((120, 234), (21, 30), (60, 77), 1, 0),
}


@needs_data
@pytest.mark.parametrize("name", TABLE)
def test_counts_are_those_of_the_table(name):
    splits = {split: corpus(name).read(split) for split in SPLITS}
    *counts, types, shared = TABLE[name]
    for split, (sentences, entities) in zip(SPLITS, counts):
        read, report = splits[split]
        assert (len(read), sum(len(s.entities) for s in read)) == (sentences, entities)
        assert set(report.counts) <= {"blank lines doubled"}
        assert all(len(s.words) == len(s.tags) > 0 for s in read)
    train = splits["train"][0]
    found = {kind for s in train for _, _, kind in s.entities}
    assert len(found) == types
    assert "" not in found  # bare tags were named
    overlaps = duplicates({split: read for split, (read, _) in splits.items()})
    assert [(o.first, o.second) for o in overlaps] == [("train", "devel"), ("train", "test"), ("devel", "test")]
    assert len(overlaps[1]) == shared


def test_three_corpora_cannot_be_had_and_say_so():
    absent = [name for name, entry in CORPORA.items() if not entry.sha256]
    assert absent == ["bc4chemd", "gellus", "fsu"]
    for name in absent:
        with pytest.raises(MissingDataError, match=rf"corpus {name}: .*zoo\.openmed_ner\.corpora"):
            corpus(name).path("train")
    assert len(CORPORA) == 13


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"no corpus 'ncbi-disease'.*ncbi_disease"):
        corpus("ncbi-disease")
    with pytest.raises(UserError, match="split 'dev' is not one of"):
        corpus("cll").path("dev")


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    target = tmp_path / "openmed_ner" / "cll"
    target.mkdir(parents=True)
    (target / "test.tsv").write_text("a\tO\n")
    with pytest.raises(DamagedError):
        corpus("cll").read("test")
    with pytest.raises(MissingDataError):
        corpus("cll").read("train")


@needs_data
@pytest.mark.parametrize(("split", "flaws"), [("train", 2206), ("devel", 219), ("test", 443)])
def test_the_corrupted_copy_of_jnlpba_is_repaired_and_reported(split, flaws):
    """Sentence borders drifted there, so that entities were cut: their second halves continue nothing."""
    path = DATA / "jnlpba" / f"{split}.tsv"
    sentences, report = read_conll(path, aliases={"GP": "protein"})
    assert report.counts == {"I- without B-": flaws}
    assert len(report.problems) == report.keep
    first = report.problems[0]
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[first.line - 1].split("\t")[1][:2] in ("I-", "E-")
    assert str(path) in str(first)
    kinds = {kind for s in sentences for _, _, kind in s.entities}
    assert kinds == {"protein", "DNA", "RNA", "cell_line", "cell_type"}
    assert all(tag[:2] in ("B-", "I-", "O") for s in sentences for tag in s.tags)
    with pytest.raises(UserError, match=f"line {first.line}: .* continues nothing"):
        read_conll(path, strict=True)


def read(tmp_path, text, **options):
    path = tmp_path / "x.tsv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    sentences, report = read_conll(path, **options)
    return [list(zip(s.words, s.tags)) for s in sentences], dict(report.counts)


@pytest.mark.parametrize(
    ("tags", "want"),
    [
        ("O B-X I-X B-X O", "O B-X I-X B-X O"),  # IOB2, neighbours stay apart
        ("O I-X I-X B-X O", "O B-X I-X B-X O"),  # IOB1
        ("I-X I-Y O I-X I-X", "B-X B-Y O B-X I-X"),  # IOB1 without B
        ("O B-X E-X S-X O", "O B-X I-X B-X O"),  # IOBES
        ("O B-X L-X U-X O", "O B-X I-X B-X O"),  # BILOU
        ("S-X B-X M-X M-X E-X O", "B-X B-X I-X I-X I-X O"),  # BMES
        ("B-X B-Y O B-Y O", "B-X B-Y O B-Y O"),  # entities of one word
        ("O B I B O", "O B-T I-T B-T O"),  # bare letters
        ("O GENE/PROTEIN GENE/PROTEIN Cell-line O", "O B-GENE/PROTEIN I-GENE/PROTEIN B-Cell-line O"),  # bare types
        ("T-cell T-cell O Protein B-cell M-phase", "B-T-cell I-T-cell O B-Protein B-B-cell B-M-phase"),
    ],
)
def test_every_scheme_becomes_iob2(tags, want, tmp_path):
    text = "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags.split()))
    sentences, counts = read(tmp_path, text, default_type="T")
    assert [tag for _, tag in sentences[0]] == want.split()
    assert counts == {}


def test_flaws_are_repaired_and_counted(tmp_path):
    text = "\ufeff-DOCSTART-\tO\n\n\n\nfever\tB-D\n\nof\tI-D\nunknown origin\tB-D\n\tO\nand\tO\nx\tI-E\n\n"
    sentences, counts = read(tmp_path, text)
    assert sentences == [
        [("fever", "B-D")],
        [("of", "B-D"), ("unknown", "B-D"), ("origin", "I-D"), ("and", "O"), ("x", "B-E")],
    ]
    assert counts == {
        "-DOCSTART- lines": 1,
        "blank lines doubled": 3,
        "white space in a word": 1,
        "lines without a word": 1,
        "I- without B-": 2,
    }


@pytest.mark.parametrize(
    ("tags", "stray"),
    [
        ("B-X I-X O x", 4),
        ("O B-X B-Y X", 4),
        ("B-X x y z B-X B-X B-X B-X", 2),  # most words have a letter
        ("x B-X O", 1),
        ("Gene Gene Cell Drug Drug B-Gene", 1),  # a type with and without
        ("B-X I-X B-", 3),
        ("B-X I-X M-phase", 3),
        ("O b-X i-X", 2),
        ("O B_X I_X O", 2),
        ("b i O", 1),
    ],
)
def test_tags_that_fit_no_scheme_are_refused_with_their_line(tags, stray, tmp_path):
    text = "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags.split(), start=1))
    with pytest.raises(UserError, match=rf"x\.tsv, line {stray}: 'w{stray}' is {tags.split()[stray - 1]}, (and|which)"):
        read(tmp_path, text)


@pytest.mark.parametrize("tags", ["O B-X B-Y o", "O Gene Cell o"])
def test_a_small_o_is_reported(tags, tmp_path):
    text = "".join(f"w\t{tag}\n" for tag in tags.split())
    sentences, counts = read(tmp_path, text)
    assert sentences[0][3] == ("w", "O")
    assert counts == {"small o for O": 1}
    with pytest.raises(UserError, match="line 4: 'w' is o"):
        read(tmp_path, text, strict=True)


@pytest.mark.parametrize(
    ("tag", "want"),
    [
        ("B-X", "B-X I-X I-X I-X"),
        ("I-X", "B-X I-X I-X I-X"),
        ("E-X", "B-X I-X I-X B-X"),
        ("S-X", "B-X I-X I-X B-X"),
        ("B-cell", "B-B-cell I-B-cell I-B-cell B-X"),
    ],
)
def test_the_parts_of_a_word_are_one_entity(tag, want, tmp_path):
    rest = "I-X\n\nz\tB-X\n" if tag[1:] == "-X" else "X\n\nz\tX\nz\tY\n"
    sentences, counts = read(tmp_path, f"a b  c\t{tag}\nd\t{rest}")
    assert [t for _, t in sentences[0]] == want.split()
    assert counts["white space in a word"] == 1


def test_a_document_begins_a_sentence_without_blank_lines(tmp_path):
    sentences, counts = read(tmp_path, "-DOCSTART-\tO\na\tB-X\n-DOCSTART-\tO\nb\tI-X\n")
    assert sentences == [[("a", "B-X")], [("b", "B-X")]]
    assert counts == {"-DOCSTART- lines": 2, "I- without B-": 1}


def test_many_blank_lines_are_read_in_time(tmp_path):
    began = time.perf_counter()
    _, counts = read(tmp_path, "a\tO\n" + "\n" * 200_000)
    assert counts == {"blank lines doubled": 199_999}
    assert time.perf_counter() - began < 30  # about a second; counting lines anew for each takes minutes


def test_windows_line_ends_and_columns_by_space(tmp_path):
    sentences, counts = read(tmp_path, "EU NNP B-ORG\r\nrejects VBZ O\r\n\r\nGerman JJ B-MISC\r\n")
    assert sentences == [[("EU", "B-ORG"), ("rejects", "O")], [("German", "B-MISC")]]
    assert counts == {"Windows line ends": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\tO\nb\n", "line 2: 'b' has no tag"),
        ("a\tO\nb\t\n", "line 2: 'b' has an empty tag"),
        (b"a\tO\n\xff\tO\n", "line 2: byte 0xff is not UTF-8"),
        ("\n\n", "holds no sentence"),
    ],
)
def test_what_cannot_be_repaired_is_refused_with_its_line(text, says, tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert says in str(error.value)
    assert "x.tsv" in str(error.value)


@pytest.mark.parametrize("columns", [{"word_column": 2}, {"tag_column": 2}, {"tag_column": -3}])
def test_a_column_past_the_line_is_refused_with_its_line(columns, tmp_path):
    (tmp_path / "x.tsv").write_text("a\tO\tO\nb\tO\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.tsv, line 2: 'b\\tO' has 2 columns, of which"):
        read_conll(tmp_path / "x.tsv", **columns)


def test_absent_files_and_folders(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_conll(tmp_path / "no")
    with pytest.raises(UserError, match="is a folder"):
        read_conll(tmp_path)


def test_written_sentences_read_back(tmp_path):
    sentences = [Sentence(("a", "b"), ("B-X", "O")), Sentence(("c",), ("B-X",))]
    write_conll(tmp_path / "y.tsv", sentences)
    back, report = read_conll(tmp_path / "y.tsv", strict=True)
    assert [(s.words, s.tags) for s in back] == [(s.words, s.tags) for s in sentences]
    assert report.clean


def test_duplicates_count_distinct_sentences_and_conflicts():
    a, b, c = Sentence(("a",), ("O",)), Sentence(("a",), ("B-X",)), Sentence(("c",), ("O",))
    (overlap,) = duplicates({"train": [a, a, c], "test": [b, b]})
    assert (len(overlap), overlap.conflicting, overlap.texts) == (1, 1, ("a",))
    assert str(overlap) == "1 sentences of test are in train (1 with other tags)"
