"""What a run's page says of how the run was made: facts, the manifest, the training that its checkpoint came from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.resources import paths
from harness.runs import manifest
from harness.runs.stored_run import StoredRun

# Provenance of a run by dotted names of its manifest; absent fields are left out.
FACTS: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "engine",
        {"settings.model.engine": "{}", "engine.build": "{}", "engine.version": "{}", "engine.torch": "torch {}"},
    ),
    ("device", {"engine.device": "{}", "engine.dtype": "{}"}),
    ("weights", {"settings.model.checkpoint": "{}", "settings.model.revision": "revision {}"}),
    ("captions file", {"settings.model.sha256": "sha256 {}"}),
    ("code", {"made_by.git.commit": "commit {}", "made_by.git.dirty": "{}"}),
    ("machine", {"made_by.platform": "{}", "made_by.cpus": "{} CPUs", "made_by.python": "Python {}"}),
    ("started, ended", {"started": "{}", "ended": "{}"}),
    ("status", {"status": "{}"}),
)
SETTINGS = ("engine", "weights", "captions file", "sampling")  # facts that stand on the first screen
DIRTY = {"True": "with changes that are in no commit", "False": "no changes"}
SAMPLING, PACKAGES = "settings.model.sampling.", "made_by.packages."
HIDDEN = ("origin", "prompt")  # a path of the machine; the prompt is shown above
TIMES = ("started", "ended", "usage")  # what differs between two runs of one command


@dataclass(frozen=True, slots=True)
class Training:
    """Record of the training run that produced the checkpoint, as named in the manifest."""

    name: str
    base: str
    facts: tuple[tuple[str, str], ...]
    record: Path


def fields(run: StoredRun, *, times: bool) -> dict[str, str]:
    """The manifest by dotted names, without what is about the machine's folders, and without times unless asked."""
    hidden = HIDDEN if times else (*HIDDEN, *TIMES)
    return {
        name: str(value) for name, value in manifest.flat(run.manifest).items() if name.partition(".")[0] not in hidden
    }


def facts(flat: Mapping[str, str]) -> list[tuple[str, str]]:
    """Engine, device, weights, sampling, code, packages, machine, as (label, text)."""
    lines = list[tuple[str, str]]()
    for label, names in FACTS:
        parts = [(name, form, flat[name]) for name, form in names.items() if flat.get(name, "None") != "None"]
        texts = [
            DIRTY.get(value, value) if name.endswith(".dirty") else form.format(value) for name, form, value in parts
        ]
        if texts:
            lines.append((label, ", ".join(dict.fromkeys(texts))))
    for at, (label, prefix) in enumerate((("sampling", SAMPLING), ("packages", PACKAGES))):
        listed = [f"{name.removeprefix(prefix)} {value}" for name, value in flat.items() if name.startswith(prefix)]
        if listed:
            lines.insert(min(len(lines), 3 + 2 * at), (label, ", ".join(listed)))
    return lines


def training(run: StoredRun) -> Training | None:
    """The training that a run's manifest names as its model's origin, where the results hold its record."""
    parts = PurePosixPath(str(run.manifest.get("origin", ""))).parts[-3:]
    if len(parts) != 3 or parts[0] != paths.TRAINED or parts[2] != "model.toml" or parts[1] in (".", ".."):
        return None
    folder = run.results / paths.TRAINED / parts[1]
    try:
        table = tomllib.loads((folder / parts[2]).read_text(encoding="utf-8")).get("training")
    except (OSError, ValueError, RecursionError):  # absent, or not TOML
        return None
    if not isinstance(table, dict) or not (folder / manifest.NAME).is_file():
        return None
    lines = tuple(
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in table.items()
    )
    return Training(parts[1], str(table.get("base", "")), lines, folder / manifest.NAME)
