"""Planning: the images that a difference needs are those that find it; the table follows from the rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from harness import registry
from harness.parts import mean
from harness.resources import data
from harness.runs import power, stats, stored_run
from tests import chat_server, synthetic_runs
from tests.cli import Cim, captions_file
from tests.conftest import ROOT

BASELINE = ROOT / "results" / "baseline" / "miniscenes" / "mini-detailed"


@pytest.fixture
def pair(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cim:
    """Two synthetic systems of 500 images, ``system-00`` and ``system-01``; no benchmark is here."""
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "none"))
    synthetic_runs.make(cim.results, models=2, tasks=("docci500",))
    return cim


@pytest.mark.parametrize(
    ("sd", "difference", "level", "wanted"), [(20, 4, 0.05, 0.8), (9, 3, 0.01, 0.9), (1, 1, 0.05, 0.95)]
)
def test_images_are_those_of_the_noncentral_t(sd: float, difference: float, level: float, wanted: float) -> None:
    """The smallest n whose t test has this power, within two images."""

    def of_t(n: int) -> float:
        edge, shift = scipy.stats.t.ppf(1 - level / 2, n - 1), difference * math.sqrt(n) / sd
        return float(scipy.stats.nct.sf(edge, n - 1, shift) + scipy.stats.nct.cdf(-edge, n - 1, shift))

    exact = next(n for n in range(2, 2000) if of_t(n) >= wanted)
    assert abs(power.images_needed(sd, difference, level, wanted) - max(power.LEAST, exact)) <= 2


def test_influence_of_a_mean_is_the_image() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    assert power.influence(stats.Column(values, mean)) == pytest.approx(values)
    images = np.repeat(np.arange(30), 3)
    copied = power.influence(stats.Column(np.repeat(values, 3, axis=0), mean, images))
    assert copied == pytest.approx(values), "an image with three equal captions is one image"


@pytest.mark.parametrize("name", ["bleu4", "relation_qa", "capture"])
def test_error_is_that_of_the_bootstrap(pair: Cim, name: str) -> None:
    a, b = (stored_run.load(pair.results / "docci500" / f"system-0{at}") for at in (0, 1))
    metric = registry.metric(name)
    columns = a.column(metric), b.column(metric)
    ((test, *_),) = stats.paired([columns], 4000)
    (plan, *_) = power.of_pair(metric, columns, power.Test(), None)
    assert plan.detectable is not None and plan.detectable[0.8] == pytest.approx(test.detectable, rel=0.05)


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_interval_of_the_deviation_covers(draw: str) -> None:
    generator, hits = np.random.default_rng(5), 0
    for _ in range(600):
        _, (low, high) = power.deviation(getattr(generator, draw)(size=200))
        hits += low <= 1 <= high
    assert 0.91 <= hits / 600 <= 0.98


def _check_power(replays: int, metric_name: str, draws: int, tolerance: float) -> None:
    """Replays of planned size from two stored systems: their share with a significant difference is the power.

    The images of the two systems are the population, their difference there is the truth.
    """
    metric, generator = registry.metric(metric_name), np.random.default_rng(1)
    wide = 3 * generator.normal(0, 8, 4000)
    noise = generator.normal(0, 6, (2, 4000, 40))
    a, b = (synthetic_runs._columns(40 + gain - wide / 3, noise[at])[metric_name] for at, gain in enumerate((0, 1)))
    truth = float((stats.point(b) - stats.point(a))[0])
    (plan, *_) = power.of_pair(metric, (a, b), power.Test(powers=(0.8,)), abs(truth))
    assert plan.needed is not None
    n, hits = plan.needed[0.8][0], 0
    assert n < 2000
    for at in range(replays):
        drawn = generator.integers(0, 4000, n)
        sides = [stats.Column(side.statistics[drawn], side.aggregate) for side in (a, b)]
        ((test, *_),) = stats.paired([(sides[0], sides[1])], draws, seed=at)
        hits += test.p_permutation < 0.05 and test.difference * truth > 0
    assert hits / replays == pytest.approx(0.8, abs=tolerance), (metric_name, n, hits / replays)


@pytest.mark.parametrize("metric", ["capture", "relation_qa", "bleu4"])
def test_predicted_power_is_met(metric: str) -> None:
    _check_power(300, metric, 199, 0.075)  # three standard errors of 300 replays


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["capture", "relation_qa", "bleu4"])
def test_predicted_power_is_met_in_many_replays(metric: str) -> None:
    """Counts lose up to three points: the sums of a permutation test are then on a lattice, and a tie is a hit."""
    _check_power(3000, metric, 499, 0.045 if metric == "relation_qa" else 0.025)


def test_table_of_two_runs(pair: Cim) -> None:
    done = pair("plan", "system-00", "system-01", "--metrics", "capture,bleu4,relation_qa", "--difference", "0.5")
    assert done.out.splitlines()[:5] + done.out.splitlines()[-3:] == TABLE.strip("\n").splitlines(), done.out
    bare = pair("plan", "system-00", "system-01", "--metrics", "capture").out
    assert "images 80%" not in bare and "detectable 80%" in bare


TABLE = """
a = system-00, b = system-01; n = 500 images of docci500
metric                      sd of b - a   95 % interval     r  images 80%  images 90%  detectable 80%  detectable 90%
capture                            8.62    8.08 .. 9.24  0.59       2336+       3127+            1.08            1.25
bleu4                              1.09    1.03 .. 1.16  0.94         40          52             0.14            0.16
relation_qa                       11.28  10.56 .. 12.10  0.52       3998+       5351+            1.41            1.64
images: so many find a true difference of 0.5 in that share of repetitions; + more than the 500 there are; two-sided \
paired test at 0.05
detectable: the smallest true difference that these 500 images find; two-sided paired test at 0.05
sd: of the paired difference per image; r: correlation of both runs over images
"""


def test_table_of_one_run(cim: Cim) -> None:
    done = cim("plan", BASELINE, "--metric", "relation_qa", "--difference", "2", "--power", "0.8", "--comparisons", "5")
    assert done.out.splitlines()[:4] == ONE_RUN.strip("\n").splitlines(), done.out
    assert "(0.05 by Holm over 5 comparisons)" in done.out and "an assumption" in done.out
    single = cim("plan", BASELINE, "--metric", "relation_qa", "--correlation", "0.7", "--json").json
    assert {row["correlation"] for row in single["plans"] if "correlation" in row} == {0.7}


ONE_RUN = """
a = mini-detailed; n = 500 images of miniscenes
metric                      sd of difference   95 % interval     r  images 80%  calls 80%  detectable 80%
relation_qa                            11.22   8.30 .. 15.22  0.50        371         371            1.71
relation_qa                             5.02    3.71 .. 6.81  0.90         77          77            0.77
"""


def test_what_cannot_be_planned_is_refused(pair: Cim) -> None:
    folder = pair.results / "docci500" / "system-01"
    assert "chair: not computed in run a" in pair.refused("plan", "system-00", "system-01", "--metrics", "chair")
    assert "two runs have their own" in pair.refused("plan", "system-00", "system-01", "--correlation", "0.5")
    assert "is not a number above 0" in pair.refused("plan", "system-00", "--difference", "-1")
    assert "is not a number above 0" in pair.refused("plan", "system-00", "--difference", "nan")
    same = pair("plan", "system-00", "system-00", "--json").json
    assert all(row["not_planned"] == "the same for every image" for row in same["plans"])
    scores = json.loads((folder / "scores.json").read_text())
    for row in scores["scores"]:
        row["signature"] = row["signature"].replace("n:500", "n:120/500@1234")
    (folder / "scores.json").write_text(json.dumps(scores))
    assert "signatures differ (n: " in pair.refused("plan", "system-00", "system-01")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[chat_server.Server]:
    """A FAKE server that counts 7 prompt and 5 reply tokens a call, with a price."""
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    table = 'retries = 0\n[price]\ninput = 0.5\noutput = 2.0\ncurrency = "EUR"\n'
    with chat_server.serving() as serving:
        serving.toml(tmp_path / "models", "priced", more='revision = "1"\n', table=table)
        yield serving


def test_calls_and_price_are_those_that_were_asked(cim: Cim, tmp_path: Path, server: chat_server.Server) -> None:
    """Two prompts an image, and as many about each of two controls."""
    samples = data.samples(registry.task("miniscenes"))[:12]
    texts = {sample.id: sample.references[0] if at % 3 else "A scene." for at, sample in enumerate(samples)}
    run = captions_file(tmp_path / "run.jsonl", texts)
    asking = ("--model", run, "--task", "miniscenes", "--metrics", "taxonomy", "--partial", "--judge", "priced")
    assert cim("eval", *asking).code == cim("judge", *asking, "--controls").code == 0
    asked = len(server.bodies)
    told = cim("plan", "run", "--difference", "10", "--power", "0.8", "--correlation", "0.5", "--json").json
    each = told["judges"]["taxonomy"]
    assert (each["calls"], each["controls"], each["prompt_tokens"], each["reply_tokens"]) == (6, 2, 7, 5)
    assert asked <= 6 * 12  # equal prompts are asked once
    (row,) = [plan for plan in told["plans"] if plan["value"] == "species"]
    (need,) = row["powers"]
    assert need["judge_calls"] == 6 * need["images"]
    assert need["price"] == pytest.approx(need["judge_calls"] * (0.5 * 7 + 2 * 5) / 1e6)
    shown = cim("plan", "run", "--difference", "10").out
    assert "taxonomy: 6 an image to priced, those about 2 controls among them; 7 prompt and 5 reply tokens" in shown
