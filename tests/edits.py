"""Edits of a stored run's files on purpose, checksums taken out: what `cim verify` and the gate must find."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Edit = Callable[[Path], Any]


def document(name: str, change: Callable[[dict[str, Any]], Any]) -> Edit:
    """An edit of a JSON document in a run's folder."""

    def edit(folder: Path) -> None:
        if name == "scores.json":
            unsummed(folder)
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


def rows(name: str, change: Callable[[list[dict[str, Any]]], Any]) -> Edit:
    """An edit of a file of rows in a run's folder."""

    def edit(folder: Path) -> None:
        parsed = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        change(parsed)
        kept = [{key: value for key, value in row.items() if key != "crc"} for row in parsed]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in kept))
        unsummed(folder)

    return edit


def unsummed(folder: Path) -> dict[str, Any]:
    """Take the sums out of a run's score document, as a run from before there were any has none; returns it."""
    path = folder / "scores.json"
    content: dict[str, Any] = json.loads(path.read_text())
    content.pop("sums", None)
    path.write_text(json.dumps(content))
    return content
