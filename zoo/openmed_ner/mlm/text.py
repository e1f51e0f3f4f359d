"""Passages of biomedical text: public collections, a user's own files, PubMed's XML; never a sentence that a corpus tests on."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from zoo.core.config import nearest
from zoo.core.data import DataFile, locate
from zoo.core.errors import DamagedError, UserError, one_line
from zoo.openmed_ner.corpora.catalogue import corpus
from zoo.openmed_ner.corpora.records import read_text, unreadable

# Passages that lie together stay together: a document's neighbours would tell of what is held out.
BLOCK = 20
# Shorter test sentences ("Results :") say nothing of where they stand; they are looked for as whole passages.
SHORT = 6


def _collection(name: str, sha256: str, source: str, licence: str) -> DataFile:
    return DataFile(f"openmed_ner/text/{name}.txt.xz", source, None, sha256, licence)


COLLECTIONS: Mapping[str, DataFile] = MappingProxyType(
    {
        "aioner_train": _collection(
            "aioner_train",
            "7c924948f6f961af9aa9f77bc3655b0aab4f2a66a56e42d71562b31ddf825c71",
            "github.com/ncbi/AIONER, commit b8fa941dc8f49e1c99756832da0c61e9c58dcef8, training documents",
            "MIT repository; texts stay with publishers and NLM",
        ),
        "pubmedqa": _collection(
            "pubmedqa",
            "a9e206cd93087117808721b6ef20e506fa62201d994a8745d241ab82d7589bef",
            "github.com/pubmedqa/pubmedqa, commit 1cbae8e92f72f20c8d3747cbb3bf5bc53554d997",
            "MIT repository; abstracts stay with publishers and NLM",
        ),
        "pmc_trials_ccby": _collection(
            "pmc_trials_ccby",
            "168ba35d143f05e53b0f85720f7fc342bf1f4a4cd54ebb3a5a6a97be1305504c",
            "github.com/jayded/evidence-inference, commit b9831b6c59b52ac2d277f757d413ececf0949a8d, articles under CC BY or CC0",
            "CC BY, CC0",
        ),
        "medquad": _collection(
            "medquad",
            "d98829ba6121551fe7a19fe97b72ba43775df658f2b155d519931da8968d7558",
            "github.com/abachaa/MedQuAD, commit 577bd37b96c02d1833b2c9eed2de9f96964e96cb",
            "CC BY 4.0",
        ),
        "plos_starter": _collection(
            "plos_starter",
            "4dc3c50015ce771279c73719a58d364a7b82a0e6d724ac5b9f8c337d631fcf89",
            "github.com/PLOS/allofplos, commit 07fdeed848b2816a7fbf7da6418ef6e2076e1960",
            "CC BY",
        ),
        "aci_bench_notes": _collection(
            "aci_bench_notes",
            "4677759518f0fec5321a795cae4207f0edd0b6fa9b501b7a834ffd9ebe57f904",
            "github.com/wyim/aci-bench, commit b909b2bb9cf1d19de08df15cddde7bd0179665e4, training and validation notes",
            "CC BY 4.0",
        ),
        "mts_dialog_notes": _collection(
            "mts_dialog_notes",
            "eb5ae07e5f39fa3a6aa2ef850fb9f10e0d875a9b5a7d72442b1cdafc69f72dab",
            "github.com/abachaa/MTS-Dialog, commit 3ff0801933608d6f570468c13125125fb5cabdea, training and validation sections",
            "CC BY 4.0",
        ),
    }
)


def collection(name: str) -> list[str]:
    """The passages of a public collection; UserError with the nearest name for an unknown one."""
    if name not in COLLECTIONS:
        known = ", ".join(COLLECTIONS)
        raise UserError(f"no text collection {name!r}{nearest(name, COLLECTIONS)} (known: {known})")
    path = locate(COLLECTIONS[name])
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return [line.strip() for line in lines if line.strip()]


def training_sentences(name: str) -> list[str]:
    """The training sentences of a corpus as text."""
    sentences, _ = corpus(name).read("train")
    return [" ".join(s.words) for s in sentences]


def file_passages(path: str | Path) -> list[str]:
    """The passages of a user's own file: titles and abstracts of PubMed's XML (.xml, .xml.gz), else a passage a line.

    Raises:
        UserError: it cannot be read, holds no text or is not UTF-8.
        DamagedError: it is not well-formed XML, or not sound gzip.
    """
    path = Path(path).expanduser()
    found = list(_pubmed(path)) if path.name.lower().endswith((".xml", ".xml.gz")) else _lines(path)
    if not found:
        raise UserError(f"{path} holds no text: give a passage a line, or PubMed's XML as .xml or .xml.gz")
    return found


def _lines(path: Path) -> list[str]:
    return [line for raw in read_text(path).split("\n") if (line := " ".join(raw.split()))]


def _pubmed(path: Path) -> Iterator[str]:
    """ArticleTitle and AbstractText in the file's order; elements are dropped as they are read: the yearly files are large."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as content:
            for _, node in ET.iterparse(content):
                if node.tag in ("ArticleTitle", "AbstractText"):
                    if text := " ".join("".join(node.itertext()).split()):
                        yield text
                elif node.tag == "PubmedArticle":
                    node.clear()
    # LookupError and ValueError: an encoding that the parser lacks
    except (ET.ParseError, LookupError, ValueError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DamagedError(f"{path}: not PubMed's XML ({one_line(str(error))}): get the file again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def blocks(passages: Sequence[str], limit: int | None = None) -> list[list[str]]:
    """Passages in blocks of :data:`BLOCK` neighbours, in an order that their content alone decides.

    Args:
        passages: in the order of their source.
        limit: keep about so many passages, drawn by that order; None keeps all.
    """
    made = [list(passages[i : i + BLOCK]) for i in range(0, len(passages), BLOCK)]
    made.sort(key=_digest)
    return made if limit is None else made[: max(1, -(-limit // BLOCK))]


def place(block: Sequence[str], held_out: float) -> str:
    """``train``, ``valid`` or ``test``: a block's content alone decides; each of the latter two gets half of ``held_out``."""
    at = int(_digest(block)[-8:], 16) / 2**32
    return "valid" if at < held_out / 2 else "test" if at < held_out else "train"


def _digest(block: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(block).encode("utf-8", "surrogatepass")).hexdigest()


_WORD = re.compile(r"\w+")


def plain_words(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation: what two spellings of a sentence share."""
    return tuple(_WORD.findall(text.lower()))


class TestSentences:
    """The test sentences of corpora, to be kept out of text.

    Args:
        names: of corpora.
    """

    __test__ = False  # no test case, whatever its name

    def __init__(self, names: Sequence[str]) -> None:
        self._begins: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        self._short: set[tuple[str, ...]] = set()
        for name in names:
            sentences, _ = corpus(name).read("test")
            for sentence in sentences:
                words = plain_words(" ".join(sentence.words))
                if len(words) >= SHORT:
                    self._begins.setdefault(words[:SHORT], set()).add(words)
                elif words:
                    self._short.add(words)

    def within(self, passage: str) -> bool:
        """Whether a passage holds a test sentence, or is a short one."""
        words = plain_words(passage)
        if words in self._short:
            return True
        # zip makes the windows several times as fast as slices: millions of words are looked through
        for i, window in enumerate(zip(*(words[k:] for k in range(SHORT)))):
            if window in self._begins and any(words[i : i + len(w)] == w for w in self._begins[window]):
                return True
        return False
