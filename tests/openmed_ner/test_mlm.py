"""Domain adaptation: text without test sentences, packing, masking, a short run, its release and its use."""

import dataclasses
import gzip
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.core.config import compose
from zoo.core.errors import DamagedError, UserError
from zoo.core.schema import OptimizerConfig, RunConfig, TrainerConfig
from zoo.core.task import Split
from zoo.core.train import run, typed
from zoo.openmed_ner.config import LoraSettings, TaggerConfig, TaggerDataConfig, TaggerModelConfig
from zoo.openmed_ner.convert import load_token_classifier
from zoo.openmed_ner.corpora.catalogue import CORPORA
from zoo.openmed_ner.corpora.records import Report, Sentence
from zoo.openmed_ner.labels import LabelMap
from zoo.openmed_ner.mlm import text as text_module
from zoo.openmed_ner.mlm.config import DomainConfig, DomainDataConfig, DomainModelConfig
from zoo.openmed_ner.mlm.rows import TextRecords, mask_row, pack
from zoo.openmed_ner.mlm.task import DomainTask
from zoo.openmed_ner.mlm.text import BLOCK, TestSentences, blocks, file_passages, place
from zoo.openmed_ner.model import adapt, find_adapter
from zoo.openmed_ner.task import TaggerTask
from zoo.openmed_ner.tokenize import Tokenizer

DATA = Path(os.environ.get("ZOO_DATA_DIR", "/nonexistent")) / "openmed_ner"


@pytest.fixture
def one_test_sentence(monkeypatch):
    def read(split):
        texts = ["No signs of the disease , with cells .", "Results :"] if split == "test" else ["of the disease"]
        return [Sentence(tuple(t.split()), ("O",) * len(t.split())) for t in texts], Report()

    monkeypatch.setattr(text_module, "corpus", lambda name: type("Corpus", (), {"read": staticmethod(read)}))


def test_test_sentences_are_found_in_any_spelling(one_test_sentence):
    tests = TestSentences(["any"])
    assert tests.within("no signs of the disease, with cells.")
    assert tests.within("Before. No signs of the disease (with cells), and after.")
    assert tests.within("Results")
    assert not tests.within("Results were good: signs of the disease with cells")
    assert not tests.within("No signs of the disease, with other cells.")
    assert not tests.within("")


@pytest.mark.skipif(not (DATA / "text").is_dir(), reason="ZOO_DATA_DIR has no openmed_ner text")
def test_the_text_holds_no_test_sentence_of_any_corpus(lexicon_folder):
    """The real text of openmed_ner/dapt-minilm, looked through by plain search in one long string.

    Of the corpora's 30,000 test sentences every fifteenth; of the text a part (all of its 160,359 passages take six minutes).
    """
    config = typed(compose(["openmed_ner/dapt-minilm", f"model.base={lexicon_folder}", "data.limit=400"]))
    assert isinstance(config, DomainConfig)
    names = [name for name, entry in CORPORA.items() if entry.sha256]
    assert set(config.data.exclude) == set(names)

    def flat(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    def search(passages):
        line = "\n".join(f" {flat(p)} " for p in passages)
        return [w for w in wanted if f" {w} " in line]

    sentences = [s for name in names for s in CORPORA[name].read("test")[0]]
    wanted = {w for s in sentences[::15] if len((w := flat(" ".join(s.words))).split()) >= text_module.SHORT}
    assert len(wanted) > 1500
    passages = [p for split in DomainTask(config).passages().values() for p in split]
    assert len(passages) > 4000
    assert search(passages) == []
    # the search finds what is there
    planted = sorted(wanted)[7]
    assert search([*passages, f"Before {planted}. After."]) == [planted]
    assert search(text_module.training_sentences("jnlpba"))  # its training part repeats test sentences


def test_files_of_the_users_own(tmp_path):
    (tmp_path / "a.txt").write_text("one  passage\r\n\n another \n")
    assert file_passages(tmp_path / "a.txt") == ["one passage", "another"]
    xml = (
        "<PubmedArticleSet><PubmedArticle><ArticleTitle>A <i>title</i>.</ArticleTitle><Abstract>"
        "<AbstractText Label='X'>First &amp;\n part.</AbstractText><AbstractText/></Abstract></PubmedArticle></PubmedArticleSet>"
    )
    (tmp_path / "a.xml").write_text(xml)
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(xml.encode()))
    for name in ("a.xml", "a.xml.gz"):
        assert file_passages(tmp_path / name) == ["A title.", "First & part."]
    (tmp_path / "torn.xml").write_text(xml[:60])
    (tmp_path / "torn.xml.gz").write_bytes(b"no gzip")
    flipped = bytearray((tmp_path / "a.xml.gz").read_bytes())
    flipped[10:14] = b"\xff" * 4
    (tmp_path / "flipped.xml.gz").write_bytes(flipped)
    (tmp_path / "cut.xml.gz").write_bytes((tmp_path / "a.xml.gz").read_bytes()[:-20])
    for encoding in ("foo", "utf-32"):
        (tmp_path / f"{encoding}.xml").write_text(f"<?xml version='1.0' encoding='{encoding}'?>{xml}")
    (tmp_path / "folder.xml").mkdir()
    (tmp_path / "empty.txt").write_text("\n \n")
    for name, error, says in (
        ("torn.xml", DamagedError, "not PubMed's XML"),
        ("torn.xml.gz", DamagedError, "not PubMed's XML"),
        ("flipped.xml.gz", DamagedError, "not PubMed's XML"),
        ("cut.xml.gz", DamagedError, "not PubMed's XML"),
        ("foo.xml", DamagedError, "not PubMed's XML"),
        ("utf-32.xml", DamagedError, "not PubMed's XML"),
        ("folder.xml", UserError, "is a folder"),
        ("a.txt/x.xml", UserError, "cannot be read .Not a directory"),
        ("none.xml", UserError, "no such file"),
        ("none.txt", UserError, "no such file"),
        ("empty.txt", UserError, "holds no text"),
    ):
        with pytest.raises(error, match=says):
            file_passages(tmp_path / name)


def test_blocks_depend_on_content_alone():
    passages = [f"passage {i}" for i in range(10 * BLOCK)]
    made = blocks(passages)
    assert sorted(p for b in made for p in b) == sorted(passages)
    assert blocks(passages, 3 * BLOCK) == made[:3]
    assert len(blocks(passages, 1)) == 1
    many = [[f"{i}"] for i in range(4000)]
    shares = [place(b, 0.2) for b in many]
    assert abs(shares.count("valid") / 4000 - 0.1) < 0.02
    assert abs(shares.count("test") / 4000 - 0.1) < 0.02


def test_rows_are_full_and_hold_the_text_in_order(lexicon_folder):
    tokenizer = Tokenizer(lexicon_folder)
    rows = pack(["of the signs", "", "no cells [MASK]"] * 9, tokenizer, 16)
    assert rows.shape[1] == 16
    assert (rows[:, 0] == tokenizer.cls).all()
    assert (rows[:, -1] == tokenizer.sep).all()
    inner = rows[:, 1:-1].ravel()
    assert inner[:4].tolist() == [*tokenizer.text("of the signs")[0].ids.tolist(), tokenizer.sep]
    assert tokenizer.mask not in inner  # "[MASK]" in a text is text
    assert len(pack(["of"], tokenizer, 16)) == 0
    with pytest.raises(UserError, match="does not fill one row"):
        TextRecords(pack(["of"], tokenizer, 16), Split.VALID)


def test_masking_is_berts():
    """Against the published proportions, on many rows; special pieces are never chosen."""
    ids = jnp.asarray(np.random.default_rng(0).integers(10, 1000, 64), jnp.int32).at[0].set(1).at[-1].set(2)
    hide = jax.jit(jax.vmap(lambda key: mask_row(key, ids, chosen=9, special=(0, 1, 2), mask=3, vocab=1000)))
    hidden, positions, counts = map(np.asarray, hide(jax.random.split(jax.random.key(0), 4000)))
    assert counts.all()
    assert not np.isin(positions, [0, 63]).any()
    assert all(len(set(row)) == 9 for row in positions[:50].tolist())
    at = np.take_along_axis(hidden, positions, 1)
    same = at == np.asarray(ids)[positions]
    assert abs((at == 3).mean() - 0.8) < 0.01
    assert abs(same.mean() - 0.1) < 0.01
    untouched = np.ones_like(hidden, bool)
    np.put_along_axis(untouched, positions, False, 1)
    assert (hidden == np.asarray(ids))[untouched].all()
    # a row with fewer pieces than are to be chosen counts what it has
    short = jnp.asarray([1, 5, 6, 2, 0, 0, 0, 0], jnp.int32)
    hidden, _, counts = mask_row(jax.random.key(1), short, chosen=4, special=(0, 1, 2), mask=3, vocab=9)
    assert counts.sum() == 2
    assert hidden[jnp.asarray([0, 3, 4, 5, 6, 7])].tolist() == [1, 2, 0, 0, 0, 0]


def experiment(folder, base, files, name, **model):
    return DomainConfig(
        family="openmed_ner",
        task="mlm",
        name=f"openmed_ner/{name}",
        seed=0,
        run=RunConfig(dir=str(folder / name)),
        trainer=TrainerConfig(steps=60, batch_size=8, eval_every=60, checkpoint_every=60, eval_batch_size=8),
        optimizer=OptimizerConfig(name="adamw", learning_rate=5e-3, schedule="linear", warmup_steps=5),
        model=DomainModelConfig(base=str(base), dropout=0.0, lora=LoraSettings(rank=2), **model),
        data=DomainDataConfig(files=(str(files),), length=16, held_out=0.4, masked=0.2),
    )


@pytest.fixture(scope="module")
def releases(tmp_path_factory, lexicon_folder):
    """The head alone, then adapters from there, on text where every word tells the next."""
    folder = tmp_path_factory.mktemp("mlm")
    lines = ["no signs of the disease with unknown origin and cells"] * 3 + ["fever"]
    text = folder / "text.txt"
    text.write_text("".join(f"{lines[i % 4]} {i}\n" for i in range(600)))
    head = run(experiment(folder, lexicon_folder, text, "head", train="head"), "zoo train openmed_ner/head")
    start = head["release"]
    lora = run(experiment(folder, lexicon_folder, text, "lora", start=start), "zoo train openmed_ner/lora")
    return Path(head["release"]), Path(lora["release"]), head["metrics"], lora["metrics"]


@pytest.mark.slow
def test_adaptation_lowers_held_out_perplexity(releases):
    _, _, head, lora = releases
    assert lora["valid"]["perplexity"] < 0.5 * head["valid"]["perplexity"]
    assert set(lora) == {"valid", "test", "run"}
    assert lora["run"]["energy_wh"] > 0
    assert lora["run"]["co2_g"] > 0


def tagging(folder, base, adapter):
    return TaggerConfig(
        family="openmed_ner",
        task="tag",
        name="openmed_ner/t",
        seed=0,
        run=RunConfig(dir=str(folder)),
        trainer=TrainerConfig(steps=1, batch_size=1, eval_every=1, checkpoint_every=1),
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
        model=TaggerModelConfig(base=str(base), adapter=str(adapter)),
        data=TaggerDataConfig(corpus="ncbi_disease", types=("D",)),
    )


@pytest.mark.slow
def test_a_tagger_begins_from_the_adapted_encoder(releases, lexicon_folder, tmp_path):
    """Its encoder gives the hidden states of the adapted model itself."""
    task = TaggerTask(tagging(tmp_path, lexicon_folder, releases[1]))
    assert task.config.model.adapter_sha256
    mlm = zoo.load(str(releases[1]))
    from flax import nnx

    ids = jnp.asarray([[mlm.tokenizer.cls, 9, 12, mlm.tokenizer.sep]], jnp.int32)
    reference = nnx.merge(mlm._graphdef, mlm._state).encoder(ids, jnp.ones_like(ids))
    found = task.init(jax.random.key(0)).encoder(ids, jnp.ones_like(ids))
    np.testing.assert_allclose(found, reference, atol=1e-5)


def plain(folder):
    return load_token_classifier(folder, LabelMap.of_types(("D",)), key=jax.random.key(0)).model


@pytest.mark.slow
def test_an_adapter_of_another_shape_is_refused(releases, lexicon_folder, monkeypatch):
    from zoo.core.release import read_release
    from zoo.openmed_ner import model as model_module

    lora = releases[1]
    whole = read_release(lora)
    first, second = sorted(name for name in whole.tensors if "/lora/" in name)[:2]
    for change, says in (
        ({first: whole.tensors[first][:-1]}, f"{first.split('/lora')[0][7:].replace('/', '.')} has"),
        (
            {"params/encoder/layers/9/up/lora/a": whole.tensors[second]},
            "no such map in this base: params/encoder/layers/9",
        ),
    ):
        other = dataclasses.replace(whole, tensors={**whole.tensors, **change})
        monkeypatch.setattr(model_module, "read_release", lambda _, other=other: other)
        with pytest.raises(UserError, match=says):
            adapt(plain(lexicon_folder), lexicon_folder, whole.info.config["model"]["base_sha256"], lora)


@pytest.mark.slow
def test_adapters_that_are_refused(releases, lexicon_folder, tmp_path):
    head, lora, *_ = releases
    with pytest.raises(UserError, match=r"model\.train=lora"):
        TaggerTask(tagging(tmp_path, lexicon_folder, head)).init(jax.random.key(0))
    with pytest.raises(UserError, match="was trained on 000000000000"):
        find_adapter(str(lora), "0" * 64, "openmed_ner/t")
    with pytest.raises(UserError, match="was trained on base"):
        adapt(plain(lexicon_folder), lexicon_folder, "0" * 64, lora)
    with pytest.raises(UserError, match="neither a release name nor a folder"):
        find_adapter(str(tmp_path / "nothing"), None, "openmed_ner/t")


def test_settings_that_are_refused():
    for make, says in (
        (lambda: DomainDataConfig(), "all empty"),
        (lambda: DomainDataConfig(files=("a",), masked=1.0), "masked=1.0"),
        (lambda: DomainDataConfig(files=("a",), held_out=0.0), "held_out=0.0"),
        (lambda: DomainDataConfig(files=("a",), length=8), "length=8"),
        (lambda: DomainDataConfig(files=("a",), limit=0), "limit=0"),
        (lambda: DomainModelConfig(dropout=1.0), "dropout=1.0"),
    ):
        with pytest.raises(ValueError, match=says):
            make()
    with pytest.raises(UserError, match="did you mean 'pubmedqa'"):
        text_module.collection("pubmedq")
