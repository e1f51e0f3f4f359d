"""A PyTree goes to named arrays and back with every bit, its structure, and nothing cast."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoo.core import state
from zoo.core.errors import DamagedError, UserError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pair:
    first: Any
    value: Any


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


DTYPES = [
    np.dtype(d) for d in ("bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64", "complex128")
]
arrays = st.one_of(
    hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)),
    hnp.arrays(np.uint16, hnp.array_shapes(max_dims=2, max_side=3)).map(lambda x: x.view(ml_dtypes.bfloat16)),
)
leaves = st.one_of(
    arrays,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.complex_numbers(),
    hnp.arrays(st.sampled_from([np.dtype("float32"), np.dtype("int64")]), ()).map(lambda x: x[()]),
)
keys = st.one_of(st.text(max_size=4), st.sampled_from(["a", "a/b", "b", "~", "~1", "__metadata__", "0", "value"]))
trees = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.dictionaries(keys, below, max_size=4),
        st.dictionaries(st.integers(0, 12), below, max_size=3),
        st.lists(below, max_size=3),
        st.tuples(below, below),
        st.builds(Pair, below, below),
        st.none(),
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(trees)
def test_round_trip_of_any_tree(tmp_path_factory: pytest.TempPathFactory, tree: Any):
    tensors = state.flatten(tree)
    assert len(tensors) == len(jax.tree.leaves(tree))
    assert_same(state.unflatten(tree, tensors), tree)
    folder = tmp_path_factory.mktemp("trees") / "s"
    loaded, _ = state.load(state.save(folder, tensors, {}))
    assert_same(state.unflatten(tree, loaded), tree)


def test_names_are_paths_and_do_not_collide():
    tree = {"a": {"b": 1, "c~d": 2}, "a/b": 3, "list": [4, (5,)], "pair": Pair(6, 7), 10: 8, "": {"": 9}}
    tree = {str(k): v for k, v in tree.items()}
    names = {"a/b", "a/c~0d", "a~1b", "list/0", "list/1/0", "pair/first", "pair/value", "10", "/"}
    assert state.flatten(tree).keys() == names
    assert state.flatten(3.0).keys() == {""}
    assert state.flatten({"__metadata__": 1}).keys() == {"~__metadata__"}


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.blocks = nnx.List([nnx.Linear(2, 2, rngs=rngs, param_dtype=jnp.bfloat16) for _ in range(11)])
        self.norm = nnx.BatchNorm(2, rngs=rngs)


def model_state() -> tuple[Any, Any]:
    _, params, rest = nnx.split(Model(nnx.Rngs(0)), nnx.Param, ...)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adamw)(1e-3), optax.ema(0.9))
    return {"params": params, "rest": rest, "none": None}, tx.init(params)


def test_nnx_and_optax_states(tmp_path: Path):
    tree = model_state()
    tensors = state.flatten(tree)
    assert "0/params/blocks/10/kernel" in tensors
    assert "0/rest/norm/var" in tensors
    assert tensors["0/params/blocks/0/kernel"].dtype == ml_dtypes.bfloat16
    loaded, _ = state.load(state.save(tmp_path / "s", tensors, {}))
    assert_same(state.unflatten(tree, loaded), tree)
    shapes = jax.eval_shape(lambda: tree)
    restored = state.unflatten(shapes, loaded)
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(restored))


def test_names_of_a_state_are_those_of_the_plain_dict():
    """What flax calls the inside of its variables does not reach the file."""
    _, params, _ = nnx.split(Model(nnx.Rngs(0)), nnx.Param, ...)
    assert state.flatten(params).keys() == state.flatten(nnx.to_pure_dict(params)).keys()


def test_64_bit_arrays_stay_64_bit_outside_their_scope():
    with jax.enable_x64(True):
        tree = {"x": jnp.asarray([1.0 + 2**-50]), "n": jnp.asarray(2**40)}
    restored = state.unflatten(tree, state.flatten(tree))
    assert restored["x"].dtype == np.float64
    assert_same(restored, tree)
    assert jnp.zeros(1).dtype == np.float32


def test_all_mismatches_are_found_and_nothing_is_cast():
    template = {"a": np.zeros(2, np.float32), "b": np.zeros((2, 3)), "c": 1, "d": 2.0, "e": 3}
    tensors = state.flatten(template)
    assert_same(state.unflatten(template, tensors), template)
    tensors["a"] = tensors["a"].astype(np.float64)
    tensors["b"] = tensors["b"].T
    tensors["c"] = tensors["c"].reshape(1)
    tensors["x"] = tensors.pop("d")
    tensors["y"] = tensors.pop("e")
    with pytest.raises(DamagedError) as caught:
        state.unflatten(template, tensors, what="runs/a/step-00000001")
    text = str(caught.value)
    for part in (
        "runs/a/step-00000001",
        "'a' is float64[2], expected float32[2]",
        "'b' is float64[3, 2], expected float64[2, 3]",
        "'c' is int64[1], expected int64[]",
        "'d' is missing",
        "and 3 more",
    ):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "leaf", ["text", object(), b"bytes", 2**63, {1, 2}], ids=["text", "object", "bytes", "wide integer", "set"]
)
def test_leaves_that_are_no_numbers_are_refused(leaf: Any):
    with pytest.raises(UserError, match="'a/x' in the state"):
        state.flatten({"a": {"x": leaf}})


def test_random_keys_are_refused():
    with pytest.raises(UserError, match="fold_in"):
        state.flatten({"key": jax.random.key(0)})


def test_replicated_arrays_over_several_devices():
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
    x = jax.device_put(jnp.arange(4.0), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    np.testing.assert_array_equal(state.flatten({"x": x})["x"], np.arange(4.0, dtype=np.float32))
