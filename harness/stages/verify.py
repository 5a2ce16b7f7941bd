"""The verify verb: is a stored run whole, and do its numbers follow from its rows?

Checks the manifest, the rows (ids, counts, digest), the task's data, and scores everything again from
the raw rows: an edited score is found. Run with ``cim verify results/docci500/my-model``.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.parts import Metric
from harness.resources import data
from harness.runs import manifest, records, scored, signature
from harness.runs import run as runs
from harness.runs.form import DOCUMENT, MANIFEST, malformed
from harness.stages import model, parse, score
from harness.types import Task

Check = tuple[str, str, str]
TOLERANCE = 1e-9
FILES = (scored.PER_SAMPLE, scored.STATISTICS, scored.DETAILS)
MOST_DRAWS = 100_000  # a run from elsewhere must not keep this machine busy for hours


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
    stored, document = (store.read_document(folder / name) or {} for name in (manifest.NAME, scored.SCORES))
    return [*malformed(stored, MANIFEST, manifest.NAME), *malformed(document, DOCUMENT, scored.SCORES)]


def _check(name: str, fault: str, fine: str) -> Check:
    return (name, "failed", fault) if fault else (name, "ok", fine)


def _checks(folder: Path, results: Path) -> Iterator[Check]:
    faults = form_faults(folder)
    yield _check("form", "; ".join(faults[:3]), f"{manifest.NAME} and {scored.SCORES} hold what they must")
    stored, document = manifest.read(folder) or {}, store.read_document(folder / scored.SCORES) or {}
    yield _check("manifest", "" if stored["status"] == "complete" else f"status is {stored['status']}", "complete")
    one = model.resolve(str(folder.resolve()), results)[0]
    task = registry.task(one.tasks[0])
    settings = manifest.flat(stored["settings"])
    fingerprint = data.fingerprint(task)
    fault = "" if settings["task.data"] == fingerprint else f"made on {settings['task.data']}, here is {fingerprint}"
    yield _check("data", fault, f"{task.name}@{fingerprint}")
    yield _check("claims", "; ".join(_claims(stored, document, folder.resolve(), task)), "as they must be")
    run = runs.plan(one, task.name, folder.resolve().parent.parent, limit=None, partial=True, fresh=True)
    run = replace(run, folder=folder.resolve())  # a run is checked wherever it lies
    now = manifest.flat(run.settings)
    differing = [name for name in {**settings, **now} if settings.get(name) != now.get(name)]
    fault = f"differ from the manifest in {', '.join(differing)}" if differing else ""
    yield _check("captions", fault, f"{len(run.samples)} rows")
    digest = records.digest(run.folder)
    fault = "" if stored.get("captions") == digest else f"made {stored.get('captions')}, stored are {digest}"
    yield _check("captions digest", fault, digest)
    fault = "" if document["captions"] == digest else f"scored from {document['captions']}, stored are {digest}"
    yield _check("scores", fault, f"made from captions {digest}")
    yield from _scored_again(run, document, results)


def _claims(stored: dict[str, Any], document: dict[str, Any], folder: Path, task: Task) -> Iterator[str]:
    """What a manifest and a score document say beside numbers, where it is not so."""
    files = {file.name: file.sha256 for file in task.files}
    if stored.get("files", files) != files:
        yield f"{manifest.NAME} names other data files"
    prompt = hashlib.sha256(str(stored.get("prompt", task.prompt)).encode()).hexdigest()[:12]
    if prompt != stored["settings"]["task"]["prompt"]:
        yield f"the prompt in {manifest.NAME} is not that of its settings"
    draws = document["interval"]["draws"]
    if not 0 <= draws <= MOST_DRAWS:
        yield f"{draws} draws; 0 to {MOST_DRAWS} are made again"
    must = {"format": manifest.FORMAT, "task": task.name, "model": folder.name, "interval": score.how_drawn(draws)}
    for name, value in must.items():
        if document.get(name) != value:
            yield f"{name} in {scored.SCORES} is {document.get(name)}, must be {value}"


def _scored_again(run: runs.Run, document: dict[str, Any], results: Path) -> Iterator[Check]:
    computed = [row for row in document["scores"] if not row.get("not_computed")]
    judged = dict[str, tuple[runs.Run, list[Metric]]]()  # by who answered: a run's metrics may have had several judges
    for row in computed:
        name = signature.read(row["signature"] or "").get("judge", "").rpartition("@")[0]
        judged.setdefault(name, (replace(run, judge=name or None), []))[1].append(score.metric_of(row["metric"], run))
    # An empty cache: what stands in the shared one is nobody's word. The run's own parses are rows like its replies.
    with tempfile.TemporaryDirectory() as empty, parse.Parses(Path(empty)) as parses:
        parses.take(run.folder)
        if absent := [
            f"{metric.name} ({reason})"
            for by, metrics in judged.values()
            for metric in metrics
            if (reason := score.missing_here(metric, by, parses, named=True))
        ]:
            yield ("scored again", "failed", f"cannot be computed here: {', '.join(absent)}")
            return
        draws = document["interval"]["draws"]
        parts = [score.compute(by, metrics, parses, draws=draws) for by, metrics in judged.values()]
    made = score.together(parts)
    again = {one.metric: asdict(one) for one in made.scores}
    for row in computed:
        anew = again[row["metric"]]
        # A judge may have been asked about controls since.
        anew |= {"controls": {name: found for name, found in anew["controls"].items() if name in row["controls"]}}
        faults = list(_differences(row, anew))
        yield _check(row["metric"], "; ".join(faults[:3]), "same values, interval and signature")
    for name, rows in zip(FILES, (made.per_sample, made.statistics, made.details), strict=True):
        kept = {str(row.get("sample_id")): row for row in store.read_rows(run.folder / name)}
        faults = [f"{name} is of no sample" for name in kept.keys() - {row["sample_id"] for row in rows}]
        faults += [
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
