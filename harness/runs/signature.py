"""How a number was made, in one line; two numbers are compared only when these lines agree.

Form: ``metric|field:value|...|n:500|task:docci500@037c2b904426|v:1``; fields hold no ``|``.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.runs import manifest


def render(metric: str, fields: Mapping[str, str]) -> str:
    """The line of a metric and its fields, in the order given."""
    return "|".join([metric, *(f"{name}:{_clean(value)}" for name, value in fields.items())])


def read(line: str) -> dict[str, str]:
    """Fields of a line, with the metric under ``metric``."""
    metric, *fields = line.split("|")
    return {"metric": metric, **dict(field.split(":", 1) for field in fields if ":" in field)}


def differences(first: str, second: str) -> list[str]:
    """The fields in which two lines differ, each as ``field: first / second``."""
    return manifest.changes(read(first), read(second))


def _clean(value: str) -> str:
    return value.replace("|", "/").replace("\n", " ")
