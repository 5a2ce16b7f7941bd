"""The audit: consistency checks of the published tables, and the same checks of stored runs.

Each check (``record.Check``) records the claim, how it was recomputed and the verdict, in exact arithmetic. Written to
``audit.json`` and ``audit.md``. Exit code 0 whatever the verdicts are, but 1 where a published value of ``--published``
differs. Run with ``cim audit`` (published tables), ``audit RUN...`` or ``audit --runs`` (stored runs), or
``audit RUN... --published FILE`` (published values of these runs' captions).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import registry, store
from harness.errors import CimError
from harness.resources import paths
from harness.runs import stored_run

if TYPE_CHECKING:
    from leaderboards.audit.record import Check
    from leaderboards.published import PaperRow

FOLDER = Path(".leaderboards") / "audit"  # below the results folder; never a task's


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Run the audit, write both files, print one of them."""
    from leaderboards import published
    from leaderboards.audit import record, stored, summary, systems

    results = paths.results_root(args.results)
    out = args.out or results / FOLDER
    match args.runs_named:
        case [file] if file.endswith(".csv") and args.tables is None:
            args.tables, args.runs_named = Path(file), []
    values = systems.read(args.published) if args.published else []
    if values and not args.runs_named:
        args.runs_named = list(dict.fromkeys(row.system for row in values))
    stored_runs = args.runs or bool(args.runs_named)
    if stored_runs and args.tables:
        raise CimError("stored runs and a file of tables: one or the other", where="--tables")
    if stored_runs:
        folders = [stored_run.find(name, results, args.task) for name in args.runs_named]
        load_all = stored_run.load_all
        runs = [stored_run.load(folder) for folder in folders] if folders else load_all(results, tell, args.task)
        title = f"Audit of {len(runs)} stored runs"
        checks = list(systems.checks(runs, values, str(args.published)) if values else stored.checks(runs))
    else:
        checks, title = of_tables(published.read(args.tables), tell), "Audit of the published tables"
    name = "published" if values else "runs" if stored_runs else "audit"
    records, text = {"title": title, "checks": [check.as_json() for check in checks]}, summary.page(title, checks)
    store.write_document(out / f"{name}.json", records)
    store.write_bytes(out / f"{name}.md", text.encode())
    say(store.dumps(records) if args.json else text.rstrip())
    tell(f"written to {out / name}.json and .md")
    return int(bool(values) and any(check.verdict in (record.FAILS, record.PARTLY) for check in checks))


def of_tables(rows: Sequence[PaperRow], tell: Callable[[str], None]) -> list[Check]:
    """All checks of published rows; checks of claims only if the rows are the published ones."""
    from leaderboards import published
    from leaderboards.audit import association, claims, counts, shape, triples

    questions = {b: n for b, task in published.TASKS.items() if (n := registry.task(task).questions)}
    checks = [
        shape.shape(rows),
        shape.agreement(rows),
        counts.shares(rows, questions),
        triples.bounded(rows),
        triples.gaps(rows),
        shape.repeated(rows, triples.suspects(rows)),
        association.correlations(rows),
    ]
    if {(row.label, *row.printed) for row in rows} == {(row.label, *row.printed) for row in published.read()}:
        checks += [check(rows) for check in (*claims.OF_TABLES, association.short_references)]
        checks += [claims.over_sc_captioner(rows, questions)]
    else:
        tell("rows or cells differ from the published ones: checks of claims about them are left out")
    return sorted(checks, key=lambda check: int(check.id.removeprefix("A-")))
