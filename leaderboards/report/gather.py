"""Reads a results folder once and builds every section of the report from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from harness.errors import CimError
from harness.runs import compare
from harness.runs.stored_run import StoredRun, load_all
from leaderboards.report import against, arms, associations, browser, comparison, curves, study, systems, training
from leaderboards.report.browser import Browser
from leaderboards.report.comparison import Pair, Tests
from leaderboards.report.parts import Missing, Section
from leaderboards.report.study import REFERENCE, Study

OTHERS = 3  # runs compared with the first where nobody chose
FIRST = ("cim", "sft")  # arms whose seed 0 is charted and compared with the base


@dataclass(frozen=True, slots=True)
class Chosen:
    """A comparison chosen by the user instead of the stored study: a base run and others, on one task."""

    base: str
    others: tuple[str, ...]
    task: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """Content of a report: sections, captions side by side (or what is missing), tasks and number of runs."""

    sections: tuple[Section, ...]
    browser: Browser | Missing
    tasks: tuple[str, ...]
    runs: int


def gather(results: Path, tell: Callable[[str], None], chosen: Chosen | None = None) -> Report:
    """Every section from what is stored.

    Raises:
        CimError: a study is malformed, or a run that the user named is not stored.
    """
    runs, stored = load_all(results, tell), study.read(results)
    columns = associations.columns_of_all(runs, tell)
    groups = _chosen(runs, chosen) if chosen else _of_study(runs, stored)
    groups, tests = _tested(groups if chosen or stored else _by_name(runs), tell, strict=chosen is not None)
    first = [stored.base, *(f"{arm}-seed0" for arm in FIRST)] if stored else [run.model for run in runs[:1]]
    n = _images(runs, stored)
    trained = curves.read(results, [arm.name for arm in stored.arms] if stored else ())
    pair = _browsed(groups)
    return Report(
        (
            comparison.section(groups, tests),
            associations.section(columns, first),
            arms.ablation(stored, n),
            arms.scaling(stored, columns, runs, results, n),
            against.section(groups, tests),
            training.section(trained),
            systems.section(),
        ),
        browser.browser(pair.a, pair.b, tell)
        if pair
        else Missing("No two runs of one task are stored.", "cim eval --model A,B"),
        tuple(dict.fromkeys(run.task for run in runs)),
        len(runs),
    )


def _images(runs: Sequence[StoredRun], stored: Study | None) -> int:
    """Number of images that the base of a study was scored on."""
    bases = [run for run in runs if stored and (run.task, run.model) == (stored.task, stored.base)]
    return len(bases[0].per_sample) if bases else 0


def _of_study(runs: Sequence[StoredRun], stored: Study | None) -> list[tuple[str, list[Pair]]]:
    if stored is None:
        return []
    by_name = {run.model: run for run in runs if run.task == stored.task}
    return against.pairs(by_name, stored.base, {arm.name: arm.seeds for arm in stored.arms})


def _chosen(runs: Sequence[StoredRun], chosen: Chosen) -> list[tuple[str, list[Pair]]]:
    named = [_named(runs, name, chosen.task) for name in (chosen.base, *chosen.others)]
    if strangers := [run for run in named if run.task != named[0].task]:
        hint = f"say --task {named[0].task} or another"
        raise CimError(f"{strangers[0].model!r} is stored for {strangers[0].task}, not {named[0].task}", hint=hint)
    pairs = [Pair(named[0], other) for other in named[1:]]
    pairs += [Pair(a, b) for a, b in pairwise(named[1:])]
    return [(pair.title, [pair]) for pair in pairs]


def _by_name(runs: Sequence[StoredRun]) -> list[tuple[str, list[Pair]]]:
    """Without a study or a choice: the first run, by name, of the task that has most, with the next ones."""
    if not runs:
        return []
    (task, _), *_ = Counter(run.task for run in runs).most_common(1)
    first, *others = [run for run in runs if run.task == task]
    return [(pair.title, [pair]) for pair in (Pair(first, other) for other in others[:OTHERS])]


def _tested(
    groups: Sequence[tuple[str, list[Pair]]], tell: Callable[[str], None], *, strict: bool
) -> tuple[list[tuple[str, list[Pair]]], Tests]:
    """The paired tests of every pair, made once; pairs that cannot be compared are left out unless ``strict``."""
    tests = dict[Pair, list[compare.Comparison]]()
    for pair in (pair for _, pairs in groups for pair in pairs):
        try:
            tests[pair] = compare.compare(pair.a, pair.b)
        except CimError as error:
            if strict:
                raise
            tell(f"not compared: {error}")
    kept = [(title, [pair for pair in pairs if pair in tests]) for title, pairs in groups]
    return [(title, pairs) for title, pairs in kept if pairs], tests


def _named(runs: Sequence[StoredRun], name: str, task: str | None) -> StoredRun:
    named = [run for run in runs if run.model == name and task in (None, run.task)]
    matching = named or [run for run in runs if run.files.folder.resolve() == Path(name).resolve()]
    if not matching:
        known = ", ".join(sorted({run.model for run in runs})) or "none"
        raise CimError(f"no scored run {name!r}{f' of {task}' if task else ''}", hint=f"scored runs: {known}")
    if len(matching) > 1:
        raise CimError(f"{name!r} is stored for {', '.join(run.task for run in matching)}", hint="say --task")
    return matching[0]


def _browsed(groups: Sequence[tuple[str, Sequence[Pair]]]) -> Pair | None:
    """The base with arm ``cim`` if there is one, else the first pair."""
    pairs = [pair for _, group in groups for pair in group]
    reference = [pair for pair in pairs if pair.b.model.startswith(f"{REFERENCE}-seed") and pair.a is pairs[0].a]
    return next(iter(reference or pairs), None)
