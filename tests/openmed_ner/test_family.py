"""The whole way: an experiment is trained, its release is loaded without its corpus, a file is tagged in each format."""

import argparse
import io
import json
import os
import re
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import zoo
from zoo import cli
from zoo.core.config import compose
from zoo.core.errors import UserError
from zoo.core.schema import OptimizerConfig, RunConfig, TrainerConfig
from zoo.core.train import evaluate, run, typed
from zoo.openmed_ner import task as task_module
from zoo.openmed_ner.config import LoraSettings, TaggerConfig, TaggerDataConfig, TaggerModelConfig
from zoo.openmed_ner.corpora.brat import read_brat
from zoo.openmed_ner.corpora.catalogue import CORPORA
from zoo.openmed_ner.corpora.conll import read_conll
from zoo.openmed_ner.corpora.records import Report, Sentence
from zoo.openmed_ner.formats import Tagged, check_target, to_brat, to_conll, to_html, to_jsonl, write
from zoo.openmed_ner.mlm.config import DomainConfig
from zoo.openmed_ner.pipeline import Entity
from zoo.openmed_ner.predictor import ReleasedTagger, predict_arguments
from zoo.openmed_ner.sources import Source, read_sources

ROOT = Path(__file__).parent.parent.parent


def rows(split):
    patterns = [
        "origin/B-D of/O signs/O",
        "the/O disease/B-D with/O cells/O",
        "unknown/O",
        ",/O ./O &/O meniere/O -/O b/O signs/O ,/O",
        "no/O origin/B-D origin/B-D",
    ]
    made = [tuple(zip(*(pair.rsplit("/", 1) for pair in text.split()))) for text in patterns]
    return [Sentence(*one) for one in made] * (20 if split == "train" else 2), Report()


@pytest.fixture(scope="module")
def release(tmp_path_factory, lexicon_folder):
    """A short training on a made corpus, through the same door as ``zoo train``."""
    config = TaggerConfig(
        family="openmed_ner",
        task="tag",
        name="openmed_ner/tiny",
        seed=0,
        run=RunConfig(dir=str(tmp_path_factory.mktemp("runs") / "tiny")),
        trainer=TrainerConfig(steps=60, batch_size=16, eval_every=60, checkpoint_every=60, eval_batch_size=32),
        optimizer=OptimizerConfig(name="adamw", learning_rate=5e-3, schedule="linear", warmup_steps=5),
        model=TaggerModelConfig(base=str(lexicon_folder), dropout=0.0, lora=LoraSettings(rank=2)),
        data=TaggerDataConfig(corpus="ncbi_disease", max_length=32),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_module, "corpus", lambda name: type("Corpus", (), {"read": staticmethod(rows)}))
        document = run(config, "zoo train openmed_ner/tiny")
        assert document["metrics"]["test"]["f1"] > 95
        again = run(config, "zoo train openmed_ner/tiny")
        assert again["already_finished"]
        assert evaluate(document["release"])["agrees"]
    return Path(document["release"])


@pytest.fixture
def tagger(release, monkeypatch):
    def no_corpus(name):
        raise AssertionError("a release is used without its corpus")

    monkeypatch.setattr(task_module, "corpus", no_corpus)
    return zoo.load(str(release))


TEXT = "  The disease, with\r\nno ORIGIN\u200b & <b>signs</b>.\n\nM\u00e9ni\u00e8re \U0001f600 of unknown origin"


def test_a_release_tags_with_exact_places(tagger):
    found = tagger(TEXT)
    assert [(e.text, e.label) for e in found] == [("disease", "D"), ("ORIGIN", "D"), ("origin", "D")]
    assert all(TEXT[e.start : e.end] == e.text and 0 < e.score <= 1 for e in found)
    assert tagger([TEXT, ""])[1] == []
    assert [[e.text for e in one] for one in tagger(["", TEXT])] == [[], ["disease", "ORIGIN", "origin"]]
    long = "the disease of " * 200  # far over the window of 32
    assert len(tagger(long)) == 200


@pytest.mark.wrong_types
def test_a_text_that_is_none_is_refused(tagger):
    with pytest.raises(UserError, match="text 1 is a int"):
        tagger(["a", 3])


def test_the_released_tensors_are_adapters_and_head_alone(release, tagger):
    manifest = json.loads((release / "model.json").read_text())
    from safetensors.numpy import load_file

    names = load_file(release / "weights.safetensors").keys()
    assert names
    assert all("/lora/" in name or name.startswith("params/head/") for name in names)
    assert sum("/lora/" in name for name in names) == 8  # a and b of query, key, value and output of the only layer
    text = json.dumps(manifest)
    assert '"types": ["D"]' in text
    assert tagger.window == 32
    assert tagger.info.name == "openmed_ner/tiny"
    assert "NCBI-Disease" in tagger.info.data


def test_another_corpus_begins_from_the_encoder_of_a_tagger(release, tagger, lexicon_folder):
    import jax
    import jax.numpy as jnp
    import numpy as np

    from zoo.openmed_ner.convert import load_token_classifier
    from zoo.openmed_ner.labels import LabelMap
    from zoo.openmed_ner.model import adapt

    ids = jnp.asarray([[tagger.tokenizer.cls, 9, 12, tagger.tokenizer.sep]], jnp.int32)
    other = load_token_classifier(lexicon_folder, LabelMap.of_types(("X", "Y")), key=jax.random.key(1)).model
    adapt(other, lexicon_folder, tagger.info.config["model"]["base_sha256"], release)
    np.testing.assert_allclose(
        other.encoder(ids, jnp.ones_like(ids)), tagger.model().encoder(ids, jnp.ones_like(ids)), atol=1e-6
    )


def test_a_tagger_that_stands_on_an_adapter_is_none_to_begin_from(release, tagger, lexicon_folder, monkeypatch):
    import dataclasses

    from zoo.core.release import read_release
    from zoo.openmed_ner import model as model_module

    def stacked(path):
        loaded = read_release(path)
        config = {**loaded.info.config, "model": {**loaded.info.config["model"], "adapter": "openmed_ner/below"}}
        return dataclasses.replace(loaded, info=dataclasses.replace(loaded.info, config=config))

    digest = read_release(release).info.config["model"]["base_sha256"]
    monkeypatch.setattr(model_module, "read_release", stacked)
    with pytest.raises(UserError, match="stands on another one, openmed_ner/below: name one"):
        model_module.adapt(tagger.model(), lexicon_folder, digest, release)


def test_merged_adapters_give_what_the_trained_model_gives(release, tagger, lexicon_folder):
    """The released tagger against the unmerged model of the training code."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx

    from zoo.core.release import read_release
    from zoo.core.train import load_params, load_task

    loaded = read_release(release)
    task = load_task(loaded)
    graphdef, _, rest = nnx.split(task.init(jax.random.key(0)), task.trainable(), ...)
    model = nnx.merge(graphdef, load_params(task, loaded), rest)
    ids, mask = jnp.arange(5, 21, dtype=jnp.int32)[None], jnp.ones((1, 16), jnp.int32)
    ours = nnx.merge(tagger._graphdef, tagger._state)(ids, mask)
    np.testing.assert_allclose(ours, model(ids, mask), atol=2e-4, rtol=1e-4)
    plain = nnx.merge(graphdef, task_params_at_zero(load_params(task, loaded)), rest)
    assert np.abs(np.asarray(plain(ids, mask)) - np.asarray(ours)).max() > 0.1  # the comparison can tell


def task_params_at_zero(params):
    import jax

    return jax.tree.map(lambda x: 0 * x, params)


def command(capsys, *words):
    code = cli.run(["predict", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_zoo_predict_in_each_format(tmp_path, release, tagger, capsys):
    path = tmp_path / "note.txt"
    path.write_bytes(TEXT.encode())
    wanted = [(e.start, e.end, e.label) for e in tagger(TEXT)]

    code, out, err = command(capsys, release, path, "--format", "jsonl")
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    row = json.loads(line)
    assert row["id"] == "note"
    assert [(e["start"], e["end"], e["label"]) for e in row["entities"]] == wanted
    assert all(TEXT[e["start"] : e["end"]] == e["text"] for e in row["entities"])

    code, out, _ = command(capsys, release, path, "--json")
    assert [(r["start"], r["end"], r["label"]) for r in json.loads(out)] == wanted

    code, out, _ = command(capsys, release, path, "--format", "conll", "--out", tmp_path / "note.tsv")
    assert code == 0
    sentences, report = read_conll(tmp_path / "note.tsv")
    assert report.clean
    assert [[" ".join(s.words[a:b]) for a, b, _ in s.entities] for s in sentences] == [
        ["disease"],
        ["ORIGIN"],
        ["origin"],
    ]

    code, out, _ = command(capsys, release, path, "--format", "brat", "--out", tmp_path / "brat")
    assert code == 0
    (document,), report = read_brat(tmp_path / "brat")
    assert report.clean
    assert document.text == TEXT
    assert [(s.start, s.end, s.label) for s in document.spans] == wanted
    code, out, _ = command(capsys, release, path, "--format", "brat")
    assert out == (tmp_path / "brat" / "note.ann").read_text()

    code, out, _ = command(capsys, release, path, "--format", "html")
    assert code == 0
    assert out.startswith("<!doctype html>")
    assert not {p.name for p in tmp_path.iterdir()} - {"note.txt", "note.tsv", "brat"}


def test_zoo_predict_from_stdin(release, tagger, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfno\r\norigin")))
    code, out, _ = command(capsys, release, "-", "--json")
    assert code == 0
    assert [(r["id"], r["start"], r["end"]) for r in json.loads(out)] == [("stdin", 4, 10)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.txt"], "none.txt: no such file"),
        (["empty"], "is a folder without .txt files"),
        (["empty", "--read-as", "lines"], "leave out --read-as lines"),
        (["note.txt", "--resume"], "--resume needs --format jsonl and --out"),
        (["note.txt", "--also", "none/here"], "none/here"),
        (["note.txt", "--also", "neural_de/digits-er"], "is no tagger"),
        (["note.txt", "--format", "html", "--also", "x"], "--also and --format html"),
        (["note.txt", "--threshold-of", "E=0.5"], "no type 'E'"),
        (["note.txt", "--threshold-of", "D"], "no number: write D=0.8"),
        (["note.txt", "--threshold-of", "D=high"], "'high' is no number"),
        (["note.txt", "--threshold-of", "D=2"], "a score lies in [0, 1]"),
        (["note.txt", "--threshold", "1.5"], "--threshold 1.5"),
        (["note.txt", "--threshold", "nan"], "--threshold nan"),
        (["note.txt", "--format", "xml"], "invalid choice: 'xml'"),
        (["note.txt", "--format", "html", "--json"], "exclude each other"),
        (["note.txt", "--out", "new"], "needs a --format"),
        (["note.txt", "--format", "html", "--out", "note.txt"], "is there already"),
        (["note.txt", "--format", "html", "--out", "no/where.html"], "there is no folder no"),
        (["two.jsonl", "--format", "brat"], "2 texts do not fit into one .ann file"),
        (["odd.jsonl", "--format", "brat", "--out", "new"], "id '../x' makes no file name"),
        (["latin.txt"], "latin.txt, line 2: byte 0xe9 is not UTF-8"),
        (["broken.jsonl"], "broken.jsonl, line 2: not JSON"),
        (["a text and no path " * 20], "is no path (File name too long): name a file, or -"),
        (["note.txt", "--format", "html", "--out", "o" * 250], "has 250 bytes: 200 are the most"),
        (["note.txt", "--format", "jsonl", "--out", "o" * 250], "has 250 bytes: 200 are the most"),
        (["note.txt", "--format", "html", "--out", f"{'o' * 300}/page.html"], "is no path (File name too long)"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, monkeypatch, capsys, release, words, says):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("note.txt").write_text("of origin")
    Path("two.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    Path("odd.jsonl").write_text('{"id": "../x", "text": "a"}\n')
    Path("latin.txt").write_bytes(b"of\nM\xe9ni")
    Path("broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    before = sorted(p.name for p in tmp_path.iterdir())
    code, out, err = command(capsys, release, *words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_another_base_is_refused(release, lexicon_folder, tmp_path, monkeypatch):
    """The base's files are changed under the release."""
    import shutil

    other = tmp_path / "base"
    shutil.copytree(lexicon_folder, other)
    raw = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**raw, "layer_norm_eps": 1e-3}))
    monkeypatch.setattr("zoo.openmed_ner.base.find_base", lambda name: other)
    with pytest.raises(UserError, match="was trained on"):
        zoo.load(str(release))


def test_a_threshold_leaves_out_lower_scores(release, tagger, tmp_path, capsys):
    (tmp_path / "a.txt").write_text(TEXT, newline="")
    scores = sorted(e.score for e in tagger(TEXT))
    middle = (scores[0] + scores[-1]) / 2
    _, out, _ = command(capsys, release, tmp_path / "a.txt", "--json", "--threshold", middle)
    assert len(json.loads(out)) == sum(s >= middle for s in scores)
    options = argparse.ArgumentParser()
    predict_arguments(options)
    assert options.parse_args([]).threshold == 0


def renamed(release, folder, name, scale=1.0):
    """The same release under another name, its tensors scaled."""
    from dataclasses import replace

    from zoo.core.release import read_release, write_release

    loaded = read_release(release)
    tensors = {path: x * x.dtype.type(scale) for path, x in loaded.tensors.items()}
    write_release(folder, tensors, replace(loaded.info, name=name))
    return folder


def test_several_models_and_thresholds_of_types(release, tagger, tmp_path, capsys):
    (tmp_path / "a.txt").write_text(TEXT, newline="")
    other = renamed(release, tmp_path / "other", "openmed_ner/other")
    code, out, _ = command(capsys, release, tmp_path / "a.txt", "--json", "--also", other)
    assert code == 0
    rows = json.loads(out)
    names = ["openmed_ner/tiny", "openmed_ner/other"]
    assert [r["model"] for r in rows] == names * 3
    assert [(r["start"], r["end"]) for r in rows[::2]] == [(e.start, e.end) for e in tagger(TEXT)]
    code, out, _ = command(capsys, release, tmp_path / "a.txt", "--format", "jsonl", "--also", other)
    assert [e["model"] for e in json.loads(out)["entities"]] == names * 3
    code, out, err = command(capsys, release, tmp_path / "a.txt", "--also", release)
    assert (code, out) == (2, "")
    assert "it is there already" in err
    seed = renamed(release, tmp_path / "seed", "openmed_ner/tiny", scale=0.9)  # another run of the same experiment
    code, out, _ = command(capsys, release, tmp_path / "a.txt", "--json", "--also", seed)
    assert code == 0
    labels = {r["model"] for r in json.loads(out)}
    assert len(labels) == 2
    assert all(label.startswith("openmed_ner/tiny@") for label in labels)
    code, out, _ = command(capsys, release, tmp_path / "a.txt", "--json", "--threshold-of", "D=1")
    assert (code, json.loads(out)) == (0, [])
    code, out, _ = command(capsys, release, tmp_path / "a.txt", "--json", "--threshold", "1", "--threshold-of", "D=0")
    assert len(json.loads(out)) == 3


def test_the_table_shows_texts_as_they_are(release, tmp_path, capsys, monkeypatch):
    """What a console's markup would swallow stands there, and an id that is none of its tags is no error."""
    monkeypatch.setattr(
        ReleasedTagger, "__call__", lambda self, texts: [[Entity(t, "D", 0, len(t), 1.0)] for t in texts]
    )
    (tmp_path / "a.jsonl").write_text('{"id": "[/x]", "text": "benzo[a]pyrene :skull:"}')
    code, out, _ = command(capsys, release, tmp_path / "a.jsonl")
    assert code == 0
    assert "benzo[a]pyrene :skull:" in out
    assert "[/x]" in out


def test_a_text_without_entities_is_told(release, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("signs")
    assert command(capsys, release, tmp_path / "a.txt") == (0, "", "no entity in 1 text\n")


def test_help_names_the_options_of_the_models_family(release, capsys):
    for words, there in (([str(release)], True), ([], False)):
        with pytest.raises(SystemExit) as end:
            cli.run(["predict", *words, "--help"])
        assert end.value.code == 0
        assert ("--threshold-of" in capsys.readouterr().out) is there


def test_names_that_are_no_utf8(release, tmp_path, capsys):
    name = os.fsdecode(b"\xff.txt")
    try:
        (tmp_path / name).write_text("of origin")
    except OSError:
        pytest.skip("the file system takes names in UTF-8 alone")
    code, out, err = command(capsys, release, tmp_path, "--format", "jsonl")
    assert (code, err) == (0, "")
    assert json.loads(out)["id"] == "\\xff"


@pytest.mark.wrong_types
def test_settings_of_a_loaded_tagger(release):
    assert zoo.load(str(release), threshold=1.0)("of origin") == []
    assert zoo.load(str(release), window=16).window == 16
    with pytest.raises(UserError, match="window, overlap, threshold, batch_tokens"):
        zoo.load(str(release), windw=16)


def test_a_folder_is_tagged_file_by_file(release, tagger, tmp_path, capsys):
    texts = {"b": TEXT, "a": "", "c": "no origin"}
    (tmp_path / "in").mkdir()
    for name, text in texts.items():
        (tmp_path / "in" / f"{name}.txt").write_text(text, newline="")
    (tmp_path / "in" / "a.ann").write_text("")  # of another kind: passed over
    code, _, err = command(capsys, release, tmp_path / "in", "--format", "jsonl", "--out", tmp_path / "out.jsonl")
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [r["id"] for r in rows] == ["a", "b", "c"]
    assert [[(e["start"], e["end"]) for e in r["entities"]] for r in rows] == [
        [(e.start, e.end) for e in tagger(texts[name])] for name in "abc"
    ]
    code, _, _ = command(capsys, release, tmp_path / "in", "--format", "brat", "--out", tmp_path / "brat")
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "brat").glob("*.ann")) == ["a.ann", "b.ann", "c.ann"]


def blocks(language):
    text = (ROOT / "zoo/openmed_ner/README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def test_the_readmes_domain_adapter_fills_its_gap(minilm, capsys):
    """The packaged release on its real base, where that has been fetched."""
    exec(compile(blocks("python")[1], "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.parametrize("words", [("--also", "x"), ("--threshold-of", "D=0.5"), ("--threshold", "0.5")])
def test_a_domain_adapter_is_no_tagger(minilm, tmp_path, capsys, words):
    (tmp_path / "a.txt").write_text("of")
    code, out, err = command(capsys, "openmed_ner/dapt-minilm", tmp_path / "a.txt", *words)
    assert (code, out) == (2, "")
    assert f"{words[0]} is for taggers" in err


def test_the_packaged_tagger_finds_its_entities(minilm):
    """On its real base, where that has been fetched; without any corpus."""
    tagger = zoo.load("openmed_ner/ncbi-disease-minilm")
    assert tagger.info.metrics["test"]["f1"] > 79
    assert tagger.share.percent < 1.5
    text = "BRCA1 mutations predispose to breast cancer, and M\u00e9ni\u00e8re's disease does not."
    assert [e.text for e in tagger(text)] == ["breast cancer", "M\u00e9ni\u00e8re's disease"]


def test_the_readme_is_run_as_written(release, tagger, tmp_path, monkeypatch, capsys):
    """With the tiny release in a folder of the packaged one's name: a folder here goes before a name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openmed_ner").mkdir()
    (tmp_path / "openmed_ner/ncbi-disease-minilm").symlink_to(release)
    Path("abstract.txt").write_text(TEXT, newline="")
    Path("notes.jsonl").write_text('{"id": "a", "text": "of origin"}\n{"id": "b", "text": ""}\n')
    (python, _), (shell,) = blocks("python"), blocks("sh")
    *predicts, train = [shlex.split(line) for line in shell.splitlines()]
    assert isinstance(typed(compose(train[2:])), TaggerConfig)
    assert len(predicts) == 4
    for words in predicts:
        assert cli.run(words[1:]) == 0, capsys.readouterr().err
    assert "</mark>" in Path("abstract.html").read_text(encoding="utf-8")
    assert [len(d.spans) for d in read_brat("annotated")[0]] == [1, 0]
    assert [len(json.loads(line)["entities"]) for line in Path("entities.jsonl").read_text().splitlines()] == [1, 0]
    capsys.readouterr()
    exec(compile(python, "README.md", "exec"), {})
    assert ["D", "52", "58", "origin"] in [line.split()[:4] for line in capsys.readouterr().out.splitlines()]


# Formats, on what no model has to find.
NASTY = 'a <script>"x" & y</script>\r\nb\x00\rc\n d\u2028e \u202ef <mark>'


def tagged(text, *places, label="Gene/<Protein>", name="x"):
    return Tagged(name, text, tuple(Entity(text[a:b], label, a, b, 0.5) for a, b in places))


class Page(HTMLParser):
    """What a browser would show of the texts, and the marks in it."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.marks, self.inside = [], "", [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside.append((tag, dict(attrs), len(self.text)))
        if tag == "meta":
            self.inside.pop()

    def handle_endtag(self, tag):
        opened, attrs, at = self.inside.pop()
        assert opened == tag
        if tag == "mark" and "data-label" in attrs:
            self.marks.append((at, len(self.text), attrs["data-label"]))

    def handle_data(self, data):
        if any(tag == "div" for tag, _, _ in self.inside):
            self.text += data


def test_html_shows_every_character_and_runs_nothing():
    at = NASTY.index("<script>")
    places = (at, at + len("<script>")), (NASTY.index("y"), NASTY.index("b\x00") + 1)
    page = Page()
    source = to_html([tagged(NASTY, *places)])
    page.feed(source)
    page.close()
    assert page.text == NASTY.replace("\x00", "\ufffd")
    assert page.marks == [(*place, "Gene/<Protein>") for place in places]
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "ul", "li", "section", "h2", "div", "mark"}
    assert set(page.tags) <= allowed
    assert not re.search(r"https?:|src=|href=|url\(", source)


@given(st.text(max_size=40), st.data())
@settings(deadline=None, max_examples=60)
def test_html_shows_arbitrary_text(text, data):
    cut = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
    places = [(a, b) for a, b in (cut[:2], cut[2:]) if b > a]
    page = Page()
    page.feed(to_html([tagged(text, *places)]))
    page.close()
    assert page.text == re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "\ufffd", text)
    assert [mark[:2] for mark in page.marks] == places


def test_html_escapes_names_too():
    page = to_html([tagged("a", (0, 1), name="<img src=x>", label='"onload="')])
    assert "<img" not in page
    assert 'data-label="&quot;onload=&quot;"' in page


def test_html_counts_the_entities_of_each_type():
    two = tagged("ab cd", (0, 1), (3, 4), label="Y"), tagged("e", (0, 1), label="A & B")
    page = to_html(two)
    assert re.findall(r'<li><mark class="(t\d)">(.*?)</mark> (\d+)</li>', page) == [
        ("t0", "A &amp; B", "1"),
        ("t1", "Y", "2"),
    ]
    assert len(set(re.findall(r"mark\.t\d \{ background: hsl\((\d+)", page))) == 2
    assert "<li>none found</li>" in to_html([tagged("nothing")])


def test_brat_cuts_at_line_ends_and_reads_back(tmp_path):
    one = tagged("big\nbad wolf", (0, 7), label="Wolf", name="n")
    assert to_brat([one]) == "T1\tWolf 0 3;4 7\tbig bad\n"
    write("brat", [one, tagged("none", name="m")], tmp_path / "out")
    documents, report = read_brat(tmp_path / "out")
    assert report.clean
    assert [len(d.spans) for d in documents] == [0, 1]
    with pytest.raises(UserError, match="2 texts"):
        to_brat([one, one])
    with pytest.raises(UserError, match="differ only in case"):
        write("brat", [tagged("a", name="A"), tagged("a", name="a")], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_brat_refuses_names_that_are_too_long_before_anything_is_tagged(tmp_path):
    check_target("brat", ["b" * 196, "漢" * 65], tmp_path / "out")
    with pytest.raises(UserError, match=r"makes a file name of 202 bytes, over 200: shorten the id"):
        check_target("brat", ["漢" * 66], tmp_path / "out")
    write("brat", [tagged("a", name="b" * 196), tagged("a", name="漢" * 65)], tmp_path / "out")
    assert len(read_brat(tmp_path / "out")[0]) == 2


def test_conll_keeps_neighbours_apart():
    text = to_conll([tagged("big bad. Wolf", (0, 3), (4, 7), label="W"), tagged(" \n")])
    assert text == "big\tB-W\nbad\tB-W\n.\tO\n\nWolf\tO\n"


def test_jsonl_is_one_line_a_text():
    lines = to_jsonl([tagged("a\u2028\nb", (0, 4)), tagged("")]).split("\n")
    assert [len(json.loads(line)["entities"]) for line in lines[:-1]] == [1, 0]
    assert lines[-1] == ""


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    from zoo.openmed_ner import formats

    def full(path, data):
        path.write_bytes(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "write_file", full)
    with pytest.raises(UserError, match="No space left"):
        write("html", [tagged("a")], tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_sources(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text('{"id": 7, "text": "a\\r\\nb"}\n\n{"text": "c\u2028d"}\n', encoding="utf-8")
    assert read_sources(str(path)) == [Source("7", "a\r\nb"), Source("s-3", "c\u2028d")]
    assert read_sources(str(path), "text")[0].text == path.read_text(encoding="utf-8")
    path.write_text("a\r\n\n b \n", newline="")
    assert read_sources(str(path), "lines") == [Source("s-1", "a"), Source("s-3", " b ")]
    for content, says in (
        ("\n \n", "holds no text"),
        ("[1]\n", 'line 1: no object with a string "text"'),
        ('{"text": 1}', 'line 1: no object with a string "text"'),
        ('{"text": "a", "id": true}', "id True is neither"),
        ('{"text": "a", "id": 1}\n{"text": "b", "id": "1"}', "line 2: id '1' was there before"),
        ('{"text": "\\ud800"}', r"line 1: \\ud800 is half a character"),
        ("[" * 100_000, "line 1: not JSON"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=says):
            read_sources(str(path))


# Configurations.
def test_experiments_compose():
    files = sorted((ROOT / "configs/experiment/openmed_ner").glob("*.yaml"))
    assert files
    for file in files:
        config = typed(compose([f"openmed_ner/{file.stem}"]))
        assert isinstance(config, TaggerConfig | DomainConfig)
        assert config.name == f"openmed_ner/{file.stem}"
        if isinstance(config, TaggerConfig):
            assert config.data.corpus in CORPORA
        else:
            assert set(config.data.exclude) == {name for name, entry in CORPORA.items() if entry.sha256}
        assert typed(compose([f"openmed_ner/{file.stem}", "debug=fast"])).trainer.steps == 4


def test_every_corpus_that_can_be_had_has_its_data_file():
    stems = {p.stem for p in (ROOT / "configs/data/openmed_ner").glob("*.yaml")} - {"text"}  # of domain adaptation
    assert stems == {name for name, entry in CORPORA.items() if entry.sha256}
    for stem in stems:
        plain = OmegaConf.to_container(OmegaConf.load(ROOT / f"configs/data/openmed_ner/{stem}.yaml"))
        assert TaggerDataConfig(**plain).corpus == stem


@pytest.mark.parametrize("types", [(), ("B", "A"), ("A", "A"), ("",)])
def test_types_that_are_refused(types):
    with pytest.raises(ValueError, match="types="):
        TaggerDataConfig(corpus="x", types=types)
