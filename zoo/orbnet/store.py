"""Graphs of many molecules in flat files that are read where they lie, so that training neither rebuilds nor holds them.

A file holds the graphs of some thousand molecules in float32. Its name is a hash of what they were made from and a hash of its
content: a file of other molecules or features is never taken for it, and a damaged one is made anew. A molecule's graph is a
view into the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from zoo.core.atomic import temporary_sibling, write_file
from zoo.core.paths import ANOTHER_CACHE
from zoo.core.progress import say
from zoo.core.tensorfile import encode
from zoo.core.writing import require_writable
from zoo.orbnet.cache import ConvergedCache
from zoo.orbnet.features import Kind, features
from zoo.orbnet.graph import MolecularGraph
from zoo.orbnet.molecule import Molecule

# Part of every name: features made by other code are other features.
_FORMAT = "orbnet-graphs-1"
# Molecules of one file: some tens of megabytes.
BLOCK = 1024
_ARRAYS = {
    "node_features": np.float32,
    "node_atom": np.int16,
    "node_slot": np.int8,
    "edge_features": np.float32,
    "edge_u": np.int16,
    "edge_v": np.int16,
    "edge_distance": np.float32,
    "numbers": np.int16,
    "charges": np.float32,
}
_DTYPES = {"F32": np.float32, "F64": np.float64, "I8": np.int8, "I16": np.int16, "I64": np.int64}


@dataclass(frozen=True)
class _Block:
    """One file's arrays; ``nodes``, ``edges`` and ``atoms`` are where each molecule's part begins, and the end."""

    arrays: dict[str, np.ndarray]

    def graph(self, i: int, kind: str, cutoff: float, molecule: Molecule) -> MolecularGraph:
        a = self.arrays
        node, edge, atom = (slice(int(a[k][i]), int(a[k][i + 1])) for k in ("nodes", "edges", "atoms"))
        return MolecularGraph(
            kind=kind,
            node_features=a["node_features"][node],
            node_atom=a["node_atom"][node],
            node_slot=a["node_slot"][node],
            edge_features=a["edge_features"][edge],
            edge_u=a["edge_u"][edge],
            edge_v=a["edge_v"][edge],
            edge_distance=a["edge_distance"][edge],
            cutoff=cutoff,
            numbers=a["numbers"][atom],
            charges=a["charges"][atom],
            charge=molecule.charge,
            energy=float(a["energy"][i]),
            name=molecule.name,
        )


class GraphStore:
    """The graphs of some molecules.

    Args:
        molecules: all that are asked for; their converged quantities are in ``cache``.
        blocks: how they are shared out, each a list of indices; a block that was made before is found again.
        cache: converged quantities.
        kind, cutoff: of the features.
        folder: where files lie.
        workers: processes that make missing files.

    Raises:
        UserError: ``folder`` cannot be written and files are missing.
    """

    def __init__(
        self,
        molecules: Sequence[Molecule],
        blocks: Sequence[np.ndarray],
        cache: ConvergedCache,
        kind: Kind,
        cutoff: float,
        folder: Path,
        workers: int = 1,
    ) -> None:
        self._molecules, self._cutoff = molecules, cutoff
        self._kind: Kind = kind
        self._at = {int(m): (b, i) for b, block in enumerate(blocks) for i, m in enumerate(block)}
        jobs = [_Job([molecules[int(i)] for i in block], cache, kind, cutoff, folder) for block in blocks]
        paths = [job.found() for job in jobs]
        missing = [job for job, path in zip(jobs, paths) if path is None]
        count = sum(len(job.molecules) for job in missing)
        if count > BLOCK:
            say(f"graphs of {count} molecules are made once and kept in {folder.name}/")
        if missing:
            require_writable(folder, ANOTHER_CACHE)
        made = iter(_make_all(missing, workers))
        self._blocks = [_Block(_mapped(path or next(made))) for path in paths]

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, index: int) -> MolecularGraph:
        """The graph of molecule ``index``; its arrays are read-only views in float32."""
        block, i = self._at[int(index)]
        return self._blocks[block].graph(i, self._kind, self._cutoff, self._molecules[int(index)])

    def size(self, index: int) -> tuple[int, int]:
        """Nodes and half edges of molecule ``index``."""
        block, i = self._at[int(index)]
        a = self._blocks[block].arrays
        return int(a["nodes"][i + 1] - a["nodes"][i]), int(a["edges"][i + 1] - a["edges"][i])


def blocks(indices: np.ndarray, sources: Sequence[str]) -> list[np.ndarray]:
    """``indices`` cut into blocks of at most BLOCK, none of which straddles two sources, so that sets keep their files.

    Args:
        indices: ascending.
        sources: of all molecules.
    """
    found: list[np.ndarray] = []
    names = np.array([sources[int(i)] for i in indices])
    for name in dict.fromkeys(names.tolist()):
        own = indices[names == name]
        found += [own[i : i + BLOCK] for i in range(0, len(own), BLOCK)]
    return found


def _make_all(jobs: Sequence[_Job], workers: int) -> list[Path]:
    if workers == 1 or len(jobs) < 2:
        return [_make(job) for job in jobs]
    import joblib

    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        return cast(list[Path], list(joblib.Parallel(n_jobs=workers)(joblib.delayed(_make)(job) for job in jobs)))


def _make(job: _Job) -> Path:
    return job.make()


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, mapped into memory."""
    content = np.memmap(path, np.uint8, "r")
    length = int(content[:8].view("<u8")[0])
    header = json.loads(bytes(content[8 : 8 + length]))
    body, arrays = content[8 + length :], {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        arrays[name] = body[first:last].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


@dataclass(frozen=True)
class _Job:
    """One file: what it is made from."""

    molecules: list[Molecule]
    cache: ConvergedCache
    kind: Kind
    cutoff: float
    folder: Path

    @property
    def digest(self) -> str:
        digest = hashlib.sha256(f"{_FORMAT}|{self.kind}|{self.cutoff!r}".encode())
        for molecule in self.molecules:
            digest.update(self.cache.key(molecule).encode())
        return digest.hexdigest()[:32]

    def found(self) -> Path | None:
        """The whole file; a damaged one is removed."""
        for path in sorted(self.folder.glob(f"{self.digest}-*.safetensors")):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest()[:32] == path.stem.rpartition("-")[2]:
                    return path
            say(f"{path.name} is damaged and is made anew")
            path.unlink(missing_ok=True)
        return None

    def make(self) -> Path:
        """Write the file, whole or not at all."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
        counts: dict[str, list[int]] = {"nodes": [0], "edges": [0], "atoms": [0]}
        energies = []
        for molecule in self.molecules:
            graph = features(self.cache.get(molecule), self.kind, self.cutoff)
            for name, dtype in _ARRAYS.items():
                parts[name].append(np.asarray(getattr(graph, name)).astype(dtype))
            for name, n in (("nodes", graph.n_nodes), ("edges", graph.n_edges), ("atoms", len(graph.numbers))):
                counts[name].append(counts[name][-1] + n)
            energies.append(graph.energy)
        arrays = {name: np.concatenate(own) for name, own in parts.items()}
        arrays |= {name: np.array(own, np.int64) for name, own in counts.items()} | {"energy": np.array(energies)}
        data = encode(arrays)
        path = self.folder / f"{self.digest}-{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
        with temporary_sibling(path) as temporary:
            write_file(temporary / "graphs", data)
            (temporary / "graphs").replace(path)
        return path
