"""The same checks on stored runs, whose values are not rounded: each value from its rows (A-1), integer counts of
relation questions (A-3), F1 within its bound per image and in the mean (A-4), values that runs share (A-6).

Reads ``scores.json``, ``per_sample.jsonl`` and ``statistics.jsonl``; an edited number does not follow from its rows.
Captions are not scored again: ``cim verify RUN`` does that.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import registry
from harness.errors import CimError
from harness.resources import data
from harness.runs import validate
from harness.runs.stored_run import StoredRun
from leaderboards.audit.record import FAILS, HOLDS, LISTED, UNDEFINED, Check

if TYPE_CHECKING:
    from harness.parts import Array

LARGEST = 1e15  # bound on stored numbers
EXACT = 1e-9  # floats summed in another order
TRIPLE = ("precision", "recall", "f1")
CORRECT, TOTAL = (0, 1), 6  # columns of relation_qa's counts: right by either parser, all questions
READINGS = ("score", "score_tolerant")


def checks(runs: Sequence[StoredRun]) -> Iterator[Check]:
    """The checks of every run, then the values that runs of one task share."""
    for run in runs:
        yield reproduced(run)
        yield counted(run)
        yield bounded(run)
    for task in dict.fromkeys(run.task for run in runs):
        yield repeated(task, [run for run in runs if run.task == task])


def _name(run: StoredRun) -> str:
    return f"{run.task}/{run.model}"


def reproduced(run: StoredRun) -> Check:
    """A-1: the number of rows is that of the scores, and every stored value follows from them."""
    faults, values = list[str](), 0
    for name in run.computed:
        try:
            faults += [f"{name} {what}" for what in validate.unfounded(run, name)]
            values += len(registry.metric(name).names)
        except CimError as error:
            faults.append(f"{name}: {error.what}")
    return Check(
        id="A-1",
        what="Every stored value follows from its rows",
        inputs={"samples": len(run.per_sample), "values": values},
        formula="aggregate(sum of the rows' statistics), the metric's own",
        tolerance=f"{EXACT:g}, relative above 1",
        claimed=f"{values} values in scores.json",
        recomputed={"faults": faults},
        verdict=FAILS if faults else HOLDS if values else UNDEFINED,
        found=f"{values} values, {len(faults)} do not follow from their rows",
        details=tuple(faults),
        run=_name(run),
    )


def counted(run: StoredRun) -> Check:
    """A-3: counts of relation questions are integers, give the stored score, and are all the benchmark's."""
    faults, by_metric = list[str](), dict[str, Any]()
    for name, row in run.computed.items():
        if name.partition("@")[0] != "relation_qa":
            continue
        counts = [cells.get(name) for cells in run.statistics.values()]
        rows = [c for c in counts if isinstance(c, list) and len(c) > TOTAL and all(map(_is_count, c))]
        if len(rows) < len(counts) or len(rows) != row["n"]:
            faults.append(f"{name}: {len(rows)} of {row['n']} images have integer counts")
            continue
        *correct, total = (sum(int(c[at]) for c in rows) for at in (*CORRECT, TOTAL))
        by_metric[name] = {"correct": correct[0], "correct_tolerant": correct[1], "total": total}
        faults += [f"{name}: more right answers than questions"] * (max(correct) > total)
        for value, k in zip(READINGS, correct, strict=True):
            if not abs(_number(row["values"], value) * total - 100 * k) <= EXACT * 100 * max(1, total):
                faults.append(f"{name} {value}: stored {row['values'].get(value)}, counts are {k} of {total}")
        faults += _whole(run, name, row["n"], total)
    return Check(
        id="A-3",
        what="Counts of relation questions are integers that give the score",
        inputs={"metrics": list(by_metric)},
        formula="score = 100 correct/total from statistics.jsonl; where all images count, total = the benchmark's",
        tolerance=f"{EXACT:g} (floats), no rounding",
        claimed={name: {v: _shown(run.computed[name]["values"], v) for v in READINGS} for name in by_metric},
        recomputed={"counts": by_metric, "faults": faults},
        verdict=FAILS if faults else HOLDS if by_metric else UNDEFINED,
        found=", ".join(f"{n}: {c['correct']} of {c['total']}" for n, c in by_metric.items())
        or "no relation questions stored",
        details=tuple(faults),
        run=_name(run),
    )


def _whole(run: StoredRun, name: str, n: int, total: int) -> Iterator[str]:
    """Fault if a run of all images of a benchmark, on the benchmark's files, lacks some of its questions."""
    if run.task not in registry.names("tasks"):
        return
    task = registry.task(run.task)
    same = run.manifest["settings"]["task"]["data"] == data.fingerprint(task)
    if same and task.questions and n == task.count and total != task.questions:
        yield f"{name}: {total} questions, {run.task} has {task.questions}"


def bounded(run: StoredRun) -> Check:
    """A-4 without rounding: F1 <= H(P, R) per image and in the mean, for every stored triple."""
    faults, by_metric = list[str](), dict[str, Any]()
    for name, row in run.computed.items():
        if set(row["values"]) != set(TRIPLE):
            continue
        cells = [run.per_sample[key].get(name) for key in sorted(run.per_sample)]
        rows = np.array([[_number(c, v) for v in TRIPLE] for c in cells], dtype=np.float64).reshape(-1, 3)
        negative = (rows[:, :2] < 0).any(axis=1)
        over = ~(rows[:, 2] <= _harmonic(rows) + EXACT) & ~negative
        means = np.array([[_number(row["values"], v) for v in TRIPLE]])
        bound = float(_harmonic(means)[0])
        by_metric[name] = {"images": len(rows), "over": int(over.sum()), "negative": int(negative.sum())}
        by_metric[name] |= {"F1": _shown(row["values"], "f1"), "H": bound if math.isfinite(bound) else None}
        faults += [f"{name}: F1 is over H(P, R) in {int(over.sum())} of {len(rows)} images"] * bool(over.any())
        # With negative cosines the mean may exceed its bound: H is concave on the positive quadrant only.
        if not negative.any() and not means[0, 2] <= bound + EXACT:
            faults.append(f"{name}: stored F1 {row['values'].get('f1')} is over H(P, R) = {bound:.6f}")
    return Check(
        id="A-4",
        what="F1 within the harmonic mean of P and R, per image and in the mean",
        inputs={"triples": list(by_metric)},
        formula="F1 <= H(P, R) = 2PR/(P + R)",
        tolerance=f"{EXACT:g} (floats), no rounding; images with a negative P or R are left out",
        claimed="means over the same images",
        recomputed=by_metric | {"faults": faults},
        verdict=FAILS if faults else HOLDS if by_metric else UNDEFINED,
        found=f"{len(by_metric)} triples, {len(faults)} faults",
        details=tuple(faults),
        run=_name(run),
    )


def _number(cells: Any, value: str) -> float:
    """A stored number; NaN, for which no comparison holds, if there is none."""
    number = cells.get(value) if isinstance(cells, dict) else None
    return float(number) if isinstance(number, int | float) and abs(number) < LARGEST else math.nan


def _shown(cells: Any, value: str) -> float | None:
    """A stored number for JSON; None if there is none."""
    return None if math.isnan(number := _number(cells, value)) else number


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < LARGEST and value == int(value)


def _harmonic(rows: Array) -> Array:
    total = rows[:, 0] + rows[:, 1]
    return np.asarray(2 * rows[:, 0] * rows[:, 1] / np.where(total == 0, 1, total))


def repeated(task: str, task_runs: Sequence[StoredRun]) -> Check:
    """A-6: values that several runs of one task share to the last digit, and runs with the same captions."""
    values = defaultdict[tuple[str, str, float], list[str]](list)
    rows = defaultdict[tuple[str, str], list[str]](list)
    for run in task_runs:
        rows["captions", str(run.manifest.get("captions"))] += [run.model] * bool(run.manifest.get("captions"))
        for name, row in run.computed.items():
            for value in row["values"]:
                if (number := _shown(row["values"], value)) not in (None, 0, 100):
                    values[name, value, number].append(run.model)
    same = [names for names in rows.values() if len(names) > 1]
    shared = [
        {"metric": name, "value": value, "number": number, "runs": runs}
        for (name, value, number), runs in sorted(values.items())
        if len(runs) > 1
    ]
    details = [f"same captions: {', '.join(names)}" for names in same]
    details += [
        f"{name} {v} {x:.4f}: {', '.join(runs)}" for (name, v, x), runs in sorted(values.items()) if len(runs) > 1
    ]
    return Check(
        id="A-6",
        what=f"Values that runs of {task} share",
        inputs={"runs": [run.model for run in task_runs]},
        formula="equal floats in one value of one metric; equal digests of captions. 0 and 100 are left out",
        tolerance="none",
        claimed=None,
        recomputed={"same captions": same, "shared values": shared},
        verdict=LISTED,
        found=f"{len(shared)} values are shared, {len(same)} groups of runs have the same captions",
        details=tuple(details),
    )
