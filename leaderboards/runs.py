"""The stored runs that leaderboards read: every scored run of a results folder, in a fixed order.

Nothing is run or written here. A folder that is no whole run is left out and told of, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.resources import paths
from harness.runs import manifest, scored

PUBLISHED, BASELINE = "published", "baseline"
NO_TASKS = (paths.TRAINED, PUBLISHED, BASELINE)


@dataclass(frozen=True, slots=True)
class Run:
    """A scored run: its task and model (the names of its folders), manifest and score files."""

    task: str
    model: str
    manifest: dict[str, Any]
    files: scored.Scored

    @property
    def folder(self) -> Path:
        """Where it is stored."""
        return self.files.folder


def read(folder: Path) -> Run:
    """One scored run.

    Raises:
        CimError: the folder holds no manifest or no scores, or they are damaged.
    """
    stored = manifest.read(folder)
    if stored is None:
        raise CimError("no stored run here", where=str(folder), hint="name a folder with a manifest.json")
    return Run(folder.resolve().parent.name, folder.resolve().name, stored, scored.load(folder))


def runs(results: Path, tell: Callable[[str], None], task: str | None = None) -> list[Run]:
    """All scored runs below a results folder, by task and name; ``tell`` hears of what is left out, and why."""
    found = []
    for path in sorted(results.glob(f"{task or '*'}/*/{manifest.NAME}")):
        folder = path.parent
        if folder.parent.name in NO_TASKS or folder.parent.name.startswith("."):
            continue
        try:
            found.append(read(folder))
        except CimError as error:
            tell(f"left out: {error}")
    return found
