"""The family's answers to the shared core (see zoo.core.task.Family)."""

from __future__ import annotations

from zoo.core.task import Card, Family
from zoo.orbnet.benches import orbnet_rows
from zoo.orbnet.config import EnergyConfig
from zoo.orbnet.predictor import EnergyPredictor
from zoo.orbnet.rows import predict, predict_arguments
from zoo.orbnet.tables import TABLES
from zoo.orbnet.task import EnergyTask


def card(config: EnergyConfig) -> Card:
    """What the card of an energy model says."""
    data = config.data
    if data.source == "file":
        stated, licence = "The user's own extended XYZ file.", "the user's choice"
    elif data.source == "denali":
        stated = "The published training labels of OrbNet Denali (figshare 14883867), without the paper's test sets."
        licence = "the user's choice"
    elif data.source == "sets":
        stated = f"Training sets {', '.join(data.sets)}, without molecules that a test contains; terms as in the family's README."
        licence = "Apache-2.0"
    else:
        stated = "Six small molecules displaced at random, labelled with GFN2-xTB by tblite."
        licence = "Apache-2.0"
    held_out = "molecules" if data.hold_out == "molecule" else "structures of the same molecules"
    limits = [
        "Elements, charges, numbers of unpaired electrons and sizes that training never saw are refused, or answered with "
        "GFN1-xTB where that is asked for.",
        "Energies alone: no forces.",
        f"Validation and test are {held_out} that training did not see.",
    ]
    if data.source == "sets":
        limits.append(
            "Made for differences: between structures of one molecule, and interaction or reaction energies as far as the "
            "training sets hold such. Total energies are of the level of the sets that state them, and far less exact."
        )
    if data.source == "tiny":
        limits.append("Made to try the machinery: nobody should use its energies.")
    summary = (
        "Energies from GFN1-xTB features after OrbNet Denali (Christensen et al., J. Chem. Phys. 2021, 155, 204103)."
    )
    return Card(data=stated, licence=licence, limits=tuple(limits), summary=summary)


FAMILY = Family(
    name="orbnet",
    extra="orbnet",
    title="molecular energies from GFN1-xTB features (OrbNet Denali)",
    config_types={"energy": EnergyConfig},
    build=EnergyTask,
    card=card,
    predictor=EnergyPredictor,
    predict=predict,
    predict_arguments=predict_arguments,
    tables=TABLES,
    benches={"orbnet": orbnet_rows},
)
