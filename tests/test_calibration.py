"""Scores corrected for a judge's errors: coverage in simulated studies, identities, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.calibration import estimate, plan
from harness.calibration.estimate import RIGHT, UNREAD, WRONG, Facts
from harness.errors import CimError
from tests import calibration_studies as studies


def test_corrected_intervals_cover_the_truth(record_property: pytest.RecordProperty) -> None:
    """1,000 studies: sensitivity 0.9, specificity 0.8, 200 labels, facts of an image dependent."""
    cells = dict(zip(studies.METHODS, studies.coverage(0.5, 0.9, 0.8, 200, 1000), strict=True))
    for method, cell in cells.items():
        record_property(method.__name__, f"{cell.percent:.1f} %, width {cell.width:.1f}")
    assert 93 <= cells[studies.stratified].percent <= 97, cells
    assert cells[studies.naive].percent < 50, cells
    assert cells[studies.stratified].width < cells[studies.labels_alone].width


@pytest.mark.parametrize(
    ("full", "sensitivity", "specificity", "labels"), [(0.0, 0.6, 0.6, 100), (0.96, 0.9, 0.8, 200)]
)
def test_coverage_at_the_edges(full: float, sensitivity: float, specificity: float, labels: int) -> None:
    """A score near 0 or 100, a judge hardly better than chance: 200 studies, so the bounds are wider."""
    cells = dict(zip(studies.METHODS, studies.coverage(full, sensitivity, specificity, labels, 200), strict=True))
    assert 92 <= cells[studies.stratified].percent <= 99.5, cells
    assert cells[studies.naive].percent < 20


def _facts(seed: int = 0, full: float = 0.5, labels: int = 200) -> Facts:
    return studies.study(full, 0.9, 0.8, labels, seed).facts


def test_the_estimate_is_rogan_gladens_and_prediction_powered() -> None:
    """With rates weighted by what labels stand for, all three are one number."""
    facts = _facts()
    moments = estimate.moments(facts)
    (sensitivity, specificity) = estimate.rates(facts)[""]
    assert sensitivity.value is not None and specificity.value is not None
    p = estimate.share(facts).value
    corrected = (p + specificity.value - 1) / (sensitivity.value + specificity.value - 1)
    assert estimate.corrected(moments).value == pytest.approx(corrected, abs=1e-12)
    assert estimate.transferred(estimate.share(facts), moments).value == pytest.approx(corrected, abs=1e-12)
    by_stratum = {name: facts.labels[[stratum == name for stratum in facts.strata]] for name in set(facts.strata)}
    powered = sum(
        len(some) * ((name[0] == RIGHT) + np.nanmean(some - (name[0] == RIGHT))) for name, some in by_stratum.items()
    )
    assert estimate.corrected(moments).value == pytest.approx(powered / len(facts.strata), abs=1e-12)


def test_unequal_sampling_is_weighed() -> None:
    """Rare verdicts get more labels than chance brings; the mean over studies is the truth all the same."""
    values = [estimate.corrected(estimate.moments(_facts(seed, full=0.96))).value for seed in range(60)]
    truth = studies.population(0.96)[0].mean()
    assert abs(np.mean(values) - truth) < 4 * np.std(values) / math.sqrt(len(values))
    facts = _facts(full=0.96)
    labelled = ~np.isnan(facts.labels)
    plain = facts.labels[labelled].mean()
    assert plain < truth - 0.05  # what the labels say unweighted


def test_whole_labels_are_the_truth() -> None:
    """With every fact labelled nothing is left but the sampling of images."""
    outcome = studies.study(0.5, 0.6, 0.6, 2500, 0)
    done = estimate.corrected(estimate.moments(outcome.facts))
    assert done.value == pytest.approx(outcome.truth.mean(), abs=1e-12)
    assert done.ci95 == pytest.approx(
        studies.around((outcome.truth.mean(axis=1) - outcome.truth.mean()) / 500, done.value), abs=2e-3
    )


def test_rates_of_another_run_and_differences() -> None:
    """A run without labels, by the rates of another with the same judge: 200 studies of two scores and a difference."""
    inside = np.zeros(3)
    truths = [float(studies.population(full)[0].mean()) for full in (0.5, 0.75)]
    for seed in range(200):
        a = estimate.moments(_facts(seed), "a")
        other = _facts(seed, full=0.75)
        bare = estimate.share(replace(other, labels=np.full(len(other.labels), np.nan)))
        moved, direct = estimate.transferred(bare, a), estimate.moments(other, "b").true
        for at, (done, truth) in enumerate(
            [
                (moved.estimate(0, 1), truths[1]),
                (estimate.difference(a.true, moved), truths[1] - truths[0]),
                (estimate.difference(a.true, direct), truths[1] - truths[0]),
            ]
        ):
            inside[at] += done.ci95[0] <= truth <= done.ci95[1]
    assert (inside / 200 >= 0.92).all(), inside


def test_a_judge_at_chance_transfers_nothing() -> None:
    """But by chance in one of forty; a run's own labels correct its score all the same."""
    refused = 0
    for seed in range(40):
        outcome = studies.study(0.5, 0.5, 0.5, 100, seed)
        moments = estimate.moments(outcome.facts)
        assert estimate.corrected(moments).ci95[0] < estimate.corrected(moments).value
        try:
            estimate.transferred(estimate.share(outcome.facts), moments)
        except CimError as error:
            refused += 1
            assert "do not show that the judge tells right from wrong" in str(error)
    assert refused >= 35


def test_an_unread_reply_agrees_with_nobody() -> None:
    strata = [(RIGHT, "k")] * 20 + [(WRONG, "k")] * 20 + [(UNREAD, "k")] * 20
    labels = np.array([1.0] * 20 + [0.0] * 20 + [1.0] * 10 + [0.0] * 10)
    facts = Facts([f"i{at}" for at in range(60)], strata, labels)
    for rate in estimate.rates(facts)[""]:
        assert rate.value == pytest.approx(20 / 30) and rate.n == 30
    assert estimate.share(facts).value == pytest.approx(1 / 3)  # in the raw score it is not right
    assert estimate.corrected(estimate.moments(facts)).value == pytest.approx(0.5)


def test_labels_that_agree_have_an_interval() -> None:
    """Forty labels without an error do not prove that there is none."""
    facts = Facts([f"i{at}" for at in range(400)], [(RIGHT, "k")] * 400, np.array([1.0] * 40 + [np.nan] * 360))
    done = estimate.corrected(estimate.moments(facts))
    assert done.value == 1 and 0.85 < done.ci95[0] < 0.97 and done.ci95[1] == 1


def test_too_few_labels_correct_nothing() -> None:
    facts = _facts()
    some = np.flatnonzero(~np.isnan(facts.labels))
    few = np.full(len(facts.labels), np.nan)
    few[some[:29]] = 1.0
    with pytest.raises(CimError, match="29 labels are too few"):
        estimate.moments(replace(facts, labels=few))
    right = np.where([state == RIGHT for state, _ in facts.strata], facts.labels, np.nan)
    with pytest.raises(CimError, match="no label yet of verdicts wrong, key No; wrong, key Yes"):
        estimate.moments(replace(facts, labels=right))


def test_the_plan_brings_rare_verdicts_and_goes_on() -> None:
    strata = [(RIGHT, "key Yes")] * 2000 + [(WRONG, "key Yes")] * 300 + [(UNREAD, "key No")] * 3
    names = [(f"s{at // 5}", at % 5) for at in range(len(strata))]
    order = plan.order(strata, names, 200)
    counts = {name: sum(strata[at] == name for at in order) for name in set(strata)}
    assert len(set(order)) == 200 and counts[RIGHT, "key Yes"] > counts[WRONG, "key Yes"] > 40
    assert counts[UNREAD, "key No"] >= 2
    assert order == plan.order(strata, names, 200)
    first = {strata[at] for at in order[:60]}
    assert first == set(strata)  # a session that ends early has labels of each
    assert plan.order(strata, names, 10**6) and len(plan.order(strata[:40], names[:40], 100)) == 40
