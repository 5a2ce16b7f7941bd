"""Writes a report: self-contained ``report.html``, ``report.md``, and ``figures/`` as SVG and PNG.

The page's content security policy allows only its own script, by hash, and loads nothing; charts are embedded images,
captions are always escaped. No file contains a time.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from harness import store
from harness.pages import templates
from leaderboards.markdown import code, escaped, table_lines
from leaderboards.report.gather import Report
from leaderboards.report.parts import Figure, Missing, Remark, Table

HERE = Path(__file__).parent
FIGURES = "figures"
OPEN = 5  # values per pair of captions; the others are shown while they are sorted by
UNSAFE = re.compile(r"[^\w.-]+")


def write(folder: Path, report: Report) -> list[Path]:
    """Write all files of a report; returns their paths, the page first."""
    figures = _named([part for section in report.sections for part in section.parts if isinstance(part, Figure)])
    written = [(folder / "report.html", html(report)), (folder / "report.md", markdown(report, figures))]
    for path, text in written:
        store.write_bytes(path, text.encode())
    paths = [path for path, _ in written]
    for stem, figure in figures.items():
        for suffix, content in ((".svg", figure.svg), (".png", figure.png)):
            paths.append(folder / FIGURES / f"{stem}{suffix}")
            store.write_bytes(paths[-1], content)
    return paths


def _named(figures: Sequence[Figure]) -> dict[str, Figure]:
    """Figures by a unique file stem of letters, digits, ``.``, ``-`` and ``_``."""
    named = dict[str, Figure]()
    for figure in figures:
        stem = UNSAFE.sub("_", figure.name)
        while stem in named:
            stem += "_"
        named[stem] = figure
    return named


def html(report: Report) -> str:
    """The page."""
    return templates.page(
        HERE,
        "page.html",
        styles=[templates.HERE / "report.css", HERE / "page.css"],
        script=HERE / "page.js",
        filters={"kind": _kind},
        content={
            "report": report,
            "shown_sections": [section for section in report.sections if not section.empty],
            "captions": not isinstance(report.browser, Missing),
            "missing": _missing(report),
            "open": OPEN,
            "address": _address,
        },
    )


def _missing(report: Report) -> list[tuple[str, Missing]]:
    """What is not stored, with the title of its section."""
    parts = [(section.title, part) for section in report.sections for part in section.missing]
    return [*parts, ("What do they say?", report.browser)] if isinstance(report.browser, Missing) else parts


def _kind(part: object) -> str:
    return type(part).__name__


def _address(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def markdown(report: Report, figures: dict[str, Figure]) -> str:
    """The report without captions, for terminals and repositories."""
    stems = {id(figure): stem for stem, figure in figures.items()}
    lines = ["# Report", "", f"{report.runs} scored runs on {', '.join(map(escaped, report.tasks)) or 'no task'}."]
    for section in report.sections:
        lines += ["", f"## {escaped(section.title)}"]
        for part in section.parts:
            lines.append("")
            if isinstance(part, Remark):
                lines.append(escaped(part.text))
            elif isinstance(part, Missing):
                lines.append(f"{escaped(part.what)} Command: {code(part.command)}.")
            elif isinstance(part, Figure):
                lines += [f"![{escaped(part.alt)}]({FIGURES}/{stems[id(part)]}.svg)", "", escaped(part.caption)]
            else:
                lines += _table(part)
    return "\n".join(lines) + "\n"


def _table(part: Table) -> list[str]:
    head, *rows = ([escaped(cell) for cell in row] for row in (part.head, *part.rows))
    lines = [f"**{escaped(part.title)}**", "", *table_lines(head, rows)]
    return [*lines, "", escaped(part.note)] if part.note else lines
