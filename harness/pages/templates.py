"""One Jinja environment and one document for all pages: run page, report, leaderboard and tables.

A page needs nothing else and loads nothing: styles and at most one script stand in it, and its content security policy
names them by hash. Texts are escaped by the environment; filter ``visible`` shows characters that cannot be seen.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.pages import highlight

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
FILTERS: Mapping[str, Callable[..., Any]] = {
    "visible": highlight.visible,
    "plain": highlight.plain,
    "size": highlight.size,
    "count": highlight.count,
}


def read(*files: Path) -> str:
    """Style sheets or scripts, one after the other."""
    return "".join(file.read_text(encoding="utf-8") for file in files)


def page(
    folder: Path,
    template: str,
    *,
    style: str,
    script: str = "",
    attributes: bool = True,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    content: Mapping[str, Any],
) -> str:
    """A page of a template in ``folder``, which extends ``document.html``.

    Args:
        attributes: the page has ``style`` attributes, which no hash can name.
    """
    from markupsafe import Markup

    environment = _environment(folder)
    environment.filters.update({**FILTERS, **(filters or {})})
    shell = {"policy": Markup(_policy(style, script, attributes)), "style": Markup(style), "script": Markup(script)}
    return environment.get_template(template).render(**content, **shell)


@functools.cache  # templates are compiled once for all pages of a site
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(style: str, script: str, attributes: bool) -> str:
    styles = "'unsafe-inline'" if attributes else _hash(style)
    scripts = f"script-src {_hash(script)}; " if script else ""
    return f"default-src 'none'; img-src data:; style-src {styles}; {scripts}base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
