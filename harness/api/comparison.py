"""Paired tests of two results, printed as a table of plain text that is never narrower than its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.api.result import Result, aligned, data_frame, load_run
from harness.errors import CimError, one_line
from harness.runs import compare as paired
from harness.runs import stats
from harness.runs.compare import LEGEND, Comparison

HEADER = ("metric", "a", "b", "b - a", "95 % interval", "p boot", "p perm", "Holm", "detectable")


@dataclass(frozen=True, slots=True, repr=False)
class Comparisons:
    """Paired tests of result b against result a, one per value; iterated in order, or indexed by label."""

    a: str
    b: str
    rows: tuple[Comparison, ...]

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, label: str) -> Comparison:
        """The comparison of a value, such as ``cider`` or ``capture f1``.

        Raises:
            CimError: no such value was compared.
        """
        labels = {row.label: row for row in self.rows}
        if label not in labels:
            raise CimError(f"no value {label!r} in this comparison", hint=f"it has {', '.join(labels)}")
        return labels[label]

    def frame(self) -> Any:
        """A pandas data frame with one row per value, columns as ``cim compare --json``; CimError without pandas."""
        return data_frame(paired.as_json(Path(self.a), Path(self.b), self.rows)["comparisons"])

    def __str__(self) -> str:
        rows = [HEADER, *(_shown(row) for row in self.rows if row.test is not None)]
        missing = [f"{row.metric} not compared: {row.not_compared}" for row in self.rows if row.not_compared]
        title = f"a = {self.a}, b = {self.b}"
        return "\n".join([one_line(title), *aligned(rows), LEGEND.replace("bold", "*"), *map(one_line, missing)])

    def __repr__(self) -> str:
        return str(self)


def compare(run_a: Result | str | Path, run_b: Result | str | Path, *, draws: int = stats.DRAWS) -> Comparisons:
    """Paired bootstrap and permutation tests of b against a, for every value that both hold under one signature.

    Args:
        run_a: a result of ``score``, ``evaluate`` or ``load_run``, or the folder or name of a stored run.
        draws: resamples of each test.

    Raises:
        CimError: no such run, or nothing can be compared: other references, samples or settings; says why.
    """
    a, b = (given if isinstance(given, Result) else load_run(given) for given in (run_a, run_b))
    if draws < 1:
        raise CimError(f"draws is {draws}", hint="1 or more")
    return Comparisons(a.run.model, b.run.model, tuple(paired.compare(a.run, b.run, draws)))


def _shown(row: Comparison) -> tuple[str, ...]:
    test = row.test
    assert test is not None
    digits = registry.metric(row.metric).value(row.value).decimals
    label = f"{row.label} (lower is better)" if row.higher_is_better is False else row.label
    return (
        one_line(label),
        f"{test.a:.{digits}f}",
        f"{test.b:.{digits}f}",
        f"{test.difference:+.{digits}f}",
        f"{test.ci95[0]:.{digits}f} .. {test.ci95[1]:.{digits}f}",
        *(f"{p:.4f}" for p in (test.p_bootstrap, test.p_permutation)),
        f"{row.holm_permutation:.4f}{'*' if row.holm_permutation < 0.05 else ' '}",
        f"{test.detectable:.{digits}f}",
    )
