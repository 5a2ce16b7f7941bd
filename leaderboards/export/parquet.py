"""Parquet: ``scores.parquet``, one row per value and per control, and ``samples.parquet``, one row per sample.

Both have the columns ``task`` and ``run``, so that tables of several exports append: those of scores are the same in
all, those of samples end with one float64 per value (``bleu4``, ``objects.f1``), null where a run lacks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.pages.public import public
from harness.runs.stored_run import IMAGE_ID, StoredRun
from harness.runs.validate import is_number
from leaderboards.export import facts
from leaderboards.export.facts import Number

SCORES = {
    "task": "string",
    "run": "string",
    "metric": "string",
    "value": "string",
    "control": "string",
    "score": "float64",
    "low": "float64",
    "high": "float64",
    "higher_is_better": "bool_",
    "n": "int64",
    "n_failed": "int64",
    "draws": "int64",
    "signature": "string",
    "not_computed": "string",
}
SAMPLES = {
    "task": "string",
    "run": "string",
    "sample_id": "string",
    "image_id": "string",
    "caption": "string",
    "error": "string",
    "finish_reason": "string",
    "prompt_tokens": "int64",
    "completion_tokens": "int64",
}


def write(runs: Sequence[StoredRun], out: Path) -> list[Path]:
    """Write both files; returns their paths.

    Raises:
        CimError: pyarrow is not installed.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        hint = 'pip install "cim-harness[formats]"'
        raise CimError("parquet needs pyarrow, which is not installed", hint=hint) from error
    numbers = [facts.numbers(run) for run in runs]
    columns = dict.fromkeys(number.name for of_run in numbers for number in of_run)
    tables = {
        "scores": (SCORES, [row for run, of_run in zip(runs, numbers, strict=True) for row in scores(run, of_run)]),
        "samples": (
            SAMPLES | dict.fromkeys(columns, "float64"),
            [row for run, of_run in zip(runs, numbers, strict=True) for row in samples(run, of_run)],
        ),
    }
    files = list[Path]()
    for name, (types, rows) in tables.items():
        schema = arrow.schema([(column, getattr(arrow, kind)()) for column, kind in types.items()])
        files.append(out / f"{name}.parquet")
        with store.replacing(files[-1]) as stream:
            parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), stream)
    return files


def scores(run: StoredRun, numbers: Sequence[Number]) -> Iterator[dict[str, Any]]:
    """Each value, then its controls (``control`` names them), then the values that were not computed."""
    place = {"task": run.task, "run": run.model}
    for number in numbers:
        named = {"metric": number.metric.name, "value": number.value.name}
        common = {"n": number.score["n"], "draws": run.document["interval"]["draws"]}
        common |= {"signature": number.score["signature"], "higher_is_better": number.value.higher_is_better}
        low, high = number.interval or (None, None)
        of_value = {"score": number.number, "low": low, "high": high, "n_failed": number.score["n_failed"]}
        yield {**place, **named, **common, **of_value}
        for name, control in number.controls.items():
            low, high = facts.interval(number.score["controls"][name], number.value.name) or (None, None)
            yield {**place, **named, **common, "control": name, "score": control, "low": low, "high": high}
    for name in facts.not_computed(run):
        score = run.scores[name]
        reason = public(score["not_computed"])
        for value in registry.metric(name).names:
            yield {**place, "metric": name, "value": value, "n": score["n"], "not_computed": reason}


def samples(run: StoredRun, numbers: Sequence[Number]) -> Iterator[dict[str, Any]]:
    """Each sample with its caption, or why there is none, and its values."""
    completions = run.files.completions()
    for sample_id, row in run.per_sample.items():
        completion = completions[sample_id]
        cells = {number.name: (row.get(number.metric.name) or {}).get(number.value.name) for number in numbers}
        yield {
            "task": run.task,
            "run": run.model,
            "sample_id": sample_id,
            "image_id": row.get(IMAGE_ID),
            "caption": completion.text,
            "error": None if completion.error is None else public(completion.error),
            "finish_reason": completion.finish_reason,
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
            **{name: float(cell) if is_number(cell) else None for name, cell in cells.items()},
        }
