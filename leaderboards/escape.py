"""Escape untrusted text for Markdown, LaTeX and CSV: one line, invisible characters shown by their code.

HTML is escaped by its templates (autoescape, and filter ``visible`` of ``harness/pages/highlight.py``).
"""

from __future__ import annotations

import re

from harness.pages import highlight

LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def one_line(text: str) -> str:
    """The text on one line, invisible characters made visible."""
    return " ".join(highlight.visible(text).split())


def markdown(text: str) -> str:
    """Text escaped for Markdown, also inside table cells."""
    return "".join(f"\\{letter}" if letter in "\\`*[]<|#" else letter for letter in one_line(text))


def code(text: str) -> str:
    """Text as a Markdown code span, whatever backticks it holds; not for table cells."""
    line = one_line(text)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    return f"{'`' * (longest + 1)} {line} {'`' * (longest + 1)}" if longest else f"`{line}`"


def latex(text: str) -> str:
    """Text escaped for LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in one_line(text))


def sheet(text: str) -> str:
    """Text for a CSV cell that no spreadsheet interprets as a formula."""
    line = one_line(text)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
