"""The audit: what the digits of a printed table allow, what a paper claims of its tables, and whether runs are sound.

Each check (``record.Check``) records the claim, how it was recomputed and the verdict, in exact arithmetic; a finding
in a table is ``impossible``, ``improbable`` or a ``note``. Written as JSON and Markdown. Exit code 0, but 1 where a
cell of a FILE is impossible or a value of ``--published`` differs. Run with ``cim audit`` (the CIM paper's tables and
claims), ``audit FILE.csv...`` (any printed table), ``audit RUN...`` or ``audit --runs`` (stored runs), or ``audit
RUN... --published FILE`` (published values of these runs' captions).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry, store
from harness.errors import CimError
from harness.resources import paths
from harness.runs import stored_run

if TYPE_CHECKING:
    from leaderboards.audit.record import Check

FOLDER = Path(".leaderboards") / "audit"  # below the results folder; never a task's
SUFFIXES = (".csv", ".tsv")


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Run the audit, write both files, print one of them."""
    results = paths.results_root(args.results)
    files = [Path(name) for name in args.runs_named if name.lower().endswith(SUFFIXES)]
    if files and (args.runs or args.published or len(files) < len(args.runs_named)):
        raise CimError("stored runs and printed tables: one or the other", where=str(files[0]))
    if files:
        name, records, text, code = _of_files(files)
    elif args.runs or args.runs_named or args.published:
        name, records, text, code = _of_runs(args, results, tell)
    else:
        name, records, text, code = _of_paper()
    out = args.out or results / FOLDER
    store.write_document(out / f"{name}.json", records)
    store.write_bytes(out / f"{name}.md", text.encode())
    say(store.dumps(records) if args.json else text.rstrip())
    tell(f"written to {out / name}.json and .md")
    return code


Outcome = tuple[str, dict[str, Any], str, int]
"""Stem of the files, the JSON document, the page in Markdown, the exit code."""


def _of_files(files: Sequence[Path]) -> Outcome:
    """Printed tables, one after the other."""
    from leaderboards.audit import general, summary
    from leaderboards.printed import reader

    tables, pages, findings, wrong = list[dict[str, Any]](), list[str](), list[dict[str, Any]](), 0
    for file in files:
        printed = reader.read(file)
        checks, unchecked = general.checks(printed), general.not_run(printed)
        title = f"Audit of {printed.title or file.name}" + (f" ({printed.source})" if printed.source else "")
        rows = [check.as_json() for check in checks]
        tables.append({"file": str(file), "title": title, "checks": rows, "not checked": unchecked})
        findings += general.as_rows(checks, str(file))
        pages.append(summary.page(title, checks, unchecked))
        wrong += general.impossible(checks)
    return "files", {"tables": tables, "findings": findings}, "\n".join(pages), int(wrong > 0)


def _of_paper() -> Outcome:
    """The CIM paper's tables, and what its text claims of them."""
    from leaderboards import published
    from leaderboards.audit import association, claims, general, summary

    questions = {b: n for b, task in published.TASKS.items() if (n := registry.task(task).questions)}
    printed, rows = published.sheet(), published.read()
    checks = [*general.checks(printed), *(check(rows) for check in (*claims.OF_TABLES, *association.OF_TABLES))]
    checks.append(claims.over_sc_captioner(rows, questions))
    checks.sort(key=lambda check: int(check.id.removeprefix("A-")))
    name, title = printed.name.rpartition("/")[2], "Audit of the published tables"
    return (
        "audit",
        _document(title, checks) | {"findings": general.as_rows(checks, name)},
        summary.page(title, checks),
        0,
    )


def _of_runs(args: argparse.Namespace, results: Path, tell: Callable[[str], None]) -> Outcome:
    """Stored runs; with ``--published`` the published values of their captions."""
    from leaderboards.audit import record, stored, summary, systems

    values = systems.read(args.published) if args.published else []
    names = args.runs_named or list(dict.fromkeys(row.system for row in values))
    folders = [stored_run.find(name, results, args.task) for name in names]
    load_all = stored_run.load_all
    runs = [stored_run.load(folder) for folder in folders] if folders else load_all(results, tell, args.task)
    title = f"Audit of {len(runs)} stored runs"
    checks = list(systems.checks(runs, values, str(args.published)) if values else stored.checks(runs))
    differs = bool(values) and any(check.verdict in (record.FAILS, record.PARTLY) for check in checks)
    return "published" if values else "runs", _document(title, checks), summary.page(title, checks), int(differs)


def _document(title: str, checks: Sequence[Check]) -> dict[str, Any]:
    return {"title": title, "checks": [check.as_json() for check in checks]}
