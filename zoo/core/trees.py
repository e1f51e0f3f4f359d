"""A PyTree as named arrays and back, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from zoo.core.errors import DamagedError, UserError

# Python's scalars have no dtype of their own; these are theirs in a file.
SCALARS = {bool: np.dtype(bool), int: np.dtype(np.int64), float: np.dtype(np.float64), complex: np.dtype(np.complex128)}


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of ``tree`` as host arrays, named by their path.

    Args:
        tree: any JAX PyTree (dicts, tuples, registered dataclasses, nnx.State, optax states) of arrays and Python
            scalars; bool, int, float and complex become 0-d arrays of bool, int64, float64 and complex128.

    Returns:
        name -> array. A name joins dict keys, indices and field names by "/"; in keys "~" is written "~0" and "/"
        "~1". An nnx Variable has the name of its place.

    Raises:
        UserError: a leaf is not an array or number, or is a random key (which step n derives and no file holds).
    """
    tensors: dict[str, np.ndarray] = {}
    for name, leaf in _named_leaves(tree)[0]:
        if name in tensors:
            raise UserError(f"two leaves of the state are named {name!r}: rename one of their keys")
        tensors[name] = _array(name, leaf)
    return tensors


def unflatten(template: Any, tensors: Mapping[str, np.ndarray], *, what: str = "state") -> Any:
    """A tree of the structure of ``template`` with the values of ``tensors``; nothing is cast.

    Args:
        template: a tree whose leaves have the shapes and dtypes to expect (arrays, jax.ShapeDtypeStruct or Python
            scalars). Each value comes back as its template's kind: JAX array, NumPy array or Python scalar.
        tensors: what :func:`flatten` gave.
        what: how errors call the tensors, for example the file.

    Raises:
        DamagedError: names, shapes or dtypes differ; all differences are found, the first few named.
    """
    leaves, treedef = _named_leaves(template)
    wrong = []
    for name, leaf in leaves:
        shape, dtype = _spec(name, leaf)
        if name not in tensors:
            wrong.append(f"{name!r} is missing")
        elif tensors[name].shape != shape or tensors[name].dtype != dtype:
            found = tensors[name]
            wrong.append(f"{name!r} is {found.dtype}{list(found.shape)}, expected {dtype}{list(shape)}")
    expected = {name for name, _ in leaves}
    wrong += [f"{name!r} is not expected" for name in tensors if name not in expected]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise DamagedError(
            f"{what} does not fit this model ({'; '.join(wrong[:4])}{more}): load it with the configuration "
            "that it was made with"
        )
    return treedef.unflatten([_like(leaf, tensors[name]) for name, leaf in leaves])


def _named_leaves(tree: Any) -> tuple[list[tuple[str, Any]], Any]:
    import jax

    return list(_walk(tree)), jax.tree_util.tree_structure(tree)


def _walk(tree: Any) -> Iterator[tuple[str, Any]]:
    from flax import nnx
    from jax.tree_util import tree_flatten_with_path

    # A Variable's own inner key differs between releases of flax: a Variable of one leaf is named by its place alone.
    for path, node in tree_flatten_with_path(tree, is_leaf=lambda x: isinstance(x, nnx.Variable))[0]:
        inner = tree_flatten_with_path(node)[0] if isinstance(node, nnx.Variable) else [((), node)]
        for below, leaf in inner:
            yield _join(path if len(inner) == 1 else (*path, *below)), leaf


def _join(path: tuple[Any, ...]) -> str:
    name = "/".join(_key(entry).replace("~", "~0").replace("/", "~1") for entry in path)
    return "~" + name if name == "__metadata__" else name  # the one name that a safetensors file keeps for itself


def _key(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _spec(name: str, leaf: Any) -> tuple[tuple[int, ...], np.dtype]:
    if type(leaf) in SCALARS:
        return (), SCALARS[type(leaf)]
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise UserError(f"{name!r} in the state is of type {type(leaf).__name__}: only arrays and numbers can be saved")
    if not isinstance(leaf.dtype, np.dtype):
        raise UserError(
            f"{name!r} in the state has dtype {leaf.dtype}: derive random keys with fold_in, do not save them"
        )
    return tuple(leaf.shape), leaf.dtype


def _array(name: str, leaf: Any) -> np.ndarray:
    _, dtype = _spec(name, leaf)
    try:
        return np.asarray(leaf, dtype)
    except OverflowError:
        raise UserError(f"{name!r} in the state is {leaf}: a saved integer must fit into 64 bits") from None


def _like(leaf: Any, value: np.ndarray) -> Any:
    import jax

    if type(leaf) in SCALARS:
        return value.item()
    if isinstance(leaf, np.generic):
        return value[()]
    if isinstance(leaf, np.ndarray):
        return value
    with jax.enable_x64(True):  # without it a 64-bit array would be cast to 32 bits
        return jax.numpy.asarray(value)
