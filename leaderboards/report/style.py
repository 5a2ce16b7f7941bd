"""Style of charts and how they are saved: deterministic bytes, readable in greyscale and by the colour-blind.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color); each series also has its own marker and line style, so
nothing depends on colour alone. Text is drawn as paths, on white, so a chart needs no font, also on a dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from leaderboards.report.parts import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

INK, QUIET, RULE = "#1d2126", "#5b6470", "#d5d9de"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (8, 2)), (0, (1, 2)))
DPI = 120
COORDINATES = re.compile(rb' d="[^"]*"')
LONG = re.compile(rb"(\.\d\d)\d+")  # hundredths of a point are enough, and a third of the file
TICKS = 5  # at most, per axis
SETTINGS: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "cim-harness",
    "path.simplify": True,
}


@contextmanager
def canvas(width: float, height: float, rows: int, columns: int, **layout: Any) -> Iterator[tuple[Canvas, list[Axes]]]:
    """A figure of width x height inches and its axes in reading order; saved inside the context by ``saved``."""
    import matplotlib
    from matplotlib.figure import Figure as Blank

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **SETTINGS}):
        figure = Blank(
            figsize=(width, height), dpi=DPI, layout="constrained"
        )  # the final resolution, so text has its final width
        axes = list(figure.subplots(rows, columns, squeeze=False, **layout).flat)
        for ax in axes:
            ax.locator_params(nbins=TICKS)
        yield figure, axes


def saved(figure: Canvas, name: str, caption: str, alt: str) -> Figure:
    """The figure as SVG and PNG, without date or program name."""
    svg, png = io.BytesIO(), io.BytesIO()
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)  # once for both files
        figure.set_layout_engine("none")
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return Figure(name, COORDINATES.sub(_shortened, svg.getvalue()), png.getvalue(), caption, alt)


def _shortened(path: re.Match[bytes]) -> bytes:
    return LONG.sub(rb"\1", path[0])


def hide(axes: list[Axes]) -> None:
    """Hide these axes."""
    for ax in axes:
        ax.set_axis_off()
