"""Texts of all formats: marks, headings, legend, source of the published cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leaderboards.published import TITLES
from leaderboards.standings import ALPHA
from leaderboards.tables.cells import METRICS
from leaderboards.tables.paper import Cell, Ours

MARKS = {"suspect": "‡", "unusual": "°", "outside": "*", "apart": "†"}
PUBLISHED, OURS, INTERVAL, DIFFERENCE = "published", "this run", "95 % interval", "difference"
LEGEND = {
    "suspect": "as printed, cannot be means over the same images: F1 is too large for these P and R (audit, A-4)",
    "unusual": "the gap between F1 and the harmonic mean of P and R is far from those of other rows (audit, A-5)",
    "outside": "the published value lies outside the 95 % confidence interval of this run, however it was rounded",
    "apart": "significantly different from the first row of its block: paired bootstrap over images, "
    f"p < {ALPHA:g} after Holm's correction over the cells of this table",
}
NOTES = (
    "Published: as printed in the paper. This run: from the rows of the stored run that the number links to, where "
    "there is one. Difference: this run minus published, of the numbers shown. Bold: best of a block; of the runs here "
    "if two are stored.",
    "The paper's metric is known for CAPTURE, Objects, Attributes and Relations QA, inferred for BLEU-4 and unknown "
    "for METEOR (docs/protocol.md). A column shows one variant only.",
)
MISSING = "Commands for rows without a run, and for cells with a number in parentheses:"


def states(cell: Cell) -> list[str]:
    """Marks of a published cell."""
    return [name for name in MARKS if name in cell.states]


def said(ours: Ours) -> list[str]:
    """Marks of our cell."""
    return ["outside"] * ours.outside + ["apart"] * ours.significant


def metric(column: str) -> str:
    """The metric of a column: ``objects@compat``."""
    return METRICS[column][0]


def heading(column: str) -> str:
    """The paper's name of a column."""
    return TITLES[column]


def credit(source: Mapping[str, str]) -> str:
    """Source of the published cells."""
    return (
        f"Published cells: {source['title']} ({source['source']}), {source['licence']}, file {source['sha256'][:12]}."
    )


def used(marks: Sequence[str]) -> list[str]:
    """The marks that occur, in the order of the legend."""
    return [name for name in MARKS if name in marks]
