"""Named tensors as the bytes of a safetensors file, of every NumPy and ml_dtypes number type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.core.errors import UserError

# What safetensors calls the dtypes it knows; those of AS_BYTES are stored as their bytes, with one axis more.
TAGS = {
    "bool": "BOOL", "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64",
}  # fmt: skip
AS_BYTES = (
    "complex128", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "int2", "int4", "uint2", "uint4",
)  # fmt: skip


def specs(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What a manifest says of each tensor: its shape and the name of its dtype."""
    return {name: {"shape": list(x.shape), "dtype": x.dtype.name} for name, x in tensors.items()}


def encode(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file of ``tensors``, the same for the same tensors.

    Raises:
        UserError: something is not a NumPy array of numbers, or has the name that the format keeps for itself.
    """
    from safetensors.numpy import save

    stored = {}
    for name, x in tensors.items():
        if not isinstance(x, np.ndarray) or (x.dtype.name not in TAGS and x.dtype.name not in AS_BYTES):
            kind = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise UserError(f"tensor {name!r} is of type {kind}: a state holds NumPy arrays of numbers")
        if name == "__metadata__":
            raise UserError("a tensor cannot be named '__metadata__': rename it")
        shape, _ = _stored(list(x.shape), x.dtype.name)
        x = np.ascontiguousarray(x.astype(x.dtype.newbyteorder("<"), copy=False))
        stored[name] = x.reshape(shape) if x.dtype.name in TAGS else x.reshape(-1).view(np.uint8).reshape(shape)
    return save(stored)


def decode(data: bytes, expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors in ``data``, which must be those of ``expected`` (what :func:`specs` gave).

    Raises:
        ValueError: ``data`` is not a safetensors file, or a name, shape or dtype differs; the text says which.
    """
    import safetensors

    try:
        entries = dict(safetensors.deserialize(data))
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"it is not a safetensors file ({error})") from None
    if entries.keys() != expected.keys():
        name = min(entries.keys() ^ expected.keys())
        raise ValueError(f"tensor {name!r} is {'not in the manifest' if name in entries else 'missing'}")
    tensors = {}
    for name, spec in expected.items():
        entry, shape = entries[name], spec["shape"]
        stored_shape, tag = _stored(shape, spec["dtype"])
        if entry["dtype"] != tag or list(entry["shape"]) != stored_shape:
            found = f"{entry['dtype']}{list(entry['shape'])}"
            raise ValueError(f"tensor {name!r} is {found}, the manifest says {spec['dtype']}{shape}")
        raw = entry["data"] if isinstance(entry["data"], bytearray) else bytearray(entry["data"])  # writable
        flat = np.frombuffer(raw, _dtype(spec["dtype"]).newbyteorder("<"))
        tensors[name] = flat.reshape(shape)
    return tensors


def _dtype(name: str) -> np.dtype:
    if hasattr(np, name):
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name))


def _stored(shape: list[int], dtype: str) -> tuple[list[int], str]:
    """How a tensor lies in the file: its shape and tag there."""
    return (shape, TAGS[dtype]) if dtype in TAGS else ([*shape, _dtype(dtype).itemsize], "U8")
