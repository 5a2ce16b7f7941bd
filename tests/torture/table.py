"""The table of docs/reliability.md from the rows of a log: what was tried, how often, what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests import sections
from tests.conftest import ROOT
from tests.torture import bits, limits, trouble, writers

FILE = ROOT / "docs" / "reliability.md"
GOOD = (*bits.GOOD, *trouble.GOOD, *writers.GOOD)
ABOUT = {
    "kills": "SIGKILL at a random moment, a quarter of them twice",
    "writers": "two processes run one command at once",
    **{name: (limit.__doc__ or "").rstrip(".") for name, limit in limits.LIMITS.items()},
}


def lines(rows: Sequence[Mapping[str, Any]], seed: int, stamp: str) -> Iterator[str]:
    """The section between the markers."""
    yield f"{stamp}, seed {seed}: {sum(bool(row['what']) for row in rows)} cases, {len(_bad(rows))} came out badly."
    yield ""
    yield "| tried | cases | what came out |"
    yield "| --- | ---: | --- |"
    groups = dict[str, list[Mapping[str, Any]]]()
    for row in rows:
        if row["what"]:
            kind = row["name"].split(" | ")[2] if row["part"] == "bits" else ABOUT[row["part"]]
            groups.setdefault(f"a file: {kind}" if row["part"] == "bits" else f"{row['part']}: {kind}", []).append(row)
    for name, group in sorted(groups.items()):
        counted = Counter(row["what"] for row in group).most_common()
        yield f"| {name} | {len(group)} | {'; '.join(f'{what} {count}' for what, count in counted)} |"
    yield ""
    if bad := _bad(rows):
        yield "What came out badly:"
        yield ""
        yield from (f"* `{row['name']}`: {row['what']}: {_short(row['detail'])}" for row in bad)


def _bad(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["what"] and row["what"] not in GOOD]


def _short(detail: str) -> str:
    text = " ".join(detail.split())
    return f"`{text[-160:].replace('`', '')}`" if text else "nothing said"


def write(rows: Sequence[Mapping[str, Any]], seed: int) -> None:
    """Put the section into the document, with the day and the commit."""
    sections.write(FILE, "torture", lines(rows, seed, sections.stamp()))
