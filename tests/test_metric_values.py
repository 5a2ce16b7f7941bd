"""What a value says of itself is what gate, board, compare and terminal go by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import registry
from harness.runs import stored_run
from leaderboards import gate, standings
from tests.boards import Boards
from tests.cli import Cim, captions_file

RATE = '''"""Share of samples whose caption says "ghost", in percent: lower is better."""
import numpy as np
from harness.parts import Measurement, Metric, Value
def _measure(records):
    shares = np.array([[100.0 * ("ghost" in caption)] for caption in records.captions])
    return Measurement(shares, shares)
VALUES = (Value("rate", {direction}, decimals=1),)
METRIC = Metric("hallucinated", VALUES, _measure, lambda: {{"v": "1"}}, (0.0,), frozenset())
'''
JUDGE = '''"""Is it a dog?"""
from harness.parts import Judge
def _parse(reply, n):
    return [{"yes": "yes", "no": "no"}.get(reply.strip().lower())]
def _prompts(sample, caption):
    return {"": f"Caption: {caption}. A dog?"}
JUDGE = Judge("dogs", _prompts, {"prompt": "dogs-1"}, {"word": _parse})
'''
SHARE = '''"""Captions of a dog."""
from functools import partial
from harness.parts import Metric, Value
from judges import share_of_parsed, yes_share
METRIC = Metric("dogs", (Value("share"),), partial(yes_share, judge="dogs"), lambda: {"v": "1"}, (0.0,), frozenset(),
    judge="dogs", aggregate=share_of_parsed)
'''


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_every_metric_has_a_main_value_and_labels_that_differ(name: str) -> None:
    metric = registry.metric(name)
    assert any(value.main for value in metric.values)
    assert len({metric.label(value) for value in metric.names}) == len(metric.values) == len(set(metric.names))


@pytest.fixture
def two_runs(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Cim:
    """Runs ``true`` (0 %) and ``false`` (100 %) in a metric whose direction the test names."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "hallucinated.py").write_text(RATE.format(direction=request.param))
    monkeypatch.setenv("CIM_PATH", str(tmp_path))
    for name, text in (("true", "A dog."), ("false", "A ghost.")):
        ids = [f"demo_{number:02d}" for number in range(1, 13)]
        path = captions_file(tmp_path / f"{name}.jsonl", dict.fromkeys(ids, text))
        assert cim("eval", "--model", path, "--task", "demo", "--metrics", "hallucinated").code == 0
    return cim


@pytest.mark.parametrize("two_runs", ["False"], indirect=True)
def test_a_rise_of_a_lower_is_better_value_fails_the_gate_and_is_ranked_last(two_runs: Cim, boards: Boards) -> None:
    """The defect: 0 % to 100 % passed as "better" and stood first on the board."""
    folder = two_runs.results / "demo"
    done = boards("check", "false", "--baseline", folder / "true", "--json")
    assert done.code == 1 and [row["verdict"] for row in done.json["comparisons"]] == [gate.FAILED]
    assert (
        boards("check", "true", "--baseline", folder / "false", "--json").json["comparisons"][0]["verdict"]
        == gate.BETTER
    )
    runs = [stored_run.load(folder / name) for name in ("false", "true")]
    (group,) = standings.groups(runs)
    assert [(place.run.model, place.rank) for place in group.standings] == [("true", (1, 1)), ("false", (2, 2))]
    (row,) = two_runs("compare", "true", "false", "--json").json["comparisons"]
    assert row["higher_is_better"] is False and row["difference"] == 100
    table = two_runs("compare", "true", "false").out
    assert "hallucinated ↓" in table and "100.0" in table and "100.00" not in table, "one decimal"


@pytest.mark.parametrize("two_runs", ["None"], indirect=True)
def test_a_value_without_direction_is_shown_and_never_gated_or_ranked(two_runs: Cim, boards: Boards) -> None:
    folder = two_runs.results / "demo"
    done = boards("check", "false", "--baseline", folder / "true", "--json")
    assert done.code == 0 and [row["verdict"] for row in done.json["comparisons"]] == [gate.NOT_GATED]
    site = folder.parent / "site"
    assert boards("board", "--out", site).code == 0
    page = (site / "demo" / "index.html").read_text() if (site / "demo").is_dir() else (site / "demo.html").read_text()
    assert "hallucinated" in page and "data-ranked" not in page


def test_replies_that_nobody_can_parse_are_no_score(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: a judge that answers nothing gave 0.00 [0.00, 0.00] with no failure."""
    for kind, text in (("judges", JUDGE), ("metrics", SHARE)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "dogs.py").write_text(text)
        monkeypatch.setenv("CIM_PATH", str(tmp_path))
        done = cim("doctor", "--part", tmp_path / kind / "dogs.py", "--json")
        assert kind == "metrics" or done.code == 0, json.dumps(done.json)
    done = cim("eval", "--model", "demo-terse", "--metrics", "dogs", "--judge", "rule-judge", "--json")
    (score,) = done.json["scores"]
    assert done.code == 1 and score["values"] == {"share": None}
    assert "12" in score["not_computed"] and "dogs" in score["not_computed"]


def test_an_unparsed_reply_is_left_out_and_never_a_no() -> None:
    from harness.parts import Records
    from harness.types import Sample

    metric = registry.metric("taxonomy")
    replies = [{"species": "yes", "breed": "no"}, {"species": "who knows", "breed": "Yes."}]
    samples = [Sample("a", ()), Sample("b", ())]
    measured = metric.measure(Records(samples, ["x", "y"], lambda *_: [], lambda judge: replies))
    assert metric.aggregate(measured.statistics.sum(axis=0), 2).tolist() == [100, 50] and measured.counts == {
        "unparsed": 1
    }
