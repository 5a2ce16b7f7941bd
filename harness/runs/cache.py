"""Values by content hash, shared by all runs: rows of ``{"key": ..., "value": ...}`` in one file.

Several processes may add at once: each row is one appending write, a torn, changed or foreign line is
skipped, so that its value is made again, and a repeated key has the same value by construction.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from harness.runs.cache_index import DIGITS, CacheIndex
from harness.store import dumps, open_regular, present, seal, unseal


def key(text: str) -> str:
    """The key of a text: 32 hex digits of its sha256."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:DIGITS]


def settings_key(settings: Mapping[str, str]) -> str:
    """Twelve hex digits that identify settings; part of a cache file's name."""
    return hashlib.sha256(dumps(dict(sorted(settings.items()))).encode()).hexdigest()[:12]


class Cache:
    """One file of values by key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._index: CacheIndex | None = None

    def find(self, keys: Collection[str]) -> dict[str, Any]:
        """The stored values of those keys that are there."""
        values: dict[str, Any] = {}
        if not keys or not present(self.path):
            return values
        self._index = self._index or CacheIndex(self.path)
        for name, line in self._index.lines(keys):
            try:
                values[name] = json.loads(unseal(line))["value"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return values

    def add(self, name: str, value: Any) -> None:
        """Append one value."""
        if self._file is None:
            self._file = self._open()
        os.write(self._file, seal({"key": name, "value": value}) + b"\n")

    def _open(self) -> int:
        file = open_regular(self.path, os.O_APPEND)
        size = os.lseek(file, 0, os.SEEK_END)
        if size and os.pread(file, 1, size - 1) != b"\n":
            os.write(file, b"\n")  # closes a line that a killed process left open
        return file

    def close(self) -> None:
        """Close the file; adding opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
