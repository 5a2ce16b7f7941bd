"""The tables as one self-contained HTML page without scripts; our numbers link to their runs.

Template and style are in ``page/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.pages import templates
from leaderboards.tables import legend
from leaderboards.tables.paper import Table

PAGE = Path(__file__).parent / "page"


def page(tables: Sequence[Table], source: Mapping[str, str]) -> str:
    """The whole page."""
    from markupsafe import Markup

    return templates.page(
        PAGE,
        "tables.html",
        style=templates.read(PAGE / "tables.css"),
        filters={"breakable": lambda name: Markup("<wbr>@").join(name.split("@"))},
        content={"tables": tables, "source": source, "legend": legend},
    )
