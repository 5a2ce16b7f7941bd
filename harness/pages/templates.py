"""One Jinja environment, one document and one base style for all pages: run page, report, leaderboard and tables.

A page needs nothing else and loads nothing: one style and at most one script stand in it, and its content security
policy names them by hash. Texts are escaped by the environment; filter ``visible`` shows characters that cannot be
seen, ``public`` also leaves out where things lie on a machine.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.pages import highlight
from harness.pages.highlight import Piece
from harness.pages.public import public
from harness.types import Element

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent


def _html(pieces: Iterable[Piece]) -> Markup:
    from markupsafe import Markup

    return Markup(highlight.html(pieces))


def _html_list(elements: Iterable[Element]) -> Markup:
    from markupsafe import Markup

    return Markup(highlight.html_list(elements))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "visible": highlight.visible,
    "public": public,
    "html": _html,
    "html_list": _html_list,
    "plain": highlight.plain,
    "size": highlight.size,
    "count": highlight.count,
}


@dataclass(frozen=True, slots=True)
class Navigation:
    """The tabs of a site above a page: first page, (name, title, address) of each task, and the page's task.

    ``below``: the page is one below its task's page.
    """

    index: str
    tabs: Sequence[tuple[str, str, str]]
    task: str = ""
    below: bool = False


def read(*files: Path) -> str:
    """Style sheets or scripts, one after the other."""
    return "".join(file.read_text(encoding="utf-8") for file in files)


def page(
    folder: Path,
    template: str,
    *,
    styles: Sequence[Path],
    script: Path | None = None,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    navigation: Navigation | None = None,
    forms: str = "'none'",
    content: Mapping[str, Any],
) -> str:
    """A page of a template in ``folder``, which extends ``document.html``.

    Args:
        styles: what the page needs beside ``base.css``.
        forms: where the page's forms may be sent, as its content security policy says it.
    """
    from markupsafe import Markup

    environment = _environment(folder)
    environment.filters.update({**FILTERS, **(filters or {})})
    style, code = read(HERE / "base.css", *styles), read(script) if script else ""
    shell = {"policy": Markup(_policy(style, code, forms)), "style": Markup(style), "script": Markup(code)}
    return environment.get_template(template).render(**content, **shell, navigation=navigation)


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


def _policy(style: str, script: str, forms: str) -> str:
    scripts = f"script-src {_hash(script)}; " if script else ""
    loads = f"default-src 'none'; img-src data:; style-src {_hash(style)}; {scripts}"
    return f"{loads}base-uri 'none'; form-action {forms}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
