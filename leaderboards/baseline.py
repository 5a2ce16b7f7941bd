"""The ``baseline`` command: update the gate's baseline to a stored run and print what changes.

Copies what the gate reads (manifest, captions, scores, per-sample rows) to ``results/baseline/<task>/<run>/``, without
machine-specific data: paths, platform, times. The metrics stay those of the current baseline. Run with
``cim baseline RUN`` (``make baseline``); explained in ``docs/gate.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.resources import paths
from harness.runs import manifest, records, signature, stored_run
from harness.runs.stored_run import StoredRun
from leaderboards import gate

KEPT = ("format", "status", "settings", "prompt", "files", "captions")
OF_ENGINE = ("name", "build", "version", "torch", "device", "dtype")
OF_MAKER = ("git", "packages", "python")


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Check the run, print what changes, write."""
    run = stored_run.load(stored_run.find(args.run, paths.results_root(args.results), args.task))
    gate.check_valid(run, "the run")
    into = (Path(args.into) if args.into else gate.BASELINES) / gate.task_of(run) / run.model
    before = stored_run.load(into) if (into / manifest.NAME).is_file() else None
    metrics = _metrics(run, before, args.metrics.split(",") if args.metrics else None)
    if fault := _fault(run):
        if not args.dry_run:
            raise CimError(fault, where=str(run.files.folder), hint="make the run again (cim eval --fresh)")
        tell(f"would be refused: {fault}")
    if failed := run.failed:
        tell(f"{failed} captions failed; the reasons in {records.NAME} become part of the baseline: read them first")
    for line in changes(run, before, metrics):
        say(line)
    if args.dry_run:
        say(f"nothing written to {into}")
    else:
        say(f"wrote {write(run, metrics, into):,} bytes to {into}; commit them")
    return 0


def _metrics(run: StoredRun, before: StoredRun | None, named: Sequence[str] | None) -> list[str]:
    """Metrics of the new baseline; CimError if the run lacks one."""
    metrics = list(named or (before.computed if before else run.computed))
    if lacking := [name for name in metrics if name not in run.computed]:
        hint = "score it, or name the baseline's metrics with --metrics"
        raise CimError(f"the run lacks {', '.join(lacking)}", where=str(run.files.folder), hint=hint)
    return sorted(metrics)


def _fault(run: StoredRun) -> str | None:
    """Why a valid run must not become a baseline: it is not reproducible, or it has no captions; None if it may."""
    if ((run.manifest.get("made_by") or {}).get("git") or {}).get("dirty"):
        return "made by uncommitted code (git: dirty)"
    if run.manifest.get("other_engines"):
        return "made in several parts, by different builds or devices"
    if run.failed == len(run.per_sample):
        return "all captions failed: nothing could fall below them"
    return None


def changes(run: StoredRun, before: StoredRun | None, metrics: Sequence[str]) -> Iterator[str]:
    """What changes: one line per value, then signatures and settings that differ."""
    old = before.scores if before else {}
    for name in sorted({*metrics, *old}):
        if name not in metrics:
            yield f"{name}: dropped"
            continue
        score = run.scores[name]
        for value, number in score["values"].items():
            digits, earlier = registry.metric(name).value(value).decimals, old.get(name, {}).get("values", {})
            before_it = f"{_shown(earlier[value], digits)} -> " if value in earlier else "new, "
            yield f"{name} {value}: {before_it}{_shown(number, digits)}"
        if name in old and (changed := signature.differences(old[name]["signature"] or "", score["signature"] or "")):
            yield f"{name} signature: {', '.join(changed)}"
    if left := [name for name in run.computed if name not in metrics]:
        yield f"of the run, not taken: {', '.join(left)} (--metrics takes them)"
    for line in gate.differing_settings(run, before) if before else ():
        yield f"setting {line}"


def _shown(number: float | None, digits: int) -> str:
    return "undefined" if number is None else f"{number:.{digits}f}"


def write(run: StoredRun, metrics: Sequence[str], into: Path) -> int:
    """Write a baseline's files, the manifest last; returns their size in bytes."""
    captions = run.files.completions()
    document = {name: value for name, value in run.document.items() if name != "sums"}  # of other rows
    document |= {"scores": [row for row in run.document["scores"] if row["metric"] in metrics]}
    store.write_rows(into / records.NAME, (records.row(captions[name]) for name in sorted(captions)))
    for name, rows in ((stored_run.PER_SAMPLE, run.per_sample), (stored_run.STATISTICS, run.statistics)):
        store.write_rows(into / name, (_of(rows[sample_id], metrics) for sample_id in sorted(rows)))
    store.write_document(into / stored_run.SCORES, document)
    store.write_document(into / manifest.NAME, _manifest(run.manifest))
    return sum(path.stat().st_size for path in into.iterdir())


def _of(row: dict[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    return {name: cell for name, cell in row.items() if name == "sample_id" or name in metrics}


def _manifest(stored: dict[str, Any]) -> dict[str, Any]:
    """A manifest without machine-specific data."""
    engine, maker = stored.get("engine") or {}, stored.get("made_by") or {}
    return {
        **{name: stored[name] for name in KEPT if name in stored},
        "engine": {name: engine[name] for name in OF_ENGINE if name in engine},
        "made_by": {name: maker[name] for name in OF_MAKER if name in maker},
    }
