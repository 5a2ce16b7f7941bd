"""Terminal output: tables on standard output, progress with rate and time left on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from harness import registry
from harness.errors import one_line
from harness.runs.controls import CONTROLLED
from harness.types import Score

if TYPE_CHECKING:
    from rich.table import Table

    from harness.parts import Metric
    from harness.stages.agreement import Agreement, Sway

Item = TypeVar("Item")
QUIET_SECONDS = 10.0
SWAYED = ("prompt: injection", "n", "changed %", "followed %")
NARROWEST = 110  # columns, where output is a file or a pipe


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Yield ``items`` while showing count, rate and time left; a line every ten seconds without a terminal."""
    yield from _bar(items, title, total) if sys.stderr.isatty() else _lines(items, title, total)


def _bar(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    rate = TextColumn("{task.fields[rate]}")
    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        rate,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        row = progress.add_task(title, total=total, rate="")
        for item in items:
            yield item
            speed = progress.tasks[row].speed
            progress.update(row, advance=1, rate=f"{speed:.1f}/s" if speed else "")


def _lines(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    start = said = 0.0
    for count, item in enumerate(items):
        now = time.monotonic()
        start, said = start or now, said or now  # timed from the first item, so that loading does not lower the rate
        yield item
        now = time.monotonic()
        if count and now - said > QUIET_SECONDS:
            said, rate = now, count / (now - start)
            print(f"{title}: {count}/{total}, {rate:.1f}/s, {(total - count) / rate:.0f} s left", file=sys.stderr)


def show(table: Table) -> None:
    """Print a table; never narrower than its content needs when output is not a terminal."""
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=NARROWEST)
    console.print(table)


def scores_table(task: str, model: str, scores: Sequence[Score]) -> Table:
    """Metrics of one run: value, 95 % interval, n, failed; controls as rows below their metric."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{model} on {task}"), title_justify="left")
    table.add_column("metric", no_wrap=True)
    for name in ("value", "95 % interval", "n", "failed"):
        table.add_column(name, justify="right")
    for score in scores:
        if score.not_computed:
            table.add_row(score.metric, "not computed", "", "", "", style="yellow")
            continue
        metric = registry.metric(score.metric)
        _add(table, metric, score.metric, score.values, score.ci95, (str(score.n), str(score.n_failed)))
        for control, row in score.controls.items():
            shown = row["values"] if len(score.values) <= CONTROLLED else dict([next(iter(row["values"].items()))])
            _add(table, metric, f"  {control.replace('_', ' ')}", shown, row["ci95"], style="dim")
    return table


def _add(
    table: Table,
    metric: Metric,
    name: str,
    values: Mapping[str, Any],
    ci95: Mapping[str, Any],
    counts: tuple[str, str] = ("", ""),
    style: str = "",
) -> None:
    for value, number in values.items():
        label = name if len(values) == 1 else f"{name} {value}"
        decimals = metric.value(value).decimals
        table.add_row(label, _number(number, decimals), _interval(ci95[value], decimals), *counts, style=style)


def _number(number: float | None, decimals: int = 2) -> str:
    return "-" if number is None else f"{number:.{decimals}f}"


def _interval(bounds: Sequence[float | None], decimals: int = 2) -> str:
    return "-" if bounds[0] is None else f"{bounds[0]:.{decimals}f} .. {bounds[1]:.{decimals}f}"


def notes(scores: Sequence[Score]) -> list[str]:
    """Notes below a table: why a metric is missing, counts over the whole run, and signatures."""
    reasons = [f"{score.metric} not computed: {score.not_computed}" for score in scores if score.not_computed]
    counts = [f"{score.metric}: {_counts(score.counts)}" for score in scores if score.counts]
    return [one_line(line) for line in (*reasons, *counts, *(score.signature for score in scores if score.signature))]


def account(outcomes: Mapping[str, Any]) -> list[str]:
    """The line about captions that failed or are none, and one for each count above its limit."""
    together = ["; ".join(outcomes["notes"])] if outcomes["notes"] else []
    return [*together, *(f"warning: {line}" for line in outcomes["warnings"])]


def _counts(counts: Mapping[str, float]) -> str:
    """Counts by name: whole numbers, and shares with a percent sign."""
    shares = {name: name.endswith("_percent") for name in counts}
    words = {name: name.removesuffix("_percent").replace("_", " ") for name in counts}
    return ", ".join(
        f"{words[n]} {number:.1f} %" if shares[n] else f"{words[n]} {number:.10g}" for n, number in counts.items()
    )


def agreement_table(title: str, rows: Sequence[Agreement | Sway]) -> Table:
    """Agreement of two judges, or the effect of injections on one: each number with its interval."""
    from harness.stages.agreement import Agreement

    header = ("judge, models", "n", "agreement %", "kappa") if title == "agreement" else SWAYED
    cells = [
        (f"{row.judge}: {row.a}, {row.b}", row.n, row.agreement, row.agreement_ci95, row.kappa, row.kappa_ci95)
        if isinstance(row, Agreement)
        else (f"{row.prompt}: {row.injection}", row.n, row.changed, row.changed_ci95, row.followed, row.followed_ci95)
        for row in rows
    ]
    return plain_table(title, header, [(c[0], str(c[1]), _with(c[2], c[3]), _with(c[4], c[5])) for c in cells])


def _with(number: float | None, bounds: Sequence[float | None]) -> str:
    return _number(number) + ("" if bounds[0] is None else f" ({_interval(bounds)})")


def plain_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of texts; long last columns are folded."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table
