"""Readers of documents with places: real files against each other and against their own text; made files for the rest."""

import itertools
import os
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.bioc import read_bioc, read_iexml
from zoo.openmed_ner.corpora.brat import read_brat, write_brat
from zoo.openmed_ner.corpora.chemdner import read_chemdner
from zoo.openmed_ner.corpora.mmax2 import fsu_sentences, read_fsu, read_mmax2
from zoo.openmed_ner.corpora.nersuite import read_nersuite
from zoo.openmed_ner.corpora.pubtator import read_pubtator
from zoo.openmed_ner.corpora.records import Document, Report, Span
from zoo.openmed_ner.corpora.segment import sentence_spans, to_sentences

DATA = Path(os.environ.get("ZOO_DATA_DIR", "").split(os.pathsep)[0]) / "openmed_ner"
needs_data = pytest.mark.skipif(not (DATA / "docs").is_dir(), reason="ZOO_DATA_DIR has no openmed_ner/docs")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The archives of ZOO_DATA_DIR, unpacked once each when asked for."""
    done = {}

    def unpack(archive):
        if archive not in done:
            done[archive] = tmp_path_factory.mktemp("docs")
            with tarfile.open(DATA / archive) as file:
                file.extractall(done[archive], filter="data")
        return done[archive]

    return unpack


def exact(documents):
    return all(d.text[a:b] for d in documents for s in d.spans for a, b in s.fragments) and all(
        s.text == " ".join(d.text[a:b] for a, b in s.fragments) for d in documents for s in d.spans
    )


@needs_data
def test_pubtator_spans_are_exact_or_reported(unpacked):
    root = unpacked("docs/aioner/aioner.tar.xz") / "data" / "pubtator"
    total, flaws = 0, {}
    for path in sorted(root.glob("*.PubTator")):
        documents, report = read_pubtator(path)
        assert exact(documents)
        total += sum(len(d.spans) for d in documents)
        if not report.clean:
            flaws[path.stem] = sum(report.counts.values())
        # an independent count of what the file holds
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")]
        held = sum(len(r) >= 5 and r[1].isdigit() for r in rows)
        assert held == sum(len(d.spans) for d in documents) + flaws.get(path.stem, 0)
    assert total > 139_000
    assert {"tmVar3_Train", "GNormPlus_Train", "GNormPlus_Test", "NLMgene_Train"} <= set(flaws)
    assert sum(flaws.values()) == 73
    with pytest.raises(UserError, match=r"line \d+: span .* reads .* where the file says"):
        read_pubtator(root / "tmVar3_Train.PubTator", strict=True)


@needs_data
@pytest.mark.parametrize(
    ("archive", "folder", "documents", "spans", "gaps"),
    [
        ("docs/s800/s800.tar.xz", "revised-standoff", 800, 8390, 16),
        ("docs/s800/s800.tar.xz", "original-standoff", 800, 3708, 0),
        ("docs/ncbi_disease/ncbi_disease.tar.xz", "standoff/test", 100, 960, 0),
        ("docs/anatem/anatem.tar.xz", "original-data/standoff/all", 1212, 13701, 0),
    ],
)
def test_brat_corpora(archive, folder, documents, spans, gaps, unpacked):
    read, report = read_brat(unpacked(archive) / folder)
    assert report.clean
    assert exact(read)
    found = [s for d in read for s in d.spans]
    assert (len(read), len(found)) == (documents, spans)
    assert sum(s.discontinuous for s in found) == gaps
    lines = sum(
        line.startswith("T")
        for p in (unpacked(archive) / folder).glob("*.ann")
        for line in p.read_text("utf-8").split("\n")
    )
    assert lines == spans


@needs_data
def test_discontinuous_spans_and_concepts_are_kept(unpacked):
    read, _ = read_brat(unpacked("docs/s800/s800.tar.xz") / "revised-standoff")
    by_text = {s.text: s for d in read for s in d.spans if s.discontinuous}
    assert "type A influenza virus" in by_text
    one = next(s for d in read if d.id == "20173004" for s in d.spans)
    assert (one.fragments, one.label, one.id) == (((0, 29),), "Species", "Taxonomy:710190")


@needs_data
def test_the_sample_of_chemdner_passes_over_its_readme():
    read, report = read_brat(DATA / "docs" / "chemdner_sample")
    assert len(read) == 9
    assert report.counts == {"texts without annotations": 1}
    with pytest.raises(UserError, match=r"SOURCE\.txt"):
        read_brat(DATA / "docs" / "chemdner_sample", strict=True)


@needs_data
def test_nersuite_and_standoff_of_cll_agree(unpacked):
    """Two formats of one corpus, read by two readers."""
    root = unpacked("cll/CLL_corpus.tar.gz") / "CLL-1.0.2"
    standoff = {d.id: d for d in read_brat(root / "standoff")[0]}
    total = 0
    for path in sorted((root / "nersuite").iterdir()):
        document, sentences, report = read_nersuite(path)
        assert report.clean
        other = standoff[document.id]
        ours = [s.text.split() for s in document.spans]
        assert ["".join(w) for w in ours] == ["".join(s.text.split()) for s in other.spans]
        assert sum(len(s.entities) for s in sentences) == len(other.spans)
        assert exact([document])
        total += len(other.spans)
    assert total == 341


@needs_data
def test_fsu_documents_in_mmax2():
    folder = DATA / "docs" / "fsu_prge_sample"
    documents, report = read_fsu(folder)
    assert report.clean
    assert [len(d.spans) for d in documents] == [25, 16]
    assert exact(documents)
    first = documents[0]
    assert first.text.startswith(
        "Multiple stress signal integration in the regulation of the complex sigma S - dependent"
    )
    assert {s.label for s in first.spans} >= {"protein", "protein_familiy_or_group"}
    assert "sigma S" in {s.text for s in first.spans}  # word_41..word_41.5
    sentences = fsu_sentences(first, label="Gene")
    assert len(sentences) == 7
    assert [w for s in sentences for w in s.words] == first.text.split()
    assert {kind for s in sentences for _, _, kind in s.entities} == {"Gene"}
    assert len(read_fsu(folder, {"23647"})[0]) == 1
    with pytest.raises(UserError, match=r"document 99 \(1 in all\) is absent"):
        read_fsu(folder, {"23647", "99"})


def test_fsu_markables_over_absent_words_are_reported(tmp_path):
    (tmp_path / "d" / "Basedata").mkdir(parents=True)
    (tmp_path / "d" / "Markables").mkdir()
    (tmp_path / "d" / "project.mmax").write_text("<mmax_project/>")
    (tmp_path / "d" / "Basedata" / "Basedata.xml").write_text(
        '<words><word id="word_1">A</word><word id="word_2">b</word><word id="word_3"> </word></words>'
    )
    (tmp_path / "d" / "Markables" / "sentence.xml").write_text('<m><markable id="s" span="word_1..word_2"/></m>')
    (tmp_path / "d" / "Markables" / "proteins.xml").write_text(
        '<m><markable id="p" span="word_9" proteins="protein"/><markable id="q" span="word_1,word_2" proteins="protein"/></m>'
    )
    document, report = read_mmax2(tmp_path / "d")
    assert report.counts == {"markables without words": 1, "words without text": 1}
    assert document.spans == (Span(((0, 1), (2, 3)), "protein", "A b", "q"),)
    assert [s.tags for s in fsu_sentences(document)] == [("O", "O")]  # gaps do not fit flat tags


# Small files in the layouts of the corpora that cannot be had.


def test_chemdner_release_files(tmp_path):
    abstracts, notes = tmp_path / "abs.txt", tmp_path / "ann.txt"
    abstracts.write_text("1\tOn µ-toluene\tThe NaCl salt.\n2\tNone\tnothing\n", encoding="utf-8")
    notes.write_text(
        "1\tT\t3\t12\tµ-toluene\tSYSTEMATIC\n1\tA\t4\t8\tNaCl\tFORMULA\n1\tA\t0\t3\tNaC\tFORMULA\n", encoding="utf-8"
    )
    documents, report = read_chemdner(abstracts, notes)
    assert [d.id for d in documents] == ["1", "2"]
    assert [(s.text, s.label, s.start) for s in documents[0].spans] == [
        ("µ-toluene", "Chemical", 3),
        ("NaCl", "Chemical", 17),
    ]
    assert report.counts == {"spans that do not match": 1}
    assert "line 3" in str(report.problems[0])
    kept, _ = read_chemdner(abstracts, notes, label=None)
    assert [s.label for s in kept[0].spans] == ["SYSTEMATIC", "FORMULA"]
    with pytest.raises(UserError, match="line 3: span"):
        read_chemdner(abstracts, notes, strict=True)
    notes.write_text("1\tT\t3\t²\tx\tSYSTEMATIC\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 1: .* has no whole numbers as offsets"):
        read_chemdner(abstracts, notes)
    notes.write_text("9\tT\t3\t12\tx\tSYSTEMATIC\n")
    with pytest.raises(UserError, match="line 1: document 9 is not among the abstracts"):
        read_chemdner(abstracts, notes)
    abstracts.write_text("1\ttitle only\n")
    with pytest.raises(UserError, match="line 1: 2 columns"):
        read_chemdner(abstracts, notes)


def test_gellus_in_nersuite(tmp_path):
    path = tmp_path / "g.nersuite"
    path.write_text(
        "B-Cell-line-name\t0\t4\tHeLa\tHeLa\tNN\tB-NP\nO\t5\t10\tcells\tcell\tNNS\tI-NP\n\n"
        "I-Cell-line-name\t0\t3\tCHO\tCHO\tNN\tB-NP\nO\t3\t4\t.\t.\t.\tO\n"
    )
    document, sentences, report = read_nersuite(path)
    assert document.text == "HeLa cells\nCHO."
    assert [(s.text, s.start, s.label) for s in document.spans] == [
        ("HeLa", 0, "Cell-line-name"),
        ("CHO", 11, "Cell-line-name"),
    ]
    assert document.sentences == ((0, 10), (11, 15))
    assert [s.tags[0] for s in sentences] == ["B-Cell-line-name"] * 2
    assert report.counts == {"I- without B-": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("O\t0\t3\tab\n", "line 1: 'ab' does not fit 0:3"),
        ("O\t0\t2\tab\nO\t1\t2\tb\n", "line 2: 'b' at 1 starts before"),
        ("O\t0\t2\tab\no\t3\t4\tb\n", "line 2: 'b' is o, which has no scheme letter"),
        ("O\tx\t2\tab\n", "line 1: .* is no NERsuite line"),
        ("O\t0\t²\tab\n", "line 1: .* is no NERsuite line"),
        ("\n", "holds no sentence"),
    ],
)
def test_nersuite_flaws_are_refused(text, says, tmp_path):
    (tmp_path / "f").write_text(text)
    with pytest.raises(UserError, match=says):
        read_nersuite(tmp_path / "f")


BIOC = """<collection><document><id>7</id>
<passage><offset>0</offset><text>IL-2 gene</text>
<annotation id="T1"><infon key="type">protein</infon><infon key="identifier">P60568</infon>
<location offset="0" length="4"/><text>IL-2</text></annotation></passage>
<passage><offset>12</offset><text>NF kB and p65</text>
<annotation id="T2"><infon key="type">protein</infon><location offset="12" length="2"/><location offset="22" length="3"/>
<text>NF p65</text></annotation>
<annotation id="T3"><infon key="type">protein</infon><location offset="12" length="5"/><text>NF-kB</text></annotation></passage>
</document></collection>"""


def test_fsu_in_bioc(tmp_path):
    path = tmp_path / "x.xml"
    path.write_text(BIOC)
    (document,), report = read_bioc(path)
    assert document.text == "IL-2 gene   NF kB and p65"
    assert document.spans == (
        Span(((0, 4),), "protein", "IL-2", "P60568"),
        Span(((12, 14), (22, 25)), "protein", "NF p65"),
    )
    assert report.counts == {"spans that do not match": 1}
    with pytest.raises(UserError, match="document 7: span 12:17 reads 'NF kB' where the file says 'NF-kB'"):
        read_bioc(path, strict=True)
    path.write_text(BIOC.replace("<offset>12", "<offset>4"))
    with pytest.raises(UserError, match="document 7: the passage at 4 overlaps"):
        read_bioc(path)
    path.write_text(BIOC.replace('offset="0"', 'offset="-3"'))
    for odd in ("-3", "1_0", "²", "9" * 5000):
        path.write_text(BIOC.replace('offset="0"', f'offset="{odd}"'), encoding="utf-8")
        with pytest.raises(UserError, match=f"'{odd}' is no whole number"):
            read_bioc(path)


def test_fsu_in_iexml(tmp_path):
    path = tmp_path / "x.xml"
    path.write_text(
        '<root><document id="9"><s id="1">The <e id="x::T116:PRGE"><e id="y" type="DNA">IL-2</e> receptor</e> &amp; more.</s>'
        '<s id="2"><e class="protein">p53</e></s></document></root>'
    )
    (document,), _ = read_iexml(path)
    assert document.text == "The IL-2 receptor & more. p53"
    assert [(s.text, s.label) for s in document.spans] == [
        ("IL-2", "DNA"),
        ("IL-2 receptor", "PRGE"),
        ("p53", "protein"),
    ]
    assert document.sentences == ((0, 25), (26, 29))
    assert exact([document])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<a><b></a>", "not well-formed XML"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "defines XML entities"),
        ('<?xml version="1.0" encoding="foo"?><a/>', "not well-formed XML"),
        ('<?xml version="1.0" encoding="utf-32"?><a/>', "not well-formed XML"),
        ('<?xml version="1.0" encoding="base64"?><a/>', "not well-formed XML"),
        ("<a/>", "holds no"),
    ],
)
def test_xml_that_is_refused(text, says, tmp_path):
    path = tmp_path / "x.xml"
    path.write_text(text)
    for reader in (read_bioc, read_iexml):
        with pytest.raises(UserError, match=says):
            reader(path)


@pytest.mark.parametrize(
    "reader", [read_bioc, read_iexml, read_nersuite, read_pubtator, lambda path: read_chemdner(path, path)]
)
def test_files_that_cannot_be_read(reader, tmp_path):
    (tmp_path / "file").write_text("")
    for path, says in (("", "is a folder"), ("none", "no such file"), ("file/x", "cannot be read .Not a directory")):
        with pytest.raises(UserError, match=says):
            reader(tmp_path / path)


def test_reports_are_merged_by_kind():
    one, other = Report(keep=2), Report(keep=2)
    for report, kinds in ((one, "aaab"), (other, "abbbc")):
        for line, kind in enumerate(kinds):
            report.add(kind, "f", line, "odd", "left out")
    one.merge(other)
    assert one.counts == {"a": 4, "b": 4, "c": 1}
    assert [(p.kind, p.line) for p in one.problems] == [("a", 0), ("a", 1), ("b", 3), ("b", 1), ("c", 4)]


def test_pubtator_structure(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text(
        "1|t|A | b\u2028c\n1|a|\n1\t0\t1\tA\tGene\t5\n1\tCID\tD1\tD2\n\n2|t|only title\n2\t5\t10\ttitle\tX\n3|t|no blank before\n",
        encoding="utf-8",
    )
    documents, report = read_pubtator(path)
    assert [(d.id, d.text) for d in documents] == [
        ("1", "A | b\u2028c\n"),
        ("2", "only title"),
        ("3", "no blank before"),
    ]
    assert documents[0].spans == (Span(((0, 1),), "Gene", "A", "5"),)
    assert documents[1].spans[0].text == "title"
    assert report.clean
    for text, says in (
        ("1|a|x\n", "has no title"),
        ("1|t|x\n2\t0\t1\tx\tG\n", "line 2: .* belongs to no document"),
        ("1|t|x\n1\t0\n", "line 2: .* has 2 columns"),
        ("\n", "holds no document"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=says):
            read_pubtator(path)


@pytest.mark.parametrize(
    "row", ["-1\t5\tonly\tX", "0\t²\tonly\tX", "only\t0\t4\tX", "0\t4\tonly", f"0\t{'9' * 5000}\tonly\tX"]
)
def test_pubtator_lines_without_offsets_are_reported(row, tmp_path):
    (tmp_path / "p").write_text(
        f"2|t|only title\n2\t0\t4\tonly\tX\tD1|D2\n2\tAssociation\tD1\tD2\tNovel\n2\t{row}\n", "utf-8"
    )
    (document,), report = read_pubtator(tmp_path / "p")
    assert [s.text for s in document.spans] == ["only"]
    assert [(p.kind, p.line) for p in report.problems] == [("lines without offsets", 4)]
    with pytest.raises(UserError, match=r"line 4: .* is no id, start, end, mention, type"):
        read_pubtator(tmp_path / "p", strict=True)


def test_brat_files_round_trip_with_line_breaks(tmp_path):
    text = "Fever of\nunknown origin, α-cell\r\nx"
    spans = (Span(((0, 23),), "D", "Fever of\nunknown origin"), Span(((25, 26), (33, 34)), "G", "α x"))
    write_brat(tmp_path, Document("d", text, spans))
    (back,), report = read_brat(tmp_path)
    assert report.clean
    assert back.text == text
    assert back.spans[0].fragments == ((0, 8), (9, 23))  # BRAT cuts spans at line breaks
    assert back.spans[1].fragments == ((25, 26), (33, 34))


def test_brat_flaws(tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "a.ann").write_text(
        "T1\tX 0 4\tsome\nT2\tX 0 99\tsome\nT3\tX 5 9\ttest\nT4\tX five 9\ttext\nR1\tr Arg1:T1\n"
    )
    (document,), report = read_brat(tmp_path)
    assert [s.text for s in document.spans] == ["some"]
    assert report.counts == {"spans that do not match": 2, "lines that are no entity": 1}
    assert [p.line for p in report.problems] == [2, 3, 4]
    with pytest.raises(UserError, match=r"a\.ann, line 2"):
        read_brat(tmp_path, strict=True)
    (tmp_path / "b.ann").write_text("")
    with pytest.raises(UserError, match=r"b\.ann has no text beside it"):
        read_brat(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.txt"):
        read_brat(tmp_path / "empty")


def annotated(folder, text, notes):
    (folder / "a.txt").write_bytes(text.encode())
    (folder / "a.ann").write_bytes(notes.encode())
    (document,), report = read_brat(folder)
    return document, report


def test_brat_keeps_both_entities_of_one_id(tmp_path):
    notes = "T1\tX 0 4\tsome\nT1\tY 5 9\ttext\nN1\tReference T1 db:7\nN2\tReference T1 other:8\nN3\tReference T1 db:7\n"
    document, report = annotated(tmp_path, "some text", notes)
    assert [(s.text, s.label, s.id) for s in document.spans] == [
        ("some", "X", "db:7|other:8"),
        ("text", "Y", "db:7|other:8"),
    ]
    assert report.counts == {"ids given twice": 1}
    assert "a.ann, line 2: T1 for the second time; both kept" in str(report.problems[0])
    with pytest.raises(UserError, match=r"a\.ann, line 2: T1 for the second time"):
        read_brat(tmp_path, strict=True)


@pytest.mark.parametrize(
    "odd", ["t1\tX 0 4\tsome", " T1\tX 0 4\tsome", "T1 X 0 4 some", "T1\tX 0 ²\tsome", f"T1\tX 0 {'9' * 5000}\ts"]
)
def test_brat_lines_that_are_none_of_its_kinds_are_reported(odd, tmp_path):
    known = "R1\tr Arg1:T1 Arg2:T2\nE1\tX:T1\nA1\tn T1\nM1\tn T1\n#1\tNote T1\tT2\n*\te T1 T2\n\n"
    _, report = annotated(tmp_path, "some text", f"{known}{odd}\n")
    assert [(p.kind, p.line) for p in report.problems] == [("lines that are no entity", 8)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("inner", "\u2028\u2029\x85\v\f\x1c")
def test_brat_lines_end_at_line_feeds_alone(end, inner, tmp_path):
    document, report = annotated(tmp_path, f"big{inner}bad", f"T1\tX 0 7\tbig{inner}bad{end}T2\tX 4 7\tbad{end}")
    assert report.clean
    assert [s.fragments for s in document.spans] == [((0, 7),), ((4, 7),)]
    write_brat(tmp_path / "again", document)
    assert read_brat(tmp_path / "again") == ([document], report)


@pytest.mark.parametrize(("counted", "text"), [(1, "\ufeffsome text"), (0, "some text")])
def test_a_byte_order_mark_counts_if_the_mentions_say_so(counted, text, tmp_path):
    document, report = annotated(tmp_path, "\ufeffsome text", f"T1\tX {5 + counted} {9 + counted}\ttext\n")
    assert report.clean
    assert (document.text, document.spans[0].text) == (text, "text")
    assert annotated(tmp_path, "\ufeffsome text", "")[0].text == "some text"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text("ab \ufeff\u2028\x85\r\né", min_size=1), st.sampled_from(["X", "Cell line", "a\u00a0b\tc", ""]), st.data()
)
def test_brat_reads_what_it_writes(tmp_path, text, label, data):
    places = [i for i, c in enumerate(text) if not c.isspace()]
    start, end = sorted((data.draw(st.sampled_from(places)), data.draw(st.sampled_from(places)))) if places else (0, -1)
    spans = (Span(((start, end + 1),), label, text[start : end + 1]),) if places else ()
    write_brat(tmp_path, Document("d", text, spans))
    (back,), report = read_brat(tmp_path)
    assert report.clean
    assert back.text == (text if spans else text.removeprefix("\ufeff"))
    assert ["".join(s.text.split()) for s in back.spans] == ["".join(s.text.split()) for s in spans]
    assert [(s.start, s.end, s.label) for s in back.spans] == [
        (start, end + 1, {"X": "X", "Cell line": "Cell_line", "": "ENTITY"}.get(label, "a_b_c")) for _ in spans
    ]


def test_documents_become_sentences():

    def place(mention):
        start = text.index(mention)
        return Span(((start, start + len(mention)),), "D", mention)

    text = "Patients (n=3) had e.g. fever. Fig. 2 shows St. Louis encephalitis! New\nline"
    spans = (
        place("fever"),
        place("St. Louis encephalitis"),
        place("Louis"),
        Span((*place("Pat").fragments, *place("line").fragments), "D", "Pat line"),
        place("ew"),
    )
    sentences, report = to_sentences([Document("1", text, spans)])
    assert [" ".join(s.words) for s in sentences] == [
        "Patients ( n = 3 ) had e . g . fever .",
        "Fig . 2 shows St . Louis encephalitis !",
        "New",
        "line",
    ]
    assert [s.entities for s in sentences] == [[(11, 12, "D")], [(4, 8, "D")], [(0, 1, "D")], []]
    assert report.counts == {"overlapping spans": 1, "discontinuous spans": 1, "borders inside a word": 1}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ('He has "cystic fibrosis." Then', ['He has "cystic fibrosis."', "Then"]),
        ("(He has it.)  [Then] (x", ["(He has it.)", "[Then] (x"]),
        ("It ('so!')\nthen", ["It ('so!')", "then"]),
        ("He has (e.g.) It", ["He has (e.g.) It"]),
    ],
)
def test_closing_marks_stay_with_the_sentence_that_ends(text, want):
    assert [text[a:b] for a, b in sentence_spans(Document("d", text, ()))] == want


@settings(deadline=None)
@given(st.text("a. !?\"')](A1\n\t\r", max_size=60), st.data())
def test_no_character_is_outside_all_sentences_and_none_cuts_a_span(text, data):
    place = st.integers(0, max(len(text) - 1, 0))
    pairs = [sorted(p) for p in data.draw(st.lists(st.tuples(place, place), max_size=4))]
    spans = tuple(Span(((a, b),), "X", text[a:b]) for a, b in pairs if a < b and not text[a:b].isspace())
    document = Document("d", text, spans)
    bounds = sentence_spans(document)
    edges = [0, *itertools.chain.from_iterable(bounds), len(text)]
    assert edges == sorted(edges)
    assert not "".join(text[a:b] for a, b in zip(edges[::2], edges[1::2])).strip()
    assert not any(s.start < b and a < s.end for s in spans for a, b in zip(edges[2:-2:2], edges[3:-2:2]))
    words = [w for s in to_sentences([document])[0] for w in s.words]
    assert "".join(words) == "".join(text.split())


def test_long_documents_with_many_spans_are_cut_in_time():
    text = "Fever rose. " * 30_000
    spans = tuple(Span(((i, i + 5),), "X", "Fever") for i in range(0, len(text), 12))
    began = time.perf_counter()
    assert len(sentence_spans(Document("d", text, spans))) == 30_000
    assert time.perf_counter() - began < 20  # 0.2 s; comparing each end with each span takes minutes


@needs_data
def test_ncbi_documents_become_about_the_sentences_of_the_corpus(unpacked):
    """BRAT and the token file are two roads from one corpus: entities agree but for cuts inside words."""
    documents, _ = read_brat(unpacked("docs/ncbi_disease/ncbi_disease.tar.xz") / "standoff" / "test")
    sentences, report = to_sentences(documents)
    entities = sum(len(s.entities) for s in sentences)
    assert entities + report.counts["overlapping spans"] == 960
    assert 930 <= entities <= 960
    assert 850 <= len(sentences) <= 1050
    low, high = zip(*(span for d in documents for span in sentence_spans(d)))
    assert all(a < b for a, b in zip(low, high))
