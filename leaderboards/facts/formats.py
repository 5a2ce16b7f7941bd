"""The account of facts as plain text, CSV (the matrix), JSON and a page of HTML; texts are escaped in each."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from harness.errors import one_line
from harness.pages import cards, templates, text
from harness.runs.compare import ALPHA
from harness.types import Fact
from leaderboards import escape
from leaderboards.facts import shares
from leaderboards.facts.matrix import OUTCOMES, Matrix
from leaderboards.facts.shares import FEWEST, VALUES, Share, Standing

HERE = Path(__file__).parent
MISSING = "–"
SHOWN = ("right", "coverage", "precision")  # of a table; the others are in JSON


@dataclass(frozen=True, slots=True)
class Account:
    """What is shown of a matrix: shares by group, facts that only one run says by run, facts that all runs miss.

    ``only`` is empty for one run, ``missed`` None for fewer than three; ``top`` facts of each are listed.
    """

    matrix: Matrix
    by: str
    shares: list[Share]
    only: dict[str, Standing]
    missed: Standing | None
    top: int

    @classmethod
    def of(cls, matrix: Matrix, by: str, top: int) -> Account:
        """The account of a matrix."""
        several, many = len(matrix.runs) > 1, len(matrix.runs) >= FEWEST
        only = {run: shares.only(matrix, at) for at, run in enumerate(matrix.runs)} if several else {}
        return cls(matrix, by, shares.by_group(matrix, by), only, shares.missed(matrix) if many else None, top)

    @property
    def heading(self) -> str:
        """Which facts, judged by what."""
        matrix = self.matrix
        judge = f", judged by {matrix.judge}" if matrix.judge else ""
        counted = f"{len(matrix.facts):,} facts about {matrix.n_images} images"
        return f"{matrix.task.name}: {counted}, {matrix.metric}{judge}"

    @property
    def notes(self) -> list[str]:
        """How to read the table."""
        shares = "right: of all facts; coverage: said right or wrong, of facts with a verdict; precision: right of said"
        intervals = "95 % intervals: bootstrap over images"
        if len(self.matrix.runs) == 1:
            return [shares, intervals]
        first = self.matrix.runs[0]
        return [
            shares,
            f"{intervals}; difference of said right to {first}, * significant (Holm-corrected p < {ALPHA:g})",
        ]

    @property
    def lists(self) -> list[tuple[str, Standing]]:
        """Facts that stand out, with a heading each."""
        titles = [
            (f"Only {run} says right: {len(standing.rows):,} facts, {percent(standing)}", standing)
            for run, standing in self.only.items()
        ]
        if self.missed is not None:
            what = "Said right by no run (contradicted first: is the key right?)"
            titles.append((f"{what}: {len(self.missed.rows):,} facts, {percent(self.missed)}", self.missed))
        return titles


def percent(standing: Standing) -> str:
    """Share of all facts with its interval."""
    low, high = standing.ci95
    return f"{standing.share:.2f} % ({low:.2f}..{high:.2f})"


def number(value: float) -> str:
    """A percentage, or a dash where a group has no fact in a resample."""
    return MISSING if math.isnan(value) else f"{value:.2f}"


def between(pair: Sequence[float]) -> str:
    """An interval."""
    return MISSING if any(map(math.isnan, pair)) else f"{pair[0]:.2f}..{pair[1]:.2f}"


def difference(share: Share) -> tuple[str, str]:
    """The difference to the first run with its mark, and its interval; empty for the first run."""
    if share.against is None or share.p is None or math.isnan(share.against.difference):
        return "", ""
    return f"{share.against.difference:+.2f}{'*' if share.p < ALPHA else ''}", between(share.against.ci95)


def key(fact: Fact) -> str:
    """The answer of a fact as a reader knows it: of a question the option itself."""
    return fact.choices[ascii_uppercase.index(fact.answer)] if fact.choices else fact.answer


def cells(account: Account, share: Share) -> list[str]:
    """The row of a table."""
    of_value = dict(zip(VALUES, zip(share.values, share.ci95, strict=True), strict=True))
    shown = [text for name in SHOWN for text in (number(of_value[name][0]), between(of_value[name][1]))]
    row = [share.group, share.run, str(share.facts), *shown, number(of_value["unparsed"][0])]
    return [*row, *difference(share)] if len(account.matrix.runs) > 1 else row


def head(account: Account) -> list[str]:
    """The headings of the table."""
    shown = [heading for name in SHOWN for heading in (f"{name} %", "interval")]
    names = [account.by, "run", "facts", *shown, "unparsed %"]
    return [*names, "difference", "interval"] if len(account.matrix.runs) > 1 else names


def plain(account: Account, width: int | None = None) -> str:
    """Text in a width; columns that do not fit are named below the table."""
    rows = [head(account), *(list(map(one_line, cells(account, share))) for share in account.shares)]
    lines, left_out = text.fitted(rows, width, 3)
    notes = [f"left out for width: {', '.join(left_out)}; --wide, or --json, shows all"] if left_out else []
    lines = [one_line(account.heading), *lines, *text.wrapped([*notes, *account.notes], width)]
    for title, standing in account.lists:
        lines += ["", one_line(title), *(f"  {line}" for line in map(one_line, _listed(account, standing)))]
    return "\n".join(lines) + "\n"


def _listed(account: Account, standing: Standing) -> list[str]:
    matrix, shown = account.matrix, standing.rows[: account.top]
    lines = [
        f"{matrix.samples[row].id} [{matrix.facts[row].kind or MISSING}] {matrix.facts[row].text} "
        f"({key(matrix.facts[row])}): {_said(matrix, row)}"
        for row in shown
    ]
    return [*lines, *(["..."] if len(shown) < len(standing.rows) else [])]


def _said(matrix: Matrix, row: int) -> str:
    pairs = zip(matrix.runs, matrix.outcomes[row], strict=True)
    return ", ".join(f"{run} {OUTCOMES[code]}" for run, code in pairs)


def sheet(matrix: Matrix) -> str:
    """The outcome matrix as CSV: a row per fact, a column per run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["sample_id", "fact", "domain", "kind", "tag", "text", "answer", *map(escape.sheet, matrix.runs)])
    for sample, fact, codes in zip(matrix.samples, matrix.facts, matrix.outcomes, strict=True):
        texts = [sample.id, fact.id, sample.domain, fact.kind, fact.tag, fact.text, key(fact)]
        writer.writerow([*map(escape.sheet, texts), *(OUTCOMES[code] for code in codes)])
    return out.getvalue()


def document(account: Account) -> dict[str, Any]:
    """The account as JSON, numbers in full; None for what a resample leaves undefined."""
    matrix = account.matrix
    return {
        "task": matrix.task.name,
        "metric": matrix.metric,
        "judge": matrix.judge,
        "runs": list(matrix.runs),
        "images": matrix.n_images,
        "facts": len(matrix.facts),
        "by": account.by,
        "shares": [_share(share) for share in account.shares],
        "only": {run: _standing(account, standing) for run, standing in account.only.items()},
        "missed": None if account.missed is None else _standing(account, account.missed),
    }


def _share(share: Share) -> dict[str, Any]:
    test = share.against
    against = (
        None
        if test is None
        else {
            "difference": _defined(test.difference),
            "ci95": list(map(_defined, test.ci95)),
            "p_holm": share.p,
        }
    )
    return {
        "group": share.group,
        "run": share.run,
        "facts": share.facts,
        "values": {name: _defined(value) for name, value in zip(VALUES, share.values, strict=True)},
        "ci95": {name: list(map(_defined, pair)) for name, pair in zip(VALUES, share.ci95, strict=True)},
        "against_first": against,
    }


def _standing(account: Account, standing: Standing) -> dict[str, Any]:
    matrix = account.matrix
    listed = [
        {
            "sample_id": matrix.samples[row].id,
            "fact": matrix.facts[row].id,
            "text": matrix.facts[row].text,
            "answer": key(matrix.facts[row]),
            "outcomes": [OUTCOMES[code] for code in matrix.outcomes[row]],
        }
        for row in standing.rows[: account.top]
    ]
    return {"facts": len(standing.rows), "share": standing.share, "ci95": list(standing.ci95), "listed": listed}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def html(account: Account, results: Path) -> str:
    """A page with the table, and the facts that stand out beside their images where these are here."""
    matrix = account.matrix
    shown = {row for _, standing in account.lists for row in standing.rows[: account.top]}
    samples = {matrix.samples[row].id: matrix.samples[row] for row in sorted(shown)}
    return templates.page(
        HERE,
        "facts.html",
        styles=[HERE / "facts.css"],
        content={
            "account": account,
            "matrix": matrix,
            "head": head(account),
            "rows": [cells(account, share) for share in account.shares],
            "pictures": cards.pictures(matrix.task, list(samples.values()), results),
            "key": key,
            "outcomes": OUTCOMES,
            "missing": MISSING,
        },
    )
