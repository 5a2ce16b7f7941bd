"""Agreement with people: every formula against scipy or against its definition written out, ties and edges included."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.runs import stats
from harness.validity import agreement, ranks
from harness.validity.judgements import Judged, Judgement, Judgements, Shape, checked, judged

scipy_stats = pytest.importorskip("scipy.stats")
Array = NDArray[np.float64]
ONCE = np.ones((1, 1))


def _columns(seed: int) -> tuple[Array, Array, Array]:
    """x, y and images of a random size, with ties, constant columns and continuous ones."""
    random = np.random.default_rng(seed)
    n, m = int(random.integers(2, 40)), int(random.integers(1, 8))
    x = random.integers(0, random.integers(1, 12), n).astype(float)
    y = random.normal(size=n) if seed % 5 == 0 else random.integers(0, random.integers(1, 9), n).astype(float)
    return x, y, random.integers(0, m, n)


@pytest.mark.parametrize("seed", range(40))
def test_tau_and_spearman_are_scipys(seed: int) -> None:
    x, y, images = _columns(seed)
    pair = ranks.pairing(x, y, images, int(images.max()) + 1)
    once = np.ones((1, int(images.max()) + 1))
    ours = ranks.kendall(pair, once)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant columns
        theirs = [scipy_stats.kendalltau(x, y).statistic, scipy_stats.spearmanr(x, y).statistic]
    both = min(len(set(x)), len(set(y))) > 1
    tau_c = scipy_stats.kendalltau(x, y, variant="c").statistic if both else math.nan
    assert ours.tau_b[0] == pytest.approx(theirs[0], nan_ok=True)
    assert ours.tau_c[0] == pytest.approx(tau_c, nan_ok=True)
    assert ranks.spearman(pair, once)[0] == pytest.approx(theirs[1], nan_ok=True)


def _of_pairs(x: Array, y: Array, images: Array, counts: Array, weights: Array) -> tuple[float, float, float, float]:
    """S, pairs untied in x and in y and n squared by their definition: an image is never compared with its copy."""
    sums = np.zeros(4)
    for i, j in itertools.product(range(len(x)), repeat=2):
        times = counts[images[i]] * (counts[images[j]] if images[i] != images[j] else 1) * weights[i] * weights[j]
        signs = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        sums += times * np.array([signs[0] * signs[1] / 2, abs(signs[0]) / 2, abs(signs[1]) / 2, 1])
    return tuple(sums)


@pytest.mark.parametrize("seed", range(20))
def test_resamples_and_weights_count_pairs_as_defined(seed: int) -> None:
    x, y, images = _columns(seed)
    random, m = np.random.default_rng(seed), int(images.max()) + 1
    weights, counts = random.integers(0, 3, len(x)).astype(float), random.integers(0, 3, (3, m)).astype(float)
    drawn = ranks.kendall(ranks.pairing(x, y, images, m, weights), counts)
    for at in range(len(counts)):
        expected = _of_pairs(x, y, images, counts[at], weights)
        assert (drawn.s[at], drawn.untied_x[at], drawn.untied_y[at], drawn.squared[at]) == pytest.approx(expected)


def test_an_image_drawn_twice_leaves_the_statistic_unbiased() -> None:
    """Within-image pairs that are all concordant, others that are not: the mean over resamples stays at the value."""
    random = np.random.default_rng(0)
    base = np.repeat(random.normal(size=20), 2)
    x, y = base + np.tile([0.001, 0.0], 20), np.tile([1.0, 0.0], 20)
    pair, counts = ranks.pairing(x, y, np.repeat(np.arange(20), 2), 20), next(stats.resamples(20, 4000))
    resampled, value = ranks.kendall(pair, counts).auc, ranks.kendall(pair, np.ones((1, 20))).auc[0]
    assert value == pytest.approx(0.525)  # 20 pairs of 400
    assert resampled.mean() == pytest.approx(value, abs=0.002)  # rows written out so often would give 0.549


def _judged(shape: Shape, rows: list[Judgement]) -> Judged:
    return judged(Judgements("test", shape, tuple(rows), {}), rows[0].criterion)


def test_auc_counts_pairs_of_right_and_wrong_ties_half() -> None:
    rows = [Judgement(f"{at}", f"text {at}", label) for at, label in enumerate([1, 1, 0, 0, 0])]
    values = np.array([3.0, 1.0, 1.0, 0.0, 2.0])
    wins = [1, 1, 1, 0.5, 1, 0]  # 3 over 1, 0, 2; 1 over 1 (tie), 0, 2
    assert agreement.drawn(_judged("labels", rows), values, 0)["auc"][0] == pytest.approx(sum(wins) / 6)
    only_right = [Judgement(f"{at}", f"text {at}", 1) for at in range(3)]
    assert math.isnan(agreement.drawn(_judged("labels", only_right), values[:3], 0)["auc"][0])


def _pairs(preferences: list[float], gaps: list[float], longer: list[int]) -> tuple[Judged, Array]:
    rows = [
        Judgement(f"{at}", "a" + " w" * max(side, 0), preferred, "b" + " w" * max(-side, 0))
        for at, (preferred, side) in enumerate(zip(preferences, longer, strict=True))
    ]
    return _judged("pairs", rows), np.array([value for gap in gaps for value in (gap, 0.0)])


def test_accuracy_counts_ties_of_the_metric_half_and_leaves_ties_of_people_out() -> None:
    rows, values = _pairs([1, -2, 1, -1, 0], [2, -1, -3, 0, 5], [1, 1, -1, -1, 1])
    statistics = agreement.drawn(rows, values, 0)
    assert statistics["accuracy"][0] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    # The preferred text is longer in pairs 1 and 4 (1, 0.5), shorter in 2 and 3 (1, 0).
    assert statistics["accuracy_length"][0] == pytest.approx((0.75 + 0.5) / 2)


def test_a_tie_threshold_is_the_best_of_all() -> None:
    """By trying every threshold, as Deutsch et al. 2023 define it."""
    random = np.random.default_rng(1)
    for _ in range(30):
        n = int(random.integers(2, 12))
        human, gaps = random.integers(-1, 2, n).astype(float), random.integers(-4, 5, n).astype(float)
        if (human != 0).all():
            continue
        rows, values = _pairs(list(human), list(gaps), [0] * n)
        best = max(
            np.mean(np.where(np.abs(gaps) <= threshold, human == 0, np.sign(gaps) == human))
            for threshold in (0.0, *np.abs(gaps))
        )
        assert agreement.drawn(rows, values, 0)["accuracy_ties"][0] == pytest.approx(best)


def test_word_count_has_no_accuracy_once_length_is_out() -> None:
    rows, _ = _pairs([1, 1, -1, 1], [0] * 4, [1, 2, -1, -3])
    statistics = agreement.drawn(rows, rows.words, 0)
    assert (statistics["accuracy"][0], statistics["accuracy_length"][0]) == (0.75, 0.5)


def test_length_is_partialled_out_of_tau_and_rho() -> None:
    x, y, z = (np.random.default_rng(seed).integers(0, 6, 50).astype(float) for seed in range(3))
    texts = [f"{at} " + "w " * int(words) for at, words in enumerate(z)]
    rows = [Judgement(text, text, rating) for text, rating in zip(texts, y, strict=True)]
    statistics = agreement.drawn(_judged("ratings", rows), x, 0)
    for name, of in (("tau_b", scipy_stats.kendalltau), ("spearman", scipy_stats.spearmanr)):
        xy, xz, yz = (of(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
        expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
        assert statistics[f"{name}_length"][0] == pytest.approx(expected)
    of_length = agreement.drawn(_judged("ratings", rows), z + 1, 0)
    assert math.isnan(of_length["tau_b_length"][0])  # nothing is left of word count itself


def test_systems_are_ranked_by_their_means() -> None:
    ratings = {"a": [1, 2], "b": [3, 3], "c": [5, 4]}
    rows = [
        Judgement(f"{at}", f"{system} {at}", rating, system=system)
        for system, listed in ratings.items()
        for at, rating in enumerate(listed)
    ]
    values = np.array([2.0, 4.0, 1.0, 2.0, 9.0, 0.0])  # means 3, 1.5, 4.5: one of three pairs is discordant
    assert agreement.drawn(_judged("ratings", rows), values, 0)["system_tau"][0] == pytest.approx(1 / 3)
    unnamed = [*rows, Judgement("9", "of nobody", 3)]
    assert "system_tau" not in agreement.drawn(_judged("ratings", unnamed), np.append(values, 1.0), 0)


def test_undefined_values_are_left_out_and_pairs_of_metrics_share_their_texts() -> None:
    random = np.random.default_rng(0)
    rows = _judged("ratings", [Judgement(f"{at}", f"text {at}", at % 4) for at in range(60)])
    a, b = rows.values + random.normal(size=60), rows.values + random.normal(size=60)
    b[:10] = math.nan
    known = {"a": agreement.drawn(rows, a, 200), "b": agreement.drawn(rows, b, 200)}
    test = agreement.contrast(rows, "a", "b", {"a": a, "b": b}, known)
    expected = [scipy_stats.kendalltau(column[10:], rows.values[10:], variant="c").statistic for column in (a, b)]
    assert test is not None and test.difference == pytest.approx(expected[0] - expected[1])
    nothing = np.full(60, math.nan)
    known["c"] = agreement.drawn(rows, nothing, 200)
    assert agreement.contrast(rows, "a", "c", {"a": a, "c": nothing}, known) is None
    assert agreement.estimate(known["c"]["tau_c"]) == agreement.Estimate(None, None)


def test_edges_have_no_value_or_no_interval() -> None:
    one_image = _judged("ratings", [Judgement("1", f"text {at}", at) for at in range(5)])
    tau = agreement.estimate(agreement.drawn(one_image, np.arange(5.0), 100)["tau_c"])
    assert tau == agreement.Estimate(pytest.approx(1.0), None)  # nothing to resample
    constant = _judged("ratings", [Judgement(f"{at}", f"text {at}", 3) for at in range(5)])
    drawn = agreement.drawn(constant, np.arange(5.0), 100)
    assert all(agreement.estimate(drawn[name]).value is None for name in ("tau_b", "tau_c", "spearman"))
    same = agreement.drawn(one_image, np.ones(5), 0)
    assert math.isnan(same["tau_b"][0]) and math.isnan(same["tau_c"][0])


def test_intervals_cover_the_true_value() -> None:
    """Of 60 studies of 40 images with three captions each, most 95 % intervals hold tau-b of the population."""
    random, covered = np.random.default_rng(5), 0
    truth = 2 / math.pi * math.asin(0.5)  # tau of a bivariate normal with r = 0.5
    for _ in range(60):
        shared = random.normal(size=(40, 3, 2)) * math.sqrt(0.6) + random.normal(size=(40, 1, 2)) * math.sqrt(0.4)
        x, y = shared[..., 0].ravel(), 0.5 * shared[..., 0].ravel() + math.sqrt(0.75) * shared[..., 1].ravel()
        rows = [Judgement(f"{at // 3}", f"text {at}", value) for at, value in enumerate(y)]
        low, high = agreement.estimate(agreement.drawn(_judged("ratings", rows), x, 100)["tau_b"]).ci95 or (0, 0)
        covered += low <= truth <= high
    assert covered >= 52  # 57 expected


def test_judgements_that_cannot_be_are_refused() -> None:
    from harness.errors import CimError

    row = Judgement("1", "text", math.nan)
    with pytest.raises(CimError, match="the judgement of 'text' is nan"):
        checked("set", "ratings", [row], {})
    with pytest.raises(CimError, match="the label of 'text' is 2"):
        checked("set", "labels", [Judgement("1", "text", 2)], {})
    with pytest.raises(CimError, match="1 images have no reference: '1'"):
        checked("set", "ratings", [Judgement("1", "text", 2)], {"2": ("reference",)})
    with pytest.raises(CimError, match="a criterion is called 'all'"):
        checked("set", "pairs", [Judgement("1", "text", 2, "other", "all")], {})
    with pytest.raises(CimError, match="no judgement"):
        checked("set", "pairs", [], {})
