"""Texts that a run's files hold, made fit to be published: where things lie on a machine is left out.

Reasons, errors and manifests may name absolute paths, and with them users, and the hosts of servers. Captions, prompts
and replies are shown as they are.
"""

from __future__ import annotations

import re

from harness.pages.highlight import visible

HIDDEN = "…"
_PLACE = re.compile(
    r"(?P<scheme>\b(?!file:)[a-zA-Z][\w+.-]*://)(?P<host>[^\s/'\"`<>]+)"  # a server; its path follows
    r"|(?<![\w/\\.…])(?:file://)?(?:~[\w.-]*|[A-Za-z]:|\\\\[\w.-]+)?(?P<path>(?:[/\\][^\s/\\'\"`,;:()<>]+){2,})"
)


def public(text: object) -> str:
    """A text on one line, visible, without hosts and the folders of absolute paths.

    ``no gallery at /home/ann/data/scenes`` becomes ``no gallery at …/scenes``; of a path of two names, which may be
    somebody's home, nothing stays.
    """
    return _PLACE.sub(_without, visible(str(text)))


def _without(match: re.Match[str]) -> str:
    if match["scheme"]:
        return f"{match['scheme']}{HIDDEN}"
    names = re.split(r"[/\\]", match["path"])
    return f"{HIDDEN}/{names[-1]}" if len(names) > 3 else HIDDEN
