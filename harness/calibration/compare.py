"""Does a judge separate two runs once its errors are counted? The corrected difference of two stored runs.

Where both runs have labels, each is corrected by its own. Where one has, its judge's rates of errors are taken for the
other as well, and that assumption is said. Images that both runs hold are paired. Shown by ``cim compare``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.calibration import estimate, stored
from harness.calibration.estimate import Estimate, Linear
from harness.calibration.stored import LabelledFacts
from harness.errors import CimError, one_line
from harness.runs.compare import Comparison
from harness.runs.stored_run import StoredRun

OWN = "each run corrected by labels of its own"


@dataclass(frozen=True, slots=True)
class Corrected:
    """Run b minus run a in a judged value, corrected, in percent; ``difference`` is None where ``reason`` says why.

    ``warning``: the raw difference is significant, the corrected one is not, so the judge does not separate the runs.
    """

    metric: str
    value: str
    difference: float | None
    ci95: tuple[float | None, float | None]
    n_labels: tuple[int, int]
    assumption: str
    reason: str = ""
    warning: bool = False

    def line(self, a: str, b: str) -> str:
        """One line on two runs of these names."""
        n = " + ".join(map(str, self.n_labels))
        if self.difference is None:
            return one_line(f"{self.metric}: {b} - {a} is not corrected for the judge's errors: {self.reason}")
        low, high = self.ci95
        text = (
            f"{self.metric} corrected for the judge's errors: {b} - {a} = {self.difference:+.2f} "
            f"({low:.2f}..{high:.2f}), {n} labels, {self.assumption}"
        )
        doubt = "; warning: the judge does not separate these runs, though the test of its raw verdicts does"
        return one_line(text + doubt * self.warning)


def corrected(a: StoredRun, b: StoredRun, rows: Sequence[Comparison]) -> list[Corrected]:
    """The corrected difference of each judged metric that was compared and has labels in either run.

    Args:
        rows: the comparison of b with a on the raw verdicts.
    """
    return list(_corrected(a, b, {(row.metric, row.value): row for row in rows if row.test is not None}))


def _corrected(a: StoredRun, b: StoredRun, rows: dict[tuple[str, str], Comparison]) -> Iterator[Corrected]:
    for metric in dict.fromkeys(metric for metric, _ in rows):
        first, second = stored.labelled(a, metric), stored.labelled(b, metric)
        if first is None or second is None or not first.n_labels + second.n_labels:
            continue
        value, n = next(value for name, value in rows if name == metric), (first.n_labels, second.n_labels)
        try:
            between, assumption = _difference(first, second)
        except CimError as error:
            yield Corrected(metric, value, None, (None, None), n, "", str(error))
            continue
        low, high = (100 * bound for bound in between.ci95)
        doubtful = rows[metric, value].significant and not between.separates
        yield Corrected(metric, value, 100 * between.value, (low, high), n, assumption, warning=doubtful)


def _difference(a: LabelledFacts, b: LabelledFacts) -> tuple[Estimate, str]:
    enough_a, enough_b = (side.n_labels >= estimate.FEWEST for side in (a, b))
    if enough_a and enough_b:
        scores = estimate.moments(a.facts, "a").true, estimate.moments(b.facts, "b").true
        return estimate.difference(*scores), OWN
    if not enough_a and not enough_b:
        raise CimError(f"{estimate.FEWEST} labels of one run are needed", hint="label on: cim judge --label")
    labelled, other = (a, b) if enough_a else (b, a)
    moments = estimate.moments(labelled.facts)
    moved: Linear = estimate.transferred(estimate.share(other.facts), moments)
    pair = (moments.true, moved) if enough_a else (moved, moments.true)
    named = "first" if enough_a else "second"
    assumed = f"assuming that the judge errs on both as on the {named}, which has the labels"
    return estimate.difference(*pair), assumed


def as_rows(rows: Sequence[Corrected]) -> list[dict[str, Any]]:
    """What ``--json`` prints."""
    return [asdict(row) for row in rows]
