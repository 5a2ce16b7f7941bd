"""The score verb: every number of a run from its stored rows; no engine, no network, no judge.

Writes ``per_sample.jsonl`` (values per sample), ``statistics.jsonl`` (from which corpus metrics are
aggregated) and last ``scores.json``. Metrics scored earlier from the same captions are kept.
Run with ``cim score --model M --task docci500 --metrics bleu4,cider``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import registry, store
from harness.parts import Metric, Records, mean
from harness.runs import controls, manifest, records, signature, stats
from harness.runs.cache import settings_key
from harness.runs.run import Run
from harness.runs.stored_run import DETAILS, IMAGE_ID, JUDGED, PER_SAMPLE, SCORES, STATISTICS, changed, sums
from harness.stages import measure, retrieve
from harness.stages.caption import account, none_captioned, stored
from harness.stages.choice import not_computed
from harness.stages.judge import signed
from harness.stages.measure import Block, Stopped, Sums
from harness.stages.parse import Parses
from harness.types import Judged, Sample, Score

if TYPE_CHECKING:
    from harness.parts import Array


Rows = list[dict[str, Any]]
ROWS = ("per_sample", "statistics", "details", "judged")


@dataclass(frozen=True, slots=True)
class RunScores:
    """Scores of a run, and rows per sample: values, statistics, details for the report, judged facts."""

    scores: list[Score]
    per_sample: list[dict[str, Any]]
    statistics: list[dict[str, Any]]
    details: list[dict[str, Any]]
    judged: list[dict[str, Any]]


def together(parts: Sequence[RunScores]) -> RunScores:
    """Merge the results of several metrics on the same samples."""
    scores = [score for part in parts for score in part.scores]
    columns = ([getattr(part, name) for part in parts] for name in ROWS)
    return RunScores(
        scores, *([{k: v for row in rows for k, v in row.items()} for rows in zip(*c, strict=True)] for c in columns)
    )


def compute(run: Run, metrics: Sequence[Metric], parses: Parses, *, draws: int = stats.DRAWS) -> RunScores:
    """Every number of a run from its stored rows; writes nothing.

    A metric whose parser stops answering has values None; the others are kept. None has a value where no sample has a
    caption.

    Args:
        draws: number of bootstrap resamples; 0: no intervals.

    Raises:
        CimError: captions are missing.
    """
    rows = tuple(list[dict[str, Any]]() for _ in ROWS)

    def add(part: tuple[Rows, ...]) -> None:
        for all_rows, new in zip(rows, part, strict=True):
            all_rows.extend(new)

    try:
        return RunScores(_compute(run, metrics, parses, draws, add), *rows)
    except Stopped as stop:
        others = compute(run, [metric for metric in metrics if metric.name != stop.metric.name], parses, draws=draws)
        return replace(others, scores=[*others.scores, _stopped(stop, run)])


def _compute(
    run: Run, metrics: Sequence[Metric], parses: Parses, draws: int, add: Callable[[tuple[Rows, ...]], None]
) -> list[Score]:
    """The scores of a run; its rows of ``ROWS`` are handed to ``add`` block by block.

    Raises:
        Stopped: a metric stopped after rows with its values were handed over.
    """
    by_id, n = stored(run), len(run.samples)
    images = controls.image_numbers(run.samples)
    whole = n <= measure.WHOLE or any(metric.judge or retrieve.NEEDED in metric.needs for metric in metrics)
    totals = measure.Sums(images, n, whole)
    if failure := none_captioned(run):
        totals.stopped = {metric.name: failure for metric in metrics}
    for block in measure.blocks(run, by_id, metrics, parses, totals):
        done = [metric for metric in metrics if metric.name in block.metrics]
        add(_block_rows(block, done, several=images is not None))
    failed = sum(by_id[sample.id].text is None for sample in run.samples)
    left = [metric for metric in metrics if metric.name not in totals.stopped]
    computed = {score.metric: score for score in _scores(run, left, totals, failed, draws)}
    reasons = totals.stopped
    return [computed.get(m.name) or not_computed(m, reasons[m.name], n, outage=True) for m in metrics]


def _block_rows(block: Block, metrics: Sequence[Metric], *, several: bool) -> tuple[Rows, ...]:
    samples, inputs, measured = block.inputs.samples, block.inputs, block.metrics
    values = _rows(samples, {m.name: [_named(m, row) for row in measured[m.name].values] for m in metrics})
    if several:
        values = [
            {"sample_id": row["sample_id"], IMAGE_ID: s.image_key, **row}
            for row, s in zip(values, samples, strict=True)
        ]
    return (
        values,
        _rows(samples, {m.name: measured[m.name].statistics.tolist() for m in metrics if m.aggregate is not mean}),
        _rows(samples, {m.name: _details(m, inputs) for m in metrics if m.elements or m.verdicts}),
        _rows(samples, {m.name: judged_rows(m.judged(inputs)) for m in metrics if m.judged}),
    )


def _details(metric: Metric, inputs: Records) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{} for _ in inputs.samples]
    for row, elements in zip(rows, metric.elements(inputs) if metric.elements else (), strict=False):
        row["elements"] = [
            (element.kind, element.text, element.state, element.marks, element.near) for element in elements
        ]
    for row, answers in zip(rows, metric.verdicts(inputs) if metric.verdicts else (), strict=False):
        row["verdicts"] = answers
    return rows


def judged_rows(judged: Sequence[Sequence[Judged]]) -> list[list[tuple[str, str, str]]]:
    """What is stored of each fact of each sample: its kind, the judge's state, and the answer that equals the key."""
    states = {True: "right", False: "wrong", None: "unread"}
    return [[(fact.kind, states[fact.right], fact.expected) for fact in facts] for facts in judged]


def _rows(samples: Sequence[Sample], columns: Mapping[str, Sequence[Any]]) -> Rows:
    names = sorted(columns)
    return [
        {"sample_id": sample.id, **{name: columns[name][at] for name in names}} for at, sample in enumerate(samples)
    ]


def score(
    run: Run,
    metrics: Sequence[Metric],
    parses: Parses,
    *,
    absent: Sequence[Score] = (),
    draws: int = stats.DRAWS,
) -> list[Score]:
    """Score the stored captions of a run and write its score files; returns the new scores and ``absent``."""
    digest = records.digest(run.captions)
    before = store.read_document(run.folder / SCORES) or {}
    interval = how_drawn(draws, controls.count_images(run.samples))
    same = before.get("captions") == digest and before.get("interval") == interval
    same = same and not changed(run.folder, before)  # else all of its rows are made again
    computed = _write(run, metrics, parses, draws, same=same)
    rows = {result.metric: asdict(result) for result in (*computed, *absent)}
    for row in before.get("scores", []) if same else []:
        if row["not_computed"] is None and rows.get(row["metric"], {"not_computed": ""})["not_computed"] is not None:
            rows[row["metric"]] = row
    content = {
        "format": manifest.FORMAT,
        "task": run.task.name,
        "model": run.model.name,
        "captions": digest,
        "interval": interval,
        "outcomes": account(run).as_row(),
        "scores": [rows[name] for name in sorted(rows)],
    }
    store.write_document(run.folder / SCORES, {**content, "sums": sums(run.folder, content)})
    return [*computed, *absent]


def _write(run: Run, metrics: Sequence[Metric], parses: Parses, draws: int, *, same: bool) -> list[Score]:
    """Score and write the rows per sample as they are made, beside stored columns of other metrics if ``same``."""
    names = [PER_SAMPLE, STATISTICS, DETAILS, *([JUDGED] if any(metric.judged for metric in metrics) else [])]
    kept = [run.files.rows(name) if same else {} for name in names]
    try:
        with ExitStack() as files:
            streams = [files.enter_context(store.replacing(run.folder / name)) for name in names]

            def add(part: tuple[Rows, ...]) -> None:
                for stream, before, new in zip(streams, kept, part, strict=False):
                    stream.writelines(store.dumps(row).encode() + b"\n" for row in _merged(before, new))

            return _compute(run, metrics, parses, draws, add)
    except Stopped as stop:
        others = [metric for metric in metrics if metric.name != stop.metric.name]
        scores = _write(run, others, parses, draws, same=same)
        return [*scores, _stopped(stop, run)]


def _stopped(stop: Stopped, run: Run) -> Score:
    return not_computed(stop.metric, str(stop), len(run.samples), outage=True)


def how_drawn(draws: int, images: int) -> dict[str, Any]:
    """The interval settings recorded in a score document of so many images."""
    units = "images" if images <= stats.GROUPS else f"{stats.GROUPS} random groups of images"
    return {"method": f"percentile bootstrap over {units}", "draws": draws, "seed": stats.SEED}


def _merged(stored: Mapping[str, Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """New rows per sample with the stored columns that were not recomputed, columns in the order of names."""
    merged = [{**stored.get(row["sample_id"], {}), **row} for row in new]
    first = ("sample_id", IMAGE_ID)
    return [
        {**{k: row[k] for k in first if k in row}, **{k: row[k] for k in sorted(row) if k not in first}}
        for row in merged
    ]


def _scores(run: Run, metrics: Sequence[Metric], totals: Sums, failed: int, draws: int) -> list[Score]:
    beside = [(metric, control) for metric in metrics for control in totals.controls(metric)]
    columns = [*(totals.column(metric) for metric in metrics), *(totals.column(*pair) for pair in beside)]
    points = [stats.point(column) for column in columns]
    enough = draws > 0 and columns and controls.count_images(run.samples) > 1
    bounds = [stats.interval(drawn) for drawn in stats.bootstrap(columns, draws)] if enough else [None] * len(columns)
    below: dict[str, dict[str, dict[str, Any]]] = {metric.name: {} for metric in metrics}
    for (metric, control), at, around in zip(beside, points[len(metrics) :], bounds[len(metrics) :], strict=True):
        row = {"values": _named(metric, at), "ci95": _bounds(metric, around)}
        counts = totals.counted(metric, control)
        below[metric.name][control] = row | ({"counts": counts} if counts else {})
    return [
        Score(
            metric.name,
            _named(metric, points[index]),
            _bounds(metric, bounds[index]),
            len(run.samples),
            failed,
            _signature(run, metric),
            below[metric.name],
            totals.counted(metric),
        )
        for index, metric in enumerate(metrics)
    ]


def _named(metric: Metric, values: Array) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(metric.names, values, strict=True)}


def _number(value: float) -> float | None:
    """None for a value that is undefined, such as the share of an empty set."""
    return None if np.isnan(value) else float(value)


def _bounds(metric: Metric, bounds: Array | None) -> dict[str, tuple[float | None, float | None]]:
    if bounds is None:
        return dict.fromkeys(metric.names, (None, None))
    return {name: (_number(pair[0]), _number(pair[1])) for name, pair in zip(metric.names, bounds, strict=True)}


def _signature(run: Run, metric: Metric) -> str:
    fields = dict(metric.signature())
    if "graph" in metric.needs and run.task.parser:
        fields["parser"] = f"{run.task.parser}-{settings_key(registry.parser(run.task.parser).settings())}"
    if metric.judge:
        fields |= signed(run, metric.judge)
    if retrieve.NEEDED in metric.needs:
        fields |= retrieve.signature(run)
    task = f"{run.task.name}@{run.settings['task']['data']}"
    return signature.render(metric.name, {**fields, "n": run.scope(), "task": task})
