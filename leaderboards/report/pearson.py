"""The study of Figure 2 (arXiv 2603.01696) on stored runs: does the CIM score follow what a caption gets right?

A run takes part if its scores have metric ``cim`` and either ``fine_names`` (recall per image, rendered scenes) or
``taxonomy`` (is the breed named, pets). Accuracy of an image is between 0 and 1. The bootstrap resamples breeds on
pets, images elsewhere. Statistics: ``correlation.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from harness import registry
from harness.runs import reasoning, signature, stats
from harness.runs.stored_run import StoredRun
from leaderboards.report import correlation
from leaderboards.report.correlation import Interval

if TYPE_CHECKING:
    from harness.parts import Array

METRICS = {"GRC": "grc", "QIR": "qir", "reward": "reward"}
LENGTH = "words"
ACCURACIES = (("fine_names", "recall"), ("taxonomy", "breed"))
PETS = "pets"


@dataclass(frozen=True, slots=True)
class RunColumns:
    """Columns of a run, one row per image sorted by id; ``breeds`` if they are known."""

    run: StoredRun
    ids: tuple[str, ...]
    metrics: dict[str, Array]
    words: Array
    accuracy: Array
    source: str
    breeds: tuple[str, ...] | None
    gallery_rows: int | None

    @property
    def title(self) -> str:
        """Task and run."""
        return f"{self.run.task} / {self.run.model}"


@dataclass(frozen=True, slots=True)
class Panel:
    """Correlation of one metric with accuracy in one run; None is undefined.

    ``r`` and ``rho_bins`` are over the bins ``points``, from four bins on, ``raw`` and ``rho`` over images; ``chance``
    is the range of ``r`` under random permutations of the metric. ``kept_r`` and ``kept_raw`` are those of the
    residuals of the metric's linear regression on caption length.
    """

    metric: str
    n: int
    points: tuple[tuple[float, float], ...]
    dropped: int
    r: float | None
    r_ci: Interval | None
    rho_bins: float | None
    raw: float | None
    raw_ci: Interval | None
    rho: float | None
    chance: Interval | None = None
    kept_r: float | None = None
    kept_raw: float | None = None
    kept_raw_ci: Interval | None = None
    within: float | None = None


def columns_of(run: StoredRun) -> RunColumns | None:
    """The columns of a run, or None if its scores lack CIM or accuracy.

    Raises:
        CimError: a per-sample row lacks a value.
    """
    source = next((pair for pair in ACCURACIES if pair[0] in run.computed), None)
    if "cim" not in run.computed or source is None:
        return None
    ids = tuple(sorted(run.per_sample))
    metrics = {label: run.numbers("cim", name) for label, name in METRICS.items()}
    accuracy, length = run.numbers(*source) / 100, words(run)
    breeds = tuple(name.rsplit("_", 1)[0] for name in ids) if run.task == PETS else None
    read = signature.read(run.scores["cim"]["signature"] or "")
    size = int(read["rows"]) if read.get("rows", "").isdigit() else None
    return RunColumns(run, ids, metrics, length, accuracy, " ".join(source), breeds, size)


def words(run: StoredRun) -> Array:
    """Words per caption, sorted by id: those of metric ``length``, or counted if it was not computed."""
    if "length" in run.computed:
        return run.numbers("length", "words")
    texts = (
        (run.files.completions()[name].text or "") if name in run.files.completions() else ""
        for name in sorted(run.per_sample)
    )
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


def study(columns: RunColumns) -> list[Panel]:
    """Panels of GRC, QIR, reward and, as a control, caption length, with all controls."""
    by_name = {**columns.metrics, LENGTH: columns.words}
    without_length = {name: correlation.residuals(values, columns.words) for name, values in columns.metrics.items()}
    pairs = [(values, columns.accuracy) for values in (*by_name.values(), *without_length.values())]
    intervals = correlation.resampled(pairs, columns.breeds)
    raw, after = (
        dict(zip(by_name, intervals, strict=False)),
        dict(zip(without_length, intervals[len(by_name) :], strict=True)),
    )
    panels = []
    for name, values in by_name.items():
        panel = _panel(name, values, columns.accuracy, raw[name])
        chance = None if panel.r is None else correlation.permuted(values, columns.accuracy)
        inside = None if columns.breeds is None else correlation.within(values, columns.accuracy, columns.breeds)
        panel = replace(panel, chance=chance, within=inside)
        if name in without_length:
            r = stats.pearson(*correlation.bins(without_length[name], columns.accuracy))
            raw_without = stats.pearson(without_length[name], columns.accuracy)
            panel = replace(panel, kept_r=r, kept_raw=raw_without, kept_raw_ci=after[name])
        panels.append(panel)
    return panels


def brief(runs: Sequence[RunColumns]) -> list[list[Panel]]:
    """Panels of GRC, QIR and reward, without controls, of runs over equally many images (or the same pets)."""
    pairs = [(values, columns.accuracy) for columns in runs for values in columns.metrics.values()]
    intervals = iter(correlation.resampled(pairs, runs[0].breeds))
    return [
        [_panel(name, values, columns.accuracy, next(intervals)) for name, values in columns.metrics.items()]
        for columns in runs
    ]


def _panel(name: str, values: Array, accuracy: Array, raw_ci: Interval | None) -> Panel:
    x, y = correlation.bins(values, accuracy)
    r = stats.pearson(x, y) if len(x) >= stats.FISHER_FEWEST else None
    return Panel(
        metric=name,
        n=len(values),
        points=tuple(zip(x.tolist(), y.tolist(), strict=True)),
        dropped=len(values) % correlation.SIZE,
        r=r,
        r_ci=stats.fisher(r, len(x)),
        rho_bins=stats.spearman(x, y) if len(x) >= stats.FISHER_FEWEST else None,
        raw=stats.pearson(values, accuracy),
        raw_ci=raw_ci,
        rho=stats.spearman(values, accuracy),
    )


def unparsed(columns: RunColumns) -> tuple[int, RunColumns] | None:
    """Number of unparsed breed verdicts, and the columns without those images.

    None if accuracy is not a judge's verdict or no reply is stored.
    """
    if not columns.source.startswith("taxonomy"):
        return None
    (parse, *_) = registry.judge("taxonomy").parsers.values()
    parsed = dict[str, bool]()
    for path in sorted(columns.run.files.folder.glob("replies.taxonomy.*.jsonl")):
        for request, reply in columns.run.files.completions(path.name, "reply").items():
            sample, _, key = request.rpartition("#")
            if key == "breed":
                parsed[sample] = parse(reasoning.answer(reply.text or ""), 1)[0] is not None
    if not parsed:
        return None
    keep = np.array([parsed.get(name, True) for name in columns.ids])
    breeds = None if columns.breeds is None else tuple(compress(columns.breeds, keep))
    rest = replace(
        columns,
        ids=tuple(compress(columns.ids, keep)),
        metrics={name: values[keep] for name, values in columns.metrics.items()},
        words=columns.words[keep],
        accuracy=columns.accuracy[keep],
        breeds=breeds,
    )
    return int((~keep).sum()), rest
