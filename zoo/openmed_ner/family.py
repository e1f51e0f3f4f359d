"""The family's answers to the shared core (see zoo.core.task.Family)."""

from __future__ import annotations

from typing import Any

from zoo.core.errors import UserError
from zoo.core.release import Release
from zoo.core.task import Card, Family, Task
from zoo.openmed_ner.base import BASES
from zoo.openmed_ner.benches import openmed_ner_rows
from zoo.openmed_ner.config import TaggerConfig
from zoo.openmed_ner.corpora.catalogue import corpus
from zoo.openmed_ner.energy import SENTENCE
from zoo.openmed_ner.mlm.config import DomainConfig
from zoo.openmed_ner.mlm.predictor import ReleasedMaskedLM
from zoo.openmed_ner.mlm.task import DomainTask
from zoo.openmed_ner.mlm.text import COLLECTIONS
from zoo.openmed_ner.predictor import ReleasedTagger, predict, predict_arguments
from zoo.openmed_ner.tables import TABLES
from zoo.openmed_ner.task import TaggerTask


def card(config: Any) -> Card:
    """What a release's card says."""
    return domain_card(config) if isinstance(config, DomainConfig) else tagger_card(config)


def domain_card(config: DomainConfig) -> Card:
    """What the card of a domain adapter says."""
    model, data = config.model, config.data
    known = BASES.get(model.base)
    sources = [f"{name} ({COLLECTIONS[name].source}; {COLLECTIONS[name].licence})" for name in data.collections]
    if data.corpora:
        titles = ", ".join(corpus(name).title for name in data.corpora)
        sources.append(f"training sentences of {titles}, each under its own terms")
    sources += [f"a file of the user's own ({len(data.files)} in all)"] if data.files else []
    limits = [
        f"Stands on the base {model.base}" + (f" ({known.licence}), which is fetched once." if known else "."),
        "English text. It knows how pieces go together, not what is true.",
        f"Rows of {data.length} pieces; {100 * data.masked:g} % of them hidden in training and in the perplexity.",
    ]
    if data.limit is not None:
        limits.append(f"At most about {data.limit} passages of each source were used.")
    if model.train == "head":
        limits.append("The encoder is the frozen base: this is the state before domain adaptation.")
    limits.append(SENTENCE)
    what = "Adapters and vocabulary head" if model.train == "lora" else "Vocabulary head"
    return Card(
        data="; ".join(sources),
        licence="Apache-2.0",
        limits=tuple(limits),
        summary=f"{what} of a masked language model on biomedical text, after the domain adaptation of OpenMed NER (Panahi 2025).",
    )


def tagger_card(config: TaggerConfig) -> Card:
    """What a tagger's card says."""
    model, data = config.model, config.data
    if data.corpus is not None:
        trained_on = corpus(data.corpus)
        title, source = trained_on.title, f"{trained_on.title} ({trained_on.source}; {trained_on.licence})"
    else:
        title, source = "the user's own", "a corpus of the user's own"
    known = BASES.get(model.base)
    limits = [
        f"Stands on the base {model.base}" + (f" ({known.licence}), which is fetched once." if known else "."),
        f"Finds {', '.join(data.types or ())} as {title} annotates them, in English biomedical text.",
        f"Sees {data.max_length} word pieces at a time; longer texts are read in overlapping windows.",
        "Not for clinical decisions: it misses mentions and invents some; scores are not calibrated.",
    ]
    if data.limit is not None:
        limits.append(f"Trained on the first {data.limit} training sentences alone.")
    if data.empties is not None:
        limits.append(
            f"Of the training sentences without an entity at most {data.empties:g} were used for each one with an entity."
        )
    if data.valid_limit is not None:
        limits.append(
            f"Watched, and its validation scores taken, on the first {data.valid_limit} sentences of devel alone."
        )
    if data.joined is not None:
        limits.append(f"Trained, and its scores taken, on neighbouring sentences together, up to {data.joined} pieces.")
    if model.adapter is not None:
        limits.append(f"Began from the adapter {model.adapter}, which it needs as well.")
    limits.append(SENTENCE)
    return Card(
        data=source,
        licence="Apache-2.0",
        limits=tuple(limits),
        summary=f"Tagger of {title} entities after OpenMed NER (Panahi 2025).",
    )


def build(config: Any) -> Task:
    """The task of a typed configuration."""
    return DomainTask(config) if isinstance(config, DomainConfig) else TaggerTask(config)


def predictor(
    release: Release,
    *,
    window: int | None = None,
    overlap: int | None = None,
    threshold: float | dict[str, float] | None = None,
    batch_tokens: int | None = None,
) -> ReleasedTagger | ReleasedMaskedLM:
    """What ``zoo.load`` returns; the settings are those of :class:`zoo.openmed_ner.pipeline.Tagger`, None for the release's own."""
    given = {"window": window, "overlap": overlap, "threshold": threshold, "batch_tokens": batch_tokens}
    settings = {name: value for name, value in given.items() if value is not None}
    if release.info.task != "mlm":
        return ReleasedTagger(release, **settings)
    if settings:
        raise UserError(f"{release.info.name} fills gaps and measures perplexity: {', '.join(settings)} is for taggers")
    return ReleasedMaskedLM(release)


FAMILY = Family(
    name="openmed_ner",
    extra="ner",
    title="biomedical named-entity recognition with LoRA (OpenMed NER)",
    config_types={"tag": TaggerConfig, "mlm": DomainConfig},
    build=build,
    card=card,
    predictor=predictor,
    predict=predict,
    predict_arguments=predict_arguments,
    tables=TABLES,
    benches={"openmed_ner": openmed_ner_rows},
)
