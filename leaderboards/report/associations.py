"""Section (a): does the CIM score follow what captions get right? The study of Figure 2, with controls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from harness.errors import CimError
from harness.runs import stats
from harness.runs.stored_run import StoredRun
from leaderboards.report import draw, pearson
from leaderboards.report.correlation import SIZE
from leaderboards.report.parts import NONE, UNDEFINED, Missing, Part, Remark, Section, Table, bounds, number
from leaderboards.report.pearson import Panel, RunColumns

STUDIED = ("miniscenes_pearson", pearson.PETS)
NAMES = {"fine_names recall": "accuracy of fine-grained names", "taxonomy breed": "breed accuracy"}
SHOWN = 3  # runs of models' own captions with a chart
WARNINGS = (
    "Binning inflates r: sorting and averaging 100 captions removes most of the scatter of single captions, so the "
    "binned |r| is normally far larger than the un-binned one. Fisher's interval treats bins as independent points; it "
    "says nothing about images.",
    "GRC does not depend on the source image. It can follow how hard a breed or scene is, or the amount of detail, "
    "without detecting a wrong word.",
)


def section(runs: Sequence[RunColumns], first: Sequence[str]) -> Section:
    """The section over all runs with CIM and accuracy; runs named ``first`` get charts of their own captions."""
    parts: list[Part] = [Remark(text) for text in WARNINGS]
    numbers = dict[str, object]()
    studied = [columns for columns in runs if columns.run.task in STUDIED]
    for columns in largest(studied):
        panels = pearson.study(columns)
        parts += _whole(columns, panels)
        numbers[columns.title] = {p.metric: _numbers(p) for p in panels}
        if left := pearson.unparsed(columns):
            parts += _without(left[0], left[1])
    if not any(columns.run.task == STUDIED[0] for columns in studied):
        parts.append(Missing("No scored run of the 3,000 captions with random detail is stored.", "make ablation"))
    if not any(columns.run.task == pearson.PETS for columns in studied):
        command = "make eval MODEL=... TASK=pets METRICS=cim,taxonomy,length ARGS='--gallery NAME'"
        parts.append(Missing("No scored run on Oxford-IIIT Pet has both cim and taxonomy.", command))
    parts += _of_each_model([columns for columns in runs if columns.run.task not in STUDIED], first)
    return Section("pearson", "Does the score follow what captions get right?", tuple(parts), numbers)


def largest(runs: Sequence[RunColumns]) -> list[RunColumns]:
    """Of runs with the same captions the one with the largest gallery; the others are part of section (c)."""
    return [max(group, key=lambda columns: columns.gallery_rows or 0) for group in by_captions(runs)]


def by_captions(runs: Sequence[RunColumns]) -> list[list[RunColumns]]:
    """Runs grouped by task and captions."""
    groups = defaultdict[tuple[str, str], list[RunColumns]](list)
    for columns in runs:
        groups[columns.run.task, str(columns.run.manifest.get("captions") or columns.run.model)].append(columns)
    return list(groups.values())


def binned_r(panel: Panel) -> str:
    """The binned r of a panel as text."""
    if len(panel.points) < stats.FISHER_FEWEST:
        return f"too few bins ({len(panel.points)})"
    return UNDEFINED if panel.r is None else f"{number(panel.r)} {bounds(panel.r_ci)}"


def _numbers(panel: Panel) -> dict[str, object]:
    return {"n": panel.n, "bins": len(panel.points), "r": panel.r, "raw": panel.raw, "rho": panel.rho}


def _whole(columns: RunColumns, panels: Sequence[Panel]) -> list[Part]:
    name = f"pearson-{columns.run.task}-{columns.run.model}"
    shown = [(columns.title, NAMES[columns.source], panels[: len(pearson.METRICS)])]
    chart: list[Part] = [draw.pearson(name, shown, binned_r)] if panels[0].points else []
    return [*chart, _table(columns, panels, columns.title)]


def _table(columns: RunColumns, panels: Sequence[Panel], title: str) -> Table:
    units = "images" if columns.breeds is None else f"{len(set(columns.breeds))} breeds"
    lines: list[tuple[str, Callable[[Panel], str]]] = [
        (f"bins of {SIZE}", lambda p: str(len(p.points))),
        ("binned r, Fisher's interval over bins", binned_r),
        ("binned r with the metric permuted at random, 95 %", lambda p: bounds(p.chance)),
        ("binned Spearman's rho", lambda p: number(p.rho_bins)),
        (f"un-binned r, 95 % interval over {units}", lambda p: f"{number(p.raw)} {bounds(p.raw_ci)}"),
        ("un-binned Spearman's rho", lambda p: number(p.rho)),
        ("adjusted for length: binned r", lambda p: _kept(p, number(p.kept_r))),
        ("adjusted for length: un-binned r", lambda p: _kept(p, f"{number(p.kept_raw)} {bounds(p.kept_raw_ci)}")),
    ]
    if columns.breeds is not None:
        lines.append(("within breeds: un-binned r", lambda p: number(p.within)))
    rows = tuple((label, *(cell(panel) for panel in panels)) for label, cell in lines)
    note = (
        f"{panels[0].n:,} captions; accuracy is {columns.source} per image, 0 to 1. With k its sum over a bin of "
        f"{SIZE} images, the bin's logit is ln((k + 0.5) / ({SIZE} − k + 0.5)). {_dropped(panels[0])} Gallery of "
        f"{_rows(columns)} rows. Adjusted for length: residuals of the metric's linear regression on words. Mean token "
        "log-probability, another control, is not stored."
    )
    return Table(title, ("", *(panel.metric for panel in panels)), rows, note)


def _kept(panel: Panel, text: str) -> str:
    return NONE if panel.metric == pearson.LENGTH else text


def _dropped(panel: Panel) -> str:
    return (
        f"The last {panel.dropped}, an incomplete bin, are left out of the bins."
        if panel.dropped
        else "No caption is left out."
    )


def _rows(columns: RunColumns) -> str:
    return "unknown" if columns.gallery_rows is None else f"{columns.gallery_rows:,}"


def _without(count: int, rest: RunColumns) -> list[Part]:
    share = count / (count + len(rest.ids))
    remark = Remark(f"{count} verdicts ({share:.1%}) are unparsed, neither yes nor no; here they count as no.")
    if not count or not rest.ids:
        return [remark]
    return [remark, _table(rest, pearson.study(rest), f"{rest.title}, without them")]


def _of_each_model(runs: Sequence[RunColumns], first: Sequence[str]) -> list[Part]:
    parts, by_n = list[Part](), defaultdict[tuple[str, int], list[RunColumns]](list)
    for columns in runs:
        by_n[columns.run.task, len(columns.ids)].append(columns)
    for (task, n), group in by_n.items():
        by_run = pearson.brief(group)
        charted = [at for name in first for at, columns in enumerate(group) if columns.run.model == name][:SHOWN]
        if charted and n >= SIZE:
            rows = [(group[at].title, NAMES[group[at].source], by_run[at]) for at in charted]
            parts.append(draw.pearson(f"pearson-own-{task}", rows, binned_r))
        rows_of = tuple(_line(columns, panels) for columns, panels in zip(group, by_run, strict=True))
        head = ("run", "bins", "binned r, reward", *(f"un-binned r, {name}" for name in pearson.METRICS))
        note = (
            f"{n:,} captions per run, each model's own; {group[0].source} as accuracy, gallery of {_rows(group[0])} "
            f"rows. {_dropped(by_run[0][0])} With so few bins the binned r says little: read the un-binned ones."
        )
        parts.append(Table(f"Models' own captions on {task}", head, rows_of, note))
    return parts


def _line(columns: RunColumns, panels: Sequence[Panel]) -> tuple[str, ...]:
    cells = (f"{number(panel.raw)} {bounds(panel.raw_ci)}" for panel in panels)
    return (columns.run.model, str(len(panels[-1].points)), binned_r(panels[-1]), *cells)


def columns_of_all(runs: Sequence[StoredRun], tell: Callable[[str], None]) -> list[RunColumns]:
    """Columns of every run with CIM and accuracy; damaged runs are left out and reported to ``tell``."""
    complete = []
    for run in runs:
        try:
            if (columns := pearson.columns_of(run)) is not None:
                complete.append(columns)
        except CimError as error:
            tell(f"left out of the correlations: {error}")
    return complete
