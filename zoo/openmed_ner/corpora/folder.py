"""A user's own corpus: a folder of token files or of BRAT documents, with its entity types as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from zoo.core.errors import UserError
from zoo.openmed_ner.corpora.brat import read_brat
from zoo.openmed_ner.corpora.conll import read_conll
from zoo.openmed_ner.corpora.records import Document, Report, Sentence
from zoo.openmed_ner.corpora.segment import to_sentences

# What a split's file or folder may be called.
NAMES = {"train": ("train",), "devel": ("devel", "dev", "valid", "validation"), "test": ("test",)}
ENDINGS = (".tsv", ".conll", ".iob2", ".iob", ".bio", ".txt")
# Of documents without split: tenths that go to validation and to test.
TENTHS = {"devel": (8,), "test": (9,)}


def read_folder(folder: str | Path, split: str) -> tuple[list[Sentence], Report]:
    """The sentences of a split.

    One of three layouts: token files train.tsv, devel.tsv (or dev, valid) and test.tsv (or .conll, .iob2, .iob, .bio, .txt);
    BRAT documents in sub-folders train, devel and test; BRAT documents side by side, of which a hash of the name puts about a
    tenth each into devel and test.

    Args:
        folder: the corpus.
        split: train, devel or test.

    Raises:
        UserError: no such folder, none of the layouts, a split that is absent or given twice, or a file that cannot be read.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: name a folder of token files or BRAT documents with data.folder")
    files = {s: [folder / f"{n}{e}" for n in NAMES[s] for e in ENDINGS if _tokens(folder / f"{n}{e}")] for s in NAMES}
    if any(files.values()):
        return _token_file(folder, split, files)
    folders = {s: [folder / n for n in NAMES[s] if (folder / n).is_dir()] for s in NAMES}
    if any(folders.values()):
        return _sub_folder(folder, split, folders[split])
    if not any(folder.glob("*.ann")):
        raise UserError(
            f"{folder} holds neither train{ENDINGS[0]} nor .ann files: give train, devel and test as token files "
            f"({', '.join(ENDINGS)}), or BRAT documents"
        )
    documents, report = read_brat(folder)
    chosen = [d for d in documents if _split_of(d) == split]
    if not chosen:
        raise UserError(
            f"{folder}: none of its {len(documents)} documents falls into {split}: put them into sub-folders train, devel, test"
        )
    sentences, more = to_sentences(chosen)
    report.merge(more)
    return sentences, report


def _tokens(path: Path) -> bool:
    """A .txt with an .ann beside it is a BRAT document that happens to be called so."""
    return path.is_file() and not path.with_suffix(".ann").is_file()


def _token_file(folder: Path, split: str, files: Mapping[str, list[Path]]) -> tuple[list[Sentence], Report]:
    found, beside = files[split], [path for other in files if other != split for path in files[other]]
    if len(found) != 1:
        raise UserError(_count(folder, split, found, "token file"))
    return read_conll(found[0], default_type="ENTITY", beside=beside)


def _sub_folder(folder: Path, split: str, found: list[Path]) -> tuple[list[Sentence], Report]:
    if len(found) != 1:
        raise UserError(_count(folder, split, found, "sub-folder"))
    documents, report = read_brat(found[0])
    sentences, more = to_sentences(documents)
    report.merge(more)
    return sentences, report


def _count(folder: Path, split: str, found: list[Path], what: str) -> str:
    if not found:
        return f"{folder} has no {what} for {split}: add one called {' or '.join(NAMES[split])}"
    return f"{folder} has more than one {what} for {split}: {', '.join(p.name for p in found)}: keep one"


def _split_of(document: Document) -> str:
    tenth = int(hashlib.sha256(document.id.encode("utf-8", "surrogatepass")).hexdigest(), 16) % 10
    return next((split for split, tenths in TENTHS.items() if tenth in tenths), "train")
