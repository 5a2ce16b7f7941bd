"""Section (d): base, SFT and CIM compared on the same images, and at equal caption length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from harness import registry
from harness.runs import compare
from harness.runs.stored_run import StoredRun
from leaderboards.report import lengths, pearson
from leaderboards.report.comparison import Pair, Tests
from leaderboards.report.lengths import Control, Estimate
from leaderboards.report.parts import NONE, Missing, Part, Remark, Section, Table, bounds, number, p_text, signed

if TYPE_CHECKING:
    from harness.parts import Array

VALUES = ("capture", "objects f1", "attributes f1", "fine_names f1", "relation_qa")
ORDER = ("sft", "cim", "sft-cim")
WHAT = (
    "Longer captions name more. Two controls follow the plain paired difference: the difference over images whose two "
    f"captions differ by at most {lengths.CALIPER:.0f} words (matched), and the difference at equal length by linear "
    "regression on the difference in words (adjusted; with a fixed effect for every image). Detail needs words: the "
    "controls ask what remains at equal length, not which captions are better."
)


ComparedValue = tuple[str, Pair, compare.Comparison, Control]


def pairs(runs: Mapping[str, StoredRun], base: str, seeds: Mapping[str, Sequence[int]]) -> list[tuple[str, list[Pair]]]:
    """Comparisons by title: base with each arm, and consecutive arms with each other, paired by seed."""
    arms = [arm for arm in ORDER if arm in seeds]
    groups = list[tuple[str, list[Pair]]]()
    for arm in arms:
        runs_of_arm = [runs[f"{arm}-seed{seed}"] for seed in seeds[arm] if f"{arm}-seed{seed}" in runs]
        groups.append((f"{base} → {arm}", [Pair(runs[base], run) for run in runs_of_arm] if base in runs else []))
    for first, second in pairwise(arms):
        both = [(f"{first}-seed{seed}", f"{second}-seed{seed}") for seed in seeds[first] if seed in seeds[second]]
        groups.append((f"{first} → {second}", [Pair(runs[a], runs[b]) for a, b in both if {a, b} <= runs.keys()]))
    return [(title, group) for title, group in groups if group]


def section(groups: Sequence[tuple[str, Sequence[Pair]]], tests: Tests) -> Section:
    """One table per pair of systems, one row per seed and value."""
    title = "Better, or only longer?"
    if not groups:
        what = "No base run with an arm trained from it is stored."
        return Section("against", title, (Missing(what, "make train-cim SEEDS=3"),))
    parts: list[Part] = [Remark(WHAT)]
    numbers = dict[str, object]()
    all_rows = _rows([pair for _, group in groups for pair in group], tests)
    for name, group in groups:
        rows = [row for row in all_rows if any(row[1] is pair for pair in group)]
        parts.append(_table(name, group, rows))
        numbers[name] = {
            pair.b.model: {label: control.plain.difference for label, of, _, control in rows if of is pair}
            for pair in group
        }
    return Section("against", title, tuple(parts), numbers)


def _rows(pairs: Sequence[Pair], all_tests: Tests) -> list[ComparedValue]:
    """One row per pair and value; pairs with the same number of images share their resamples."""
    rows = list[tuple[str, Pair, compare.Comparison]]()
    columns: dict[int, list[tuple[Array, Array, Array, Array]]] = {}
    for pair in pairs:
        tests = {test.label: test for test in all_tests[pair] if test.test is not None}
        words = pearson.words(pair.a), pearson.words(pair.b)
        labels = [label for label in VALUES if label in tests] or [label for label in tests if label != "length"][:3]
        for test in (tests[label] for label in labels):
            rows.append((test.label, pair, test))
            a, b = (run.numbers(test.metric, test.value) for run in (pair.a, pair.b))
            columns.setdefault(len(a), []).append((a, b, words[0], words[1]))
    controls = {n: iter(lengths.controls(columns_of_n)) for n, columns_of_n in columns.items()}
    return [(label, pair, test, next(controls[len(pair.a.per_sample)])) for label, pair, test in rows]


def _table(name: str, of_systems: Sequence[Pair], rows: Sequence[ComparedValue]) -> Table:
    n = len(of_systems[0].a.per_sample)
    words = "; ".join(f"{_words(pair.a)} → {_words(pair.b)}" for pair in of_systems)
    head = ("value", "run", "difference", "p (Holm)", "matched on length", "adjusted for length", "per word")
    note = (
        f"{n} images; words per caption: {words}. Brackets: 95 % percentile bootstrap over images. p: paired "
        "permutation test, Holm over all values of the two runs (cim compare). Matched: at least "
        f"{lengths.FEWEST} images, else too few. "
        "Extrapolated: equal length lies outside the middle 95 % of the differences in length; an estimate beyond the "
        "metric's scale is not printed. Seeds are not pooled."
    )
    ordered = sorted(rows, key=lambda row: [label for label, *_ in rows].index(row[0]))
    all_cells = [head, *(_cells(row) for row in ordered)]
    first, *body = [cells if len(of_systems) > 1 else (cells[0], *cells[2:]) for cells in all_cells]
    return Table(name, first, tuple(body), note)


def _words(run: StoredRun) -> str:
    return number(float(pearson.words(run).mean()), 1)


def _cells(row: ComparedValue) -> tuple[str, ...]:
    label, pair, test, control = row
    matched, adjusted = control.matched, control.adjusted
    return (
        label,
        pair.b.model,
        f"{signed(control.plain.difference)} {bounds(control.plain.ci95)}",
        p_text(test.holm_permutation),
        f"too few ({control.matching})"
        if matched is None
        else f"{signed(matched.difference)} {bounds(matched.ci95)} (n {matched.n})",
        NONE if adjusted is None else _adjusted(adjusted, control.extrapolated, registry.metric(test.metric).scale),
        NONE if control.a_word is None else signed(control.a_word),
    )


def _adjusted(estimate: Estimate, extrapolated: bool, scale: float | None) -> str:
    """A difference at equal length; one beyond the scale is of captions that cannot be."""
    if extrapolated and scale is not None and max(map(abs, (estimate.difference, *estimate.ci95))) > scale:
        return "extrapolated beyond the scale"
    return f"{signed(estimate.difference)} {bounds(estimate.ci95)}{' extrapolated' if extrapolated else ''}"
