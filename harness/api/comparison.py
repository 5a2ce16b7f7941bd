"""Paired tests of runs against a baseline, and their table: plain text, whose numbers and labels are never cut.

``print`` of a comparison in Python and ``cim compare`` show the same table.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.api.result import Result, data_frame, load_run
from harness.errors import CimError, one_line
from harness.pages import scores, text
from harness.parts import Value
from harness.runs import compare as paired
from harness.runs import stats
from harness.runs.compare import ALPHA, Comparison, letter
from harness.runs.stored_run import StoredRun
from harness.validity import cards

PERM, DETECTABLE = "p perm", "detectable"
HEAD = ("metric", "a", "b", "b - a ", "95 % interval", "p Holm", "p boot", PERM, DETECTABLE)
KEPT, KEPT_OF_RUNS = 4, 3  # columns that every width shows: up to the difference, and up to the first run after a

Key = tuple[str, str]  # metric and value


@dataclass(frozen=True, slots=True, repr=False)
class Comparisons:
    """Paired tests of result b against result a on n images, one per value; iterated in order, or indexed by label.

    ``validity`` says what is known of how far the main values agree with people.
    """

    a: str
    b: str
    rows: tuple[Comparison, ...]
    n: int
    validity: str = ""

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
        return data_frame(paired.records(self.rows))

    @property
    def verdict(self) -> str:
        """One sentence: in how many values which of the two is significantly better."""
        return paired.verdict(self.rows, self.a, self.b, self.n)

    def __str__(self) -> str:
        return "\n".join(lines([self]))

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
    return against(a.run, [b.run], draws)[0]


def against(baseline: StoredRun, runs: Sequence[StoredRun], draws: int = stats.DRAWS) -> list[Comparisons]:
    """Each run against a baseline, p values corrected over all values and runs; CimError if nothing can be compared."""
    first, *others = paired.names([baseline, *runs])
    compared = zip(others, paired.against(baseline, runs, draws), strict=True)
    return [
        Comparisons(first, name, tuple(rows), baseline.n_images, _validity(baseline, rows)) for name, rows in compared
    ]


def _validity(baseline: StoredRun, rows: Sequence[Comparison]) -> str:
    main = [
        row for row in sorted(rows, key=lambda row: scores.order(row.metric)) if row.test and _value(_key(row)).main
    ]
    return cards.summary([(row.label, baseline.scores[row.metric]["signature"] or "", row.value) for row in main])


def lines(pairs: Sequence[Comparisons], width: int | None = None) -> list[str]:
    """One pair as values, difference and p values, or several runs against one baseline as a column per run.

    Args:
        pairs: comparisons with the same baseline.
        width: of the screen, in characters; columns that do not fit are left out and named. None shows all.
    """
    several, first = len(pairs) > 1, pairs[0]
    rows = _of_runs(pairs) if several else _of_pair(first)
    table, left_out = text.fitted(rows, width, KEPT_OF_RUNS if several else KEPT)
    runs = [f"{letter(at)} = {name}" for at, name in enumerate([first.a, *(pair.b for pair in pairs)])]
    title = f"{', '.join(runs)}; n = {first.n} images"
    missing = [f"left out for width: {', '.join(left_out)}; --wide, or --json, shows all"] if left_out else []
    legend = _legend(several, [heading for heading in rows[0] if heading not in left_out])
    validity = [first.validity] if first.validity else []
    below = [*missing, *_not_compared(pairs), legend, *validity, *(pair.verdict for pair in pairs)]
    return [*text.wrapped([one_line(title)], width), *table, *text.wrapped(map(one_line, below), width)]


def _of_pair(pair: Comparisons) -> list[tuple[str, ...]]:
    return _in_order(HEAD, {_key(row): _tested(row, row.test) for row in pair.rows if row.test is not None})


def _tested(row: Comparison, test: stats.Difference) -> tuple[str, ...]:
    digits = _value(_key(row)).decimals
    return (
        _label(row),
        f"{test.a:.{digits}f}",
        f"{test.b:.{digits}f}",
        f"{test.difference:+.{digits}f}{_mark(row)}",
        "-" if math.isnan(test.ci95[0]) else f"{test.ci95[0]:.{digits}f} .. {test.ci95[1]:.{digits}f}",
        *map(_p, (row.holm_permutation, test.p_bootstrap, test.p_permutation)),
        "-" if math.isnan(test.detectable) else f"{test.detectable:.{digits}f}",
    )


def _of_runs(pairs: Sequence[Comparisons]) -> list[tuple[str, ...]]:
    """A column per run; what differs significantly from the first is marked."""
    head = ["metric", *(f"{letter(at)} " for at in range(1 + len(pairs)))]
    rows = dict[Key, list[str]]()
    for at, pair in enumerate(pairs, start=2):
        for row in pair.rows:
            if row.test is not None:
                digits = _value(_key(row)).decimals
                first = [_label(row), f"{row.test.a:.{digits}f} ", *["- "] * len(pairs)]
                rows.setdefault(_key(row), first)[at] = f"{row.test.b:.{digits}f}{_mark(row)}"
    return _in_order(head, rows)


def _in_order(head: Sequence[str], rows: Mapping[Key, Sequence[str]]) -> list[tuple[str, ...]]:
    """Main values first, then a blank line and the others; each in the order of their metrics."""
    ordered = sorted(rows, key=lambda key: scores.order(key[0]))
    main, others = ([key for key in ordered if _value(key).main is main] for main in (True, False))
    between = [("",) * len(head)] if main and others else []
    return [tuple(row) for row in (head, *(rows[key] for key in main), *between, *(rows[key] for key in others))]


def _key(row: Comparison) -> Key:
    return row.metric, row.value


def _value(key: Key) -> Value:
    metric, value = key
    return registry.metric(metric).value(value)


def _label(row: Comparison) -> str:
    return f"{one_line(row.label)} {text.ARROWS[row.higher_is_better]}".rstrip()


def _mark(row: Comparison) -> str:
    return "*" if row.significant else " "


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.00005 else "<0.0001"


def _not_compared(pairs: Sequence[Comparisons]) -> list[str]:
    """What was not compared and why, once per reason."""
    labels, columns = defaultdict[str, dict[str, None]](dict), defaultdict[str, dict[str, None]](dict)
    for at, pair in enumerate(pairs, start=1):
        for row in sorted(pair.rows, key=lambda row: scores.order(row.metric)):
            if row.not_compared:
                labels[row.not_compared][row.label] = None
                columns[row.not_compared][letter(at)] = None
    where = {reason: f" in {', '.join(some)}" if len(some) < len(pairs) else "" for reason, some in columns.items()}
    return [f"{', '.join(labels[reason])} not compared{where[reason]}: {reason}" for reason in labels]


def _legend(several: bool, headings: Sequence[str]) -> str:
    mark, scope = ("differs significantly from a", "values and runs") if several else ("significant", "values")
    rule = f"permutation p < {ALPHA:g}, Holm-corrected over all {scope}"
    parts = [f"main values first; ↑ higher, ↓ lower is better; * {mark}: {rule}"]
    parts += ["p boot, p perm: paired bootstrap and permutation, not corrected"] * (PERM in headings)
    parts += ["detectable: smallest true difference found in 80 % of repetitions"] * (DETECTABLE in headings)
    return "; ".join(parts)
