"""Intervals and tests against scipy 1.x, against known answers, and by their error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from harness.metrics import bleu4
from harness.parts import mean
from harness.runs import stats

DRAWS = 4000


def column(values: np.ndarray) -> stats.Column:
    """A plain mean over images."""
    return stats.Column(values.reshape(len(values), -1).astype(float), mean)


def test_resamples_are_multinomial_counts_and_repeat() -> None:
    counts = np.vstack(list(stats.resamples(50, 3000)))
    assert counts.shape == (3000, 50) and (counts.sum(axis=1) == 50).all()
    assert counts.mean() == 1 and abs(counts.var() - 49 / 50) < 0.02
    assert (np.vstack(list(stats.resamples(50, 3000))) == counts).all()
    assert (np.vstack(list(stats.resamples(50, 3000, seed=1))) != counts).any()


def test_blocks_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.vstack(list(stats.resamples(40, 500)))
    flips = np.vstack(list(stats.swaps(40, 500)))
    monkeypatch.setattr(stats, "BLOCK", 40 * 7)
    assert (np.vstack(list(stats.resamples(40, 500))) == whole).all()
    assert (np.vstack(list(stats.swaps(40, 500))) == flips).all()


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=300)
    ours = stats.interval(stats.bootstrap([column(values)], 20_000)[0])[0]
    other = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=5
    ).confidence_interval
    assert ours == pytest.approx([other.low, other.high], abs=0.01)


def test_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    hits = 0
    for _ in range(400):
        low, high = stats.interval(stats.bootstrap([column(generator.normal(size=80))], 800)[0])[0]
        hits += low <= 0 <= high
    assert 0.91 <= hits / 400 <= 0.98


def test_all_columns_share_one_resampling() -> None:
    values = np.random.default_rng(1).normal(size=60)
    once, twice = stats.bootstrap([column(values), column(2 * values)], 200)
    assert twice == pytest.approx(2 * once)


def test_corpus_metric_is_aggregated_again_from_sums() -> None:
    """A resample of BLEU is BLEU of the resampled images, computed the long way."""
    generator = np.random.default_rng(2)
    totals = np.sort(generator.integers(20, 40, size=(30, 4)))[:, ::-1]
    statistics = np.hstack([totals[:, :1] + 1, totals[:, :1] + 3, totals // 2, totals]).astype(float)
    drawn = stats.bootstrap([stats.Column(statistics, bleu4.aggregate)], 25)[0]
    for counts, value in zip(np.vstack(list(stats.resamples(30, 25))), drawn, strict=True):
        repeated = np.repeat(statistics, counts.astype(int), axis=0)
        assert value == pytest.approx(bleu4.aggregate(repeated.sum(axis=0), 30))


def test_permutation_p_agrees_with_scipy() -> None:
    generator = np.random.default_rng(4)
    a = generator.normal(size=40)
    b = a + 0.15 + generator.normal(scale=0.5, size=40)
    p = stats.paired([(column(a), column(b))], 20_000)[0][0]
    other = scipy.stats.permutation_test(
        (b, a), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=20_000, rng=6
    )
    assert p.p_permutation == pytest.approx(other.pvalue, abs=0.01)
    assert p.p_bootstrap == pytest.approx(other.pvalue, abs=0.03)
    assert p.difference == pytest.approx((b - a).mean())


def test_equal_systems_differ_in_nothing() -> None:
    values = np.random.default_rng(5).normal(size=50)
    test = stats.paired([(column(values), column(values))], DRAWS)[0][0]
    assert (test.difference, test.ci95, test.p_bootstrap, test.p_permutation, test.detectable) == (0, (0, 0), 1, 1, 0)


def test_swapping_the_systems_swaps_the_sign() -> None:
    generator = np.random.default_rng(6)
    a, b = generator.normal(size=(2, 40))
    there, back = (stats.paired([pair], DRAWS)[0][0] for pair in ((column(a), column(b)), (column(b), column(a))))
    assert there.difference == pytest.approx(-back.difference)
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert there.p_permutation == pytest.approx(back.p_permutation)


def test_false_alarms_are_as_rare_as_promised() -> None:
    generator = np.random.default_rng(7)
    tests = [
        stats.paired([(column(generator.normal(size=40)), column(generator.normal(size=40)))], 500)[0][0]
        for _ in range(400)
    ]
    for p_values in ([test.p_bootstrap for test in tests], [test.p_permutation for test in tests]):
        assert 0.02 <= np.mean([p < 0.05 for p in p_values]) <= 0.085


def test_detectable_difference_is_found_in_four_of_five_repetitions() -> None:
    generator, detected, sizes = np.random.default_rng(8), 0, []
    true = (scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)) / math.sqrt(100)
    for _ in range(300):
        a = generator.normal(size=100)
        b = a + true + generator.normal(size=100)
        test = stats.paired([(column(a), column(b))], 500)[0][0]
        detected += test.p_permutation < 0.05
        sizes.append(test.detectable)
    assert np.mean(sizes) == pytest.approx(true, rel=0.05)
    assert 0.74 <= detected / 300 <= 0.86


def test_p_is_never_zero() -> None:
    zeros, ones = np.zeros(30), np.ones(30)
    test = stats.paired([(column(zeros), column(ones))], 999)[0][0]
    assert test.p_permutation == pytest.approx(1 / 1000) and test.p_bootstrap == 1 / 1000


def test_holm_known_answer() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0]
    assert stats.holm([]) == []
