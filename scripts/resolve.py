"""Does pip resolve every extra on this Python? Prints the versions of what matters: python3.12 scripts/resolve.py

Installs nothing (pip's --dry-run). The parity extra is left out by default, since resolving torch may download it: --all adds it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXTRAS = ["", "orbnet", "ner", "hub", "wandb", "docs", "cluster", "dev"]
SHOWN = (
    "jax",
    "flax",
    "diffrax",
    "optax",
    "hydra-core",
    "omegaconf",
    "tblite",
    "rdkit",
    "tokenizers",
    "torch",
)


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    for extra in [*EXTRAS, *(["parity"] if "--all" in sys.argv else [])]:
        target = f"{root}[{extra}]" if extra else str(root)
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--quiet",
            "--ignore-installed",
            "--report",
            "-",
            target,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        label = f"Python {sys.version_info.major}.{sys.version_info.minor} [{extra or 'base'}]"
        if done.returncode:
            print(f"{label}: pip cannot resolve it\n{done.stderr[-2000:]}", file=sys.stderr)
            return 1
        found = {p["metadata"]["name"].lower(): p["metadata"]["version"] for p in json.loads(done.stdout)["install"]}
        print(f"{label}: " + ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
