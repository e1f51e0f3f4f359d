"""Hugging Face model folders: config.json, safetensors weights in one file or in indexed shards, tokenizer.json."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from zoo.core.atomic import temporary_sibling
from zoo.core.errors import DamagedError, UserError, one_line

# What a tokenizer is made of; copied as it is when a model is written back.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
                   "merges.txt", "spm.model", "sentencepiece.bpe.model", "added_tokens.json")  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; UserError where it is absent, DamagedError where it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: give the folder of a Hugging Face model") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedError(f"{path}: not JSON ({one_line(str(error))}): get the file again") from None
    if not isinstance(value, dict):
        raise DamagedError(f"{path}: holds a {type(value).__name__} where an object was expected: get the file again")
    return value


class TensorFiles:
    """The tensors of a model folder by name, read one at a time.

    Args:
        folder: holds model.safetensors, or model.safetensors.index.json and its shards.

    Raises:
        UserError: there is no safetensors file, or a shard of the index is absent.
        DamagedError: a file is not valid safetensors, or lacks a tensor that the index promises.
    """

    def __init__(self, folder: Path) -> None:
        single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
        self._where: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        if single.is_file():
            self._where = dict.fromkeys(self._handle(single).keys(), single)
        elif index.is_file():
            shards = read_json(index).get("weight_map", {})
            absent = sorted({name for name in shards.values() if not (folder / name).is_file()})
            if absent:
                raise UserError(
                    f"{folder}: the index names {', '.join(absent)}, which the folder lacks: fetch all shards"
                )
            self._where = {name: folder / shard for name, shard in shards.items()}
            lost = [name for name, path in self._where.items() if name not in set(self._handle(path).keys())]
            if lost:
                raise DamagedError(
                    f"{folder}: the index promises {', '.join(lost)}, which its shard lacks: fetch it again"
                )
        else:
            old = sorted(p.name for p in folder.glob("pytorch_model*.bin"))
            hint = f" ({old[0]} is a pickle, which can run code: save it as safetensors first)" if old else ""
            raise UserError(f"{folder}: no model.safetensors and no index of shards{hint}")

    def _handle(self, path: Path) -> Any:
        from safetensors import SafetensorError, safe_open

        if path not in self._open:
            try:
                self._open[path] = safe_open(path, framework="numpy")
            except SafetensorError as error:
                raise DamagedError(f"{path}: not valid safetensors ({one_line(str(error))}): fetch it again") from None
        return self._open[path]

    def names(self) -> list[str]:
        """All tensor names."""
        return list(self._where)

    def read(self, name: str) -> np.ndarray:
        """One tensor, in the dtype of the file."""
        return self._handle(self._where[name]).get_tensor(name)


@contextlib.contextmanager
def writing(folder: str | Path) -> Iterator[Path]:
    """A new folder that appears under its name only when the block has ended well, in one rename.

    Raises:
        UserError: something that is not an empty folder is already there.
    """
    target = Path(folder)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} already exists: name a new folder, or remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_sibling(target) as work:
        yield work
        for path in work.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        os.replace(work, target)


def copy_tokenizer(source: str | Path, target: Path) -> None:
    """Copy the files of a tokenizer that ``source`` has into ``target``."""
    for name in TOKENIZER_FILES:
        if (Path(source) / name).is_file():
            shutil.copyfile(Path(source) / name, target / name)
