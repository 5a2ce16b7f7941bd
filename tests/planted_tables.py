"""Printed tables that were made honestly, from simulated outcomes per image, and with one fault each.

Every number is computed from 0/1 answers, or from objects hit, named and missed in each image, and then rounded, half
up or half to even. Faults are what happens to tables; ``HARD`` ones need not leave a trace in the digits. Recall and
false alarms of many tables: ``python -m tests.planted_tables 4000``.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

from leaderboards.audit import general
from leaderboards.printed import reader
from leaderboards.printed.finding import IMPOSSIBLE, NOTE, Finding

HEADER = """# title: simulated
# n: {n}
# column answers: share; higher is better
# column hallucinating: share; lower is better
# column p: precision of objects
# column r: recall of objects
# column f1: f1 of objects over images
# column pooled p: precision of pooled objects
# column pooled r: recall of pooled objects
# column pooled f1: f1 of pooled objects from P and R
# column bleu1: bleu1
# column bleu4: bleu4
# column average: average of answers, r, bleu4
# column gain: difference of average over System 0
# column named: count
# row Total: sum
"""
COLUMNS = (
    *("answers", "hallucinating", "p", "r", "f1", "pooled p", "pooled r", "pooled f1"),
    *("bleu1", "bleu4", "average", "gain", "named"),
)
MARKED = ("answers", "r", "f1", "bleu4")


@dataclass(slots=True)
class Table:
    """Cells by system and column as exact numbers, how they are printed, and marks of the best."""

    n: int
    systems: list[str]
    cells: dict[str, dict[str, Fraction]]
    rule: str
    marked: dict[str, str]

    def text(self, system: str, column: str) -> str:
        """A cell as printed, without its mark."""
        exact = self.cells[system][column]
        places = Decimal(1) if column == "named" else Decimal("0.01")
        sign = "+" if column == "gain" and exact > 0 else ""
        return sign + str((Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(places, self.rule))

    def printed(self) -> str:
        """The file."""
        lines = [HEADER.format(n=self.n) + ",".join(("system", *COLUMNS))]
        for system in (*self.systems, "Total"):
            texts = [
                self.text(system, c) + "*" * (self.marked.get(c) == system) if c in self.cells[system] else ""
                for c in COLUMNS
            ]
            lines.append(",".join((system, *texts)))
        return "\n".join(lines) + "\n"


def honest(generator: np.random.Generator) -> Table:
    """A table of 5 to 9 systems on 100 to 500 images."""
    n = int(generator.integers(100, 501))
    systems = [f"System {at}" for at in range(int(generator.integers(5, 10)))]
    there = generator.poisson(6, n) + 1
    cells = {system: _system(generator, there) for system in systems}
    for row in cells.values():
        row["average"] = (row["answers"] + row["r"] + row["bleu4"]) / 3
    for row in cells.values():
        row["gain"] = row["average"] - cells[systems[0]]["average"]
    del cells[systems[0]]["gain"]
    cells["Total"] = {"named": sum((cells[system]["named"] for system in systems), Fraction(0))}
    rule = str(generator.choice([ROUND_HALF_UP, ROUND_HALF_EVEN]))
    marked = {column: max(systems, key=lambda system: cells[system][column]) for column in MARKED}
    return Table(n, systems, cells, rule, marked)


def _system(generator: np.random.Generator, there: np.ndarray) -> dict[str, Fraction]:
    n, skill = len(there), generator.uniform(0.3, 0.8)
    hit = generator.binomial(there, np.clip(skill + generator.normal(0, 0.15, n), 0, 1))
    wrong = generator.poisson(2 * (1 - skill), n)
    named = np.maximum(hit + wrong, 1)
    p, r = hit / named, hit / there
    f1 = 2 * p * r / np.maximum(p + r, 1e-6)
    pooled_p, pooled_r = Fraction(int(hit.sum()), int(named.sum())), Fraction(int(hit.sum()), int(there.sum()))
    bleu1 = Fraction(int(generator.integers(3000, 6000)), 10000)
    shares = {
        "answers": Fraction(int(generator.binomial(n, skill)), n),
        "hallucinating": Fraction(int((wrong > 0).sum()), n),
        **{name: Fraction(float(values.mean())) for name, values in (("p", p), ("r", r), ("f1", f1))},
        "pooled p": pooled_p,
        "pooled r": pooled_r,
        "pooled f1": 2 * pooled_p * pooled_r / (pooled_p + pooled_r),
        "bleu1": bleu1,
        "bleu4": bleu1 * int(generator.integers(200, 500)) / 1000,
    }
    return {name: 100 * share for name, share in shares.items()} | {"named": Fraction(int(named.sum()))}


Fault = Callable[[Table, np.random.Generator], tuple[str, str]]
"""Changes a table; returns the system and column that a finding may name ("" for any)."""


def _pick(table: Table, generator: np.random.Generator) -> tuple[str, str]:
    first, second = generator.choice(len(table.systems), 2, replace=False)
    return table.systems[first], table.systems[second]


def _image_dropped(table: Table, generator: np.random.Generator) -> tuple[str, str]:
    """One system's share is over the images that did not fail, some fewer than n."""
    system, fewer = _pick(table, generator)[0], table.n - int(generator.integers(1, 6))
    column = str(generator.choice(["answers", "hallucinating"]))
    table.cells[system][column] = Fraction(100 * int(generator.integers(fewer // 4, fewer)), fewer)
    return system, column


def _digit(column: str, place: str | None = None) -> Fault:
    """One digit of a cell is mistyped; a finding may name ``place`` where that is another column."""

    def fault(table: Table, generator: np.random.Generator) -> tuple[str, str]:
        system, text = _pick(table, generator)[0], ""
        printed = text = table.text(system, column)
        while text == printed:
            places = [at for at, mark in enumerate(printed) if mark.isdigit()]
            at = int(generator.choice(places))
            text = printed[:at] + str(generator.integers(0, 10)) + printed[at + 1 :]
        table.cells[system][column] = Fraction(text)
        return system, column if place is None else place

    return fault


def _stale(table: Table, generator: np.random.Generator) -> tuple[str, str]:
    """A part was measured again and the average was not."""
    system, _ = _pick(table, generator)
    table.cells[system]["bleu4"] *= Fraction(int(generator.integers(80, 95)), 100)
    return system, "average"


def _other_row(column: str) -> Fault:
    """Two systems' cells are swapped."""

    def fault(table: Table, generator: np.random.Generator) -> tuple[str, str]:
        first, second = _pick(table, generator)
        upper, lower = table.cells[first], table.cells[second]
        upper[column], lower[column] = lower[column], upper[column]
        return "", column

    return fault


def _relative(table: Table, generator: np.random.Generator) -> tuple[str, str]:
    """A gain in percent of the base, not in points."""
    system = str(generator.choice(table.systems[1:]))
    table.cells[system]["gain"] *= 100 / table.cells[table.systems[0]]["average"]
    return system, "gain"


def _copied(table: Table, generator: np.random.Generator) -> tuple[str, str]:
    """A row is another system's."""
    first, second = _pick(table, generator)
    table.cells[first] |= {column: table.cells[second][column] for column in COLUMNS[:10]}
    return "", ""


def _wrong_mark(table: Table, generator: np.random.Generator) -> tuple[str, str]:
    """Another system is marked as best."""
    column = str(generator.choice(MARKED))
    order = sorted(table.systems, key=lambda system: table.cells[system][column])
    table.marked[column] = order[-2]
    return order[-2], column


def _total(table: Table, generator: np.random.Generator) -> tuple[str, str]:
    """A row was added below a sum."""
    table.cells["Total"]["named"] -= table.cells[_pick(table, generator)[0]]["named"]
    return "Total", "named"


def _swapped_columns(table: Table, generator: np.random.Generator) -> tuple[str, str]:
    """P and F1 of one row in each other's place."""
    row = table.cells[system := _pick(table, generator)[0]]
    row["p"], row["f1"] = row["f1"], row["p"]
    return system, "f1"


FAULTS: Mapping[str, Fault] = {
    "images that failed are left out of n": _image_dropped,
    "a digit of a share": _digit("answers"),
    "a digit of an average": _digit("average"),
    "a digit of a pooled F1": _digit("pooled f1"),
    "F1 of two systems swapped": _other_row("pooled f1"),
    "P and F1 of one row swapped": _swapped_columns,
    "a part changed, its average not": _stale,
    "a relative gain among points": _relative,
    "a row copied": _copied,
    "another system marked as best": _wrong_mark,
    "a sum without one of its rows": _total,
}
HARD: Mapping[str, Fault] = {
    "a digit of an F1 over images": _digit("f1"),
    "F1 over images of two systems swapped": _other_row("f1"),
    "a digit of BLEU-1": _digit("bleu1", ""),
}


@dataclass(slots=True)
class Measured:
    """Detected and planted faults by kind; honest tables with an impossible cell, with an improbable one, and all."""

    detected: Counter[str] = field(default_factory=Counter)
    planted: Counter[str] = field(default_factory=Counter)
    alarms: int = 0
    suspicions: int = 0
    honest: int = 0

    @property
    def recall(self) -> float:
        """Share of the planted faults that are detected."""
        return self.detected.total() / self.planted.total()


def findings(table: Table, folder: Path) -> list[Finding]:
    """What the audit finds in a table as printed, notes left out."""
    path = folder / "table.csv"
    path.write_text(table.printed(), encoding="utf-8")
    checks = general.checks(reader.read(path))
    return [finding for check in checks for finding in check.findings if finding.severity != NOTE]


def measure(tables: int, seed: int, folder: Path, faults: Mapping[str, Fault] = FAULTS) -> Measured:
    """Half of the tables honest, half with one fault, of all kinds alike. A fault counts as detected if a finding names
    its cell; a pair of swapped cells, if one names the column.
    """
    generator, measured, names = np.random.default_rng(seed), Measured(), list(faults)
    for at in range(tables // 2):
        severities = {finding.severity for finding in findings(honest(generator), folder)}
        measured.honest += 1
        measured.alarms += IMPOSSIBLE in severities
        measured.suspicions += bool(severities - {IMPOSSIBLE})
        table, name = honest(generator), names[at % len(names)]
        row, column = faults[name](table, generator)
        named = [f for f in findings(table, folder) if row in ("", f.row) and column in ("", f.column)]
        measured.planted[name] += 1
        measured.detected[name] += bool(named)
    return measured


if __name__ == "__main__":
    for kinds in (FAULTS, HARD):
        with tempfile.TemporaryDirectory() as place:
            result = measure(int(sys.argv[1]), 1, Path(place), kinds)
        for kind in kinds:
            print(f"{kind}: {result.detected[kind]} of {result.planted[kind]}")
        print(f"recall {result.recall:.3f}; alarms {result.alarms}, suspicions {result.suspicions} of {result.honest}")
