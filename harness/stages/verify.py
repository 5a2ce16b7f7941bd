"""The verify verb: is a stored run complete, and do its numbers follow from its rows?

Checks the manifest, the rows (ids, counts, digest), the task's data, whether the files agree with each other
(``runs/validate.py``), and scores everything again from the raw rows: an edited score is found. Run with
``cim verify results/docci500/my-model``.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from harness import registry
from harness.errors import CimError
from harness.parts import Metric
from harness.resources import data
from harness.runs import manifest, signature, stats, stored_run, validate
from harness.runs import run as runs
from harness.runs.stored_run import StoredRun
from harness.stages import choice, model, parse, score
from harness.types import Task

Check = tuple[str, str, str]
FILES = (stored_run.PER_SAMPLE, stored_run.STATISTICS, stored_run.DETAILS, stored_run.JUDGED)


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


def _check(name: str, fault: str, fine: str) -> Check:
    return (name, "failed", fault) if fault else (name, "ok", fine)


def _checks(folder: Path, results: Path) -> Iterator[Check]:
    stored = stored_run.load(folder.resolve())
    yield _check("form", "", f"{manifest.NAME} and {stored_run.SCORES} hold what they must")
    status = stored.manifest["status"]
    yield _check("manifest", "" if status == "complete" else f"status is {status}", "complete")
    captioner = model.resolve(str(stored.files.folder), results)[0]
    task = registry.task(captioner.tasks[0])
    made_on, fingerprint = stored.manifest["settings"]["task"]["data"], data.fingerprint(task)
    fault = "" if made_on == fingerprint else f"made on {made_on}, here is {fingerprint}"
    yield _check("data", fault, f"{task.name}@{fingerprint}")
    yield _check("claims", "; ".join(_claims(stored, task)), "as they must be")
    run = runs.plan(captioner, task, stored.results, limit=None, partial=True, fresh=True)
    run = replace(run, files=stored.files)  # a run is checked wherever it lies
    differing = manifest.changes(stored.manifest["settings"], run.settings)
    fault = f"differ from the manifest (stored / now: {', '.join(differing)})" if differing else ""
    yield _check("captions", fault, f"{len(run.samples)} rows")
    undigested = "" if "captions" in stored.manifest else f"{manifest.NAME} lacks their digest"
    yield _check("captions digest", "; ".join(validate.stale(stored)) or undigested, stored.document["captions"])
    yield _check("files", validate.fault(stored) or "", "agree with each other")
    yield from _scored_again(run, stored)


def _claims(run: StoredRun, task: Task) -> Iterator[str]:
    """False statements of a manifest or score document, other than numbers."""
    stored, document = run.manifest, run.document
    files = data.digests(task)
    if stored.get("files", files) != files:
        yield f"{manifest.NAME} names other data files"
    prompt = hashlib.sha256(str(stored.get("prompt", task.prompt)).encode()).hexdigest()[:12]
    if prompt != stored["settings"]["task"]["prompt"]:
        yield f"the prompt in {manifest.NAME} is not that of its settings"
    draws = document["interval"]["draws"]
    if not 0 <= draws <= stats.MOST_DRAWS:
        yield f"{draws} draws; 0 to {stats.MOST_DRAWS} are made again"
    expected = {
        "format": manifest.FORMAT,
        "task": task.name,
        "model": run.model,
        "interval": score.how_drawn(draws, run.n_images),
    }
    for name, value in expected.items():
        if document.get(name) != value:
            yield f"{name} in {stored_run.SCORES} is {document.get(name)}, must be {value}"


def _scored_again(run: runs.Run, stored: StoredRun) -> Iterator[Check]:
    computed = [row for row in stored.document["scores"] if not row.get("not_computed")]
    judged = dict[str, tuple[runs.Run, list[Metric]]]()  # by judge model: a run's metrics may have had several
    for row in computed:
        name = signature.read(row["signature"] or "").get("judge", "").rpartition("@")[0]
        metric = choice.metric_of(row["metric"], run.task)
        judged.setdefault(name, (replace(run, judge=name or None), []))[1].append(metric)
    # An empty cache, as the shared one is no evidence; the run's own parses are part of the run, like its replies.
    with tempfile.TemporaryDirectory() as empty, parse.Parses(Path(empty)) as parses:
        parses.take(run.folder)
        if absent := [
            f"{metric.name} ({reason})"
            for by, metrics in judged.values()
            for metric in metrics
            if (reason := choice.missing_here(metric, by, parses, named=True))
        ]:
            yield ("scored again", "failed", f"cannot be computed here: {', '.join(absent)}")
            return
        draws = stored.document["interval"]["draws"]
        parts = [score.compute(by, metrics, parses, draws=draws) for by, metrics in judged.values()]
    rescored = score.together(parts)
    again = {row.metric: asdict(row) for row in rescored.scores}
    for row in computed:
        anew = again[row["metric"]]
        # A judge may have been asked about controls since.
        anew |= {"controls": {name: control for name, control in anew["controls"].items() if name in row["controls"]}}
        faults = list(validate.differences(row, anew))
        yield _check(row["metric"], "; ".join(faults[:3]), "same values, interval and signature")
    rows_again = (rescored.per_sample, rescored.statistics, rescored.details, rescored.judged)
    for name, rows in zip(FILES, rows_again, strict=True):
        kept = run.files.rows(name)
        if name == stored_run.JUDGED and not kept:  # no judge, or scored before there was this file
            continue
        faults = [f"{name} is of no sample" for name in kept.keys() - {row["sample_id"] for row in rows}]
        faults += [
            fault
            for row in rows
            for fault in validate.differences(kept.get(row["sample_id"], {}), row, row["sample_id"])
        ]
        yield _check(name, "; ".join(faults[:3]), f"{len(rows)} rows")
