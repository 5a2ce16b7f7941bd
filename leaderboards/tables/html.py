"""The tables as one self-contained HTML page without scripts; our numbers link to their runs.

Template and style are in ``page/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.pages import highlight
from leaderboards.tables import legend
from leaderboards.tables.paper import Table

PAGE = Path(__file__).parent / "page"


def page(tables: Sequence[Table], source: Mapping[str, str]) -> str:
    """The whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = highlight.visible
    environment.filters["breakable"] = lambda name: Markup("<wbr>@").join(name.split("@"))
    return environment.get_template("tables.html").render(
        style=Markup((PAGE / "tables.css").read_text(encoding="utf-8")), tables=tables, source=source, legend=legend
    )
