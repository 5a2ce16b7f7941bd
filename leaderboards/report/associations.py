"""Section (a): does the CIM score follow what captions get right? The study of Figure 2 with its controls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from harness.errors import CimError
from harness.runs import stats
from harness.runs.stored_run import StoredRun
from leaderboards.report import draw, pearson
from leaderboards.report.correlation import SIZE
from leaderboards.report.parts import NONE, UNDEFINED, Missing, Part, Remark, Section, Table, bounds, number
from leaderboards.report.pearson import Material, Panel

STUDIED = ("miniscenes_pearson", pearson.PETS)
NAMES = {"fine_names recall": "fine-name accuracy", "taxonomy breed": "breed accuracy"}
SHOWN = 3  # runs of own captions that get a chart
WARNINGS = (
    "Binning inflates r: sorting and averaging 100 captions takes most of the scatter of single captions away, so the "
    "binned |r| is normally far larger than the un-binned one. Fisher's interval takes bins for independent points; it "
    "says nothing about images.",
    "GRC never looks at the caption's own image. It can follow how hard a breed or scene is, or how much a caption "
    "tells, without seeing a wrong word.",
)


def section(found: Sequence[Material], first: Sequence[str]) -> Section:
    """The section over all runs that hold both sides; runs named ``first`` get the charts of own captions."""
    parts: list[Part] = [Remark(text) for text in WARNINGS]
    numbers = dict[str, object]()
    studied = [one for one in found if one.run.task in STUDIED]
    for one in largest(studied):
        panels = pearson.study(one)
        parts += _whole(one, panels)
        numbers[one.title] = {p.metric: _numbers(p) for p in panels}
        if left := pearson.unread(one):
            parts += _without(left[0], left[1])
    if not any(one.run.task == STUDIED[0] for one in studied):
        parts.append(Missing("No scored run of the 3,000 captions of random detail is stored.", "make ablation"))
    if not any(one.run.task == pearson.PETS for one in studied):
        command = "make eval MODEL=... TASK=pets METRICS=cim,taxonomy,length ARGS='--gallery NAME'"
        parts.append(Missing("No scored run on Oxford-IIIT Pet holds both cim and taxonomy.", command))
    parts += _own([one for one in found if one.run.task not in STUDIED], first)
    return Section("pearson", "Does the score follow what captions get right?", tuple(parts), numbers)


def largest(found: Sequence[Material]) -> list[Material]:
    """Of runs with the same captions the one on the largest gallery; the others are section (c)'s."""
    return [max(group, key=lambda one: one.gallery_rows or 0) for group in by_captions(found)]


def by_captions(found: Sequence[Material]) -> list[list[Material]]:
    """Runs in groups of one task and the same captions."""
    groups = defaultdict[tuple[str, str], list[Material]](list)
    for one in found:
        groups[one.run.task, str(one.run.manifest.get("captions") or one.run.model)].append(one)
    return list(groups.values())


def told(panel: Panel) -> str:
    """What a panel says of its binned r."""
    if len(panel.points) < stats.FISHER_FEWEST:
        return f"too few bins ({len(panel.points)})"
    return UNDEFINED if panel.r is None else f"{number(panel.r)} {bounds(panel.r_ci)}"


def _numbers(panel: Panel) -> dict[str, object]:
    return {"n": panel.n, "bins": len(panel.points), "r": panel.r, "raw": panel.raw, "rho": panel.rho}


def _whole(one: Material, panels: Sequence[Panel]) -> list[Part]:
    name = f"pearson-{one.run.task}-{one.run.model}"
    shown = [(one.title, NAMES[one.source], panels[: len(pearson.METRICS)])]
    chart: list[Part] = [draw.pearson(name, shown, told)] if panels[0].points else []
    return [*chart, _table(one, panels, one.title)]


def _table(one: Material, panels: Sequence[Panel], title: str) -> Table:
    drawn = "images" if one.breeds is None else f"{len(set(one.breeds))} breeds"
    lines: list[tuple[str, Callable[[Panel], str]]] = [
        (f"bins of {SIZE}", lambda p: str(len(p.points))),
        ("binned r, Fisher's interval over bins", told),
        ("binned r where the metric is dealt at random, 95 %", lambda p: bounds(p.chance)),
        ("binned Spearman's rho", lambda p: number(p.rho_bins)),
        (f"un-binned r, 95 % interval over {drawn}", lambda p: f"{number(p.raw)} {bounds(p.raw_ci)}"),
        ("un-binned Spearman's rho", lambda p: number(p.rho)),
        ("length taken out: binned r", lambda p: _kept(p, number(p.kept_r))),
        ("length taken out: un-binned r", lambda p: _kept(p, f"{number(p.kept_raw)} {bounds(p.kept_raw_ci)}")),
    ]
    if one.breeds is not None:
        lines.append(("within breeds: un-binned r", lambda p: number(p.within)))
    rows = tuple((label, *(cell(panel) for panel in panels)) for label, cell in lines)
    note = (
        f"{panels[0].n:,} captions; accuracy is {one.source} of an image, 0 to 1. With k its sum over a bin of {SIZE} "
        f"images, the bin's logit is ln((k + 0.5) / ({SIZE} − k + 0.5)). {_dropped(panels[0])} Gallery of {_rows(one)} "
        "rows. Length is taken out of the metric by a straight line in words. Mean token log-probability, another "
        "control, is not stored."
    )
    return Table(title, ("", *(panel.metric for panel in panels)), rows, note)


def _kept(panel: Panel, text: str) -> str:
    return NONE if panel.metric == pearson.LENGTH else text


def _dropped(panel: Panel) -> str:
    return (
        f"The last {panel.dropped}, no full bin, are left out of the bins."
        if panel.dropped
        else "No caption is left out."
    )


def _rows(one: Material) -> str:
    return "unknown" if one.gallery_rows is None else f"{one.gallery_rows:,}"


def _without(count: int, kept: Material) -> list[Part]:
    share = count / (count + len(kept.ids))
    told = Remark(f"The judge said neither yes nor no about {count} captions ({share:.1%}); they count as no.")
    if not count or not kept.ids:
        return [told]
    return [told, _table(kept, pearson.study(kept), f"{kept.title}, without them")]


def _own(found: Sequence[Material], first: Sequence[str]) -> list[Part]:
    parts, by_n = list[Part](), defaultdict[tuple[str, int], list[Material]](list)
    for one in found:
        by_n[one.run.task, len(one.ids)].append(one)
    for (task, n), group in by_n.items():
        every = pearson.brief(group)
        charted = [at for name in first for at, one in enumerate(group) if one.run.model == name][:SHOWN]
        if charted and n >= SIZE:
            rows = [(group[at].title, NAMES[group[at].source], every[at]) for at in charted]
            parts.append(draw.pearson(f"pearson-own-{task}", rows, told))
        rows_of = tuple(_line(one, panels) for one, panels in zip(group, every, strict=True))
        head = ("run", "bins", "binned r, reward", *(f"un-binned r, {name}" for name in pearson.METRICS))
        note = (
            f"{n:,} captions a run, each model's own; {group[0].source} as accuracy, gallery of {_rows(group[0])} "
            f"rows. {_dropped(every[0][0])} With so few bins the binned r says little: read the un-binned ones."
        )
        parts.append(Table(f"Models' own captions on {task}", head, rows_of, note))
    return parts


def _line(one: Material, panels: Sequence[Panel]) -> tuple[str, ...]:
    cells = (f"{number(panel.raw)} {bounds(panel.raw_ci)}" for panel in panels)
    return (one.run.model, str(len(panels[-1].points)), told(panels[-1]), *cells)


def materials(runs: Sequence[StoredRun], tell: Callable[[str], None]) -> list[Material]:
    """The columns of every run that holds both sides; ``tell`` hears of damaged ones, which are left out."""
    found = []
    for run in runs:
        try:
            if (one := pearson.material(run)) is not None:
                found.append(one)
        except CimError as error:
            tell(f"left out of the correlations: {error}")
    return found
