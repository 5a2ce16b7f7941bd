"""Section (f): do the metrics agree about systems? Correlations between published columns, check A-13."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards import published
from leaderboards.audit.association import WARNING, Pair, distinct, pairs
from leaderboards.published import COLUMNS, TASKS, TITLES, PaperRow
from leaderboards.report import style
from leaderboards.report.parts import NONE, UNDEFINED, Figure, Part, Remark, Section, Table, bounds, number

FOLDED = "Correlations between the published columns of Tables 6 to 8; not about the runs above"
DARK = 0.7  # of a correlation's absolute value, from which on the ink is white
ABOUT = (
    "Over the systems of the published Tables 6 to 8, one benchmark at a time; printed values only. A high r means "
    "that two columns order these systems alike. It does not mean that either is right about a caption."
)


def section(rows: Sequence[PaperRow] | None = None) -> Section:
    """The section over published rows; by default those of the project."""
    rows = published.read() if rows is None else rows
    known = [row for row in distinct(rows) if row.benchmark in TASKS]
    by_benchmark = {b: pairs(known, b) for b in TASKS if any(row.benchmark == b for row in known)}
    parts: list[Part] = [Remark(ABOUT), Remark(WARNING)]
    if by_benchmark:
        counts = {b: sum(row.benchmark == b for row in known) for b in by_benchmark}
        parts += [_chart(by_benchmark, counts), *(_table(b, correlations) for b, correlations in by_benchmark.items())]
    numbers = {
        b: {f"{p.first}, {p.second}": [p.pearson, p.spearman, p.n] for p in rs} for b, rs in by_benchmark.items()
    }
    return Section("systems", "Do the metrics agree about systems?", tuple(parts), numbers, FOLDED)


def _chart(by_benchmark: dict[str, list[Pair]], counts: dict[str, int]) -> Figure:
    """One matrix of all pairs per benchmark: Pearson's r below the diagonal, Spearman's rho above it."""
    import numpy as np

    names, size = [TITLES[column] for column in COLUMNS], len(COLUMNS)
    with style.canvas(9.2, 4.9, 1, len(by_benchmark)) as (canvas, axes):
        for ax, (benchmark, correlations) in zip(axes, by_benchmark.items(), strict=True):
            cells = np.full((size, size), np.nan)
            for pair in correlations:
                first, second = COLUMNS.index(pair.first), COLUMNS.index(pair.second)
                cells[second, first] = np.nan if pair.pearson is None else pair.pearson
                cells[first, second] = np.nan if pair.spearman is None else pair.spearman
            picture = ax.imshow(cells, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
            for row, column in np.ndindex(size, size):
                if row != column:
                    r = cells[row, column]
                    text = NONE if np.isnan(r) else f"{r:.2f}".replace("-", "−")
                    ink = "white" if abs(r) > DARK else style.INK
                    ax.text(column, row, text, ha="center", va="center", fontsize=6.5, color=ink)
            ax.set_facecolor(style.RULE)  # the diagonal, and pairs without a correlation
            ax.set_xticks(range(size), names, rotation=60, ha="right")
            ax.set_yticks(range(size), names)
            ax.grid(visible=False)
            ax.set_title(f"{benchmark}, {counts[benchmark]} rows")
        canvas.colorbar(picture, ax=axes, shrink=0.8, ticks=(-1, -0.5, 0, 0.5, 1), label="correlation; 0 is neutral")
        counted = " and ".join(f"{benchmark} ({count} distinct rows)" for benchmark, count in counts.items())
        caption = (
            f"Correlation between columns over systems, {counted}; each pair over the rows that have both cells, n in "
            "the tables. Below the diagonal Pearson's r, above it Spearman's rho, −1 blue, 0 white, 1 red."
        )
        return style.saved(canvas, "systems", caption, f"Correlations of {size} columns on {', '.join(by_benchmark)}")


def _table(benchmark: str, correlations: Sequence[Pair]) -> Table:
    rows = tuple(
        (
            f"{TITLES[pair.first]} and {TITLES[pair.second]}",
            _cell(pair.pearson, pair.pearson_ci95),
            _cell(pair.spearman, pair.spearman_ci95),
            str(pair.n),
        )
        for pair in sorted(correlations, key=lambda pair: (pair.pearson is None, -(pair.pearson or 0)))
    )
    note = (
        "Systems with both cells, each once. Brackets: Fisher's interval, which treats rows as independent. Sorted by "
        "Pearson's r. Source: arXiv 2603.01696, supplement."
    )
    return Table(benchmark, ("columns", "Pearson's r", "Spearman's rho", "n"), rows, note)


def _cell(r: float | None, interval: tuple[float, float] | None) -> str:
    return UNDEFINED if r is None else number(r) + (f" {bounds(interval)}" if interval else "")
