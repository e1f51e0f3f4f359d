"""Many molecules at once: what workers give is what this process gives, and one bad molecule costs itself alone."""

import os
import signal

import jax
import numpy as np
import pytest
from flax import nnx
from jaxprs import product_precisions

pytest.importorskip("tblite", reason="orbnet features need tblite")
pytest.importorskip("joblib")

from zoo.core.errors import UserError
from zoo.orbnet import predictor as module
from zoo.orbnet.batch import ElementIndex, collate
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.energy import EnergyModel
from zoo.orbnet.facts import Facts, NotApplicable
from zoo.orbnet.features import features
from zoo.orbnet.gfn1 import EngineError, converge
from zoo.orbnet.linear import LinearPart
from zoo.orbnet.model import Network, NetworkConfig, Normalisation, as_function
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.parallel import graph_of
from zoo.orbnet.predictor import EnergyPredictor

NUMBERS = (1, 6, 7, 8)
LINEAR = np.array([-0.1, -0.2, -0.3, -0.4, 0.5])


@pytest.fixture(scope="module")
def model() -> EnergyModel:
    """An untrained network whose E_ML is far from zero."""
    config = NetworkConfig(width=16, edge_width=16, layers=1)
    net = Network(config, ElementIndex(NUMBERS), Normalisation.unit("shells"), nnx.Rngs(0))
    for readout in net.readouts:
        readout.out.kernel[...] = 100.0 * readout.out.kernel[...]
    graphdef, state = nnx.split(net)
    facts = Facts(NUMBERS, (0,), (0,), (2, 12), LinearPart(LINEAR), Normalisation.unit("shells"))
    return EnergyModel(config, facts, as_function(graphdef, state))


@pytest.fixture
def predictor(model) -> EnergyPredictor:
    return EnergyPredictor.of(model)


def test_the_parts_of_an_energy_add_up(model, predictor, molecule) -> None:
    water = molecule("water")
    converged = converge(water)
    batch = collate([features(converged)], ElementIndex(NUMBERS))  # another padding than the predictor's
    learned = float(np.asarray(model.network(batch))[0])
    assert abs(learned) > 0.1
    expected = converged.energy + 2 * LINEAR[0] + LINEAR[3] + learned / HARTREE_KCAL
    assert predictor.energy(water) == pytest.approx(expected, abs=1e-8)


def test_products_are_whole_float32(model, molecule) -> None:
    batch = collate([features(converge(molecule("water")))], ElementIndex(NUMBERS))
    assert product_precisions(jax.make_jaxpr(model.network)(batch)) == {"HIGHEST"}


def test_workers_give_the_same_energies_in_the_same_order(predictor, molecule) -> None:
    some = [molecule(n) for n in ("water", "CO2", "H2", "benzene", "CH4", "N2", "C2H2")]
    alone = [predictor.energy(m) for m in some]
    assert np.allclose(predictor.energies(some, workers=2), alone, rtol=0, atol=1e-9)
    twice = predictor.energies([some[0], some[1], some[0]], workers=2)
    assert twice[0] == twice[2]


def test_a_refused_molecule_is_named_and_the_others_go_on(predictor, molecule) -> None:
    some = [molecule("water"), molecule("SF6"), molecule("H2")]
    answers = predictor.answers(some, workers=2)
    assert [a.method for a in answers] == ["orbnet", "", "orbnet"]
    assert "SF6" in answers[1].error
    with pytest.raises(NotApplicable, match="SF6"):
        predictor.energies(some, workers=2)
    again = predictor.answers(some, workers=2, fallback="gfn1")
    assert [a.method for a in again] == ["orbnet", "GFN1-xTB", "orbnet"]
    assert again[1].energy == pytest.approx(converge(some[1]).energy, abs=1e-9)


def dies_at_methane(molecule: Molecule, **settings):
    """As a crash in compiled code would, and as an SCF that does not converge would."""
    if molecule.name == "CH4":
        os.kill(os.getpid(), signal.SIGKILL)
    if molecule.name == "N2":
        raise EngineError("N2: xTB failed")
    return graph_of(molecule, **settings)


def test_a_molecule_that_ends_its_worker_costs_itself_alone(predictor, molecule, monkeypatch) -> None:
    monkeypatch.setattr(module, "graph_of", dies_at_methane)
    names = ["water", "CH4", "H2", "N2", "CO2"]
    answers = predictor.answers([molecule(n) for n in names], workers=2)
    assert [bool(a.error) for a in answers] == [False, True, False, True, False]
    assert "ended its worker process" in answers[1].error
    assert answers[3].error == "N2: xTB failed"
    with pytest.raises(EngineError, match=r"CH4.*ended its worker process"):
        predictor.energies([molecule(n) for n in names], workers=2)


def test_an_energy_that_is_not_finite_is_an_error(model, molecule) -> None:
    broken = EnergyModel(model.config, model.facts, lambda batch: np.array([np.nan]))
    with pytest.raises(EngineError, match="water: the network's energy is not finite"):
        EnergyPredictor.of(broken).energy(molecule("water"))


def test_a_number_of_workers_that_is_none(predictor, molecule) -> None:
    with pytest.raises(UserError, match="workers=0"):
        predictor.energies([molecule("water")], workers=0)
