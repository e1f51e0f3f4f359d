"""A user's own corpus: layouts that are read, splits, refusals, and a run that learns from one."""

import contextlib
from pathlib import Path

import pytest

from zoo.core.config import compose
from zoo.core.errors import UserError
from zoo.core.schema import OptimizerConfig, RunConfig, TrainerConfig
from zoo.core.task import Split
from zoo.core.train import run, typed
from zoo.openmed_ner.config import LoraSettings, TaggerConfig, TaggerDataConfig, TaggerModelConfig
from zoo.openmed_ner.corpora.brat import read_brat
from zoo.openmed_ner.corpora.folder import read_folder

SPLITS = ("train", "devel", "test")


def words(sentences):
    return [" ".join(s.words) for s in sentences]


def brat(folder: Path, name: str, text: str, *spans: tuple[int, int, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    lines = [f"T{i + 1}\t{kind} {a} {b}\t{text[a:b]}\n" for i, (a, b, kind) in enumerate(spans)]
    (folder / f"{name}.ann").write_text("".join(lines), encoding="utf-8")


@pytest.mark.parametrize("names", [("train.tsv", "devel.tsv", "test.tsv"), ("train.iob2", "dev.conll", "test.txt")])
def test_token_files_are_found_by_their_names(tmp_path, names):
    for split, name in zip(SPLITS, names):
        (tmp_path / name).write_text(f"{split}\tB-Gene\nX1\tI-Gene\n\nof\tO\n", encoding="utf-8")
    for split in SPLITS:
        sentences, report = read_folder(tmp_path, split)
        assert words(sentences) == [f"{split} X1", "of"]
        assert sentences[0].entities == [(0, 2, "Gene")]
        assert report.clean


def test_bare_tags_get_a_type(tmp_path):
    (tmp_path / "train.tsv").write_text("fever\tB\nof\tO\n")
    assert read_folder(tmp_path, "train")[0][0].entities == [(0, 1, "ENTITY")]


def test_what_a_tag_means_is_told_by_all_files(tmp_path):
    for split, rows in (
        ("train", "x\tB-cell\ny\tT-cell\ny\tProtein\nz\tProtein\n"),
        ("devel", "x\tO\n"),
        ("test", "x\tB-cell\nx\tO\n"),
    ):
        (tmp_path / f"{split}.tsv").write_text(rows)
    assert [s.entities for s in read_folder(tmp_path, "test")[0]] == [[(0, 1, "B-cell")]]
    (tmp_path / "train.tsv").write_text("x\tT-cell\n")
    with pytest.raises(
        UserError, match=r"test\.tsv, line 1: .* with a scheme letter \(B-cell\) and without \(T-cell\)"
    ):
        read_folder(tmp_path, "test")
    (tmp_path / "train.tsv").write_text("x\tB-cell\ny\tB-cell\n")
    assert [s.entities for s in read_folder(tmp_path, "test")[0]] == [[(0, 1, "cell")]]


def test_dirt_in_a_users_file_is_reported(tmp_path):
    (tmp_path / "train.tsv").write_text("cells\tB-D\nof\tO\nfever\tI-D\n")
    sentences, report = read_folder(tmp_path, "train")
    assert not report.clean
    assert sentences[0].entities == [(0, 1, "D"), (2, 3, "D")]


@pytest.mark.parametrize("names", [("train", "devel", "test"), ("train", "validation", "test")])
def test_brat_in_sub_folders(tmp_path, names):
    for split, name in zip(SPLITS, names):
        brat(tmp_path / name, "a", f"Fever of {split}. No cells.", (0, 5, "Sign"))
    for split in SPLITS:
        sentences, _ = read_folder(tmp_path, split)
        assert words(sentences) == [f"Fever of {split} .", "No cells ."]
        assert [s.entities for s in sentences] == [[(0, 1, "Sign")], []]


def test_brat_side_by_side_is_split_by_name_alone(tmp_path):
    for i in range(120):
        brat(tmp_path, f"doc{i}", f"Fever number {i}", (0, 5, "Sign"))
    parts = {split: set(words(read_folder(tmp_path, split)[0])) for split in SPLITS}
    assert sum(len(p) for p in parts.values()) == 120
    assert set.union(*parts.values()) == {f"Fever number {i}" for i in range(120)}
    # a tenth each, within five standard deviations (12 expected, 3.3 one of them)
    assert all(1 <= len(parts[split]) <= 28 for split in ("devel", "test"))
    # other documents, and other content, move none of them
    for i in range(60):
        (tmp_path / f"doc{i}.txt").unlink()
        (tmp_path / f"doc{i}.ann").unlink()
    for split in SPLITS:
        rest = set(words(read_folder(tmp_path, split)[0]))
        assert rest == {w for w in parts[split] if int(w.split()[-1]) >= 60}


def test_a_document_called_train_is_no_token_file(tmp_path):
    brat(tmp_path, "train", "Fever of origin", (0, 5, "Sign"))
    brat(tmp_path, "b", "Fever again", (0, 5, "Sign"))
    found = []
    for split in SPLITS:
        with contextlib.suppress(UserError):  # of two documents a split gets none
            found += words(read_folder(tmp_path, split)[0])
    assert sorted(found) == ["Fever again", "Fever of origin"]


def test_folders_that_are_refused(tmp_path):
    def says(folder, split="train"):
        with pytest.raises(UserError) as caught:
            read_folder(folder, split)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such folder" in says(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    assert "no such folder" in says(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "neither train.tsv nor .ann files" in says(tmp_path / "empty")
    (tmp_path / "half").mkdir()
    (tmp_path / "half/train.tsv").write_text("a\tO\n")
    assert "no token file for devel: add one called devel or dev or valid or validation" in says(
        tmp_path / "half", "devel"
    )
    (tmp_path / "half/dev.tsv").write_text("a\tO\n")
    (tmp_path / "half/valid.tsv").write_text("a\tO\n")
    assert "more than one token file for devel: dev.tsv, valid.tsv" in says(tmp_path / "half", "devel")
    brat(tmp_path / "sub/train", "a", "Fever")
    assert "no sub-folder for test" in says(tmp_path / "sub", "test")
    brat(tmp_path / "one", "a", "Fever", (0, 5, "Sign"))
    refused = 0
    for split in SPLITS:
        try:
            read_folder(tmp_path / "one", split)
        except UserError as error:
            refused += "put them into sub-folders" in str(error)
    assert refused == 2


def test_one_of_corpus_and_folder():
    for given in ({}, {"corpus": "x", "folder": "y"}):
        with pytest.raises(ValueError, match="name one of them"):
            TaggerDataConfig(**given)
    with pytest.raises(ValueError, match="valid_limit=0"):
        TaggerDataConfig(corpus="x", valid_limit=0)
    with pytest.raises(ValueError, match="empties=-1"):
        TaggerDataConfig(corpus="x", empties=-1.0)
    config = typed(
        compose(["openmed_ner/ncbi-disease-minilm", "data.corpus=null", "data.folder=mine", "name=openmed_ner/mine"])
    )
    assert config.data.what == "folder mine"


def experiment(tmp_path, base, folder, **data):
    return TaggerConfig(
        family="openmed_ner",
        task="tag",
        name="openmed_ner/mine",
        seed=0,
        run=RunConfig(dir=str(tmp_path / "run")),
        trainer=TrainerConfig(steps=40, batch_size=16, eval_every=40, checkpoint_every=40, eval_batch_size=32),
        optimizer=OptimizerConfig(name="adamw", learning_rate=2e-2, schedule="linear", warmup_steps=5),
        model=TaggerModelConfig(base=str(base), dropout=0.0, lora=LoraSettings(rank=4)),
        data=TaggerDataConfig(folder=str(folder), max_length=32, **data),
    )


def test_limits_keep_the_first_sentences(tmp_path, lexicon_folder):
    from zoo.openmed_ner.task import TaggerTask

    for split in SPLITS:
        lines = [f"fever\tB-D\n{split}{i}\tO\n" for i in range(9)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines))
    task = TaggerTask(experiment(tmp_path, lexicon_folder, tmp_path, limit=5, valid_limit=2))
    kept = {split: words(task.records(split).sentences) for split in Split}
    assert kept[Split.TRAIN] == [f"fever train{i}" for i in range(5)]
    assert kept[Split.VALID] == [f"fever devel{i}" for i in range(2)]
    assert len(kept[Split.TEST]) == 9  # what is reported is never cut
    (tmp_path / "train.tsv").write_text("of\tO\n")
    with pytest.raises(UserError, match="its training sentences have no entity"):
        TaggerTask(experiment(tmp_path, lexicon_folder, tmp_path))


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, ""), (0.5, "0"), (1.0, "04"), (2.0, "0246"), (99.0, "01234567")])
def test_sentences_without_an_entity_are_thinned_evenly(tmp_path, lexicon_folder, ratio, kept):
    from zoo.openmed_ner.task import TaggerTask

    lines = [f"empty{i}\tO\n" for i in range(8)]
    lines[3:3] = ["fever\tB-D\n", "fever\tB-D\n"]
    for split in SPLITS:
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines))
    task = TaggerTask(experiment(tmp_path, lexicon_folder, tmp_path, empties=ratio))
    found = words(task.records(Split.TRAIN).sentences)
    assert [w for w in found if w != "fever"] == [f"empty{i}" for i in kept]
    assert found.count("fever") == 2
    assert len(task.records(Split.VALID).sentences) == len(task.records(Split.TEST).sentences) == 10


@pytest.mark.parametrize("layout", ["tokens", "brat"])
def test_a_users_folder_trains_with_its_types(tmp_path, lexicon_folder, layout):
    """The same patterns in either layout; the release names the types and is used without the folder."""
    import random
    import shutil

    import zoo

    rng = random.Random(0)
    kinds = {"origin": "Place", "disease": "Sign"}
    corpus = tmp_path / "corpus"
    for split, count in zip(SPLITS, (160, 30, 30)):
        lines = [rng.choices(["cells", "of", "unknown", "origin", "disease", "the"], k=6) for _ in range(count)]
        if layout == "tokens":
            corpus.mkdir(exist_ok=True)
            rows = ["".join(f"{w}\t{'B-' + kinds[w] if w in kinds else 'O'}\n" for w in line) for line in lines]
            (corpus / f"{split}.tsv").write_text("\n".join(rows))
        else:
            for n, line in enumerate(lines):
                text = " ".join(line)
                at = [len(" ".join(line[:i])) + (i > 0) for i in range(len(line))]
                found = [(a, a + len(w), kinds[w]) for a, w in zip(at, line) if w in kinds]
                brat(corpus / split, f"d{n}", text, *found)
    if layout == "brat":
        assert sum(len(d.spans) for d in read_brat(corpus / "devel")[0]) > 30
    document = run(experiment(tmp_path, lexicon_folder, corpus), "zoo train openmed_ner/mine")
    assert document["metrics"]["test"]["f1"] > 95
    shutil.rmtree(corpus)
    tagger = zoo.load(document["release"])
    assert {e.label: e.text for e in tagger("the disease of unknown origin")} == {"Sign": "disease", "Place": "origin"}
    assert "a corpus of the user's own" in tagger.info.data
    assert tagger.info.config["data"]["types"] == ["Place", "Sign"]
