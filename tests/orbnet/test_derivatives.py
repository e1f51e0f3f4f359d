"""JAX derivatives of features are finite and right at symmetric geometries; features are smooth along paths through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.orbnet.features import feature_arrays, features
from zoo.orbnet.features.layout import Layout, find_pairs
from zoo.orbnet.features.saao import Operators
from zoo.orbnet.features.windows import window
from zoo.orbnet.gfn1 import converge

KINDS = ("shells", "smooth")


def readout(arrays, xp):
    """A number that does not depend on the order of nodes or edges, of unit scale in each feature."""
    rng = np.random.default_rng(1)
    w_nodes = rng.normal(size=(arrays.nodes.shape[1], 6))
    w_edges = rng.normal(size=(arrays.edges.shape[1], 6))
    return xp.tanh(3 * arrays.nodes @ w_nodes).sum() + xp.tanh(3 * arrays.edges @ w_edges).sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["CO2", "CH4", *(pytest.param(n, marks=pytest.mark.slow) for n in ("H2", "SF6"))])
def test_gradients_agree_with_finite_differences(molecule, name, kind):
    converged = converge(molecule(name), accuracy=1e-4)
    m = converged.molecule
    layout = Layout.of(m.numbers)
    pairs = find_pairs(layout, m.positions_bohr, 12.0)
    arguments = (converged.overlap, converged.core, converged.density, converged.fock, m.positions_bohr)

    def value(arguments, xp):
        return readout(feature_arrays(kind, Operators(*arguments[:4]), arguments[4], layout, pairs, xp), xp)

    with jax.enable_x64(True):
        got, gradient = jax.jit(jax.value_and_grad(lambda a: value(a, jnp)))(tuple(map(jnp.asarray, arguments)))
        gradient = [np.asarray(g) for g in gradient]
    assert float(got) == pytest.approx(value(arguments, np), rel=1e-12)
    rng = np.random.default_rng(2)
    for trial in range(3):
        step = [rng.normal(size=a.shape) for a in arguments]
        step[:4] = [d + d.T for d in step[:4]]
        predicted = sum((g * d).sum() for g, d in zip(gradient, step))
        h = 1e-5 / max(np.abs(d).max() for d in step)
        up, down = (value([a + s * h * d for a, d in zip(arguments, step)], np) for s in (1, -1))
        assert np.isfinite(predicted)
        assert (up - down) / (2 * h) == pytest.approx(predicted, rel=2e-5, abs=1e-4), trial


def test_plain_orbitals_refuse_to_be_differentiated(molecule):
    converged = converge(molecule("CH4"))
    layout = Layout.of(converged.molecule.numbers)
    pairs = find_pairs(layout, converged.molecule.positions_bohr, 12.0)
    operators = Operators(converged.overlap, converged.core, converged.density, converged.fock)
    with pytest.raises(UserError, match="no derivative"):
        feature_arrays("plain", operators, converged.molecule.positions_bohr, layout, pairs, jnp)


@pytest.mark.wrong_types
def test_unknown_kinds_are_refused(molecule):
    with pytest.raises(UserError, match="kind='soap' is not one of shells, smooth, plain"):
        features(converge(molecule("H2")), "soap")


def test_cutoffs_that_are_not_positive_are_refused(molecule):
    with pytest.raises(UserError, match="cutoff=0"):
        features(converge(molecule("H2")), cutoff=0)


def test_no_leftover_of_64_bit():
    assert jnp.ones(3).dtype == jnp.float32


def test_the_window_is_flat_and_ends():
    x = np.array([0.0, 1e-3, 0.05, 0.06])
    w = window(x, 0.05, np)
    assert w[0] == 1.0
    assert 1 - w[1] < 1e-6
    np.testing.assert_array_equal(w[2:], 0.0)


def second_derivatives(molecule, name, kinds, seed, n=81, reach=0.04):
    """The largest second derivative of the readout along a random path through a symmetric geometry, by kind."""
    rng = np.random.default_rng(seed)
    shape = molecule(name).positions_bohr.shape
    direction = rng.normal(size=shape)
    direction /= np.linalg.norm(direction)
    t = np.linspace(-reach, reach, n)
    values: dict[str, list[float]] = {kind: [] for kind in kinds}
    for x in t:
        converged = converge(molecule(name, x * direction), accuracy=1e-4)
        for kind in kinds:
            graph = features(converged, kind)
            node, edge = graph.node_features, graph.edge_features
            values[kind].append(readout(type("A", (), {"nodes": node, "edges": edge}), np))
    return {k: np.abs(np.diff(v, 2)).max() / (t[1] - t[0]) ** 2 for k, v in values.items()}


@pytest.mark.parametrize("name", ["CH4", "CO2"])
def test_paths_through_symmetric_geometries_are_smooth(molecule, name):
    curvature = second_derivatives(molecule, name, ("shells", "smooth", "plain"), seed=1)
    assert curvature["shells"] < 20
    assert curvature["smooth"] < 1000
    assert curvature["plain"] > 50 * curvature["smooth"]
