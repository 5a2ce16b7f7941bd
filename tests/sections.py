"""Sections of a document that a command writes: ``<!-- NAME: begin -->`` to ``<!-- NAME: end -->``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from tests.conftest import ROOT


def stamp() -> str:
    """The day and the commit."""
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {head.stdout.strip() or 'unknown'}"


def write(file: Path, name: str, lines: Iterable[str]) -> None:
    """Replace what stands between the marks."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    text = file.read_text(encoding="utf-8")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    section = "\n".join(lines).rstrip()
    file.write_text(f"{before}{begin}\n{section}\n{end}{after}", encoding="utf-8")
