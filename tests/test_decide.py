"""Judging until it is clear: the decision is that of all images, and a stopped run is not taken for a whole one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.resources import data
from harness.runs import sequential
from tests import stopping_replays
from tests.cli import Cim, captions_file

QA = ("--task", "miniscenes", "--metrics", "relation_qa")


def _held(replays: int) -> None:
    for margin, size, calls, wrong, undecided in stopping_replays.table(None, replays):
        where = margin, size, calls, wrong, undecided
        assert wrong <= 0.05 and undecided <= 0.02, where
        if margin >= 0.18 and (size < 0.07 or size > 0.25):
            assert calls <= 0.41, where


def test_replays_stop_early_and_seldom_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping_replays, "SIZES", (0.0, 0.15, 0.3))
    _held(400)


@pytest.mark.slow
def test_many_replays_stop_early_and_seldom_otherwise() -> None:
    _held(stopping_replays.REPLAYS)


def test_equal_images_are_no_certainty() -> None:
    """Fifty images without a difference leave room for one among the others; a hundred of 100 points do not."""
    assert sequential.decision(np.zeros(50), 500, 2.0, 100.0) is None
    assert sequential.decision(np.zeros(400), 500, 2.0, 100.0) == sequential.NO_DIFFERENCE
    assert sequential.decision(np.full(50, 100.0), 500, 2.0, 100.0) == sequential.BETTER
    assert sequential.decision(np.full(50, -100.0), 500, 2.0, 100.0) == sequential.WORSE
    assert sequential.decision(np.full(50, np.nan), 500, 2.0, 100.0) is None


def test_the_last_look_says_what_all_images_say() -> None:
    differences = np.random.default_rng(0).normal(0, 10, 500)
    differences -= differences.mean()
    said = [sequential.decision(differences + shift, 500, 0.5, 100.0) for shift in (0, 0.7, 2, -2)]
    assert said == [sequential.NO_DIFFERENCE, sequential.UNDECIDED, sequential.BETTER, sequential.WORSE]


def test_the_order_is_random_and_the_same_again() -> None:
    names = [f"{at:04d}" for at in range(400)]
    order = sequential.order(names)
    assert order == sequential.order(names[::-1]) and sorted(order) == names
    assert abs(np.mean([int(name) for name in order[:100]]) - 199.5) < 35
    assert sequential.looks(120) == [50, 75, 100, 120] and sequential.looks(12) == [12]


@pytest.fixture
def two(tmp_path: Path) -> str:
    """Captions files of all scenes: ``full``, and ``half`` with every other caption empty."""
    samples = data.samples(registry.task("miniscenes"))
    full = {sample.id: sample.references[0] for sample in samples}
    half = {name: text if at % 2 else "" for at, (name, text) in enumerate(full.items())}
    return ",".join(str(captions_file(tmp_path / f"{n}.jsonl", t)) for n, t in (("full", full), ("half", half)))


def test_two_runs_are_judged_until_it_is_clear(cim: Cim, two: str) -> None:
    """Then no score of the metric exists, until the command without the option has judged the others."""
    assert cim("caption", "--model", two, "--task", "miniscenes").code == 0
    told = cim("judge", "--model", two, *QA, "--decide", "5", "--json").json
    assert (told["decision"], told["judged"], told["images"], told["replies"]) == ("worse", 50, 500, 100)
    assert (told["run_a"], told["run_b"], told["a"]) == ("full", "half", 100)
    again = cim("judge", "--model", two, *QA, "--decide", "5")
    assert again.out.startswith("half is worse than full in relation_qa: 50 of 500 images judged (")
    assert cim("judge", "--model", two, *QA, "--decide", "5", "--json").json["replies"] == 0
    scored = cim("score", "--model", two, *QA)
    assert scored.code == 1 and "has not answered 450 of 500 questions" in scored.out + scored.err
    assert "nothing to compare" in cim.refused("compare", "full", "half")
    assert cim("judge", "--model", two, *QA).code == cim("score", "--model", two, *QA).code == 0
    assert "half" in cim("compare", "full", "half").out
    rows = (cim.results / "miniscenes" / "full" / "replies.relation_qa.rule-judge.jsonl").read_text().splitlines()
    assert len(rows) == 500


def test_what_cannot_be_decided_is_refused(cim: Cim, two: str) -> None:
    assert cim("caption", "--model", two, "--task", "miniscenes").code == 0
    single = two.split(",")[0]
    assert "--decide is about two runs" in cim.refused("judge", "--model", single, *QA, "--decide", "5")
    both = ("judge", "--model", two, "--task", "miniscenes", "--decide", "5")
    assert "--decide takes one judged metric" in cim.refused(*both)
    assert "goes with none of --fresh" in cim.refused(*both, "--metrics", "relation_qa", "--controls")
    assert "not allowed with argument" in cim.refused(*both, "--metrics", "relation_qa", "--batch", "submit")
    assert "is not a number above 0" in cim.refused("judge", "--model", two, *QA, "--decide", "0")
