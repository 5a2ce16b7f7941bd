"""Content of the page of one run: scores and ranks, provenance, best and worst captions."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harness.resources import paths
from harness.runs import manifest, stats
from harness.runs.stored_run import StoredRun
from harness.runs.validate import is_number
from harness.types import CONTROLLED, Completion
from leaderboards.board.tables import Cell, Column, Table, TaskBoard, order, rank
from leaderboards.standings import Standing

SHOWN = 10  # samples at either end
# Provenance of a run by dotted names of its manifest; absent fields are left out.
MADE: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "engine",
        {"settings.model.engine": "{}", "engine.build": "{}", "engine.version": "{}", "engine.torch": "torch {}"},
    ),
    ("device", {"engine.device": "{}", "engine.dtype": "{}"}),
    ("weights", {"settings.model.checkpoint": "{}", "settings.model.revision": "revision {}"}),
    ("captions file", {"settings.model.sha256": "sha256 {}"}),
    ("code", {"made_by.git.commit": "commit {}", "made_by.git.dirty": "{}"}),
    ("machine", {"made_by.platform": "{}", "made_by.cpus": "{} CPUs", "made_by.python": "Python {}"}),
    ("started, ended", {"started": "{}", "ended": "{}"}),
    ("status", {"status": "{}"}),
)
DIRTY = {"True": "with changes that are in no commit", "False": "no changes"}
SAMPLING, PACKAGES = "settings.model.sampling.", "made_by.packages."
HIDDEN = ("origin", "prompt")  # a path of the machine; the prompt is shown above


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the score table; a control row has only a value and an interval."""

    label: str
    value: str = ""
    interval: str = ""
    rank: str = ""
    to_best: str = ""
    to_base: str = ""
    n: str = ""
    failed: str = ""
    control: bool = False
    not_computed: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """Record of the training run that produced the checkpoint, as named in the manifest."""

    name: str
    base: str
    facts: tuple[tuple[str, str], ...]
    record: Path


@dataclass(frozen=True, slots=True)
class Page:
    """Content of a run's page; samples are (id, value, completion), sorted by value ``sampled``."""

    run: StoredRun
    facts: str
    prompt: str
    rows: Sequence[Row]
    signatures: Sequence[str]
    counts: Sequence[tuple[str, str]]
    made: Sequence[tuple[str, str]]
    manifest: Sequence[tuple[str, str]]
    training: Training | None
    base: StoredRun | None
    sampled: str
    best: Sequence[tuple[str, str, Completion]]
    worst: Sequence[tuple[str, str, Completion]]


def page(board: TaskBoard, run: StoredRun, results: Path) -> Page:
    """The page of one run of a task."""
    training = _training(run, results)
    base = next((candidate for candidate in board.runs if training and candidate.model == training.base), None)
    standings = [(column, at) for table in board.tables for column, at in _own(table, run)]
    standings.sort(key=lambda pair: order(pair[0].group.metric))
    scores = [run.scores[name] for name in sorted(run.scores, key=order)]
    flat = {name: str(value) for name, value in manifest.flat(run.manifest).items() if name not in HIDDEN}
    sampled = next((column for column, _ in standings if column.ranked and column.main), None)
    best, worst = _ends(run, sampled) if sampled else ([], [])
    return Page(
        run=run,
        facts=next((f"{row['n']} samples, {row['n_failed']} failed" for row in scores if row.get("signature")), ""),
        prompt=str(run.manifest.get("prompt", "")),
        rows=[row for column, at in standings for row in _rows(column, at, base)]
        + [Row(row["metric"], not_computed=str(row["not_computed"])) for row in scores if row.get("not_computed")],
        signatures=[row["signature"] for row in scores if row.get("signature") and not row.get("not_computed")],
        counts=[pair for row in scores for pair in _counts(row)],
        made=_made(flat),
        manifest=list(flat.items()),
        training=training,
        base=base,
        sampled=" ".join(filter(None, sampled.label)) if sampled else "",
        best=best,
        worst=worst,
    )


def _own(table: Table, run: StoredRun) -> Iterator[tuple[Column, Standing]]:
    cells: Sequence[Cell] = next((line.cells for line in table.lines if line.run is run), ())
    for column, cell in zip(table.columns, cells, strict=False):
        if cell.standing is not None:
            yield column, cell.standing


def _rows(column: Column, standing: Standing, base: StoredRun | None) -> Iterator[Row]:
    group, row = column.group, standing.run.scores[column.group.metric]
    first = group.standings[0]
    of_base = next((candidate for candidate in group.standings if candidate.run is base), None)
    alone = not column.ranked or len(group.standings) == 1
    to_best = "" if alone else "first" if standing is first else _to(column, standing, first)
    yield Row(
        label=" ".join(filter(None, column.label)),
        value=column.text(standing.point),
        interval=_interval(column, standing.ci95),
        rank=f"{rank(standing)} of {len(group.standings)}" if column.ranked else "",
        to_best=to_best,
        to_base=_to(column, standing, of_base) if of_base else "",
        n=str(row["n"]),
        failed=str(row["n_failed"]),
    )
    values = list(row["values"])
    if values.index(group.value) == 0 or len(values) <= CONTROLLED:
        for name, control in row["controls"].items():
            yield Row(
                label=name.replace("_", " "),
                value=column.text(control["values"][group.value]),
                interval=_interval(column, _bounds(control, group.value)),
                control=True,
            )


def _bounds(control: Mapping[str, Any], value: str) -> Sequence[float]:
    """The stored, unchecked confidence interval of a control; empty if it is not a pair of numbers."""
    ci95 = control.get("ci95")
    pair = ci95.get(value) if isinstance(ci95, dict) else None
    known = isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair))
    return pair if known and pair else ()


def _interval(column: Column, bounds: Sequence[float]) -> str:
    return " to ".join(column.text(bound) for bound in bounds)


def _to(column: Column, standing: Standing, other: Standing) -> str:
    """Paired difference to another run with its confidence interval, on the group's shared resamples."""
    low, high = stats.interval(standing.resamples - other.resamples)
    signed = [f"{column.text(number)}" if number < 0 else f"+{column.text(number)}" for number in (low, high)]
    difference = standing.point - other.point
    return f"{'' if difference < 0 else '+'}{column.text(difference)} ({signed[0]} to {signed[1]})"


def _counts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    counts = row.get("counts")
    for name, number in sorted(counts.items()) if isinstance(counts, dict) else ():
        yield f"{row['metric']} {name}", f"{number:g}" if is_number(number) else str(number)


def _made(flat: Mapping[str, str]) -> list[tuple[str, str]]:
    facts = list[tuple[str, str]]()
    for label, fields in MADE:
        parts = [(name, form, flat[name]) for name, form in fields.items() if flat.get(name, "None") != "None"]
        texts = [
            DIRTY.get(value, value) if name.endswith(".dirty") else form.format(value) for name, form, value in parts
        ]
        if texts:
            facts.append((label, ", ".join(dict.fromkeys(texts))))
    for at, (label, prefix) in enumerate((("sampling", SAMPLING), ("packages", PACKAGES))):
        listed = [f"{name.removeprefix(prefix)} {value}" for name, value in flat.items() if name.startswith(prefix)]
        if listed:
            facts.insert(min(len(facts), 3 + 2 * at), (label, ", ".join(listed)))
    return facts


def _training(run: StoredRun, results: Path) -> Training | None:
    parts = PurePosixPath(str(run.manifest.get("origin", ""))).parts[-3:]
    if len(parts) != 3 or parts[0] != paths.TRAINED or parts[2] != "model.toml" or parts[1] in (".", ".."):
        return None
    folder = results / paths.TRAINED / parts[1]
    try:
        table = tomllib.loads((folder / parts[2]).read_text(encoding="utf-8")).get("training")
    except (OSError, ValueError):  # absent, or not TOML
        return None
    if not isinstance(table, dict) or not (folder / manifest.NAME).is_file():
        return None
    facts = tuple(
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in table.items()
    )
    return Training(parts[1], str(table.get("base", "")), facts, folder / manifest.NAME)


def _ends(
    run: StoredRun, column: Column
) -> tuple[list[tuple[str, str, Completion]], list[tuple[str, str, Completion]]]:
    metric, value = column.group.metric, column.group.value
    captions = run.captions
    cells = [(name, row.get(metric)) for name, row in run.per_sample.items()]
    numbers = [(row[value], name) for name, row in cells if isinstance(row, dict) and is_number(row.get(value))]
    numbers.sort(key=lambda pair: (-pair[0], pair[1]))
    rows = [(name, column.text(number), captions[name]) for number, name in numbers]
    shown = min(SHOWN, (len(rows) + 1) // 2)
    return rows[:shown], rows[shown:][-shown:][::-1]
