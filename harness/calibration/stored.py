"""The corrected score of a stored run, from ``judged.jsonl`` and its labels; nothing is asked and nothing is written.

Shown beside the judge's own score by ``cim score``, the run's page and ``cim compare``; labels count as soon as they
are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness import registry
from harness.calibration import estimate, labels
from harness.calibration.estimate import RIGHT, UNREAD, WRONG, Facts, Rate
from harness.errors import CimError, one_line
from harness.runs import signature
from harness.runs.stored_run import IMAGE_ID, JUDGED, StoredRun

Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A metric's first value corrected for the errors of its judge, in percent as the value itself.

    ``corrected`` is None where there are too few labels, which ``reason`` says. ``stale`` labels are of captions or
    replies that have changed, and count no more. ``rates`` are sensitivity and specificity in percent by kind, ``all``
    for all of them.
    """

    metric: str
    value: str
    judge: str
    raw: float
    corrected: float | None
    ci95: Interval
    n_labels: int
    labellers: tuple[str, ...]
    stale: int = 0
    rates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reason: str = ""

    @property
    def line(self) -> str:
        """One line for a terminal or a page."""
        by = f"{self.n_labels} labels of {', '.join(self.labellers) or 'nobody'}"
        by += f", {self.stale} of changed captions or replies left out" if self.stale else ""
        if self.corrected is None:
            return one_line(f"{self.metric}: not corrected for the errors of judge {self.judge} ({by}): {self.reason}")
        shown = "; ".join(f"{kind}: {_rate(rate)}" for kind, rate in self.rates.items())
        return one_line(
            f"{self.metric} corrected for the errors of judge {self.judge}: {self.corrected:.2f} "
            f"({self.ci95[0]:.2f}..{self.ci95[1]:.2f}), raw {self.raw:.2f}; {by}; {shown}"
        )


def _rate(rates: Mapping[str, Any]) -> str:
    shown = []
    for name in ("sensitivity", "specificity"):
        value, (low, high), n = rates[name]["value"], rates[name]["ci95"], rates[name]["n"]
        shown.append(f"{name} " + ("-" if value is None else f"{value:.0f} % ({low:.0f}..{high:.0f}, n = {n})"))
    return ", ".join(shown)


@dataclass(frozen=True, slots=True)
class LabelledFacts:
    """The facts of a run and metric with the labels that count, and who gave them; ``stale`` is a number of labels."""

    facts: Facts
    judge: str
    labellers: tuple[str, ...]
    n_labels: int
    stale: int


def calibrations(run: StoredRun) -> dict[str, Calibration]:
    """By metric, for those whose judge has labels in this run.

    Raises:
        CimError: a file of labels or of judged facts is damaged.
    """
    by_metric = dict[str, Calibration]()
    for metric in run.computed:
        named = _judge(run, metric)
        if named is None or not (run.files.folder / labels.file_name(*named)).is_file():
            continue
        with_labels = labelled(run, metric)
        if with_labels and (with_labels.n_labels or with_labels.stale):
            by_metric[metric] = of(run, metric, with_labels)
    return by_metric


def _judge(run: StoredRun, metric: str) -> tuple[str, str] | None:
    """The judge and the model that answers it, of a metric that is known here."""
    stem = metric.partition("@")[0]
    known = stem in registry.names("metrics") and metric in (stem, *registry.variants("metrics", stem))
    judge = registry.metric(metric).judge if known else None
    named = signature.read(run.scores[metric]["signature"] or "").get("judge", "")
    return (judge, named.rpartition("@")[0]) if judge and named else None


def labelled(run: StoredRun, metric: str) -> LabelledFacts | None:
    """The judged facts of a metric with their labels; None where the run stores none.

    Where labellers disagree on a fact, it counts as the share of them that say it is right.
    """
    named, rows = _judge(run, metric), run.files.rows(JUDGED)
    if named is None or not any(metric in row for row in rows.values()):
        return None
    by_fact, texts = labels.read(run.files.folder, *named), run.files.completions()
    images, strata, truths, people, stale = list[str](), list[estimate.Stratum](), list[float](), set[str](), 0
    for sample_id, row in sorted(run.per_sample.items()):
        caption = texts.get(sample_id)
        hashed = labels.caption_hash(caption.text if caption else None)
        for index, (kind, state, expected) in enumerate(_facts(run, rows.get(sample_id, {}).get(metric))):
            answers = by_fact.get((sample_id, index), {})
            now = hashed, (state, kind)
            current = [label for label in answers.values() if (label.caption, label.stratum) == now]
            stale += len(answers) - len(current)
            people |= {label.labeller for label in current}
            images.append(str(row.get(IMAGE_ID, sample_id)))
            strata.append((state, kind))
            truths.append(float(np.mean([label.verdict == expected for label in current])) if current else np.nan)
    facts = Facts(images, strata, np.array(truths))
    return LabelledFacts(facts, named[1], tuple(sorted(people)), int((~np.isnan(facts.labels)).sum()), stale)


def _facts(run: StoredRun, facts: Any) -> Iterator[tuple[str, str, str]]:
    for fact in facts if isinstance(facts, list) else ():
        if not (isinstance(fact, list) and len(fact) == 3 and all(isinstance(text, str) for text in fact)):
            raise CimError("a malformed fact", where=str(run.files.folder / JUDGED), hint="score the run again")
        if fact[1] not in (RIGHT, WRONG, UNREAD):
            raise CimError(f"no state {fact[1]!r}", where=str(run.files.folder / JUDGED), hint="score the run again")
        yield fact[0], fact[1], fact[2]


def of(run: StoredRun, metric: str, with_labels: LabelledFacts) -> Calibration:
    """The corrected value of a metric."""
    facts, value = with_labels.facts, registry.metric(metric).names[0]
    raw, rates = 100 * estimate.share(facts).value, estimate.rates(facts)
    shown = {kind or "all": {"sensitivity": _percent(a), "specificity": _percent(b)} for kind, (a, b) in rates.items()}
    plain = Calibration(
        metric,
        value,
        with_labels.judge,
        raw,
        None,
        (None, None),
        with_labels.n_labels,
        with_labels.labellers,
        with_labels.stale,
        shown,
    )
    try:
        score = estimate.corrected(estimate.moments(facts))
    except CimError as error:
        return replace(plain, reason=str(error))
    return replace(plain, corrected=100 * score.value, ci95=(100 * score.ci95[0], 100 * score.ci95[1]))


def _percent(rate: Rate) -> dict[str, Any]:
    scaled = [None if number is None else 100 * number for number in (rate.value, *rate.ci95)]
    return {"value": scaled[0], "ci95": scaled[1:], "n": rate.n}
