"""The configuration of tagging experiments, beyond the keys every family has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zoo.core.schema import BaseConfig, require
from zoo.openmed_ner.lora import ATTENTION, LoraConfig


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """The adapters, in the paper's settings by default."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: tuple[str, ...] = ATTENTION

    def __post_init__(self) -> None:
        require(self.rank >= 1, f"rank={self.rank}: it must be at least 1")
        require(self.alpha > 0, f"alpha={self.alpha}: it must be above 0")
        require(0 <= self.dropout < 1, f"dropout={self.dropout}: it lies in [0, 1)")
        require(bool(self.targets), "targets is empty: name at least one linear map, for example query")

    @property
    def config(self) -> LoraConfig:
        """The same as what adapters are made from."""
        return LoraConfig(self.rank, self.alpha, self.dropout, self.targets)


@dataclass(frozen=True, kw_only=True)
class TaggerModelConfig:
    """What is trained.

    ``base``: a known base, a folder, or owner/repo of a model in the Hugging Face cache. ``adapter``: the release of a domain
    adapter (task mlm), or a folder in PEFT's files, merged into the base before training, or null. ``train``: adapters and head
    (``lora``), or every parameter (``full``). ``dropout`` replaces the base's own dropouts, or null keeps them. ``base_sha256``
    and ``adapter_sha256`` are filled in by the task: a release refuses other bytes.
    """

    base: str = "all-MiniLM-L6-v2"
    adapter: str | None = None
    train: Literal["lora", "full"] = "lora"
    lora: LoraSettings = field(default_factory=LoraSettings)
    dropout: float | None = None
    base_sha256: str | None = None
    adapter_sha256: str | None = None

    def __post_init__(self) -> None:
        ok = self.dropout is None or 0 <= self.dropout < 1
        require(ok, f"dropout={self.dropout}: it lies in [0, 1), or is null for the base's own")


@dataclass(frozen=True, kw_only=True)
class TaggerDataConfig:
    """What is learnt: ``corpus``, one of the catalogue, or ``folder``, the user's own (token files or BRAT; see
    ``corpora/folder.py``). ``max_length``: the longest input in pieces; longer sentences are cut into windows, never short.
    ``limit`` keeps only so many training sentences (a reduction that results must state), ``valid_limit`` so many of those that
    training is watched with. ``empties``: of training sentences without an entity at most so many are kept for each one with an
    entity, spread evenly; null keeps all. Where entities are rare a short run else learns to find none. ``joined``: neighbouring
    sentences are trained and scored as one text of at most so many pieces, see ``joining.py``; null takes each by itself. ``packed``: short
    sentences share rows of few lengths without seeing each other; an example is then a row (of 64 pieces, where sentences are short).
    ``types`` are the entity types in the order of the head; null takes those of the training sentences, and a release states them,
    so that it is used without its corpus."""

    corpus: str | None = None
    folder: str | None = None
    max_length: int = 128
    limit: int | None = None
    valid_limit: int | None = None
    empties: float | None = None
    joined: int | None = None
    packed: bool = False
    types: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require(
            (self.corpus is None) != (self.folder is None),
            f"corpus={self.corpus} and folder={self.folder}: name one of them and set the other to null",
        )
        require(self.max_length >= 8, f"max_length={self.max_length}: it must be at least 8")
        for name in ("limit", "valid_limit"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name}={value}: it must be at least 1, or null for all")
        empties = self.empties
        require(empties is None or empties >= 0, f"empties={empties}: it must be at least 0, or null for all")
        joined, longest = self.joined, self.max_length
        require(
            joined is None or 8 <= joined <= longest,
            f"joined={joined}: it must lie in 8..{longest}, data.max_length, or is null for each sentence by itself",
        )
        types = self.types
        require(
            types is None or (bool(types) and list(types) == sorted(set(types)) and "" not in types),
            f"types={types}: name each type once, sorted, or null for those of the corpus",
        )

    @property
    def what(self) -> str:
        """The corpus or folder, for messages."""
        return f"corpus {self.corpus}" if self.corpus is not None else f"folder {self.folder}"


@dataclass(frozen=True, kw_only=True)
class TaggerConfig(BaseConfig):
    """The root of ``task: tag``."""

    model: TaggerModelConfig = field(default_factory=TaggerModelConfig)
    data: TaggerDataConfig
