"""The charts of a report: correlation, ablation, gallery sizes, training curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.pages.highlight import visible
from leaderboards.report import curves, style
from leaderboards.report.correlation import SIZE
from leaderboards.report.parts import NONE, Figure, bounds, number
from leaderboards.report.pearson import Panel
from leaderboards.report.study import Arm, over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 9.2  # inches, of all charts


def pearson(name: str, rows: Sequence[tuple[str, str, Sequence[Panel]]], read: Callable[[Panel], str]) -> Figure:
    """Scatter plots of bins with regression lines, one row per run (title, name of accuracy, panels).

    Args:
        read: the binned r of a panel as text, as in the tables.
    """
    columns = max(len(panels) for *_, panels in rows)
    with style.canvas(WIDTH, 2.95 * len(rows), len(rows), columns, sharey="row") as (canvas, axes):
        for at, (title, accuracy, panels) in enumerate(rows):
            for column, panel in enumerate(panels):
                ax = axes[at * columns + column]
                _bins(ax, panel, read)
                ax.set_title(f"{visible(title)}\n{panel.metric}" if column == 0 else f"\n{panel.metric}", pad=26)
                ax.set_ylabel(f"logit of {accuracy}, per bin" if column == 0 else "")
        n = ", ".join(sorted({f"{panels[0].n:,} captions in {len(panels[0].points)} bins" for *_, panels in rows}))
        caption = (
            f"Each point is a bin of {SIZE} consecutive captions, sorted by the metric ({n}): mean metric against the "
            "empirical logit of accuracy. The line is a least-squares fit through the bins. Sorting and averaging "
            "remove most of the scatter of single captions: compare both r of each panel."
        )
        alt = "; ".join(f"{title}, {p.metric}: binned r {read(p)}" for title, _, panels in rows for p in panels)
        return style.saved(canvas, name, caption, alt)


def _bins(ax: Axes, panel: Panel, read: Callable[[Panel], str]) -> None:
    import numpy as np

    x, y = (np.array(side) for side in zip(*panel.points, strict=True)) if panel.points else (np.zeros(0),) * 2
    ax.plot(x, y, "o", markersize=4, markerfacecolor="white", markeredgecolor=style.COLOURS[0], markeredgewidth=1.1)
    if panel.r is not None:
        slope, start = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, slope * ends + start, color=style.INK, linewidth=1)
    words = f"binned r {read(panel)}, {len(panel.points)} bins\n"
    words += f"un-binned r {number(panel.raw)} {bounds(panel.raw_ci)}, n {panel.n:,}"
    ax.text(0, 1.02, words, transform=ax.transAxes, va="bottom", fontsize=7.5)
    ax.set_xlabel(f"mean {panel.metric}, per bin")


def ablation(arms: Sequence[Arm], values: Sequence[str], base: str, n: int, order: Sequence[str]) -> Figure:
    """One panel per value: difference to the base per seed with its interval, mean over seeds with its t interval."""
    columns = 3
    rows = -(-len(values) // columns)
    with style.canvas(WIDTH, rows * (0.8 + 0.31 * len(arms)), rows, columns, sharey=True) as (canvas, axes):
        for ax, value in zip(axes, values, strict=False):
            for at, arm in enumerate(arms):
                _arm(ax, len(arms) - 1 - at, arm, value, order.index(arm.name))
            ax.axvline(0, color=style.INK, linewidth=0.8)
            ax.set_title(value)
            ax.set_xlabel("words" if value == "length" else "points")
            ax.set_yticks(range(len(arms)), [_named(arm) for arm in reversed(arms)])
            ax.set_ylim(-0.6, len(arms) - 0.4)
            ax.tick_params(axis="y", labelsize=8, labelcolor=style.INK, length=0)
        style.hide(axes[len(values) :])
        seeds = sorted({len(arm.seeds) for arm in arms})
        caption = (
            f"Difference to {base} on {n} images. Small open marks: one seed with its paired 95 % interval over "
            f"images. Filled mark and thick line: mean over seeds and its 95 % t interval, from two seeds on "
            f"(seeds per arm: {' or '.join(map(str, seeds))}). A cross is a seed that an alarm stopped."
        )
        return style.saved(
            canvas, "ablation", caption, f"Differences of {len(arms)} arms to {base} in {len(values)} values"
        )


def _named(arm: Arm) -> str:
    return visible(arm.name) + (f" ({len(arm.stopped)} of {len(arm.seeds)} stopped)" if arm.stopped else "")


def _arm(ax: Axes, height: int, arm: Arm, value: str, at: int) -> None:
    colour, marker = style.COLOURS[at % len(style.COLOURS)], style.MARKERS[at % len(style.MARKERS)]
    points = arm.points.get(value, ())
    for place, point in enumerate(points):
        y = height + 0.12 + 0.2 * (place + 0.5 - len(points) / 2) / max(1, len(points) / 2)
        ax.plot(point.ci95, [y, y], color=colour, linewidth=0.9)
        form: dict[str, Any] = (
            {"marker": "x"} if point.seed in arm.stopped else {"marker": marker, "markerfacecolor": "white"}
        )
        ax.plot([point.difference], [y], color=colour, markersize=3.6, linestyle="none", **form)
    mean = over_seeds([point.difference for point in points])
    if mean is not None and mean.ci95 is not None:
        ax.plot(mean.ci95, [height - 0.24] * 2, color=colour, linewidth=2.4, solid_capstyle="butt")
        ax.plot([mean.mean], [height - 0.24], marker=marker, color=colour, markeredgecolor=style.INK, markersize=6)


def sizes(
    name: str, panels: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], unit: Mapping[str, str],
    caption: str, mean: bool,
) -> Figure:  # fmt: skip
    """One panel per value, gallery rows on a log axis, points by series; ``mean``: lines join the means per size."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with style.canvas(WIDTH, 2.6 * rows, rows, columns) as (canvas, axes):
        for ax, (title, series) in zip(axes, panels.items(), strict=False):
            ticks = sorted({size for points in series.values() for size, _ in points})
            for at, (label, points) in enumerate(series.items()):
                look: dict[str, Any] = {"color": style.COLOURS[at], "linestyle": style.LINES[at], "linewidth": 1.3}
                if mean:
                    ax.plot(*zip(*points, strict=True), linestyle="none", marker=style.MARKERS[at], markersize=4,
                            markerfacecolor="white", color=style.COLOURS[at])  # fmt: skip
                    line = [(size, _mean(points, size)) for size in ticks]
                    ax.plot(*zip(*line, strict=True), label=label, **look)
                else:
                    ax.plot(*zip(*points, strict=True), label=label, marker=style.MARKERS[at], markersize=4.5, **look)
            ax.set_xscale("log")
            ax.set_xticks(ticks, [f"{size:,}" for size in ticks])
            ax.set_xticks([], minor=True)
            ax.set_title(title)
            ax.set_xlabel("gallery rows (log scale)")
            ax.set_ylabel(unit[title])
            if len(series) > 1:
                ax.legend()
        style.hide(axes[len(panels) :])
        return style.saved(canvas, name, caption, f"{', '.join(panels)} against gallery rows")


def _mean(points: Sequence[tuple[int, float]], size: int) -> float:
    values = [value for at, value in points if at == size]
    return sum(values) / len(values)


def training(name: str, runs: Sequence[curves.Training], order: Sequence[str]) -> Figure:
    """One panel per quantity: colour and line style by arm, one line per seed, alarms as crosses."""
    arms = list(dict.fromkeys(run.arm for run in runs))
    with style.canvas(WIDTH, 7.4, 3, 3, sharex=True) as (canvas, axes):
        for ax, quantity in zip(axes, curves.QUANTITIES, strict=True):
            shown = [run for run in runs if (quantity.file, quantity.name) in run.lines]
            for run in shown:
                _curve(ax, run, quantity, order.index(run.arm) % len(style.COLOURS))
            ax.set_title(quantity.title)
            ax.set_ylabel(quantity.unit)
            if quantity.ends:
                ax.set_ylim(*quantity.ends)
            if not shown:
                ax.text(0.5, 0.5, "no rows", transform=ax.transAxes, ha="center", color=style.QUIET)
        for ax in axes[6:]:
            ax.set_xlabel("step")
        handles = [_key(arm, order.index(arm) % len(style.COLOURS)) for arm in arms]
        canvas.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        batch, held_out = max(run.captions for run in runs), max(run.held_out for run in runs)
        seeds = ", ".join(f"{arm}: {sum(run.arm == arm for run in runs)}" for arm in arms)
        caption = (
            f"Seeds per arm: {seeds}. A point is a mean over {batch or NONE} sampled captions per step, in a held-out "
            f"panel over {held_out or NONE} images captioned greedily. Crosses: steps at which an alarm was raised."
        )
        rung = sorted({f"{run.name}: {alarm}" for run in runs for _, alarm in run.alarms})
        return style.saved(
            canvas, name, caption, f"Training curves of {', '.join(arms)}; alarms: {'; '.join(rung) or 'none'}"
        )


def _key(arm: str, at: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=style.COLOURS[at], linestyle=style.LINES[at], label=visible(arm))


def _curve(ax: Axes, run: curves.Training, quantity: curves.Quantity, at: int) -> None:
    line = run.lines[quantity.file, quantity.name]
    look: dict[str, Any] = {"color": style.COLOURS[at], "linestyle": style.LINES[at], "linewidth": 1.0, "alpha": 0.9}
    if quantity.file == curves.VALIDATION:
        look |= {"marker": style.MARKERS[at], "markersize": 3}
    ax.plot(*zip(*line, strict=True), **look)
    if quantity.control and (control := run.lines.get((quantity.file, quantity.control))):
        ax.plot(*zip(*control, strict=True), color="#8c8c8c", linewidth=0.8, linestyle=style.LINES[at])
    values = dict(line)
    marked = [(step, values[step]) for step, _ in run.alarms if step in values]
    if marked:
        ax.plot(*zip(*marked, strict=True), "x", color=style.INK, markersize=5, markeredgewidth=1.2)
