"""The audit as Markdown: a table of verdicts, the details of each check, what could not be checked."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.audit.record import Check
from leaderboards.markdown import escaped, table_lines


def page(title: str, checks: Sequence[Check], unchecked: Sequence[str] = ()) -> str:
    """The summary; names come from files, so they are escaped."""
    named = any(check.run for check in checks)
    head = ["check", *(["run"] if named else []), "what", "verdict", "found"]
    runs = [[check.run or ""] if named else [] for check in checks]
    rows = [[c.id, *run, c.what, c.verdict, c.found] for c, run in zip(checks, runs, strict=True)]
    lines = [f"# {escaped(title)}", "", *table_lines(head, [list(map(escaped, row)) for row in rows], left=len(head))]
    for check in checks:
        if not check.details:
            continue
        lines += ["", f"## {check.id}{f' {escaped(check.run)}' if check.run else ''}: {escaped(check.what)}", ""]
        lines += [f"Formula: {escaped(check.formula)}. Tolerance: {escaped(check.tolerance)}.", ""]
        lines += [f"* {escaped(detail)}" for detail in check.details]
    if unchecked:
        lines += ["", "## Not checked", "", *(f"* {escaped(line)}" for line in unchecked)]
    return "\n".join(lines) + "\n"
