"""A tagger whose right answers are known: its scores depend on each piece alone, by a dictionary."""

import numpy as np
import pytest

from zoo.core.paths import cache_dir

USERS_CACHE = cache_dir()  # before the tests' own takes its place

LEXICON = {"fever": "B-D", "breast": "B-D", "cancer": "I-D", "meniere": "B-D", "肺": "B-G", "癌": "I-G", "[UNK]": "B-U"}
LABELS = ("B-D", "I-D", "B-G", "I-G", "B-U", None, "O")  # O last, after a gap
PLAIN = ["of", "the", "unknown", "origin", "cells", "and", "with", "no", "signs", "disease", *"'s-.,()[]a2"]


@pytest.fixture(scope="session")
def lexicon_folder(tmp_path_factory):
    """A Hugging Face folder of that tagger: 1 layer whose attention and feed-forward network add nothing."""
    tokenizers = pytest.importorskip("tokenizers")
    import jax
    from flax import nnx
    from tokenizers import AddedToken, models, normalizers, pre_tokenizers

    from zoo.openmed_ner.convert import save_model
    from zoo.openmed_ner.encoders import architecture
    from zoo.openmed_ner.encoders.common import TokenClassifier
    from zoo.openmed_ner.labels import LabelMap

    source = tmp_path_factory.mktemp("tokenizer")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LEXICON, *PLAIN, *letters, *("##" + c for c in letters)]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(names))}
    fast = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    fast.normalizer = normalizers.BertNormalizer(lowercase=True)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.add_special_tokens([AddedToken(p, special=True) for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    fast.save(str(source / "tokenizer.json"))

    hidden = 128
    assert len(vocab) < hidden
    arch = architecture("bert")
    config = arch.config(
        model_type="bert",
        vocab_size=len(vocab),
        hidden_size=hidden,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=40,
    )
    labels = LabelMap(LABELS)
    model = TokenClassifier(arch, config, labels.size, rngs=nnx.Rngs(0))
    for leaf in (
        model.encoder.embeddings.position.table,
        model.encoder.embeddings.type.table,
        model.encoder.layers[0].output.kernel,
        model.encoder.layers[0].down.kernel,
    ):
        leaf[...] = 0.0 * leaf[...]
    table = np.random.default_rng(0).standard_normal((len(vocab), hidden)).astype(np.float32)
    table = (table - table.mean(1, keepdims=True)) / table.std(1, keepdims=True)  # layer norms leave it as it is
    model.encoder.embeddings.word.table[...] = jax.numpy.asarray(table)
    wanted = np.zeros((len(vocab), labels.size), np.float32)
    for piece, i in vocab.items():
        wanted[i, labels.id(LEXICON.get(piece, "O"))] = 8.0
    for piece, begins in (("cancer", "B-D"), ("癌", "B-G")):
        wanted[vocab[piece], labels.id(begins)] = 6.0  # where nothing is to be continued it begins
    wanted[:, LABELS.index(None)] = 99.0  # a gap is never predicted, whatever its score
    model.head.classifier.kernel[...] = jax.numpy.asarray(np.linalg.lstsq(table, wanted, rcond=None)[0])
    folder = tmp_path_factory.mktemp("models") / "lexicon"
    save_model(folder, model, labels=labels, tokenizer_from=source)
    return folder


@pytest.fixture(scope="session")
def lexicon_labels():
    """The label map with its gap; a config.json names every id."""
    from zoo.openmed_ner.labels import LabelMap

    return LabelMap(LABELS)


@pytest.fixture
def minilm():
    """The real base, where the user's cache or that of Hugging Face has it: its files are read, nothing is written there."""
    from zoo.core.errors import UserError
    from zoo.openmed_ner.base import MINILM, find_base

    fetched, bases = USERS_CACHE / "bases" / MINILM.name, cache_dir() / "bases"
    if fetched.is_dir():
        bases.mkdir(parents=True, exist_ok=True)
        if not (bases / MINILM.name).exists():
            (bases / MINILM.name).symlink_to(fetched)
    try:
        return find_base(fetch=False)
    except UserError as error:
        pytest.skip(str(error))
