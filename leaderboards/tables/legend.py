"""What stands around the numbers in every format: marks, headings, the legend, the source of published cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leaderboards.published import TITLES
from leaderboards.standings import ALPHA
from leaderboards.tables.cells import METRICS
from leaderboards.tables.paper import Cell, Ours

MARKS = {"suspect": "‡", "unusual": "°", "outside": "*", "apart": "†"}
PUBLISHED, OURS, INTERVAL, DIFFERENCE = "published", "ours", "95 % interval", "difference"
LEGEND = {
    "suspect": "cannot be means over the same images as printed: F1 is too large for these P and R (audit, A-4)",
    "unusual": "the gap between F1 and the harmonic mean of P and R is far from that of the other rows (audit, A-5)",
    "outside": "the published value lies outside our 95 % interval, however it was rounded",
    "apart": "differs from the first row of its block: paired bootstrap over images, "
    f"Holm over the cells of this table, p < {ALPHA:g}",
}
NOTES = (
    "Published: as printed in the paper, data with a source. Ours: from the rows of the run that the number links to. "
    "Difference: ours minus published, of the numbers shown. Bold: best of a block, ours where two runs are stored.",
    "Which metric made a column is known for CAPTURE, Objects, Attributes and Relations QA, inferred for BLEU-4 and "
    "open for METEOR (docs/protocol.md). A column shows one variant only.",
)
MISSING = "Numbers in brackets say which command fills a cell:"


def states(cell: Cell) -> list[str]:
    """Names of the marks of a published cell."""
    return [name for name in MARKS if name in cell.states]


def said(ours: Ours) -> list[str]:
    """Names of the marks of our cell."""
    return ["outside"] * ours.outside + ["apart"] * ours.told_apart


def metric(column: str) -> str:
    """The metric of a column under its own name: ``objects@compat``."""
    return METRICS[column][0]


def heading(column: str) -> str:
    """The paper's name of a column."""
    return TITLES[column]


def credit(source: Mapping[str, str]) -> str:
    """Where the published cells come from."""
    return (
        f"Published cells: {source['title']} ({source['source']}), {source['licence']}, file {source['sha256'][:12]}."
    )


def used(marks: Sequence[str]) -> list[str]:
    """The marks that occur, in the order of the legend."""
    return [name for name in MARKS if name in marks]
