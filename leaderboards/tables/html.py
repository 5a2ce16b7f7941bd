"""The tables as one self-contained HTML page without scripts; our numbers link to their runs.

Template and style are ``page.html`` and ``page.css`` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.pages import templates
from leaderboards.tables import legend
from leaderboards.tables.paper import Table

HERE = Path(__file__).parent


def page(tables: Sequence[Table], source: Mapping[str, str]) -> str:
    """The whole page."""
    from markupsafe import Markup

    return templates.page(
        HERE,
        "page.html",
        styles=[HERE / "page.css"],
        filters={"breakable": lambda name: Markup("<wbr>@").join(name.split("@"))},
        content={"tables": tables, "source": source, "legend": legend},
    )
