"""Which model a server says has answered: recorded in a run's manifest, and another one is refused.

A server may answer under one name with one model today and another tomorrow. ``served`` in the manifest holds, for the
captions and for each judge model, the ``model`` and ``system_fingerprint`` of the answers; a server that gives neither
is not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from harness.errors import SettingsError
from harness.runs import manifest
from harness.types import Completion

CAPTIONS = "captions"


def watched(folder: Path, role: str, completions: Iterable[Completion], *, stored: bool) -> Iterator[Completion]:
    """The completions as they come.

    Args:
        role: ``CAPTIONS``, or ``judge`` and the name of its model.
        stored: the run holds earlier answers of this role, with which these are mixed.

    Raises:
        SettingsError: another model answers than before.
    """
    records = (manifest.read(folder) or {}).get("served")
    records = records if isinstance(records, dict) else {}
    before = records.get(role) if stored else None
    known = dict(before) if isinstance(before, dict) else {}
    for completed in completions:
        if completed.served is not None:
            now = {name: value for name, value in asdict(completed.served).items() if value}
            if "left_out" in now:
                now["left_out"] = list(now["left_out"])  # as it is read back
            changed = [
                name
                for name in ("model", "fingerprint")
                if now.get(name) != known.get(name) and name in now and name in known
            ]
            if changed:
                what = ", ".join(f"{name}: {known[name]} / {now[name]}" for name in changed)
                hint = "ask all of it again with --fresh, or delete that judge's replies; docs/servers.md"
                raise SettingsError(f"the server answers {role} with another model (stored / now: {what})", hint=hint)
            if known != known | now:
                known |= now
                records = {**records, role: known}
                manifest.note(folder, served=records)
        yield completed
