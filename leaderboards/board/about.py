"""What the board says of a run beside its values: engine, date, weights, licence, and where the weights are.

Size and licence are those of the model's file here, so only a run that was made with that file has them. A link is
given to a pinned revision of the Hugging Face hub alone: any other checkpoint may be a folder of somebody's machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from harness import registry
from harness.runs import manifest
from harness.runs.stored_run import StoredRun

HUB = "https://huggingface.co"
DATE = re.compile(r"\d{4}-\d\d-\d\d(?=T)", re.ASCII)
CHECKPOINT = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class About:
    """Texts, empty where unknown; ``gigabytes`` of the weights in memory."""

    engine: str
    date: str
    gigabytes: float | None
    licence: str
    link: str


def about(run: StoredRun) -> About:
    """What manifest and model file say; both are read leniently."""
    stored = manifest.flat(run.manifest)
    date = DATE.match(str(stored.get("ended") or stored.get("started") or ""))
    checkpoint, revision = (str(stored.get(f"settings.model.{name}")) for name in ("checkpoint", "revision"))
    pinned = CHECKPOINT.fullmatch(checkpoint) and REVISION.fullmatch(revision)
    facts = _facts(run, checkpoint)
    size, licence = facts.get("memory_gb"), facts.get("licence")
    return About(
        str(stored.get("settings.model.engine", "")),
        date[0] if date else "",
        float(size) if isinstance(size, int | float) else None,
        licence if isinstance(licence, str) else "",
        f"{HUB}/{checkpoint}/tree/{revision}" if pinned else "",
    )


def _facts(run: StoredRun, checkpoint: str) -> dict[str, Any]:
    if run.model not in registry.names("models"):
        return {}
    facts = registry.facts(run.model)
    same = PurePosixPath(str(run.manifest.get("origin", ""))).name == f"{run.model}.toml"
    return facts if same or facts["checkpoint"] == checkpoint else {}
