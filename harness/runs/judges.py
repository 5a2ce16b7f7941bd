"""The judge models of a run, in its manifest: settings that must not change, engines that replied, what they used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import CimError, SettingsError
from harness.runs import manifest, usage
from harness.runs.form import malformed
from harness.runs.usage import Usage
from harness.types import Model


def recorded(folder: Path) -> Mapping[str, Any]:
    """Settings and engines of the run's judge models, by name."""
    judges = (manifest.read(folder) or {}).get("judges", {})
    schema = {name: {"settings": {}, "engines": list} for name in judges} if isinstance(judges, dict) else {}
    if faults := list(malformed(judges, schema, f"{manifest.NAME}.judges")):
        raise CimError("; ".join(faults[:3]), where=str(folder), hint="make the run again with --fresh")
    return dict(judges)


def record(folder: Path, answerer: Model, replies: str | None) -> None:
    """Record a judge model; its settings must not change while its replies are stored.

    Args:
        replies: the files of its replies, None where there are none.
    """
    judges, now = recorded(folder), dict(answerer.settings)
    differing = manifest.changes(judges[answerer.name]["settings"], now) if answerer.name in judges else []
    if differing and replies:
        hint = f"give this judge another name, or delete {replies} there"
        what = f"judge {answerer.name} answered with other settings (stored / now: {', '.join(differing)})"
        raise SettingsError(what, where=str(folder), hint=hint)
    if differing or answerer.name not in judges:
        manifest.note(folder, judges={**judges, answerer.name: {"settings": now, "engines": []}})


def used(folder: Path, name: str) -> Usage:
    """What a judge model has used for the run, or whatever lies in the folder."""
    by_name = (manifest.read(folder) or {}).get("usage")
    return usage.read(by_name.get(name) if isinstance(by_name, dict) else None)


def add_usage(folder: Path, name: str, more: Usage) -> None:
    """Add what a judge model has used to what it used before."""
    if more.calls or more.shared:
        by_name = (manifest.read(folder) or {}).get("usage")
        total = asdict(used(folder, name).plus(more))
        manifest.note(folder, usage={**(by_name if isinstance(by_name, dict) else {}), name: total})


def describe(folder: Path, name: str, engine: Mapping[str, Any]) -> None:
    """Add the judge engine's current build and device."""
    judges = recorded(folder)
    engines = judges[name]["engines"]
    if engine not in engines:
        manifest.note(folder, judges={**judges, name: {**judges[name], "engines": [*engines, engine]}})
