"""The verify verb: is a stored run whole, and do its numbers follow from its rows?

Checks the manifest, the rows (ids, counts, digest), the task's data, and scores everything again from
the raw rows: an edited score is found. Run with ``cim verify results/docci500/my-model``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import data, judge, manifest, model, parse, registry, score, store
from harness import run as runs
from harness.errors import CimError

Check = tuple[str, str, str]
MANIFEST = {
    "format": int,
    "status": str,
    "settings": {
        "task": {"name": str, "version": str, "data": str, "prompt": str},
        "model": {},
        "samples": {"n": int, "limit": (int, type(None)), "ids": str},
    },
    "made_by": {"packages": {}, "python": str},
}
SCORE = {"metric": str, "values": {}, "ci95": {}, "n": int, "n_failed": int, "controls": {}}
DOCUMENT = {"format": int, "captions": str, "interval": {"draws": int, "seed": int}, "scores": [SCORE]}
TOLERANCE = 1e-9
FILES = (score.PER_SAMPLE, score.STATISTICS)


def verify(folder: Path, results: Path) -> list[Check]:
    """Rows of (check, ``ok`` or ``failed``, detail); stops at the first check that later ones need."""
    checks = list[Check]()
    try:
        for check in _checks(folder, results):
            checks.append(check)
            if check[1] == "failed":
                break
    except CimError as error:
        checks.append(("readable", "failed", str(error)))
    return checks


def form_faults(folder: Path) -> list[str]:
    """What the manifest and the scores of a run lack or hold in the wrong type."""
    stored, document = manifest.read(folder) or {}, store.read_document(folder / score.SCORES) or {}
    return [*_malformed(stored, MANIFEST, manifest.NAME), *_malformed(document, DOCUMENT, score.SCORES)]


def _check(name: str, fault: str, fine: str) -> Check:
    return (name, "failed", fault) if fault else (name, "ok", fine)


def _checks(folder: Path, results: Path) -> Iterator[Check]:
    stored, document = manifest.read(folder) or {}, store.read_document(folder / score.SCORES) or {}
    yield _check("form", "; ".join(form_faults(folder)[:3]), f"{manifest.NAME} and {score.SCORES} hold what they must")
    yield _check("manifest", "" if stored["status"] == "complete" else f"status is {stored['status']}", "complete")
    one = model.resolve(str(folder.resolve()), results)[0]
    task = registry.task(one.tasks[0])
    settings = manifest.flat(stored["settings"])
    fingerprint = data.fingerprint(task)
    fault = "" if settings["task.data"] == fingerprint else f"made on {settings['task.data']}, here is {fingerprint}"
    yield _check("data", fault, f"{task.name}@{fingerprint}")
    run = runs.plan(one, task.name, folder.resolve().parent.parent, limit=None, partial=True, fresh=True)
    now = manifest.flat(run.settings)
    differing = [name for name in {**settings, **now} if settings.get(name) != now.get(name)]
    fault = f"differ from the manifest in {', '.join(differing)}" if differing else ""
    yield _check("captions", fault, f"{len(run.samples)} rows")
    digest = score.captions_digest(run)
    fault = "" if document["captions"] == digest else f"scored from {document['captions']}, stored are {digest}"
    yield _check("scores", fault, f"made from captions {digest}")
    yield from _scored_again(run, document, results)


def _malformed(value: Any, form: Any, path: str) -> Iterator[str]:
    """Where a JSON value lacks the form it must have: a type, a dictionary of forms, or a list of one form."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        for name, inner in form.items():
            if name in value:
                yield from _malformed(value[name], inner, f"{path}.{name}")
            else:
                yield f"{path} lacks {name}"
    elif isinstance(form, list):
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for at, one in enumerate(value):
            yield from _malformed(one, form[0], f"{path}[{at}]")
    elif not isinstance(value, form):
        yield f"{path} has the wrong type"


def _scored_again(run: runs.Run, document: dict[str, Any], results: Path) -> Iterator[Check]:
    computed = [row for row in document["scores"] if not row.get("not_computed")]
    metrics = [registry.metric(row["metric"]) for row in computed]
    if absent := [
        f"{metric.name} ({reason})"
        for metric in metrics
        if (reason := metric.missing() or judge.missing(metric, run.task))
    ]:
        yield ("scored again", "failed", f"cannot be computed here: {', '.join(absent)}")
        return
    with parse.Parses(results) as parses:
        made = score.compute(run, metrics, parses, draws=document["interval"]["draws"])
    again = {one.metric: asdict(one) for one in made.scores}
    for row in computed:
        faults = list(_differences(row, again[row["metric"]]))
        yield _check(row["metric"], "; ".join(faults[:3]), "same values, interval and signature")
    for name, rows in zip(FILES, (made.per_sample, made.statistics), strict=True):
        kept = {row["sample_id"]: row for row in store.read_rows(run.folder / name)}
        faults = [
            fault for row in rows for fault in _differences(kept.get(row["sample_id"], {}), row, row["sample_id"])
        ]
        yield _check(name, "; ".join(faults[:3]), f"{len(rows)} rows")


def _differences(stored: Any, made: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ by more than rounding, as ``path: stored / made``."""
    if isinstance(stored, dict) and isinstance(made, dict):
        for name in {**stored, **made}:
            yield from _differences(stored.get(name), made.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(stored, list | tuple) and isinstance(made, list | tuple) and len(stored) == len(made):
        for at, pair in enumerate(zip(stored, made, strict=True)):
            yield from _differences(*pair, f"{path}[{at}]")
    elif isinstance(stored, int | float) and isinstance(made, int | float):
        if not math.isclose(stored, made, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{path}: {stored} / {made}"
    elif stored != made:
        yield f"{path}: {stored} / {made}"
