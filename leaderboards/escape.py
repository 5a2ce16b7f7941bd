"""Escape untrusted text for LaTeX and CSV: one line, invisible characters shown by their code.

Markdown is escaped by ``markdown.py``, HTML by its templates (autoescape, and filter ``visible`` of
``harness/pages/highlight.py``).
"""

from __future__ import annotations

from harness.pages import highlight

LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",  # after a line's end these would be its options
    "*": "{*}",
}


def one_line(text: str) -> str:
    """The text on one line, invisible characters made visible."""
    return " ".join(highlight.visible(text).split())


def latex(text: str) -> str:
    """Text escaped for LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in one_line(text))


def sheet(text: str) -> str:
    """Text for a CSV cell that no spreadsheet interprets as a formula."""
    line = one_line(text)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
