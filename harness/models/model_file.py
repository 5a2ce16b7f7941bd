"""The strict reader of a model's TOML file: an unknown key or a wrong value names file, key and line.

A model is a captions file (``captions``), weights (``checkpoint``, with the tables ``[sampling]``, ``[image]`` and
``[vllm]``; ``[training]`` says where a checkpoint comes from) or a server (``[openai]`` with ``[sampling]``);
``[price]`` says what its tokens cost. Shown by ``cim list models``; explained in CONTRIBUTING.md.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import CimError
from harness.weights import BACKENDS, DTYPES, SAMPLING

REQUIRED = ("about", "engine")
COMMIT = "[0-9a-f]{40}"


@dataclass(frozen=True, slots=True)
class Key:
    """What a key's value must be: its type, a range that holds both ends, one of a few words, or a pattern."""

    kind: type
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()
    above: bool = False
    pattern: str = ""

    def wrong(self, value: Any) -> str | None:
        """What ``value`` must be in place of what it is, or None."""
        number = self.kind is float and type(value) is int
        if type(value) is not self.kind and not number:
            return f"must be {self.kind.__name__}, found {type(value).__name__}"
        if self.kind is list and not all(isinstance(item, str) for item in value):
            return "must be a list of texts"
        for word in value if self.kind is list else [value]:
            if self.words and word not in self.words:
                return f"must be one of {', '.join(self.words)}, found {word!r}"
        if self.pattern and not re.fullmatch(self.pattern, value):
            return f"must match {self.pattern}"  # what was found may hold a password
        if self.kind in (int, float) and not (
            self.low <= value <= self.high and not (self.above and value == self.low)
        ):
            return f"must be {self._range()}, found {value}"
        return None

    def _range(self) -> str:
        low = f"above {self.low}" if self.above else f"{self.low} or more"
        return low if self.high == math.inf else f"{low} and at most {self.high}"


KEYS: dict[str, Key] = {
    "about": Key(str),
    "engine": Key(str),
    "tasks": Key(list),
    "captions": Key(str),
    "checkpoint": Key(str),
    "adapter": Key(str),
    "revision": Key(str),
    "dtype": Key(str, words=DTYPES),
    "system": Key(str),
    "trust_remote_code": Key(bool),
    "thinking": Key(bool),
    "image_placeholder": Key(str, pattern=r"\S(.|\n)*"),
    "unavailable": Key(str),
    "licence": Key(str),
    "gated": Key(bool),
    "memory_gb": Key(float, 0, above=True),
}
TABLES: dict[str, dict[str, Key]] = {
    "sampling": {
        "temperature": Key(float, 0, 100),
        "top_p": Key(float, 0, 1, above=True),
        "top_k": Key(int, 0),
        "max_tokens": Key(int, 1),
        "seed": Key(int, 0, 2**63 - 1),
        "repetition_penalty": Key(float, 0, 100, above=True),
    },
    "image": {
        "min_pixels": Key(int, 1),
        "max_pixels": Key(int, 1),
        "min_tiles": Key(int, 1),
        "max_tiles": Key(int, 1),
        "backend": Key(str, words=BACKENDS),
    },
    "vllm": {
        "max_model_len": Key(int, 1),
        "max_num_batched_tokens": Key(int, 1),
        "max_num_seqs": Key(int, 1),
        "tensor_parallel_size": Key(int, 1),
        "pipeline_parallel_size": Key(int, 1),
        "mm_encoder_tp_mode": Key(str, words=("weights", "data")),
        "gpu_memory_utilization": Key(float, 0, 1, above=True),
        "quantization": Key(str),
        "kv_cache_dtype": Key(str),
        "enforce_eager": Key(bool),
    },
    "training": {
        "run": Key(str),
        "base": Key(str),
        "task": Key(str),
        "preset": Key(str),
        "seed": Key(int, 0, 2**63 - 1),
        "step": Key(int, 0),
        "rewards": Key(list),
        "chosen_on": Key(str),
    },
    "price": {
        "input": Key(float, 0),
        "output": Key(float, 0),
        "currency": Key(str, pattern="[A-Z]{3}"),
    },
    "openai": {
        "base_url": Key(str, pattern=r"https?://[^\s@?#]+"),
        "model": Key(str),
        "api_key_env": Key(str, pattern=r"[A-Za-z_]\w*"),
        "concurrency": Key(int, 1, 256),
        "timeout": Key(float, 0, 86400, above=True),
        "retries": Key(int, 0, 20),
        "omit": Key(list, words=SAMPLING),
        "max_tokens_field": Key(str, words=("max_tokens", "max_completion_tokens")),
        "pin_fingerprint": Key(bool),
    },
}
OF_WEIGHTS = ("checkpoint", "adapter", "dtype", "trust_remote_code", "image_placeholder", "gated", "memory_gb")
# Which keys do not go together: a model is captions, weights or a server.
STRANGERS = {
    "captions": (*OF_WEIGHTS, "revision", "system", "thinking", *TABLES),
    "openai": ("captions", *OF_WEIGHTS, "image", "vllm"),
}


def read(path: Path) -> dict[str, Any]:
    """The content of a model's TOML file; numbers that may have a fraction are floats.

    Raises:
        CimError: not TOML, an unknown or missing key, a wrong type, a value out of range, a key that
            does not go with the others; names file and line.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        content = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number of 5,000 digits, too deep
        raise CimError(f"is not a readable TOML file ({error})", where=str(path)) from error
    checked = {name: _value(path, text, name, value) for name, value in content.items()}
    for key in REQUIRED:
        if key not in content:
            raise CimError(f"key {key!r} is missing", where=str(path), hint=f"required keys: {', '.join(REQUIRED)}")
    _check_together(path, text, content)
    return checked


def _check_together(path: Path, text: str, content: Mapping[str, Any]) -> None:
    """CimError where two keys contradict each other, or one lacks another."""
    image = content.get("image", {})
    for unit in ("pixels", "tiles"):
        if image.get(f"min_{unit}", 1) > image.get(f"max_{unit}", math.inf):
            where = f"{path}:{line(text, f'min_{unit}', 'image')}"
            raise CimError(f"key 'image.min_{unit}' is above image.max_{unit}", where=where)
    if lacking := [name for name in TABLES["price"] if "price" in content and name not in content["price"]]:
        hint = "per million tokens: input, output, currency"
        where = f"{path}:{line(text, 'price')}"
        raise CimError(f"key 'price.{lacking[0]}' is missing", where=where, hint=hint)
    pinned = re.fullmatch(COMMIT, content.get("revision", "")) or "unavailable" in content
    if content.get("trust_remote_code") and not pinned:
        hint = "code from the hub runs only at a revision of 40 hex digits: add key 'revision'"
        where = f"{path}:{line(text, 'trust_remote_code')}"
        raise CimError("key 'trust_remote_code' needs a pinned revision", where=where, hint=hint)
    if wrong := _no_address(content.get("openai", {}).get("base_url", "http://localhost")):
        where = f"{path}:{line(text, 'base_url', 'openai')}"
        raise CimError(f"key 'openai.base_url' is no address ({wrong})", where=where)
    for name in content.get("openai", {}).get("omit", ()):
        if name in content.get("sampling", {}):
            where = f"{path}:{line(text, name, 'sampling')}"
            raise CimError(f"key 'sampling.{name}' is set and left out by openai.omit", where=where)
    for kind, strangers in STRANGERS.items():
        if stranger := next((key for key in content if kind in content and key in strangers), None):
            where = f"{path}:{line(text, stranger)}"
            raise CimError(
                f"key {stranger!r} does not go with {kind!r}", where=where, hint="a model is one or the other"
            )


def _no_address(url: str) -> str | None:
    """Why nothing can be sent to an address: a malformed host or port; without the address, which may hold a key."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # a port that is none is a ValueError
        host.encode("idna")
    except ValueError as error:  # UnicodeError is one
        return " ".join(str(error).split())[:80].replace(url, "…")
    return None if host.strip(".") and "\\" not in host else "no host"


def _value(path: Path, text: str, name: str, value: Any) -> Any:
    if name in TABLES:
        if not isinstance(value, Mapping):
            where = f"{path}:{line(text, name)}"
            raise CimError(f"{name!r} must be a table, found {type(value).__name__}", where=where, hint=f"[{name}]")
        return {key: _checked(path, text, TABLES[name], key, inner, name) for key, inner in value.items()}
    return _checked(path, text, KEYS, name, value, None)


def _checked(path: Path, text: str, keys: Mapping[str, Key], name: str, value: Any, table: str | None) -> Any:
    where = f"{path}:{line(text, name, table)}"
    full = f"{table}.{name}" if table else name
    if name not in keys:
        known = [*keys] if table else [*keys, *(f"[{other}]" for other in TABLES)]
        raise CimError(f"unknown key {full!r}", where=where, hint=f"known keys: {', '.join(known)}")
    if wrong := keys[name].wrong(value):
        raise CimError(f"key {full!r} {wrong}", where=where)
    return float(value) if keys[name].kind is float else value


def line(text: str, key: str, table: str | None = None) -> int:
    """Number of the line where a key stands: bare, under its ``[table]``, dotted or in an inline table."""
    name = rf"[\"']?{re.escape(key)}[\"']?"
    if table is None:
        pattern = rf"^[ \t]*\[*[ \t]*{name}[ \t]*[\]=.]"
    else:
        owner = rf"[\"']?{re.escape(table)}[\"']?"
        pattern = (
            rf"^[ \t]*\[[ \t]*{owner}[ \t]*\][^\n]*\n(?:(?![ \t]*\[)[^\n]*\n)*?[ \t]*({name})[ \t]*[=.]"
            rf"|^[ \t]*{owner}[ \t]*\.[ \t]*({name})|^[ \t]*{owner}[ \t]*=[ \t]*\{{[^\n]*?\b({name})[ \t]*="
        )
    match = re.search(pattern, text, flags=re.MULTILINE)
    if match is None:
        return 1
    start = match.start() if table is None else next(match.start(g) for g in (1, 2, 3) if match.start(g) >= 0)
    return text.count("\n", 0, start) + 1
