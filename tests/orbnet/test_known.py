"""Examples of known combinations: dealt out, cut, weighed; the loss against sums written out; samplers and the graph store."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.core.errors import UserError
from zoo.orbnet.config import EnergyLossConfig
from zoo.orbnet.known import KINDS, Known, examples
from zoo.orbnet.loss import combination_loss, pseudo_huber
from zoo.orbnet.sampling import SizedSampler

SQUARES = EnergyLossConfig(alpha=0.9, delta_total=1e3, delta_difference=1e3)


def known(kind: str, n: int, rows: np.ndarray | None = None, values: np.ndarray | None = None) -> Known:
    values = np.arange(n, dtype=float) if values is None else values
    return Known("scan", "set", "key", kind, np.arange(10, 10 + n), values, rows)  # pyright: ignore[reportArgumentType]


def loss_of(example, energies: np.ndarray) -> float:
    with jax.enable_x64(True):
        row, value, share, delta = (
            jnp.asarray(x)[None] for x in (example.rows, example.values, example.shares, example.deltas)
        )
        return float(combination_loss(jnp.asarray(energies)[None], row, value, share, delta, jnp.ones(1)))


def test_for_squares_it_is_totals_and_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(0)
    one = known("total", 4, values=rng.normal(size=4))
    (example,) = examples(one, 8, SQUARES)
    energies = rng.normal(size=4)
    error = energies - one.values
    pairs = [(a - b) ** 2 for i, a in enumerate(error) for j, b in enumerate(error) if i != j]
    assert loss_of(example, energies) == pytest.approx(0.1 * np.mean(error**2) + 0.9 * np.mean(pairs), rel=1e-5)


def test_a_structure_alone_counts_by_its_total_and_conformers_by_differences() -> None:
    (single,) = examples(known("total", 1, values=np.array([2.0])), 8, SQUARES)
    assert loss_of(single, np.array([5.0])) == pytest.approx(9.0, rel=1e-5)
    assert list(examples(known("conformers", 1), 8, SQUARES)) == []
    (pair,) = examples(known("conformers", 2), 8, SQUARES)
    assert loss_of(pair, np.array([70.0, 71.0])) == pytest.approx(0.0, abs=1e-9)
    assert loss_of(pair, np.array([70.0, 74.0])) == pytest.approx(9.0, rel=1e-4)


def test_every_round_deals_out_all_conformers_with_others() -> None:
    found = list(examples(known("conformers", 12), 4, SQUARES, rounds=3))
    assert len(found) == 9
    turns = [sorted(np.concatenate([e.members for e in found[i : i + 3]])) for i in (0, 3, 6)]
    assert all(turn == list(range(10, 22)) for turn in turns)
    assert len({frozenset(e.members.tolist()) for e in found}) > 6
    again = list(examples(known("conformers", 12), 4, SQUARES, rounds=3))
    assert all((a.members == b.members).all() for a, b in zip(found, again))


def curve(distances: int) -> Known:
    rows = np.hstack([np.eye(distances), -np.ones((distances, 2))])
    return known("dimers", distances + 2, rows, np.linspace(-4, 0, distances))


def test_the_monomers_come_with_each_piece_of_a_curve() -> None:
    found = list(examples(curve(5), 4, SQUARES, rounds=2))
    assert [len(e.values) for e in found] == [2, 2, 1]
    assert all({15, 16} <= set(e.members.tolist()) for e in found)
    energies = np.array([-10.0, -9.5, -4.0, -5.0])  # two dimers, then the monomers: interaction -1 and -0.5
    assert loss_of(found[0], energies) == pytest.approx(np.mean([(-1 + 4) ** 2, (-0.5 + 3) ** 2]), rel=1e-4)


def test_weights_of_dimers_and_reactions() -> None:
    light = EnergyLossConfig(dimers=0.5, reactions=0.25, delta_total=1e3, delta_difference=1e3)
    reaction = known("reaction", 3, np.array([[-1.0, -1.0, 2.0]]), np.array([3.0]))
    (example,) = examples(reaction, 2, light)  # it stays whole though three species are more than two
    assert KINDS[example.kind] == "reaction"
    assert loss_of(example, np.array([1.0, 1.0, 4.0])) == pytest.approx(0.25 * 9, rel=1e-4)
    assert sum(e.shares.sum() for e in examples(curve(2), 4, light)) == pytest.approx(0.5)


def test_what_is_left_without_a_molecule() -> None:
    there = np.ones(30, bool)
    there[[11, 12]] = False
    left = curve(4).only(there)
    assert left is not None
    assert left.members.tolist() == [10, 13, 14, 15]
    assert left.values.tolist() == [-4.0, 0.0]
    np.testing.assert_array_equal(left.rows, [[1, 0, -1, -1], [0, 1, -1, -1]])
    there[15] = False  # a monomer
    assert curve(4).only(there) is None
    assert known("conformers", 3).only(there) is None
    assert known("total", 3).only(there).members.tolist() == [10]  # pyright: ignore[reportOptionalMemberAccess]


def test_conformers_are_taken_evenly() -> None:
    assert known("conformers", 24).spread(3).members.tolist() == [10, 22, 33]
    assert len(known("total", 24).spread(3).members) == 3
    assert len(curve(5).spread(3).members) == 7


def test_padding_changes_neither_the_loss_nor_its_gradient() -> None:
    (example,) = examples(known("conformers", 3), 4, SQUARES)
    rows, target, share, delta = (
        jnp.asarray(x, jnp.float32)[None] for x in (example.rows, example.values, example.shares, example.deltas)
    )
    energy, weight = jnp.array([[0.3, -1.0, 2.0]]), jnp.ones(1)
    plain, gradient = jax.value_and_grad(combination_loss)(energy, rows, target, share, delta, weight)
    more = (
        jnp.pad(rows, ((0, 1), (0, 2), (0, 1))), jnp.pad(target, ((0, 1), (0, 2))), jnp.pad(share, ((0, 1), (0, 2))),
        jnp.pad(delta, ((0, 1), (0, 2)), constant_values=1.0), jnp.array([1.0, 0.0]),
    )  # fmt: skip
    padded, larger = jax.value_and_grad(combination_loss)(jnp.pad(energy, ((0, 1), (0, 1))), *more)
    assert float(padded) == pytest.approx(float(plain), rel=1e-6)
    np.testing.assert_allclose(larger[0, :3], gradient[0], rtol=1e-6)
    assert float(jnp.abs(larger[1]).max()) == 0.0
    assert float(combination_loss(energy, rows, target, share, delta, jnp.zeros(1))) == 0.0


def test_pseudo_huber_has_its_limits() -> None:
    assert float(pseudo_huber(jnp.array(0.01), 1.0)) == pytest.approx(1e-4, rel=1e-4)
    assert float(pseudo_huber(jnp.array(0.01), 1e6)) == pytest.approx(1e-4, rel=1e-6)  # squares, in float32 too
    x, d = np.float64(2.5), np.float64(0.7)
    assert float(pseudo_huber(jnp.array(x), d)) == pytest.approx(2 * d * d * (np.sqrt(1 + (x / d) ** 2) - 1), rel=1e-6)
    assert float(pseudo_huber(jnp.array(1e4), 1.0)) == pytest.approx(2e4, rel=1e-3)
    assert float(jax.grad(pseudo_huber)(0.0, 1.0)) == 0.0


def test_the_sampler_takes_each_example_once_and_batches_are_of_like_size() -> None:
    sizes = np.random.default_rng(0).integers(1, 1000, 256)
    sampler = SizedSampler(sizes, 8, seed=3, pool=16)
    epoch = np.stack([sampler(step) for step in range(32)])
    assert sorted(epoch.ravel()) == list(range(256))
    spread = np.ptp(sizes[epoch], 1).mean()
    assert spread < 0.2 * np.ptp(sizes)
    assert (SizedSampler(sizes, 8, seed=3, pool=16)(40) == sampler(40)).all()
    assert sorted(np.concatenate([sampler(s) for s in range(32, 64)])) == list(range(256))
    assert not (np.stack([sampler(s) for s in range(32, 64)]) == epoch).all()
    assert len(SizedSampler(np.ones(3), 8, 0)(0)) == 8
    with pytest.raises(UserError, match="empty"):
        SizedSampler(np.ones(0), 8, 0)
