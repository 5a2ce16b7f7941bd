"""How a number was made, in one line; two numbers are compared only when these lines agree.

Form: ``metric|field:value|...|n:500|task:docci500@037c2b904426|v:1``; fields hold no ``|``.
"""

from __future__ import annotations

from collections.abc import Mapping


def render(metric: str, fields: Mapping[str, str]) -> str:
    """The line of a metric and its fields, in the order given."""
    return "|".join([metric, *(f"{name}:{_clean(value)}" for name, value in fields.items())])


def read(line: str) -> dict[str, str]:
    """Fields of a line, with the metric under ``metric``."""
    metric, *fields = line.split("|")
    return {"metric": metric, **dict(field.split(":", 1) for field in fields if ":" in field)}


def differences(one: str, other: str) -> list[str]:
    """Names of the fields in which two lines differ, each as ``field: a / b``."""
    first, second = read(one), read(other)
    names = [*first, *(name for name in second if name not in first)]
    return [
        f"{name}: {first.get(name, '-')} / {second.get(name, '-')}"
        for name in names
        if first.get(name) != second.get(name)
    ]


def _clean(value: str) -> str:
    return value.replace("|", "/").replace("\n", " ")
