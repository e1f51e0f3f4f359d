"""The family's answers to the shared core (see zoo.core.task.Family)."""

from __future__ import annotations

from zoo.core.task import Card, Family
from zoo.openmed_ner.base import BASES
from zoo.openmed_ner.config import TaggerConfig
from zoo.openmed_ner.corpora.catalogue import corpus
from zoo.openmed_ner.predictor import ReleasedTagger, predict, predict_arguments
from zoo.openmed_ner.task import TaggerTask


def card(config: TaggerConfig) -> Card:
    """What a tagger's card says."""
    model, data = config.model, config.data
    trained_on = corpus(data.corpus)
    known = BASES.get(model.base)
    limits = [
        f"Stands on the base {model.base}" + (f" ({known.licence}), which is fetched once." if known else "."),
        f"Finds {', '.join(data.types or ())} as {trained_on.title} annotates them, in English biomedical text.",
        f"Sees {data.max_length} word pieces at a time; longer texts are read in overlapping windows.",
        "Not for clinical decisions: it misses mentions and invents some; scores are not calibrated.",
    ]
    if data.limit is not None:
        limits.append(f"Trained on the first {data.limit} training sentences alone.")
    if model.domain is not None:
        limits.append(f"Needs the domain adapter {model.domain} as well.")
    return Card(
        data=f"{trained_on.title} ({trained_on.source}; {trained_on.licence})",
        licence="Apache-2.0",
        limits=tuple(limits),
        summary=f"Tagger of {trained_on.title} entities after OpenMed NER (Panahi 2025).",
    )


FAMILY = Family(
    name="openmed_ner",
    extra="ner",
    title="biomedical named-entity recognition with LoRA (OpenMed NER)",
    config_types={"tag": TaggerConfig},
    build=TaggerTask,
    card=card,
    predictor=ReleasedTagger,
    predict=predict,
    predict_arguments=predict_arguments,
)
