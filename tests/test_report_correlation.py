"""The report's statistics: golden values, examples worked by hand, undefined cases, planted effects that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import store
from harness.runs import stats, stored_run
from leaderboards.report import correlation, lengths, pearson, study
from tests import report_runs


@pytest.mark.parametrize(
    ("k", "logit"), [(0, -5.303305), (15, -1.707676), (25, -1.085454), (40, -0.401341), (50, 0), (100, 5.303305)]
)
def test_the_empirical_logit_has_its_golden_values(k: float, logit: float) -> None:
    assert float(correlation.empirical_logit(np.array(k), 100)) == pytest.approx(logit, abs=5e-7)


def test_fishers_interval_has_its_golden_values() -> None:
    assert stats.fisher(0.9, 36) == pytest.approx((0.811373, 0.948177), abs=5e-7)
    assert stats.fisher(0.9, 3) is None and stats.fisher(None, 36) is None
    assert stats.fisher(1.0, 36) is None and stats.fisher(-1.0, 36) is None


def test_bins_of_an_example_worked_by_hand() -> None:
    """Seven images in bins of two: sorted by the metric, ties by id, the seventh left out."""
    metric = np.array([0.5, 0.1, 0.5, 0.9, 0.3, 0.7, 0.5])
    accuracy = np.array([1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 0.25])
    x, y = correlation.bins(metric, accuracy, size=2)
    assert x.tolist() == pytest.approx([0.2, 0.5, 0.6])
    hits = [0.0, 1.5, 1.25]  # (0.1, 0.3), (first and third of the ties), (seventh row, 0.7)
    assert y.tolist() == pytest.approx([np.log((k + 0.5) / (2 - k + 0.5)) for k in hits])
    assert stats.pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_what_does_not_vary_has_no_correlation() -> None:
    x, flat = np.arange(500.0), np.full(500, 0.3)
    for first, other in ((x, flat), (flat, x), (flat, flat), (x[:1], x[:1]), (x[:0], x[:0])):
        assert stats.pearson(first, other) is None and stats.spearman(first, other) is None
    assert correlation.permuted(x, flat) is None
    assert correlation.resampled([(x, flat), (flat, x)], None) == [None, None]
    assert correlation.within(x, np.repeat([0.0, 1.0], 250), ["a"] * 250 + ["b"] * 250) is None


def test_an_interval_is_undefined_when_a_resample_can_miss_the_only_hit() -> None:
    accuracy = np.zeros(500)
    accuracy[7] = 1
    assert stats.pearson(np.arange(500.0), accuracy) is not None
    assert correlation.resampled([(np.arange(500.0), accuracy)], None) == [None]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=40))
def test_r_and_rho_are_those_of_scipy(pairs: list[tuple[int, int]]) -> None:
    from scipy import stats as reference

    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert stats.pearson(x, y) is None and stats.spearman(x, y) is None
        return
    assert stats.pearson(x, y) == pytest.approx(reference.pearsonr(x, y).statistic, abs=1e-12)
    assert stats.spearman(x, y) == pytest.approx(reference.spearmanr(x, y).statistic, abs=1e-12)


def test_dealing_the_metric_at_random_gives_a_range_around_zero() -> None:
    generator = np.random.default_rng(3)
    metric, accuracy = generator.normal(size=3000), generator.integers(0, 2, 3000).astype(float)
    low, high = correlation.permuted(metric, accuracy) or (1.0, 1.0)
    assert -0.45 < low < -0.25 and 0.25 < high < 0.45  # 1.96 / sqrt(30) = 0.358
    assert correlation.permuted(metric, accuracy) == (low, high)
    ties = np.round(metric)  # a few values only: every order within a tie is that of the ids
    assert correlation.permuted(ties, accuracy) is not None


def test_binning_inflates_a_weak_relation() -> None:
    generator = np.random.default_rng(4)
    metric = generator.normal(size=3000)
    accuracy = (generator.uniform(size=3000) < 1 / (1 + np.exp(-0.6 * metric))).astype(float)
    raw = stats.pearson(metric, accuracy) or 0
    binned = stats.pearson(*correlation.bins(metric, accuracy)) or 0
    assert 0.2 < raw < 0.35 and binned > 0.9


def test_clusters_widen_the_interval_that_images_would_give() -> None:
    """Accuracy and metric are those of the breed alone: 37 things were seen, not 3,700."""
    generator = np.random.default_rng(5)
    breed = np.repeat(generator.normal(size=(37, 2)) @ np.array([[1, 0.6], [0, 0.8]]), 100, axis=0)
    x, y = (breed + 0.1 * generator.normal(size=breed.shape)).T
    groups = [f"breed{at // 100}" for at in range(3700)]
    (by_breed,), (by_image,) = (correlation.resampled([(x, y)], grouping) for grouping in (groups, None))
    assert by_breed is not None and by_image is not None
    assert by_breed[1] - by_breed[0] > 4 * (by_image[1] - by_image[0])
    inside = correlation.within(x, y, groups)
    assert inside is not None and abs(inside) < 0.1 < abs(stats.pearson(x, y) or 0)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    generator = np.random.default_rng(6)
    x = generator.normal(size=80)
    y = x + generator.normal(size=80)
    (interval,) = correlation.resampled([(x, y)], None)
    drawn = [
        np.corrcoef(np.repeat(x, row.astype(int)), np.repeat(y, row.astype(int)))[0, 1]
        for block in stats.resamples(80)
        for row in block
    ]
    assert interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-9)


def test_a_metric_that_is_only_length_has_nothing_left() -> None:
    generator = np.random.default_rng(7)
    words = np.round(generator.uniform(5, 40, 3000))
    right = (generator.uniform(size=3000) < words / 45).astype(float)
    only = 0.02 * words + 0.1 * generator.normal(size=3000)
    both = only + 0.3 * right
    assert (stats.pearson(only, right) or 0) > 0.3
    assert abs(stats.pearson(correlation.residuals(only, words), right) or 0) < 0.05
    assert (stats.pearson(correlation.residuals(both, words), right) or 0) > 0.5
    flat = np.full(3000, 7.0)
    assert correlation.residuals(only, flat) == pytest.approx(only - only.mean())


def test_a_run_is_studied_and_constant_accuracy_is_undefined(tmp_path: Path) -> None:
    run = stored_run.load(report_runs.random_detail(tmp_path / "miniscenes_pearson" / "random-detail"))
    columns = pearson.columns_of(run)
    assert columns is not None and columns.gallery_rows == 8000 and columns.source == "fine_names recall"
    panels = {panel.metric: panel for panel in pearson.study(columns)}
    assert list(panels) == ["GRC", "QIR", "reward", "words"]
    assert all(len(panel.points) == 30 and panel.dropped == 0 for panel in panels.values())
    assert (panels["QIR"].r or 0) > 0.95 > 0.7 > (panels["QIR"].raw or 0) > 0.4
    assert abs(panels["GRC"].kept_raw or 1) < 0.1  # this synthetic GRC follows length alone
    n = 250
    cells = {
        "cim": np.random.default_rng(0).normal(size=(n, 3)),
        "fine_names": np.full((n, 3), 100.0),
        "length": np.full((n, 1), 9.0),
    }
    folder = report_runs.write(tmp_path / "miniscenes_pearson" / "always", [f"p_{at:04d}" for at in range(n)], cells)
    constant = pearson.columns_of(stored_run.load(folder))
    assert constant is not None
    for panel in pearson.study(constant):
        assert (panel.r, panel.raw, panel.raw_ci, panel.rho, panel.chance) == (None,) * 5 and panel.dropped == 50


def test_pets_are_resampled_by_breed_and_unread_replies_can_be_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(8)
    ids = [f"{breed}_{at}" for breed in ("Bengal", "great_pyrenees", "pug", "Sphynx") for at in range(100)]
    right = generator.integers(0, 2, 400) * 100.0
    cim = generator.normal(size=(400, 3)) + right[:, None] / 100
    cells = {"cim": cim, "taxonomy": np.stack([right, right], axis=1)}
    folder = report_runs.write(tmp_path / "pets" / "some", ids, cells, captions=["two words"] * 400)
    replies = [
        {"sample_id": f"{name}#{key}", "reply": "perhaps" if at < 40 and key == "breed" else "yes", "error": None}
        for at, name in enumerate(ids)
        for key in ("species", "breed")
    ]
    store.write_rows(folder / "replies.taxonomy.rule-judge.jsonl", replies)
    columns = pearson.columns_of(stored_run.load(folder))
    assert columns is not None and set(columns.breeds or ()) == {"Bengal", "great_pyrenees", "pug", "Sphynx"}
    assert columns.words.tolist() == [2.0] * 400
    count, kept = pearson.unparsed(columns) or (0, columns)
    assert count == 40 and len(kept.ids) == 360 and len(kept.accuracy) == 360
    by_breed = {panel.metric: panel for panel in pearson.study(columns)}
    assert by_breed["QIR"].within is not None and by_breed["words"].r is None


def test_the_length_control_gives_back_a_planted_effect() -> None:
    """Both runs gain 2 points a word, the second 5 more: the plain difference holds both, the controls the 5."""
    generator = np.random.default_rng(9)
    image = generator.normal(50, 10, 500)
    words_a = generator.integers(8, 20, 500).astype(float)
    words_b = words_a + generator.integers(-3, 12, 500)
    a = image + 2 * words_a + generator.normal(0, 2, 500)
    b = image + 2 * words_b + 5 + generator.normal(0, 2, 500)
    (control,) = lengths.controls([(a, b, words_a, words_b)])
    assert control.plain.difference == pytest.approx(5 + 2 * float((words_b - words_a).mean()), abs=0.5)
    assert control.adjusted is not None and control.adjusted.ci95[0] < 5 < control.adjusted.ci95[1]
    assert control.adjusted.difference == pytest.approx(5, abs=0.7) and control.a_word == pytest.approx(2, abs=0.15)
    assert not control.extrapolated
    near = np.abs(words_b - words_a) <= 2
    assert control.matched is not None and control.matched.n == control.matching == int(near.sum())
    assert control.matched.difference == pytest.approx(float((b - a)[near].mean()))


def test_lengths_that_do_not_overlap_are_said_to() -> None:
    generator = np.random.default_rng(10)
    a, b = generator.normal(size=(2, 200))
    words = generator.integers(8, 12, 200).astype(float)
    (far,) = lengths.controls([(a, b, words, words + generator.integers(15, 25, 200))])
    assert far.matched is None and far.matching == 0 and far.extrapolated and far.adjusted is not None
    (same,) = lengths.controls([(a, b, words, words + 1)])
    assert same.adjusted is None and same.a_word is None and same.matched is not None and same.matched.n == 200
    assert lengths.controls([]) == []


def arm(name: str, *values: float, stopped: str | None = None) -> list[dict[str, object]]:
    return [
        {
            "arm": name,
            "seed": seed,
            "stopped": stopped,
            "values": {"capture": {"base": 50, "value": value, "difference": value - 50, "ci95": [value - 52, value]}},
        }
        for seed, value in enumerate(values)
    ]


def stored(results: Path, *rows: dict[str, object], **more: object) -> study.Study:
    arms = {str(row["arm"]): f"about {row['arm']}" for row in rows}
    document = {"base": "mini-base", "task": "miniscenes", "arms": arms, "rows": list(rows), **more}
    store.write_document(results / "train" / "study.json", document)
    read_back = study.read(results)
    assert read_back is not None
    return read_back


def test_seeds_have_students_interval_and_arms_are_compared_with_holm(tmp_path: Path) -> None:
    rows = [*arm("cim", 60, 61, 62), *arm("qir", 58, 58.5, 61), *arm("grc", 40, 42, 41, stopped="precision")]
    studied = stored(tmp_path, *rows, *arm("sft", 55))
    mean = study.over_seeds([10, 11, 12])
    assert mean is not None and mean.ci95 == pytest.approx((11 - 4.302653 / 3**0.5, 11 + 4.302653 / 3**0.5), abs=1e-6)
    single = study.over_seeds([10])
    assert single is not None and single.ci95 is None and study.over_seeds([]) is None
    by_arm = {contrast.arm: contrast for contrast in study.contrasts(studied, "capture")}
    assert list(by_arm) == ["qir", "grc", "sft"] and by_arm["sft"].p is None and by_arm["sft"].p_holm is None
    from scipy import stats as reference

    plain = [
        reference.ttest_rel([58, 58.5, 61], [60, 61, 62]).pvalue,
        reference.ttest_rel([40, 42, 41], [60, 61, 62]).pvalue,
    ]
    assert [by_arm["qir"].p, by_arm["grc"].p] == pytest.approx(plain)
    assert [by_arm["qir"].p_holm, by_arm["grc"].p_holm] == pytest.approx(stats.holm(plain))
    grc = studied.arm("grc")
    assert grc is not None and grc.stopped == {0: "precision", 1: "precision", 2: "precision"}


def test_a_damaged_study_is_one_line(tmp_path: Path) -> None:
    from harness.errors import CimError

    assert study.read(tmp_path) is None
    for rows in ([{"arm": "cim"}], [{**arm("cim", 1)[0], "values": {"capture": {"base": "x"}}}], 7):
        with pytest.raises(CimError, match=r"study\.json.*malformed.*make ablation"):
            stored(tmp_path, *arm("cim", 60), rows=rows)
