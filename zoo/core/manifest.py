"""The manifest of a saved folder: strict JSON that carries its own SHA-256.

A manifest is accepted only when it is byte for byte what this module would write for its content, so that no flipped
bit, duplicated key or NaN can hide in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from zoo.core.tensorfile import AS_BYTES, TAGS

FORMAT = "sci-model-zoo"
VERSION = 1
KEYS = frozenset({"format", "version", "sha256", "meta", "weights", "tensors", "files"})


def seal(content: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest with ``content`` (keys ``meta``, ``weights``, ``tensors``, ``files``).

    Raises:
        ValueError: ``content`` is not plain JSON (str keys, str, bool, int, finite float, None, list, dict).
    """
    body = {"format": FORMAT, "version": VERSION, **content}
    body["sha256"] = hashlib.sha256(_dump(body)).hexdigest()
    return _dump(body)


def unseal(data: bytes) -> dict[str, Any]:
    """The content of a manifest's bytes, checked against the hash that they carry.

    Raises:
        ValueError: the bytes are not such a manifest; the text says what is wrong.
    """
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON (line {error.lineno}: {error.msg})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"it is not a {FORMAT} manifest")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ValueError(f"format version {version} is newer than {VERSION}, the newest this zoo reads: upgrade")
    if content.keys() != KEYS:
        wrong = ", ".join(sorted(content.keys() ^ KEYS))
        raise ValueError(f"its keys are not those of format version {VERSION} (differing: {wrong})")
    body = {key: value for key, value in content.items() if key not in ("sha256", "format", "version")}
    if seal(body) != data:
        raise ValueError("its content does not match the SHA-256 that it carries")
    _check_shape(content)
    return content


def require_plain(value: Any, where: str) -> None:
    """Refuse what JSON would change or drop in silence: keys that are not strings, tuples, numbers of other libraries.

    Raises:
        ValueError: naming the place.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r}: keys must be strings")
            require_plain(item, f"{where}.{key}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            require_plain(item, f"{where}[{i}]")
    elif value is not None and type(value) not in (str, bool, int, float):
        raise ValueError(f"{where} is of type {type(value).__name__}: only plain JSON values can be saved")
    elif type(value) is float and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError(f"{where} is {value}: JSON has no such number")


def _check_shape(content: dict[str, Any]) -> None:
    """A manifest that hashes right may still have been made by hand."""

    def count(x: Any) -> bool:
        return type(x) is int and x >= 0

    files, tensors = content["files"], content["tensors"]
    good = isinstance(content["meta"], dict) and isinstance(files, dict) and isinstance(tensors, dict)
    good = good and all(
        isinstance(f, dict) and f.keys() == {"size", "sha256"} and count(f["size"]) and isinstance(f["sha256"], str)
        for f in files.values()
    )
    good = good and all(
        isinstance(t, dict)
        and t.keys() == {"shape", "dtype"}
        and isinstance(t["shape"], list)
        and all(map(count, t["shape"]))
        for t in tensors.values()
    )
    if not good or not isinstance(content["weights"], str) or content["weights"] not in files:
        raise ValueError("its entries are not those of a manifest")
    for name, tensor in tensors.items():
        if tensor["dtype"] not in (*TAGS, *AS_BYTES):
            raise ValueError(f"tensor {name!r} has the unknown dtype {tensor['dtype']!r}")


def _dump(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} occurs twice")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is not JSON")
