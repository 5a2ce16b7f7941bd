"""Replies of judge models that runs share: ``results/.cache/replies/<settings>.jsonl``, by the sha256 of the prompt.

Greedy replies of weights and servers are shared, also with ``--fresh``: the same model would write the same again. The
settings identify the model, sampling included. Sampled replies are not shared, nor those of a hub checkpoint without a
pinned commit or of a server without a ``revision``: what it runs may change behind its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from harness.runs import manifest
from harness.runs.cache import Cache, settings_key
from harness.types import Model

PUT = "1"  # version of how engines render prompts; raise it when that changes, to invalidate cached replies
COMMIT = re.compile(r"[0-9a-f]{40}")


def identity(settings: Mapping[str, Any]) -> str:
    """Twelve hex digits that identify a judge model, sampling included."""
    return settings_key({name: str(value) for name, value in manifest.flat(settings).items()})


def cache_of(results: Path, answerer: Model) -> Cache | None:
    """The cache of a deterministic judge model: weights or a server, at temperature 0, that do not change unseen."""
    weights, server = answerer.weights, answerer.server
    if weights is not None:
        pinned = weights.local or bool(COMMIT.fullmatch(weights.revision or ""))
    else:
        pinned = server is not None and bool(server.revision)
    if not pinned or answerer.settings["sampling"].get("temperature") != 0:
        return None
    return Cache(results / ".cache" / "replies" / f"{identity(answerer.settings)}-{PUT}.jsonl")


def known(cache: Cache | None, keys: Collection[str], field: str) -> dict[str, dict[str, Any]]:
    """Rows without sample id that are there, by the key of their prompts; none without a cache."""
    values = cache.find(keys) if cache else {}
    return {name: value for name, value in values.items() if isinstance(value, dict) and _is_reply(value, field)}


def _is_reply(value: Mapping[str, Any], field: str) -> bool:
    return isinstance(value.get(field), str) and value.get("error") is None
