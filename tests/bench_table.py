"""The table of docs/performance.md: every measure of ``make bench`` that has a peer, from one run of it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests import bench_match, sections
from tests.bench_peers import PEERS, TURNS, Row
from tests.conftest import ROOT

FILE = ROOT / "docs" / "performance.md"
PARTS = ("beside", "meteor", "matching", "peers")  # without which the table would lack rows


def rows(parts: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of the parts that were measured beside a reference in one process, then those of other harnesses."""
    for label, both in parts["beside"].items():
        yield Row(f"{label}, in process", both["tool"], "CPU s", both["reference"]["cpu"], both["ours"]["cpu"])
    if both := parts["meteor"]:
        what = "METEOR 1.5 of given tokens"
        yield Row(what, "pycocoevalcap 1.2", "CPU s", both["reference"]["cpu"], both["ours"]["cpu"])
    for label, times in parts["matching"].get("matching", {}).items():
        for cache, ours in (("empty", times["first"]), ("warm", times["later"])):
            what = f"CAPTURE's matching, {label}, {cache} caches"
            yield Row(what, "capture-metric 0.1.13", "CPU s", times["reference"], ours)
    yield from parts["peers"]


def lines(measured: Sequence[Row], stamp: str) -> Iterator[str]:
    """The section between the marks."""
    missing = sorted(PEERS.keys() - {row.peer for row in measured})
    yield f"{stamp}, {platform.machine()}, Python {platform.python_version()}." + (
        f" Could not be installed: {', '.join(missing)}." if missing else ""
    )
    yield f"Other harnesses: medians of {TURNS} turns, processes of their own. Matching: medians of {bench_match.TURNS}"
    yield "turns in one process, after one to warm up. The other rows: once, in one process."
    yield ""
    yield "| what | peer | peer's | ours | | peer / ours |"
    yield "| --- | --- | ---: | ---: | --- | ---: |"
    for row in measured:
        yield f"| {row.what} | {row.peer} | {row.theirs:.2f} | {row.ours:.2f} | {row.unit} | {row.ratio:.1f} |"


def write(parts: Mapping[str, Any]) -> None:
    """Put the table into the document."""
    sections.write(FILE, "bench", lines(list(rows(parts)), sections.stamp()))
