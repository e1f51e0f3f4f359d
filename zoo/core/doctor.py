"""``zoo doctor``: what this installation can see."""

from __future__ import annotations

from typing import Any

from zoo.core import data, hub, machine
from zoo.core.errors import UserError
from zoo.core.families import families, family


def report() -> dict[str, dict[str, Any]]:
    """Versions, machine, devices, families, data and models, JSON-ready."""
    import jax

    facts = machine.facts()
    members: dict[str, Any] = {}
    for name in families():
        try:
            members[name] = f"ready: {family(name).title}"
        except UserError as error:
            members[name] = str(error)
    return {
        "versions": facts.pop("versions"),
        "machine": {k: v for k, v in facts.items() if not isinstance(v, dict)},
        "devices": {
            "jax": ", ".join(f"{d.platform} {d.device_kind}" for d in jax.devices()),
            "count": jax.device_count(),
        },
        "families": members,
        "data": {
            row.pop("folder"): ", ".join(map(str, row.get("sets", []))) or "nothing found" for row in data.found()
        },
        "models": {row["name"]: row.get("error") or f"{row['size_mb']} MB" for row in hub.catalogue()},
    }
