"""The network: its equations written densely, inert padding, energies that depend on the molecule alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from zoo.core.errors import UserError
from zoo.orbnet.basis import PAPER_CUTOFFS, distance_mollifier, paper_bessel
from zoo.orbnet.batch import ElementIndex, Sizes, collate, flatten, stack
from zoo.orbnet.elements import HARTREE_KCAL
from zoo.orbnet.features import features
from zoo.orbnet.gfn1 import converge
from zoo.orbnet.model import Network, NetworkConfig, Normalisation
from zoo.orbnet.molecule import Molecule

ELEMENTS = ElementIndex((1, 6, 7, 8, 9, 16))
CONFIGS = {
    "shells": NetworkConfig("shells", width=16, edge_width=16),
    "smooth": NetworkConfig("smooth", width=16, edge_width=8, full_heads=True, layers=3),
    "paper": NetworkConfig("smooth", basis="paper", width=24, edge_width=8, full_heads=True, radial=4),
}


def network(name: str, graphs=None, seed=0) -> Network:
    """A network whose readouts are of unit size, so that a mistake anywhere changes the energy."""
    config = CONFIGS[name]
    normalisation = Normalisation.of(graphs) if graphs else Normalisation.unit(config.kind)
    net = Network(config, ELEMENTS, normalisation, nnx.Rngs(seed))
    for readout in net.readouts:
        readout.out.kernel[...] = 30.0 * readout.out.kernel[...]
    return net


def graph(molecule, name: str):
    return features(converge(molecule, accuracy=1e-5), CONFIGS[name].kind, CONFIGS[name].cutoff)


@partial(jax.jit, static_argnums=0)
def evaluate(graphdef, state, batch):
    return nnx.merge(graphdef, state)(batch)


def energy(net: Network, batch) -> np.ndarray:
    """kcal/mol in float64."""
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), nnx.state(net))
        return np.asarray(evaluate(nnx.graphdef(net), double, jax.tree.map(jnp.asarray, batch)))


def padded(graphs):
    """One shape for all small batches here: one program."""
    return collate(graphs, ELEMENTS, (64, 800), molecules=4, dtype=np.float64)


def alone(net, g) -> float:
    return float(energy(net, padded([g]))[0])


@pytest.fixture(scope="module")
def three(molecule):
    return {name: [graph(molecule(m), name) for m in ("water", "CO2", "CH4")] for name in CONFIGS}


def dense_energy(net: Network, g) -> float:
    """The equations of the module's docstring on all ordered pairs of nodes, in NumPy, one molecule, no padding."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), nnx.to_pure_dict(nnx.state(net)))
    config, n, width = net.config, g.n_nodes, net.config.edge_width

    def silu(x):
        return x / (1 + np.exp(-x))

    def rms(x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.1)

    def dense(w, x):
        return x @ w["kernel"] + w.get("bias", 0.0)

    r, c = g.edge_distance, config.cutoff
    x = g.edge_features / p["edge_scale"]
    parts = np.stack([x * s / np.sqrt(1 + (x * s) ** 2) for s in config.scales], -1).reshape(len(x), -1)
    k = np.arange(1, config.radial + 1) * np.pi / c
    waves = 3 * np.where(r[:, None] > 0, np.sin(k * r[:, None]) / np.maximum(k * r[:, None], 1e-30), 1.0)
    inputs = np.concatenate([parts, waves], 1) * np.exp(1 - 1 / (1 - (r / c) ** 2))[:, None]
    flat = silu(dense(p["edge_encoder"]["first"], inputs))
    for block in p["edge_encoder"]["blocks"].values():
        flat = flat + silu(dense(block, flat))
    e, aux, mask = np.zeros((n, n, width)), np.zeros((n, n, width)), np.zeros((n, n, 1))
    for a, b in ((g.edge_u, g.edge_v), (g.edge_v, g.edge_u)):
        e[a, b], aux[a, b], mask[a, b] = flat, inputs @ p["auxiliary"]["kernel"], 1.0
    h = dense(p["node_encoder"]["first"], (g.node_features - p["node_mean"]) / p["node_scale"])
    h = silu(h + p["embedding"][ELEMENTS.types(g)])
    for block in p["node_encoder"]["blocks"].values():
        h = h + silu(dense(block, h))

    def read(i, h):
        w = p["readouts"][i]
        return float(dense(w["out"], silu(dense(w["hidden"], rms(h)))).sum())

    total = read(0, h)
    for i in range(config.layers):
        w = p["layers"][i]
        hn, en = rms(h), rms(e)
        hp = hn @ w["project"]["kernel"] if "project" in w else hn
        m = silu(dense(w["message"], hp[:, None] * hp[None] * en))
        q = hn @ w["attend"]["kernel"]
        scores = (q[:, None] * q[None] * en * aux).reshape(n, n, config.heads, -1)
        attention = np.tanh(scores.sum(-1) / np.sqrt(width / config.heads)) * mask
        shares = m[:, :, None] if config.full_heads else m.reshape(n, n, config.heads, -1)
        gathered = 0.3 * (shares * attention[..., None]).sum(1).reshape(n, -1)
        h = h + silu(dense(w["update"], gathered))
        if i < config.layers - 1:
            e = e + silu(dense(w["edge"], m))
        total += read(i + 1, h)
    return 10.0 * total


@pytest.mark.parametrize("name", ["shells", "smooth"])
def test_the_equations(three, name):
    net = network(name, three[name])
    for g in three[name]:
        expected = dense_energy(net, g)
        assert abs(expected) > 0.1
        assert alone(net, g) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["shells", "paper", pytest.param("smooth", marks=pytest.mark.slow)])
def test_padding_is_inert(three, name):
    """Energies and gradients do not change with the amount of padding, nor with what stands in it."""
    net = network(name, three[name])
    graphdef, params, rest = nnx.split(net, nnx.Param, ...)
    nodes, edges = sum(g.n_nodes for g in three[name]), sum(g.n_edges for g in three[name])
    tight = collate(three[name], ELEMENTS, dtype=np.float64)
    loose = collate(three[name], ELEMENTS, (nodes + 37, edges + 211), molecules=5, dtype=np.float64)
    garbage = {k: v.copy() for k, v in loose.items()}
    garbage["node_features"][nodes:] = 7.0
    garbage["edge_features"][edges:] = -3.0
    with jax.enable_x64(True):
        params, rest = (jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), s) for s in (params, rest))

        def total(params, batch):
            return (nnx.merge(graphdef, params, rest)(batch) ** 2).sum()

        run = jax.jit(jax.value_and_grad(total))
        results = [run(params, jax.tree.map(jnp.asarray, b)) for b in (tight, loose, garbage)]
        (value, gradient), *others = jax.tree.map(np.asarray, results)
    for other_value, other_gradient in others:
        assert other_value == pytest.approx(value, rel=1e-12)
        for a, b in zip(jax.tree.leaves(other_gradient), jax.tree.leaves(gradient)):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())
            assert np.isfinite(a).all()
    np.testing.assert_array_equal(energy(net, loose)[3:], 0.0)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_an_energy_does_not_depend_on_its_batch(three, name):
    net = network(name, three[name])
    single = [alone(net, g) for g in three[name]]
    assert min(abs(a - b) for a in single for b in single if a is not b) > 1e-3
    for order in ([0, 1, 2], [2, 0, 1], [1, 1, 0, 2]):
        together = energy(net, padded([three[name][i] for i in order]))
        np.testing.assert_allclose(together[: len(order)], [single[i] for i in order], rtol=1e-11)


@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize("which", ["H", "H2", "N2", "CO2", "CH4", "NH4+", "C2H2", "benzene", "SF6"])
def test_energies_are_invariant(molecule, name, which):
    """1e-6 hartree under rotation, reflection, translation and the order of atoms."""
    m = molecule(which)
    net, rng = network(name), np.random.default_rng(5)
    reference = alone(net, graph(m, name))
    for trial in range(2):
        turn, order = Rotation.random(random_state=trial).as_matrix() * (-1) ** trial, rng.permutation(len(m))
        moved = Molecule(m.numbers[order], (m.positions_bohr @ turn.T + rng.normal(size=3))[order], m.charge, m.spin)
        assert abs(alone(net, graph(moved, name)) - reference) / HARTREE_KCAL < 1e-6


def test_energies_pass_the_cutoff_smoothly(molecule):
    """Two waters drawn through 12 bohr: no jump where the last edges end."""
    water, net = molecule("water"), network("shells")
    values = []
    for distance in np.linspace(11.8, 12.2, 41):
        pair = np.concatenate([water.positions_bohr, water.positions_bohr + np.array([distance, 0, 0])])
        values.append(alone(net, graph(Molecule(np.tile(water.numbers, 2), pair), "shells")))
    steps = np.diff(values)
    assert np.abs(np.diff(steps)).max() < 0.05 * np.abs(steps).max() + 1e-7


def test_an_edge_without_features_changes_nothing(three):
    """Not even where its distance is short: the paper's e_aux has no bias."""
    name = "paper"
    g = three[name][0]
    net = network(name)
    batch = padded([g])
    wider = {k: v.copy() for k, v in batch.items()}
    wider["edge_u"][-1], wider["edge_v"][-1], wider["edge_distance"][-1] = 0, 1, 1.0
    wider["edge_features"][-1, 3] = PAPER_CUTOFFS[3] + 1  # D is a distance: beyond its cut-off, not zero
    np.testing.assert_allclose(energy(net, wider), energy(net, batch), rtol=1e-12)


@pytest.mark.parametrize("name", ["shells", "paper"])
def test_derivatives_by_features_are_finite(three, name):
    net = network(name, three[name])
    batch = jax.tree.map(jnp.asarray, collate(three[name], ELEMENTS))
    floats = {k: v for k, v in batch.items() if v.dtype == jnp.float32}
    gradient = jax.jit(jax.grad(lambda f: net({**batch, **f}).sum()))(floats)
    for value in gradient.values():
        assert np.isfinite(np.asarray(value)).all()


def test_single_precision_is_enough_for_training(three):
    net = network("shells", three["shells"])
    single = np.asarray(nnx.jit(lambda n, b: n(b))(net, jax.tree.map(jnp.asarray, collate(three["shells"], ELEMENTS))))
    double = energy(net, padded(three["shells"]))[:3]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=2e-5, atol=1e-4)


def test_a_fresh_network_starts_near_zero(three):
    net = Network(CONFIGS["shells"], ELEMENTS, Normalisation.of(three["shells"]), nnx.Rngs(0))
    assert np.abs(energy(net, padded(three["shells"]))).max() < 20.0


def test_mollifier_and_paper_basis():
    r = np.linspace(0, 15, 301)
    with jax.enable_x64(True):
        value = np.asarray(distance_mollifier(jnp.asarray(r), 12.0))
        slope = np.asarray(jax.jit(jax.vmap(jax.grad(lambda x: distance_mollifier(x, 12.0))))(jnp.asarray(r)))
        x = np.array([[1e-4, 0.3, 1e-3, 4.0, 0.2, 0.0, 0.5]])
        basis = np.asarray(paper_bessel(jnp.asarray(x), 3)).reshape(7, 3)
    assert value[0] == 1.0
    assert (value[r >= 12] == 0).all()
    np.testing.assert_allclose(slope[1:-1], np.gradient(value, r)[1:-1], atol=2e-3)
    for i, (entry, c) in enumerate(zip(x[0], PAPER_CUTOFFS)):
        rho = entry if i == 3 else (-np.log(entry) if entry else np.inf)
        for k in (1, 2, 3):
            expected = 0.0
            if rho < c:
                mollifier = np.exp(-(c**2) / (rho - c) ** 2 + 1)
                expected = np.sqrt(2 / c) * np.sin(np.pi * k * rho / c) / (rho / c) * mollifier
            assert basis[i, k - 1] == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 4000), st.integers(0, 60000))
def test_shapes_hold_what_they_are_asked_to(nodes, edges):
    n, e = Sizes(130, 2400).shape(nodes, edges)
    assert n >= nodes + 1
    assert e >= max(edges, 1)
    assert n % 8 == 0
    assert e % 8 == 0


def test_shapes_are_few():
    rng = np.random.default_rng(0)
    sizes = Sizes(170, 3200)
    shapes = {sizes.shape(int(n), int(n * rng.uniform(14, 24))) for n in rng.uniform(90, 260, 2000)}
    assert len(shapes) <= 8


def test_what_a_batch_refuses(three, molecule):
    with pytest.raises(UserError, match=r"at least one molecule"):
        collate([], ELEMENTS)
    with pytest.raises(UserError, match="several kinds"):
        collate([three["shells"][0], three["smooth"][0]], ELEMENTS)
    with pytest.raises(UserError, match="do not fit"):
        collate(three["shells"], ELEMENTS, (10, 1000))
    with pytest.raises(UserError, match="water: O is not among the elements of this model"):
        collate([three["shells"][0]], ElementIndex((1, 6)))
    with pytest.raises(UserError, match="edge_width=10 is not a multiple of heads=4"):
        NetworkConfig(edge_width=10)
    with pytest.raises(UserError, match="basis='paper'"):
        NetworkConfig("shells", basis="paper")


def test_composition_and_stack(three, molecule):
    ion = graph(molecule("NH4+"), "shells")
    np.testing.assert_array_equal(ELEMENTS.composition(ion), [4, 0, 1, 0, 0, 0, 1])
    batches = [collate([g], ELEMENTS, (32, 256)) for g in three["shells"]]
    stacked = stack(batches)
    assert stacked["node_features"].shape == (3, 32, 9)
    np.testing.assert_array_equal(stacked["edge_u"][1], batches[1]["edge_u"])


def test_flattened_rows_give_the_energies_of_the_rows(three):
    net = network("shells", three["shells"])
    rows = [collate(three["shells"][i:j], ELEMENTS, (32, 400), 2, np.float64) for i, j in ((0, 2), (2, 3))]
    flat = flatten(stack(rows))
    assert flat["node_type"].shape == (64,)
    single = [alone(net, g) for g in three["shells"]]
    np.testing.assert_allclose(energy(net, flat), [*single, 0.0], rtol=1e-11)
