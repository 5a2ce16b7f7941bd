"""Published agreement of metrics with people beside what was computed here; data with a source, not ground truth.

``results/published/validity.json`` has the values; a difference of more than ``ROUNDING`` is one that the set's files
and this project's metrics do not explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import store
from harness.resources import paths

FOLDER = paths.HOME / "results" / "published"
NAME = "validity.json"
ROUNDING = 0.1  # points: both sides are rounded


@dataclass(frozen=True, slots=True)
class Beside:
    """One published value, in points (100 times the statistic), and the same statistic as computed here."""

    metric: str
    statistic: str
    published: float
    here: float
    source: str

    @property
    def follows(self) -> bool:
        """Does the published value follow from the files?"""
        return abs(self.here - self.published) <= ROUNDING + 1e-9


def beside(document: Mapping[str, Any]) -> list[Beside]:
    """The published values of a validation's set and metrics; none where the file is not here."""
    values: Sequence[Mapping[str, Any]] = (store.read_document(FOLDER / NAME) or {}).get("values", [])
    rows = list[Beside]()
    for entry in values:
        if entry["set"] != document["set"]:
            continue
        for metric in document["criteria"].get(entry.get("criterion", ""), {}).get("metrics", []):
            for statistic, printed in entry["values"].items() if metric["metric"] == entry["metric"] else ():
                number = metric["agreement"].get(statistic, {}).get("value")
                if number is not None:
                    rows.append(Beside(metric["label"], statistic, printed, 100 * number, entry["source"]))
    return rows
