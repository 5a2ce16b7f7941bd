"""Markdown of untrusted texts: escaped text, code spans, tables. Read by GitHub, editors and terminals alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from leaderboards.escape import one_line

# Of CommonMark and of GitHub's tables, strikethrough and formulas; what makes a line a list item, a rule or a heading.
_SPECIAL = re.compile(r"[\\`*_\[\]<>&|~#!$]|^[-+](?= |$)|^[-=](?=[-= ]*$)")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])")


def escaped(text: str) -> str:
    """A text that stays text, on one line, also at the beginning of a line and inside a table."""
    return _NUMBERED.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", one_line(text)))


def code(text: str) -> str:
    """Text as a code span, whatever backticks it holds; not for tables, where ``|`` ends a cell even in code."""
    line = one_line(text)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    return f"{'`' * (longest + 1)} {line} {'`' * (longest + 1)}" if longest else f"`{line}`"


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table of Markdown cells; the first ``left`` columns are text, the others numbers."""
    rule = ["---" if at < left else "---:" for at in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
