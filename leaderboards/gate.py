"""The regression gate: is a stored run worse than a stored baseline, by more than noise?

A value fails where its drop is larger than the margin *and* significant: paired permutation test over images
(``runs/stats.py``), p < 0.05 after Holm's correction over all compared values. What cannot be compared is refused,
never left out; a value that could not have failed is not called ok. Run with ``cim check RUN``; explained in
``docs/gate.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.resources.paths import HOME
from harness.runs import controls, manifest, signature, stats, stored_run, validate
from harness.runs.compare import Comparison, compare
from harness.runs.stored_run import StoredRun
from leaderboards.options import POINTS
from leaderboards.standings import ALPHA

BASELINES = HOME / "results" / stored_run.BASELINE
ROUNDING = 1e-9
FAILED, UNSURE, SMALL, OK, BETTER, NOT_GATED = "failed", "unsure", "small drop", "ok", "better", "not gated"
CANNOT_FAIL, AT_FLOOR = "cannot fail", "at its floor"


@dataclass(frozen=True, slots=True)
class Row:
    """One value: its paired test, its margin in the metric's unit (None: not gated), and the verdict."""

    comparison: Comparison
    test: stats.Difference
    margin: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A run compared with a baseline: one row per value, and notes for the reader."""

    run: StoredRun
    baseline: StoredRun
    points: float
    n: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def failures(self) -> list[Row]:
        """Values whose drop is both significant and larger than the margin."""
        return [row for row in self.rows if row.verdict == FAILED]

    @property
    def silent(self) -> list[Row]:
        """Values that do not guard anything: they cannot fall, or say nothing of the images already."""
        return [row for row in self.rows if row.verdict in (CANNOT_FAIL, AT_FLOOR)]


def compare_with(
    run: StoredRun, baseline: StoredRun, points: float = POINTS, metrics: Sequence[str] | None = None
) -> Gate:
    """Compare a run with a baseline in every metric that the baseline holds, or in ``metrics``.

    Args:
        points: the margin, in hundredths of a value's highest possible number.

    Raises:
        CimError: one of them is damaged or not complete; another task; other samples; a metric is missing or has
            another signature; too few images for any drop to be significant.
    """
    for side, role in ((run, "the run"), (baseline, "the baseline")):
        check_valid(side, role)
    _same_task(run, baseline)
    _same_samples(run, baseline)
    chosen = _chosen(run, baseline, metrics)
    before, after = (replace(side, scores={name: side.scores[name] for name in chosen}) for side in (baseline, run))
    n, values = len(run.per_sample), sum(len(registry.metric(name).names) for name in chosen)
    if values * 2.0 ** (1 - n) >= ALPHA:  # the smallest p that n swaps allow, corrected
        raise CimError(
            f"{n} samples are too few: no drop in one of {values} values could be significant", hint="caption more"
        )
    compared = [comparison for comparison in compare(before, after) if comparison.test is not None]
    rows = tuple(_row(comparison, points, before) for comparison in compared)
    return Gate(run, baseline, points, n, rows, tuple(_notes(run, baseline, chosen)))


def task_of(run: StoredRun) -> str:
    """The name of a run's task, checked against the registry because it becomes a folder name."""
    return registry.check("tasks", run.manifest["settings"]["task"]["name"])


def baseline_folder(run: StoredRun, baseline: str | None) -> Path:
    """The baseline of a run: a folder, or a name under ``results/baseline/<task>/``.

    The default is the baseline with the run's name, else the only one of its task.

    Raises:
        CimError: there is none; the message lists the existing ones.
    """
    if baseline is not None and (Path(baseline) / manifest.NAME).is_file():
        return Path(baseline)
    task, name = task_of(run), baseline or run.model
    folder = BASELINES / task / name
    only = list((BASELINES / task).glob(f"*/{manifest.NAME}"))
    if baseline is None and not folder.is_dir() and len(only) == 1:
        return only[0].parent
    if not (folder / manifest.NAME).is_file():
        known = sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in BASELINES.glob("*/*/manifest.json"))
        hint = f"existing baselines: {', '.join(known) or 'none'}; name one with --baseline"
        raise CimError(f"no baseline {name!r} of task {task}", hint=hint)
    return folder


def check_valid(run: StoredRun, role: str) -> None:
    """Refuse a run that is not complete, or whose files are inconsistent.

    Raises:
        CimError: what is wrong; ``role`` names the run in the message.
    """
    where = str(run.files.folder)
    if run.manifest["status"] != "complete":
        hint = "finish it with the command that began it"
        raise CimError(f"{role} is not complete (status {run.manifest['status']})", where=where, hint=hint)
    if fault := validate.fault(run):
        hint = "`cim verify` says more; score or make it again"
        raise CimError(f"{role} is damaged: {fault}", where=where, hint=hint)


def _same_task(run: StoredRun, baseline: StoredRun) -> None:
    task, expected = (side.manifest["settings"]["task"] for side in (run, baseline))
    if task["name"] != expected["name"]:
        hint = "name a baseline of the same task with --baseline"
        raise CimError(f"another task: the run is of {task['name']}, the baseline of {expected['name']}", hint=hint)
    for field in ("version", "data"):
        if task[field] != expected[field]:
            what = f"task {task['name']} has another {field}: {task[field]}, that of the baseline {expected[field]}"
            raise CimError(what, hint="make the baseline again on it (make baseline)")


def _same_samples(run: StoredRun, baseline: StoredRun) -> None:
    ids, expected = set(run.per_sample), set(baseline.per_sample)
    if len(ids) != len(expected):
        hint = "run it without --limit and --partial, or name another baseline"
        raise CimError(f"the run has {len(ids)} samples, the baseline {len(expected)}", hint=hint)
    if strangers := sorted(ids - expected):
        first = ", ".join(strangers[:3])
        raise CimError(f"{len(strangers)} of {len(ids)} samples are not in the baseline: {first}")


def _chosen(run: StoredRun, baseline: StoredRun, metrics: Sequence[str] | None) -> list[str]:
    """Metrics to compare; CimError if one is missing or has another signature."""
    computed = baseline.computed
    if absent := [name for name in metrics or () if name not in computed]:
        raise CimError(f"the baseline lacks {', '.join(absent)}", hint=f"it holds {', '.join(computed) or 'no metric'}")
    chosen = [name for name in computed if metrics is None or name in metrics]
    faults = [fault for name in chosen if (fault := _obstacle(name, run, baseline))]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        hint = "score the run so, leave them out with --metrics, or update the baseline (make baseline)"
        raise CimError(f"{'; '.join(faults[:3])}{more}", hint=hint)
    if not chosen:
        raise CimError(
            "the baseline holds no metric", where=str(baseline.files.folder), hint="make it again (make baseline)"
        )
    return chosen


def _obstacle(name: str, run: StoredRun, baseline: StoredRun) -> str | None:
    score, expected = run.scores.get(name), baseline.scores[name]
    if score is None:
        return f"the run lacks {name}"
    if score.get("not_computed"):
        return f"the run lacks {name} (not computed: {score['not_computed']})"
    changed = signature.differences(expected["signature"] or "", score["signature"] or "")
    return f"{name} has another signature (baseline / run: {', '.join(changed)})" if changed else None


def margin_of(metric: str, value: str, points: float) -> float | None:
    """The margin in the value's unit: points are hundredths of its highest possible number; None where it has none."""
    bounds = registry.metric(metric).bounds(value)
    return None if bounds is None else points * bounds[1] / 100


def _row(comparison: Comparison, points: float, baseline: StoredRun) -> Row:
    assert comparison.test is not None  # what cannot be compared was refused, and undefined values are not gated
    better = comparison.higher_is_better
    margin = None if better is None else margin_of(comparison.metric, comparison.value, points)
    gain = -comparison.test.difference if better is False else comparison.test.difference
    outcome = verdict(gain, comparison.holm_permutation, margin)
    if outcome in (OK, SMALL) and _room(comparison) <= (margin or 0) + ROUNDING:
        outcome = CANNOT_FAIL
    elif outcome == OK and set(controls.LABELS).intersection(
        controls.under(baseline.scores[comparison.metric], comparison.value, better)  # of captions, so no best is asked
    ):
        outcome = AT_FLOOR  # a blind judge's score is no floor: what is below it can still fall
    return Row(comparison, comparison.test, margin, outcome)


def _room(comparison: Comparison) -> float:
    """How far the baseline's value can fall at all."""
    assert comparison.test is not None
    bounds = registry.metric(comparison.metric).bounds(comparison.value)
    lowest, highest = bounds or (-math.inf, math.inf)
    return comparison.test.a - lowest if comparison.higher_is_better else highest - comparison.test.a


def verdict(gain: float, p: float, margin: float | None) -> str:
    """The verdict on a gain (below 0: a drop) with this corrected p and a margin in the same unit."""
    if margin is None:
        return NOT_GATED
    large, significant = abs(gain) > margin + ROUNDING, p < ALPHA
    if gain < 0:
        return (FAILED if significant else UNSURE) if large else (SMALL if significant else OK)
    return BETTER if large and significant else OK


def _notes(run: StoredRun, baseline: StoredRun, chosen: Sequence[str]) -> Iterator[str]:
    failed, before = run.failed, baseline.failed
    if failed or before:
        yield f"failed captions, counted as empty ones: {failed} of the run, {before} of the baseline"
    if more := [name for name in run.computed if name not in baseline.scores]:
        yield f"not in the baseline, so not compared: {', '.join(more)}"
    if left_out := [name for name in baseline.computed if name not in chosen]:
        yield f"in the baseline, left out by --metrics: {', '.join(left_out)}"
    if differing := differing_settings(run, baseline):
        yield f"settings that differ (baseline / run): {', '.join(differing)}"


def differing_settings(run: StoredRun, baseline: StoredRun) -> list[str]:
    """Differing settings of model and prompt, as ``name: baseline / run``; they may differ."""
    return manifest.changes(_model_and_prompt(baseline), _model_and_prompt(run))


def _model_and_prompt(run: StoredRun) -> dict[str, Any]:
    settings = run.manifest["settings"]
    return {"model": settings["model"], "prompt": settings["task"]["prompt"]}
