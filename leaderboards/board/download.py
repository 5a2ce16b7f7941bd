"""The values of a task's tables as CSV and JSON, one row per run and value, with what is needed to read them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from harness.pages.highlight import visible
from harness.pages.public import public
from harness.runs import controls
from leaderboards import escape
from leaderboards.board.tables import TaskBoard

FOLDER = "data"


def rows(board: TaskBoard) -> Iterator[dict[str, Any]]:
    """Every cell that holds a value; bounds are of the 95 % confidence interval, ranks from best to worst possible."""
    for table in board.tables:
        for line in table.lines:
            for column, cell in zip(table.columns, line.cells, strict=True):
                if cell.standing is None:
                    continue
                low, high = cell.standing.rank if column.ranked else (None, None)
                around = [bound if math.isfinite(bound) else None for bound in cell.standing.ci95]
                yield {
                    "task": board.task,
                    "table": table.number,
                    "run": visible(line.run.model),
                    "metric": column.group.metric,
                    "value": column.group.value,
                    "point": cell.standing.point,
                    "ci95_low": around[0],
                    "ci95_high": around[1],
                    "rank_best": low,
                    "rank_worst": high,
                    "no_better_than": public(", ".join(map(controls.label, cell.under))),
                    "n": line.n,
                    "failed": line.failed,
                    "engine": public(line.about.engine),
                    "date": line.about.date,
                    "licence": public(line.about.licence),
                    "signature": public(column.group.signature),
                }


def files(board: TaskBoard, stem: str) -> dict[str, bytes]:
    """The two files by their paths in the site."""
    cells = list(rows(board))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(cells[0] if cells else ())
    writer.writerows(
        [escape.sheet(value) if isinstance(value, str) else value for value in row.values()] for row in cells
    )
    document = json.dumps(cells, indent=1, allow_nan=False)
    return {
        f"{FOLDER}/{stem}.csv": text.getvalue().encode(errors="replace"),
        f"{FOLDER}/{stem}.json": document.encode(),
    }
