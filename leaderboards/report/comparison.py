"""The first section: which of two runs is better, by how much, and may it be chance?

One table per pair of runs: the paired difference of every main value with its interval and Holm's p, and one sentence.
Written first by ``cim report RUN --against RUN``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import registry
from harness.pages.scores import order
from harness.runs import compare
from harness.runs.compare import Comparison
from harness.runs.stored_run import StoredRun
from harness.validity import cards
from leaderboards.report.parts import NONE, Part, Remark, Section, Table, bounds, number, p_text, signed


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs on the same images; differences are run b minus run a."""

    a: StoredRun
    b: StoredRun

    @property
    def title(self) -> str:
        """``a → b``."""
        return f"{self.a.model} → {self.b.model}"


Tests = Mapping[Pair, Sequence[Comparison]]
HEAD = ("value", "difference", "95 % interval", "p (Holm)", "verdict")
NOTE = (
    "Difference: second minus first, paired over images, with its 95 % percentile bootstrap interval; p: paired "
    "permutation test, Holm over all values of the two runs (cim compare)."
)


def section(groups: Sequence[tuple[str, Sequence[Pair]]], tests: Tests) -> Section:
    """A verdict and two tables for the first pair of each group: main values, and all others, folded."""
    parts, numbers = list[Part](), dict[str, object]()
    for at, pair in enumerate(pairs[0] for _, pairs in groups):
        rows = sorted((test for test in tests[pair] if test.test), key=lambda test: order(test.metric))
        main = [row for row in rows if _main(row)] or rows
        n = len(pair.a.per_sample)
        sentence = compare.verdict(tests[pair], pair.a.model, pair.b.model, n)
        parts += [Remark(f"{sentence}.", lead=True), _table(pair, pair.title, main, "" if at else NOTE)]
        if others := [row for row in rows if row not in main]:
            parts.append(_table(pair, f"{len(others)} further values", others, folded=True))
        validity = cards.summary([(row.label, pair.a.scores[row.metric]["signature"] or "", row.value) for row in main])
        parts += [Remark(f"{validity[0].upper()}{validity[1:]}.")] if validity and not at else []
        if left := [f"{row.label}: {row.not_compared}" for row in tests[pair] if row.not_compared]:
            parts.append(Remark(f"Not compared: {'; '.join(left)}."))
        numbers[pair.title] = {
            "verdict": sentence,
            "differences": {row.label: row.test.difference for row in rows if row.test},
        }
    return Section("comparison", "Which is better?", tuple(parts), numbers)


def _main(row: Comparison) -> bool:
    return registry.metric(row.metric).value(row.value).main


def _word(row: Comparison) -> str:
    if row.higher_is_better is None:
        return NONE
    return "better" if row.better else "worse" if row.worse else "undecided"


def _table(pair: Pair, title: str, rows: Sequence[Comparison], note: str = "", *, folded: bool = False) -> Table:
    head = (*HEAD, pair.a.model, pair.b.model)
    return Table(title, head, tuple(_cells(row) for row in rows), note, folded)


def _cells(row: Comparison) -> tuple[str, ...]:
    test, digits = row.test, registry.metric(row.metric).value(row.value).decimals
    if test is None:
        return (row.label,)
    return (
        row.label,
        signed(test.difference, digits),
        bounds(test.ci95, digits),
        p_text(row.holm_permutation),
        _word(row),
        number(test.a, digits),
        number(test.b, digits),
    )
