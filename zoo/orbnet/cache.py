"""Converged quantities on disk, one file a molecule, found by content.

The key is a hash of geometry, charge, spin, engine version, SCF accuracy, precision and format, so a change of any of them
is another entry and nothing goes stale. Graphs are rebuilt from an entry in milliseconds, with any kind and cut-off. What does
not converge is remembered likewise, as KEY.failed with the reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from zoo.core.errors import DamagedError, UserError
from zoo.core.paths import ANOTHER_CACHE
from zoo.orbnet.gfn1 import ACCURACY, Converged, EngineError, converge, engine_version
from zoo.orbnet.molecule import Molecule
from zoo.orbnet.pack import Precision, pack, unpack

_FORMAT = b"orbnet-converged-1\n"
_DIGEST = 32


@dataclass(frozen=True)
class ConvergedCache:
    """A folder of converged quantities.

    Args:
        folder: where entries lie, in 256 sub-folders; made when the first is stored.
        precision: of stored matrices, see :func:`zoo.orbnet.pack.pack`.
        accuracy: of the SCF, see :func:`zoo.orbnet.gfn1.converge`.
    """

    folder: Path
    precision: Precision = "float32"
    accuracy: float = ACCURACY

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if self.precision not in ("float32", "float64"):
            raise UserError(f"precision={self.precision!r} is not one of float32, float64")

    def key(self, molecule: Molecule) -> str:
        """64 hexadecimal digits; the name of a molecule is no part of it."""
        settings = f"{engine_version()}|{self.accuracy!r}|{self.precision}|{molecule.charge}|{molecule.spin}|"
        digest = hashlib.sha256(_FORMAT + settings.encode())
        digest.update(molecule.numbers.astype("<i8").tobytes())
        digest.update(molecule.positions_bohr.astype("<f8").tobytes())
        return digest.hexdigest()

    def path(self, molecule: Molecule) -> Path:
        """The file of a molecule's entry, present or not."""
        key = self.key(molecule)
        return self.folder / key[:2] / key

    def load(self, molecule: Molecule) -> Converged | None:
        """The stored entry, or None where there is none.

        Raises:
            DamagedError: its hash does not fit its content.
            UserError: it cannot be read.
        """
        path = self.path(molecule)
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}: {ANOTHER_CACHE}") from error
        start = len(_FORMAT) + _DIGEST
        payload = content[start:]
        if content[: len(_FORMAT)] != _FORMAT or hashlib.sha256(payload).digest() != content[len(_FORMAT) : start]:
            raise DamagedError(f"{molecule.label}the cache entry {path} is damaged: delete it to have it computed anew")
        from safetensors.numpy import load

        return unpack(load(payload), molecule, engine_version())

    def store(self, converged: Converged) -> None:
        """Write an entry in one step: a reader, or a second writer, sees all of it or nothing."""
        from safetensors.numpy import save

        payload = save(pack(converged, self.precision))
        _write(self.path(converged.molecule), _FORMAT + hashlib.sha256(payload).digest() + payload)

    def failure(self, molecule: Molecule) -> EngineError | None:
        """Why this molecule failed before, by the same engine and settings; None where it has not."""
        try:
            why = self._failed(molecule).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return EngineError(f"{molecule.label}{why}")

    def get(self, molecule: Molecule) -> Converged:
        """The entry, computed and stored where it is missing. What comes back is what a later call loads.

        Raises:
            EngineError: it does not converge, now or in an earlier call.
        """
        found = self.load(molecule)
        if found is not None:
            return found
        if before := self.failure(molecule):
            raise before
        try:
            self.store(converge(molecule, accuracy=self.accuracy))
        except EngineError as error:
            _write(self._failed(molecule), str(error).removeprefix(molecule.label).encode())
            raise
        stored = self.load(molecule)
        if stored is None:
            raise DamagedError(f"{molecule.label}the cache entry {self.path(molecule)} vanished while it was written")
        return stored

    def _failed(self, molecule: Molecule) -> Path:
        return self.path(molecule).with_suffix(".failed")


def _write(path: Path, content: bytes) -> None:
    """Make or replace a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
