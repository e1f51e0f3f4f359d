"""Arithmetic on states: PyTrees of real arrays, possibly of several dtypes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import Array, lax

PyTree = Any


def combine(scale: Array, weights: Sequence[float], trees: Sequence[PyTree], base: PyTree | None = None) -> PyTree:
    """base + scale * sum_i weights[i] * trees[i]; zero weights cost nothing."""
    terms = [(w, tree) for w, tree in zip(weights, trees, strict=True) if w != 0]

    def leaf(*leaves: Array) -> Array:
        total = sum(w * x for (w, _), x in zip(terms, leaves, strict=False))
        scaled = scale.astype(leaves[0].dtype) * total
        return scaled if base is None else leaves[-1] + scaled

    return jtu.tree_map(leaf, *(tree for _, tree in terms), *(() if base is None else (base,)))


def add(*trees: PyTree) -> PyTree:
    """Sum of trees; None counts as nothing."""
    present = [tree for tree in trees if tree is not None]
    return jtu.tree_map(lambda *leaves: sum(leaves[1:], leaves[0]), *present)


def times(scale: Array | float, tree: PyTree) -> PyTree:
    """scale * tree, dtypes kept."""
    return jtu.tree_map(lambda x: jnp.asarray(scale, x.dtype) * x, tree)


def dot(a: PyTree, b: PyTree, dtype: Any) -> Array:
    """Inner product of two trees, as a scalar of ``dtype``."""
    parts = [
        jnp.sum(x * y, dtype=x.dtype).astype(dtype) for x, y in zip(jtu.tree_leaves(a), jtu.tree_leaves(b), strict=True)
    ]
    return sum(parts, jnp.zeros((), dtype))


def zeros_like(tree: PyTree) -> PyTree:
    """A tree of zeros of the same shapes and dtypes."""
    return jtu.tree_map(jnp.zeros_like, tree)


def where(condition: Array, a: PyTree, b: PyTree) -> PyTree:
    """Leaf-wise select by one scalar."""
    return jtu.tree_map(lambda x, y: jnp.where(condition, x, y), a, b)


def kept_if(condition: Array, tree: PyTree) -> PyTree:
    """The tree, or zeros in its place."""
    return jtu.tree_map(lambda x: jnp.where(condition, x, 0), tree)


def size(tree: PyTree) -> int:
    """Number of entries in all leaves."""
    return sum(math.prod(jnp.shape(x)) for x in jtu.tree_leaves(tree))


def dtype_of(tree: PyTree) -> Any:
    """The dtype that all leaves promote to."""
    return jnp.result_type(*jtu.tree_leaves(tree))


def mesh_axes(tree: PyTree) -> frozenset[str]:
    """The mesh axes along which a leaf may differ, within jax.shard_map; none elsewhere."""
    return frozenset().union(*(jax.typeof(x).manual_axis_type.varying for x in jtu.tree_leaves(tree)))


def differing(axes: frozenset[str], tree: PyTree) -> PyTree:
    """The tree, typed as one that may differ along these mesh axes: what loops carry and branches return must agree in that."""

    def leaf(x: Array) -> Array:
        missing = tuple(sorted(axes - jax.typeof(x).manual_axis_type.varying))
        return lax.pcast(x, missing, to="varying") if missing else x

    return jtu.tree_map(leaf, tree) if axes else tree


def safe_sqrt(x: Array) -> Array:
    """Square root whose derivative at 0 is 0; NaN stays NaN."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def rms(tree: PyTree, axis_name: str | None = None) -> Array:
    """Root mean square over all entries, those of all devices along a mesh axis where one is named; 0 where there are none, derivative 0
    at 0."""
    dtype = dtype_of(tree)
    count = size(tree)
    if count == 0:
        return jnp.zeros((), dtype)
    mean = dot(tree, tree, dtype) / count
    if axis_name is not None:
        mean = lax.pmean(mean, axis_name)
    return safe_sqrt(differing(mesh_axes(tree), mean))
