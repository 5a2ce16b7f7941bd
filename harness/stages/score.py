"""The score verb: every number of a run from its stored rows; no engine, no network, no judge.

Writes ``per_sample.jsonl`` (values per sample), ``statistics.jsonl`` (from which corpus metrics are
aggregated) and last ``scores.json``. Metrics scored earlier from the same captions are kept.
Run with ``cim score --model M --task docci500 --metrics bleu4,cider``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import registry, store
from harness.errors import OutageError
from harness.parts import Measurement, Metric, Records, mean
from harness.runs import controls, manifest, records, signature, stats
from harness.runs.cache import settings_key
from harness.runs.run import Run
from harness.runs.stored_run import DETAILS, IMAGE_ID, JUDGED, PER_SAMPLE, SCORES, STATISTICS, changed, sums
from harness.stages import retrieve
from harness.stages.caption import account, none_captioned, stored
from harness.stages.choice import not_computed
from harness.stages.judge import answered, replies, signed
from harness.stages.parse import Parses
from harness.stages.probes import CONTROLS
from harness.types import Judged, Sample, Score

if TYPE_CHECKING:
    from harness.parts import Array


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
    by_id = stored(run)
    failed = sum(by_id[sample.id].text is None for sample in run.samples)
    captions = [by_id[sample.id].text or "" for sample in run.samples]
    failure = none_captioned(run)
    answers, looked_up = partial(replies, run), partial(retrieve.retrievals, run)
    inputs = Records(run.samples, captions, parses.parse, answers, run.task.parser, parses.encode, looked_up)
    names = [metric.name for metric in metrics]
    measured, beside, stopped = dict[str, Measurement](), dict[str, dict[str, Measurement]](), dict[str, Score]()
    for metric in metrics:
        try:
            if failure:
                raise OutageError(failure)
            measurement = metric.measure(inputs)
            beside[metric.name] = {name: metric.measure(other) for name, other in _controls(run, metric, inputs)}
            measured[metric.name] = measurement
        except OutageError as error:
            stopped[metric.name] = not_computed(metric, str(error), len(run.samples), outage=True)
    metrics = [metric for metric in metrics if metric.name in measured]
    computed = {score.metric: score for score in _scores(run, metrics, measured, beside, failed, draws)}
    return RunScores(
        [computed[name] if name in computed else stopped[name] for name in names],
        _of_images(run, _rows(run, {m.name: [_named(m, row) for row in measured[m.name].values] for m in metrics})),
        _rows(run, {m.name: measured[m.name].statistics.tolist() for m in metrics if m.aggregate is not mean}),
        _rows(run, {m.name: _details(m, inputs) for m in metrics if m.elements or m.verdicts}),
        _rows(run, {m.name: judged_rows(m.judged(inputs)) for m in metrics if m.judged}),
    )


def _controls(run: Run, metric: Metric, inputs: Records) -> Iterator[tuple[str, Records]]:
    """What a metric reads for each of its controls: other captions, constant judges, replies about other captions."""
    for name, captions in controls.texts(run.samples, run.all_samples, inputs.captions).items():
        if metric.floor:
            yield name, replace(inputs, captions=captions)
        elif retrieve.NEEDED in metric.needs and retrieve.whole(run, name):
            yield name, replace(inputs, retrievals=partial(retrieve.retrievals, run, name))
    for name, reply in metric.constants.items():
        yield name, replace(inputs, replies=partial(_constant, run, reply))
    for name in CONTROLS if metric.judge else ():
        if metric.judge and answered(run, metric.judge, name):
            yield name, replace(inputs, replies=partial(replies, run, probe=name))


def _constant(run: Run, reply: Callable[[Sample], Mapping[str, str]], _: str) -> list[dict[str, str]]:
    return [dict(reply(sample)) for sample in run.samples]


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


def _rows(run: Run, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    names = sorted(columns)
    return [
        {"sample_id": sample.id, **{name: columns[name][at] for name in names}} for at, sample in enumerate(run.samples)
    ]


def _of_images(run: Run, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with its image where an image has several captions."""
    keys = [sample.image_key for sample in run.samples]
    if stats.image_numbers(keys) is None:
        return rows
    return [{"sample_id": row["sample_id"], IMAGE_ID: key, **row} for row, key in zip(rows, keys, strict=True)]


def score(
    run: Run,
    metrics: Sequence[Metric],
    parses: Parses,
    *,
    absent: Sequence[Score] = (),
    draws: int = stats.DRAWS,
) -> list[Score]:
    """Score the stored captions of a run and write its score files; returns the new scores and ``absent``."""
    computed = compute(run, metrics, parses, draws=draws)
    digest = records.digest(run.captions)
    before = store.read_document(run.folder / SCORES) or {}
    interval = how_drawn(draws)
    same = before.get("captions") == digest and before.get("interval") == interval
    same = same and not changed(run.folder, before)  # else all of its rows are made again
    rows = {result.metric: asdict(result) for result in (*computed.scores, *absent)}
    for row in before.get("scores", []) if same else []:
        if row["not_computed"] is None and rows.get(row["metric"], {"not_computed": ""})["not_computed"] is not None:
            rows[row["metric"]] = row
    for name, new in (
        (PER_SAMPLE, computed.per_sample),
        (STATISTICS, computed.statistics),
        (DETAILS, computed.details),
        *([(JUDGED, computed.judged)] if any(metric.judged for metric in metrics) else []),
    ):
        store.write_rows(run.folder / name, _merged(run.files.rows(name) if same else {}, new))
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
    return [*computed.scores, *absent]


def how_drawn(draws: int) -> dict[str, Any]:
    """The interval settings recorded in a score document."""
    return {"method": "percentile bootstrap over images", "draws": draws, "seed": stats.SEED}


def _merged(stored: Mapping[str, Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """New rows per sample with the stored columns that were not recomputed, columns in the order of names."""
    merged = [{**stored.get(row["sample_id"], {}), **row} for row in new]
    first = ("sample_id", IMAGE_ID)
    return [
        {**{k: row[k] for k in first if k in row}, **{k: row[k] for k in sorted(row) if k not in first}}
        for row in merged
    ]


def _scores(
    run: Run,
    metrics: Sequence[Metric],
    measured: Mapping[str, Measurement],
    of_controls: Mapping[str, Mapping[str, Measurement]],
    failed: int,
    draws: int,
) -> list[Score]:
    images = stats.image_numbers([sample.image_key for sample in run.samples])
    columns = [stats.Column(measured[metric.name].statistics, metric.aggregate, images) for metric in metrics]
    beside = [
        (metric, control, measurement)
        for metric in metrics
        for control, measurement in of_controls[metric.name].items()
    ]
    columns += [stats.Column(measurement.statistics, metric.aggregate, images) for metric, _, measurement in beside]
    points = [stats.point(column) for column in columns]
    enough = draws > 0 and len({sample.image_key for sample in run.samples}) > 1 and columns
    bounds = [stats.interval(drawn) for drawn in stats.bootstrap(columns, draws)] if enough else [None] * len(columns)
    below: dict[str, dict[str, dict[str, Any]]] = {metric.name: {} for metric in metrics}
    for (metric, control, measurement), at, around in zip(
        beside, points[len(metrics) :], bounds[len(metrics) :], strict=True
    ):
        row = {"values": _named(metric, at), "ci95": _bounds(metric, around)}
        below[metric.name][control] = row | ({"counts": measurement.counts} if measurement.counts else {})
    return [
        Score(
            metric.name,
            _named(metric, points[index]),
            _bounds(metric, bounds[index]),
            len(run.samples),
            failed,
            _signature(run, metric),
            below[metric.name],
            measured[metric.name].counts,
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
