"""The thirteen corpora of the paper's table by name: where their files come from, their terms, their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from zoo.core.config import nearest
from zoo.core.data import DataFile, locate
from zoo.core.errors import MissingDataError, UserError
from zoo.openmed_ner.corpora.conll import read_conll
from zoo.openmed_ner.corpora.records import Report, Sentence

SPLITS = ("train", "devel", "test")
_MTL = "github.com/cambridgeltl/MTL-Bioinformatics-2016, commit df0df02fae6dbb87d88ffcf323b9096528f06f84"
_FLAIR = "github.com/shreyashub/BioFLAIR, commit 9edc438997baca6337552639120e363b9894cc98"
_TERMS = "annotations under the corpus's own terms; texts stay with publishers and NLM"


@dataclass(frozen=True)
class Corpus:
    """A corpus with fixed splits in token files.

    Attributes:
        name: what configurations and releases call it.
        title: as the paper's table writes it.
        folder: its folder below ``openmed_ner`` of the data folder.
        sha256: of train.tsv, devel.tsv and test.tsv; empty where no public copy could be had.
        source: where the files come from.
        licence: its terms.
        upstream: repository path with ``{split}`` that the file is fetched from, or None.
        default_type: the type of bare tags.
        aliases: types to rename.
    """

    name: str
    title: str
    folder: str
    sha256: tuple[str, ...]
    source: str
    licence: str = _TERMS
    upstream: str | None = None
    default_type: str = ""
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def file(self, split: str) -> DataFile:
        """The data file of a split; MissingDataError for a corpus that cannot be had."""
        if split not in SPLITS:
            raise UserError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        if not self.sha256:
            raise MissingDataError(f"corpus {self.name}: {self.source}")
        url = None
        if self.upstream is not None:
            repo, commit = self.source.removeprefix("github.com/").split(", commit ")
            url = f"https://raw.githubusercontent.com/{repo}/{commit}/{self.upstream.format(split=split)}"
        name = f"openmed_ner/{self.folder}/{split}.tsv"
        return DataFile(name, self.source, url, self.sha256[SPLITS.index(split)], self.licence)

    def path(self, split: str) -> Path:
        """Where the file of a split lies, fetched into the cache if need be."""
        return locate(self.file(split))

    def read(self, split: str) -> tuple[list[Sentence], Report]:
        """The sentences of a split and the report of what was repaired."""
        return read_conll(self.path(split), default_type=self.default_type, aliases=self.aliases)


def corpus(name: str) -> Corpus:
    """The corpus of this name; UserError with the nearest name for an unknown one."""
    if name not in CORPORA:
        raise UserError(f"no corpus {name!r}{nearest(name, CORPORA)} (known: {', '.join(CORPORA)})")
    return CORPORA[name]


def _absent(name: str, title: str, layout: str) -> Corpus:
    return Corpus(
        name, title, name, (), f"its terms forbid a public copy: get it from its makers and read it with {layout}"
    )


_ALL = (
    Corpus(
        "ncbi_disease",
        "NCBI-Disease",
        "ncbi_disease",
        (
            "58379baf4614b8d757d93dd7a21b202849ca99f9b9d71b49185523ff5443300c",
            "b4e1e7efcc2a35047bf2f3d281648357470e674f555d4a26a0049ac37d59cc61",
            "8f088ce45dc4746592188f9e69de3d89d87f3bb8f0ed8c4a287d018123fa148d",
        ),
        _MTL,
        upstream="data/NCBI-disease-IOB/{split}.tsv",
    ),
    Corpus(
        "bc5cdr_chem",
        "BC5CDR-Chem",
        "bc5cdr_chem",
        (
            "165c4cd2efadd0caf1bb8f3c6bcd3acca199446bb3d55eb06d9137114c9a0b2d",
            "3f1df5cfcff95735663ffc37121fd3687e82b1e9a019bec0480491502652721b",
            "6fce42139a9d819151eff3ab8cb0eda6fbf861fd17d4cfe6be2123f010a3b6c5",
        ),
        _MTL,
        upstream="data/BC5CDR-chem-IOB/{split}.tsv",
    ),
    Corpus(
        "bc5cdr_disease",
        "BC5CDR-Disease",
        "bc5cdr_disease",
        (
            "d630dafe7dd67e21350cc3278dbdcfadcccbb2b63d0fda83b2427853988e5ad9",
            "8c3af95475029c2100c2b7c0108b2715bc700ac198c7a21d587f11f1d06b17bd",
            "a530bf9e17a4122b101b09cedd5f3cf8e6307d6a0093146c33b8de2e69ec0fa3",
        ),
        _MTL,
        upstream="data/BC5CDR-disease-IOB/{split}.tsv",
    ),
    Corpus(
        "bc2gm",
        "BC2GM",
        "bc2gm",
        (
            "46e17f4e1509483b82c03f27d6f0214020f738fb71704356fb3445eb824ab38d",
            "33a94577aa22f1e70ec9e02781a05baa4e1390e866d28bf2b344888e4e3d4103",
            "30d7a4f571ca8ed22a044528063ba5d0388d666d8b8b329733d6927e5fb30764",
        ),
        _MTL,
        upstream="data/BC2GM-IOB/{split}.tsv",
    ),
    Corpus(
        "jnlpba",
        "JNLPBA",
        "jnlpba/repaired",
        (
            "7fa1cc945307f0181620453513652aa5c181cc5c549cb7fcc17b8e02df766870",
            "4a34f696780a12af1411dbb7552a91fca49317a2db26a2b8b2f27ce9c9ad46cd",
            "1a3c38bb9593e1c4d2a7d256587ec3d9579ca4b3e58ae3778833e14d29bcb207",
        ),
        "devel and test from "
        + _MTL
        + ", -DOCSTART- lines dropped; train rebuilt from github.com/xhuang28/NewBioNer, commit "
        "293a67fab9cdebc34d564bdbe688c1303c22a72a",
        licence="GENIA corpus licence; texts stay with publishers and NLM",
    ),
    Corpus(
        "bionlp2013cg",
        "BioNLP13-CG",
        "bionlp2013cg",
        (
            "016ee311428431433c46ceeebeba5fce9c3da9bfd05fafcc484e57a736ea91e7",
            "6c834f3a16ed080940e7e12d831ca8f79458d08db5d6f0c1fdbfe85c3c7a072c",
            "9ee374ba1b93af177ba3d39dfda4c7e1602bd703d8011bae46a34f3d719cd338",
        ),
        _MTL,
        upstream="data/BioNLP13CG-IOB/{split}.tsv",
    ),
    Corpus(
        "linnaeus",
        "Linnaeus",
        "linnaeus",
        (
            "74c8612944a4de87665680989a3d589c843562d3ec175e3b512295691b221d9a",
            "042b5676d4f541995d617f43e2926afdf6653ed60ad9010c2f45b78ae869f2b6",
            "1792b82f7cf9159fd71de38b139a457dbc5ca126c13ac9e355a5fad3e65930ad",
        ),
        _MTL,
        upstream="data/linnaeus-IOB/{split}.tsv",
    ),
    Corpus(
        "species800",
        "Species-800",
        "species800",
        (
            "65242ec358d81a2a37a2001647689ee1911857f72b655e50a320b194ebb1cf34",
            "a81eaf48efa61b2835869e565e1d62ee57e0c0695a01c30d5eb9d831f22dbb10",
            "139006855336db81ec94300612abe6ade81b08d78e964a07013e23f2619c7a87",
        ),
        _FLAIR,
        licence="annotations CC BY (Jensen lab); abstracts stay with publishers",
        upstream="data/ner/s800/{split}.tsv",
        default_type="Species",
    ),
    Corpus(
        "anatem",
        "AnatEM",
        "anatem",
        (
            "bd4235e9673f7c67667c1eb321903a51544a94cf481ba265b527b3104d6ba806",
            "0758bb2f26ec12fc717c1054b64ea00a40c7aae26b21a7541b86fbfba66119ec",
            "a3d6555f6f5b7809fc014bee975be0db93c012d770ab60c190cf37d589e97fc9",
        ),
        _MTL,
        licence="annotations CC BY-SA 3.0; texts stay with publishers and NLM",
        upstream="data/AnatEM-IOB/{split}.tsv",
    ),
    Corpus(
        "cll",
        "CLL",
        "cll",
        (
            "c886d41947350ba858ce98a9be3a05e32ee81e02c28f95dafd7b9ff94c5cba86",
            "c34e66bc1be7042d0316c099d70e63e038a981afba511d83ad1a2683f2808928",
            "5d24814fc9a0853293aa268b0fc20353ee2b28d4c5f9db53702cbe5be3faeb97",
        ),
        "CLL 1.0.2 (github.com/hu-ner/hunflair-corpora, commit 60bce122eb816984f1e2c03e08bea6e73f65d6b1), HUNER's split lists",
        licence="annotations CC BY-SA 3.0; texts stay with publishers and NLM",
    ),
    _absent("bc4chemd", "BC4CHEMD", "zoo.openmed_ner.corpora.chemdner"),
    _absent("gellus", "Gellus", "zoo.openmed_ner.corpora.nersuite or .brat"),
    _absent("fsu", "FSU", "zoo.openmed_ner.corpora.mmax2 or .bioc"),
)
CORPORA: Mapping[str, Corpus] = MappingProxyType({entry.name: entry for entry in _ALL})
