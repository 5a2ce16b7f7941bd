"""Structural checks of the published tables: shape (A-1), cells shared by tables (A-2), repeated values (A-6)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from leaderboards.audit.record import FAILS, HOLDS, LISTED, Check, verdict
from leaderboards.published import COLUMNS, TITLES, PaperRow, Place

ROWS = {6: 5, 7: 30, 8: 8}
F1_ONLY = ("bleu4", "meteor", "capture", "obj_f1", "attr_f1", "rel_qa")  # the cells of Table 6


def shape(rows: Sequence[PaperRow], expected: Mapping[int, int] = ROWS) -> Check:
    """A-1: row counts, unique keys, expected cells, numbers within 0 to 100."""
    counted = Counter(row.table for row in rows)
    keys = Counter((row.table, row.base, row.benchmark, row.method) for row in rows)
    faults = [
        f"Table {table} has {counted[table]} rows, {n} expected" for table, n in expected.items() if counted[table] != n
    ]
    faults += [f"{times} rows are {key}" for key, times in keys.items() if times > 1]
    for row in rows:
        columns = F1_ONLY if row.table == 6 else COLUMNS
        if tuple(row.printed) != columns:
            faults.append(f"{row.label} has {len(row.printed)} cells, {len(columns)} expected")
        faults += [
            f"{row.label}: {TITLES[c]} is {v}, not within 0 to 100" for c, v in row.values.items() if not 0 <= v <= 100
        ]
    cells = sum(len(row.printed) for row in rows)
    summary = f"{len(rows)} rows, {cells} cells" + (f", {len(faults)} faults" if faults else ", no fault")
    return Check(
        id="A-1",
        what="Shape of the tables",
        inputs={"rows": len(rows), "cells": cells},
        formula="rows per table; (table, base, benchmark, method) unique; every cell a number in [0, 100]",
        tolerance="none",
        claimed={"rows": {str(table): n for table, n in expected.items()}},
        recomputed={"rows": {str(table): counted[table] for table in expected}, "faults": faults},
        verdict=FAILS if faults else HOLDS,
        found=summary,
        details=tuple(faults),
    )


def agreement(rows: Sequence[PaperRow]) -> Check:
    """A-2: cells of one system and benchmark in several tables."""
    places = defaultdict[tuple[str, str], list[PaperRow]](list)
    for row in rows:
        places[row.system, row.benchmark].append(row)
    pairs = [_compared(first, second) for same in places.values() for first, second in combinations(same, 2)]
    equal = sum(len(pair["equal"]) for pair in pairs)
    unequal = sum(len(pair["unequal"]) for pair in pairs)
    details = [
        f"{pair['system']}, {pair['benchmark']}, Tables {pair['tables'][0]} and {pair['tables'][1]}: "
        f"{len(pair['equal'])} cells equal"
        + "".join(f"; {TITLES[c['column']]} {c['values'][0]} and {c['values'][1]}" for c in pair["unequal"])
        for pair in pairs
    ]
    return Check(
        id="A-2",
        what="Cells of one system that several tables show",
        inputs={"pairs": len(pairs), "shared cells": equal + unequal},
        formula="equal as decimals, per system and benchmark",
        tolerance="none",
        claimed="one system has one value (SFT + Ours of Tables 6 and 8 may differ in training data: inferred)",
        recomputed=pairs,
        verdict=verdict(sum(not pair["unequal"] for pair in pairs), sum(bool(pair["unequal"]) for pair in pairs)),
        found=f"{equal} shared cells are equal, {unequal} differ",
        details=tuple(details),
    )


def _compared(first: PaperRow, second: PaperRow) -> dict[str, Any]:
    shared = [column for column in COLUMNS if column in first.printed and column in second.printed]
    return {
        "system": first.system,
        "benchmark": first.benchmark,
        "tables": [first.table, second.table],
        "equal": [column for column in shared if first.values[column] == second.values[column]],
        "unequal": [
            {"column": column, "values": [first.printed[column], second.printed[column]]}
            for column in shared
            if first.values[column] != second.values[column]
        ],
    }


def distinct(rows: Sequence[PaperRow]) -> list[PaperRow]:
    """Rows, without those whose cells all repeat another row of the same system and benchmark."""
    kept = list[PaperRow]()
    for row in sorted(rows, key=lambda row: -len(row.printed)):
        same = [known for known in kept if (known.system, known.benchmark) == (row.system, row.benchmark)]
        if not any(row.values.items() <= known.values.items() for known in same):
            kept.append(row)
    return [row for row in rows if any(row is known for known in kept)]


def repeated(rows: Sequence[PaperRow], states: Mapping[Place, Sequence[str]]) -> Check:
    """A-6: equal cells of one system on both benchmarks, and of different systems in one column of a benchmark.

    Args:
        states: marks of cells by A-4 and A-5.
    """
    alone, across, within = distinct(rows), list[dict[str, Any]](), list[dict[str, Any]]()
    for column in COLUMNS:
        for first, second in combinations([row for row in alone if column in row.printed], 2):
            if first.values[column] != second.values[column]:
                continue
            cells = [
                {
                    "system": row.system,
                    "benchmark": row.benchmark,
                    "table": row.table,
                    "state": list(states.get(row.place(column), ())),
                }
                for row in (first, second)
            ]
            repeat = {"column": column, "value": first.printed[column], "cells": cells}
            if first.benchmark == second.benchmark:
                within.append(repeat)
            elif first.system == second.system:
                across.append(repeat)
    return Check(
        id="A-6",
        what="Repeated values",
        inputs={"distinct rows": len(alone), "columns": list(COLUMNS)},
        formula="pairs of equal cells in a column; with their marks by A-4 and A-5",
        tolerance="none: two decimals as printed",
        claimed=None,
        recomputed={"one system on both benchmarks": across, "different systems on one benchmark": within},
        verdict=LISTED,
        found=f"{len(across)} cells of one system are equal on both benchmarks, {len(within)} pairs of different "
        "systems in a column of one benchmark; some two-decimal numbers are equal by chance",
        details=tuple(_detail(repeat) for repeat in (*across, *within)),
    )


def _detail(repeat: Mapping[str, Any]) -> str:
    names = [
        f"{cell['system']} ({cell['benchmark']}{''.join(', ' + state for state in cell['state'])})"
        for cell in repeat["cells"]
    ]
    return f"{TITLES[repeat['column']]} {repeat['value']}: {' and '.join(names)}"
