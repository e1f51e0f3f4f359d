"""The configuration of domain adaptation, beyond the keys every family has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zoo.core.schema import BaseConfig, require
from zoo.openmed_ner.config import LoraSettings


@dataclass(frozen=True, kw_only=True)
class DomainModelConfig:
    """What is trained.

    ``base``: a known base, a folder, or owner/repo of a model in the Hugging Face cache. ``train``: adapters and vocabulary head
    (``lora``) or the head alone on the frozen base (``head``), which is the state before adaptation. ``start``: the release whose
    head training begins with, or null for a new one. ``dropout`` replaces the base's own, or null keeps them. ``base_sha256`` is
    filled in by the task: a release refuses a base of other bytes.
    """

    base: str = "all-MiniLM-L6-v2"
    train: Literal["lora", "head"] = "lora"
    start: str | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)
    dropout: float | None = None
    base_sha256: str | None = None

    def __post_init__(self) -> None:
        ok = self.dropout is None or 0 <= self.dropout < 1
        require(ok, f"dropout={self.dropout}: it lies in [0, 1), or is null for the base's own")


@dataclass(frozen=True, kw_only=True)
class DomainDataConfig:
    """The text. ``collections``: public ones by name; ``corpora``: whose training sentences are text too; ``files``: the user's own,
    a passage a line or PubMed's XML; ``exclude``: corpora whose test sentences no passage may hold. ``limit`` keeps about so many
    passages of each source (a reduction that results must state). ``held_out`` of the text, half each, is for validation and
    test. ``length``: pieces of a row; ``masked``: share of them that is hidden."""

    collections: tuple[str, ...] = ()
    corpora: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    held_out: float = 0.03
    length: int = 128
    masked: float = 0.15

    def __post_init__(self) -> None:
        require(
            bool(self.collections or self.corpora or self.files),
            "collections, corpora and files are all empty: name some text",
        )
        require(self.limit is None or self.limit >= 1, f"limit={self.limit}: it must be at least 1, or null for all")
        require(0 < self.held_out < 1, f"held_out={self.held_out}: it lies between 0 and 1")
        require(self.length >= 16, f"length={self.length}: it must be at least 16")
        require(0 < self.masked < 1, f"masked={self.masked}: it lies between 0 and 1")

    @property
    def chosen(self) -> int:
        """Hidden pieces of a row."""
        return max(1, round(self.masked * (self.length - 2)))


@dataclass(frozen=True, kw_only=True)
class DomainConfig(BaseConfig):
    """The root of ``task: mlm``."""

    model: DomainModelConfig = field(default_factory=DomainModelConfig)
    data: DomainDataConfig
