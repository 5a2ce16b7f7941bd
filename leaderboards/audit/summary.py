"""The audit as Markdown: a table of verdicts, then what was found, check by check."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.audit.record import Check


def markdown(title: str, checks: Sequence[Check]) -> str:
    """The summary; names come from files and are escaped."""
    own = any(check.run for check in checks)
    head = ["check", *(["run"] if own else []), "what", "verdict", "found"]
    lines = [f"# {title}", "", _line(head), _line(["---"] * len(head))]
    for check in checks:
        run = [check.run or ""] if own else []
        lines.append(_line([check.id, *run, check.what, check.verdict, check.found]))
    for check in checks:
        if not check.details:
            continue
        lines += ["", f"## {check.id}{f' {_cell(check.run)}' if check.run else ''}: {_cell(check.what)}", ""]
        lines += [f"Formula: {_cell(check.formula)}. Tolerance: {_cell(check.tolerance)}.", ""]
        lines += [f"* {_cell(detail)}" for detail in check.details]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    """Text that Markdown takes as text, on one line."""
    one = " ".join(text.split())
    for letter in "\\`*[]<|":
        one = one.replace(letter, "&lt;" if letter == "<" else f"\\{letter}")
    return one
