"""The audit as Markdown: a table of verdicts, then the details of each check."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.audit.record import Check
from leaderboards.escape import markdown


def page(title: str, checks: Sequence[Check]) -> str:
    """The summary; names come from files, so they are escaped."""
    named = any(check.run for check in checks)
    head = ["check", *(["run"] if named else []), "what", "verdict", "found"]
    lines = [f"# {title}", "", _line(head), _line(["---"] * len(head))]
    for check in checks:
        run = [check.run or ""] if named else []
        lines.append(_line([check.id, *run, check.what, check.verdict, check.found]))
    for check in checks:
        if not check.details:
            continue
        lines += ["", f"## {check.id}{f' {markdown(check.run)}' if check.run else ''}: {markdown(check.what)}", ""]
        lines += [f"Formula: {markdown(check.formula)}. Tolerance: {markdown(check.tolerance)}.", ""]
        lines += [f"* {markdown(detail)}" for detail in check.details]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(markdown(cell) for cell in cells)} |"
