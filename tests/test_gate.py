"""`python -m leaderboards check`: no change passes, a worse captioner fails, what does not compare is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.command import cli
from harness.runs import records, stats
from leaderboards import gate
from tasks.miniscenes import samples
from tests.boards import Boards
from tests.cli import Cim, captions_file
from tests.edits import Edit, document, rows
from tests.weaker import drop_objects, sampled

QUICK = "attributes,bleu4_char,capture,fine_names,length,objects,relation_qa,taxonomy"
COMMITTED = gate.BASELINES / "miniscenes" / "mini-detailed"


def stored() -> dict[str, str]:
    """The captions of the committed baseline."""
    return {key: completion.text or "" for key, completion in records.read(COMMITTED).items()}


def scored(cim: Cim, folder: Path, name: str, captions: dict[str, str], metrics: str = QUICK) -> None:
    """A run of captions, by the engine that reads a file."""
    path = captions_file(folder / f"{name}.jsonl", captions)
    partial = ("--partial",) if len(captions) < 500 else ()
    done = cim("eval", "--model", path, "--task", "miniscenes", "--metrics", metrics, "--draws", "0", *partial)
    assert done.code == 0, done


def verdicts(result: Any) -> dict[str, str]:
    """The verdict of every value."""
    return {f"{row['metric']} {row['value']}": row["verdict"] for row in result.json["comparisons"]}


def held() -> list[str]:
    """The metrics of the committed baseline; the test is skipped where one cannot be computed here."""
    metrics = [row["metric"] for row in json.loads((COMMITTED / "scores.json").read_text())["scores"]]
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"cim needs {name}, which is not installed: run `make setup-models`")
    if absent := [
        name for name in metrics if registry.metric(name).of_graphs is None and registry.metric(name).missing()
    ]:
        pytest.skip(f"{', '.join(absent)} cannot be computed here: run `make setup`")
    return metrics


def test_no_change_passes(cim: Cim, boards: Boards, tmp_path: Path) -> None:
    """Also: the code of today gives the committed scores from the committed captions, in every metric."""
    metrics = held()
    scored(cim, tmp_path, "mini-detailed", stored(), ",".join(metrics))
    result = boards("check", "mini-detailed", "--json")
    assert result.code == 0 and result.json["passed"] and result.json["n"] == 500
    assert {row["metric"] for row in result.json["comparisons"]} == set(metrics)
    for row in result.json["comparisons"]:  # another processor encodes captions a little differently
        assert abs(row["difference"]) <= (1e-4 if row["metric"] == "cim" else 0), row
    assert set(verdicts(result).values()) <= {gate.OK, gate.NOT_GATED, gate.AT_FLOOR}
    assert verdicts(result)["length words"] == gate.NOT_GATED and verdicts(result)["cider score"] == gate.OK


# Numbers per caption have no highest value, so no margin.
COUNTS = {f"statements {name}" for name in ("true", "false", "repeated", "relations")} | {"length words"}
# No caption changes the first, which is about the judge's replies; GRC does not look at the caption's image, and a
# sentence about another image is as well-formed.
NOT_OF_CAPTIONS = {"relation_qa unparsed_rate", "cim grc", "statements well_formed"} | COUNTS


@pytest.mark.parametrize("wrong", ["a dog", "next image"])
def test_captions_that_say_nothing_of_the_image_fail_in_every_value(
    cim: Cim, boards: Boards, tmp_path: Path, wrong: str
) -> None:
    """The gated model is far enough above its floors: no value of captions is called ok."""
    captions = stored()
    following = [*list(captions.values())[1:], next(iter(captions.values()))]
    texts = dict.fromkeys(captions, "a dog") if wrong == "a dog" else dict(zip(captions, following, strict=True))
    scored(cim, tmp_path, "wrong", texts, ",".join(held()))
    result = boards("check", "wrong", "--baseline", "mini-detailed", "--json")
    passed = {name for name, verdict in verdicts(result).items() if verdict != gate.FAILED}
    assert result.code == 1 and passed <= NOT_OF_CAPTIONS, passed
    assert len(verdicts(result)) - len(passed) >= 25


def test_a_baseline_at_its_floor_is_said_and_is_no_error(cim: Cim, boards: Boards, tmp_path: Path) -> None:
    """Captions that say nothing, as the baseline: what cannot fall, or is no better than a wrong image, is not ok."""
    for name in ("before", "after"):
        texts = dict.fromkeys(stored(), "a large plain red ring in the upper left .")
        scored(cim, tmp_path, name, texts, "bleu4_char,objects,relation_qa")
    before, after = (cim.results / "miniscenes" / name for name in ("before", "after"))
    result = boards("check", after, "--baseline", before, "--json")
    said = verdicts(result)
    assert result.code == 0 and result.json["passed"]
    assert {said[f"relation_qa {name}"] for name in ("score", "yes_recall", "na_rate")} == {gate.CANNOT_FAIL}
    assert (
        said["bleu4_char score"] == said["objects f1"] == gate.AT_FLOOR and said["relation_qa unparsed_rate"] == gate.OK
    )
    assert len(result.json["guard_nothing"]) == sum(
        verdict in (gate.CANNOT_FAIL, gate.AT_FLOOR) for verdict in said.values()
    )
    last = boards("check", after, "--baseline", before).out.splitlines()[-1]
    assert "values guard nothing: " in last and "relation_qa cannot fail" in last and "objects f1 at its floor" in last
    boards("check", after, "--baseline", before, "--junit", tmp_path / "junit.xml")
    assert "could not have failed: relation_qa: baseline 0.00" in (tmp_path / "junit.xml").read_text()


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_objects_dropped_fail(cim: Cim, boards: Boards, tmp_path: Path, share: float) -> None:
    scored(cim, tmp_path, "dropped", drop_objects(stored(), share))
    result = boards("check", "dropped", "--baseline", "mini-detailed", "--metrics", QUICK, "--json")
    assert result.code == 1 and not result.json["passed"]
    comparisons = {row["metric"] + " " + row["value"]: row for row in result.json["comparisons"]}
    for name in ("objects recall", "objects f1", "capture score"):
        assert comparisons[name]["verdict"] == gate.FAILED and comparisons[name]["p_permutation_holm"] < 0.05
        assert comparisons[name]["difference"] < -comparisons[name]["margin"] == -1
    assert comparisons["objects precision"]["verdict"] != gate.FAILED
    told = boards("check", "dropped", "--baseline", "mini-detailed", "--metrics", QUICK, "--margin", "20")
    assert told.code == 0 and gate.SMALL in told.out and "margin 20 points" in told.out


def test_other_captions_for_a_few_images_pass(cim: Cim, boards: Boards, tmp_path: Path) -> None:
    """Greedy captions may differ in a few images from one processor to another."""
    captions, others = stored(), drop_objects(stored(), 1)
    for key in list(captions)[::100]:
        captions[key] = others[key]
    scored(cim, tmp_path, "elsewhere", captions)
    result = boards("check", "elsewhere", "--baseline", "mini-detailed", "--metrics", QUICK, "--json")
    assert result.code == 0 and min(row["difference"] for row in result.json["comparisons"]) < 0


def test_direction_a_rate_of_not_answered_questions_must_not_rise(cim: Cim, boards: Boards, tmp_path: Path) -> None:
    whole = {sample.id: sample.references[0] for sample in samples.load(samples.FILE.parent)}
    blind = {key: re.sub(" in the [a-z]+ [a-z]+", "", text) for key, text in whole.items()}
    scored(cim, tmp_path, "whole", whole, "relation_qa")
    scored(cim, tmp_path, "blind", blind, "relation_qa")
    folders = [cim.results / "miniscenes" / name for name in ("whole", "blind")]
    worse = boards("check", folders[1], "--baseline", folders[0], "--json")
    assert worse.code == 1 and verdicts(worse)["relation_qa na_rate"] == gate.FAILED
    (rate,) = [row for row in worse.json["comparisons"] if row["value"] == "na_rate"]
    assert rate["difference"] > 1
    better = boards("check", folders[0], "--baseline", folders[1], "--json")
    assert better.code == 0 and verdicts(better)["relation_qa na_rate"] == gate.BETTER
    assert verdicts(better)["relation_qa score"] == gate.BETTER
    assert "better: relation_qa" in boards("check", folders[0], "--baseline", folders[1]).out


@pytest.mark.parametrize(
    ("gain", "p", "margin", "expected"),
    [
        (-1.1, 0.01, 1, gate.FAILED),
        (-1.0, 0.01, 1, gate.SMALL),
        (-1.1, 0.05, 1, gate.UNSURE),
        (-0.5, 0.5, 1, gate.OK),
        (0.0, 1.0, 0, gate.OK),
        (-1e-12, 0.01, 0, gate.SMALL),
        (-0.1, 0.01, 0, gate.FAILED),
        (0.5, 0.01, 1, gate.OK),
        (1.1, 0.01, 1, gate.BETTER),
        (1.1, 0.2, 1, gate.OK),
        (-99, 0.0, None, gate.NOT_GATED),
    ],
)
def test_verdicts(gain: float, p: float, margin: float | None, expected: str) -> None:
    assert gate.verdict(gain, p, margin) == expected


def test_every_metric_has_a_margin_in_its_own_unit_or_none() -> None:
    parts = [registry.metric(name) for name in registry.names("metrics")]
    margins = {f"{m.name} {value}": gate.margin_of(m.name, value, 1) for m in parts for value in m.names}
    assert {name for name, margin in margins.items() if margin is None} == COUNTS
    cim = [margins.pop(f"cim {name}") for name in ("grc", "qir", "reward")]
    assert cim == pytest.approx([0.01, 0.0175, 0.0275]) and margins.pop("cider score") == pytest.approx(10)
    assert set(margins.values()) == {None, 1.0}
    rate, score = (registry.metric("relation_qa@fenced").value(name) for name in ("na_rate", "score"))
    assert rate.higher_is_better is False and score.higher_is_better is True


# --- noise: captions are really drawn by mini-detailed ------------------------------------------------


def _noise(cim: Cim, boards: Boards, folder: Path, seeds: int, *options: str) -> list[Any]:
    """Outcomes of seeds 1, 2, ... against seed 0 as the baseline."""
    for seed in range(seeds + 1):
        done = cim("eval", "--model", sampled(folder, seed), "--draws", "0", *options)
        assert done.code == 0, done
    names = [f"mini-detailed-seed-{seed:02d}" for seed in range(seeds + 1)]
    first, *others = (cim.results / "miniscenes" / name for name in names)
    written = records.read(first)
    for other in others:  # they were really drawn
        drawn = records.read(other)
        assert sum(drawn[key].text != written[key].text for key in written) > len(written) / 2
    return [boards("check", other, "--baseline", first, "--json") for other in others]


def test_sampling_noise_passes(cim: Cim, boards: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed against another, 100 images; twenty on all images in the slow test below."""
    pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    outcomes = _noise(cim, boards, tmp_path / "models", 1, "--limit", "100", "--metrics", QUICK)
    assert [outcome.code for outcome in outcomes] == [0]
    assert outcomes[0].json["n"] == 100 and outcomes[0].json["baseline"] == "mini-detailed-seed-00"
    assert "model.sampling.seed: 0 / 1" in outcomes[0].json["notes"][0]


@pytest.mark.slow
def test_sampling_noise_passes_at_least_19_times_of_20(
    cim: Cim, boards: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    outcomes = _noise(cim, boards, tmp_path / "models", 20)
    assert sum(outcome.code == 0 for outcome in outcomes) >= 19
    assert all(len(outcome.json["comparisons"]) > 20 for outcome in outcomes)


# --- what is refused --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run; read only."""
    results = tmp_path_factory.mktemp("results")
    options = ["--metrics", "bleu4_char,length", "--results", str(results)]
    assert cli.main(["eval", "--model", "demo-terse", *options]) == 0
    return results / "demo" / "demo-terse"


@pytest.fixture
def folder(cim: Cim, whole: Path, tmp_path: Path) -> Path:
    """A copy of the small run, to be edited by a test, and another one as baseline."""
    shutil.copytree(whole, tmp_path / "kept" / "demo" / "demo-terse")
    return Path(shutil.copytree(whole, cim.results / "demo" / "demo-terse"))


REFUSED: dict[str, tuple[Edit, str]] = {
    "a missing metric": (document("scores.json", lambda c: c["scores"].pop()), "the run lacks length"),
    "a metric that was not computed": (
        document("scores.json", lambda c: c["scores"][0].update(not_computed="no such weights")),
        "the run lacks bleu4_char (not computed: no such weights)",
    ),
    "a changed signature": (
        document("scores.json", lambda c: c["scores"][0].update(signature=c["scores"][0]["signature"] + "|v:2")),
        "bleu4_char has another signature (baseline / run: v: 1 / 2)",
    ),
    "another version of the data": (
        document("manifest.json", lambda c: c["settings"]["task"].update(data="0" * 12)),
        "task demo has another data: 000000000000, that of the baseline",
    ),
    "another version of the task": (
        document("manifest.json", lambda c: c["settings"]["task"].update(version="9")),
        "task demo has another version: 9, that of the baseline 1",
    ),
    "not complete": (document("manifest.json", lambda c: c.update(status="captioned")), "is not complete"),
    "an edited value": (
        document("scores.json", lambda c: c["scores"][0]["values"].update(score=99.0)),
        "the run is damaged: bleu4_char: score is 99.0 by scores.json, 7.03544",
    ),
    "a value that is no number": (
        document("scores.json", lambda c: c["scores"][0]["values"].update(score=None)),
        "the run is damaged: bleu4_char: score is no number",
    ),
    "an edited caption": (
        rows("captions.jsonl", lambda all_of: all_of[3].update(caption="a better one")),
        "scores.json is about captions",
    ),
    "a row a sample removed": (rows("per_sample.jsonl", lambda all_of: all_of.pop()), "hold different samples"),
    "statistics of other samples": (
        rows("statistics.jsonl", lambda all_of: all_of[0].update(sample_id="x")),
        "statistics.jsonl and per_sample.jsonl hold different samples",
    ),
    "a cell that is no number": (
        rows("per_sample.jsonl", lambda all_of: all_of[2]["length"].update(words="7")),
        "",
    ),
    "scores of another form": (document("scores.json", lambda c: c.update(scores=7)), "scores.json.scores is no list"),
    "a manifest of another form": (document("manifest.json", lambda c: c.pop("settings")), "lacks settings"),
    "no scores": (lambda folder: (folder / "scores.json").unlink(), "this run has no scores"),
    "no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "is not JSON"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "no stored run 'demo-terse'"),
    "an unknown task": (
        document("manifest.json", lambda c: c["settings"]["task"].update(name="../../elsewhere")),
        "another task: the run is of ../../elsewhere, the baseline of demo;",
    ),
}


@pytest.mark.parametrize("edit", REFUSED)
def test_what_does_not_compare_is_refused(boards: Boards, folder: Path, tmp_path: Path, edit: str) -> None:
    kept = tmp_path / "kept" / "demo" / "demo-terse"
    change, expected = REFUSED[edit]
    change(folder)
    assert expected in boards.refused("check", "demo-terse", "--baseline", kept)
    if expected.startswith("the run is damaged"):
        line = boards.refused("check", kept, "--baseline", folder)
        assert expected.replace("the run", "the baseline") in line


def test_other_samples_and_another_number_of_them_are_refused(cim: Cim, boards: Boards, tmp_path: Path) -> None:
    names = {"few": 12, "more": 20, "others": 12}
    for at, (name, count) in enumerate(names.items()):
        ids = list(stored())[at * 100 :][:count]
        scored(cim, tmp_path, name, {key: stored()[key] for key in ids}, "objects,length")
    folders = {name: cim.results / "miniscenes" / name for name in names}
    line = boards.refused("check", "more", "--baseline", folders["few"])
    assert "the run has 20 samples, the baseline 12" in line
    line = boards.refused("check", "others", "--baseline", folders["few"])
    assert "12 of 12 samples are not in the baseline: test_0002" in line
    assert "the run has 12 samples, the baseline 500" in boards.refused("check", "few", "--baseline", "mini-detailed")
    assert "the run has 12 samples, the baseline 500" in boards.refused("check", "few")  # the only one of its task


def test_another_task_and_no_baseline_are_refused(cim: Cim, boards: Boards, folder: Path) -> None:
    line = boards.refused("check", "demo-terse", "--baseline", COMMITTED)
    assert "another task: the run is of demo, the baseline of miniscenes" in line
    line = boards.refused("check", "demo-terse")
    assert (
        "no baseline 'demo-terse' of task demo; existing baselines: miniscenes/mini-detailed; name one with --baseline"
        in line
    )
    assert "no stored run 'nobody'" in boards.refused("check", "nobody")
    assert "the baseline lacks meteor; it holds" in boards.refused(
        "check", "demo-terse", "--baseline", folder, "--metrics", "length,meteor"
    )


def test_metrics_that_the_baseline_lacks_or_that_are_left_out_are_told(cim: Cim, boards: Boards, folder: Path) -> None:
    assert cim("eval", "--model", "demo-detailed", "--metrics", "bleu4_char,length,meteor_nltk").code == 0
    result = boards("check", "demo-detailed", "--baseline", folder, "--metrics", "length", "--json")
    assert [row["metric"] for row in result.json["comparisons"]] == ["length"]
    assert "not in the baseline, so not compared: meteor_nltk" in result.json["notes"]
    assert "in the baseline, left out by --metrics: bleu4_char" in result.json["notes"]


@pytest.mark.parametrize("points", ["-1", "101", "nan", "x"])
def test_a_margin_is_a_number_of_points(boards: Boards, points: str) -> None:
    assert "is not a number from 0 to 100" in boards.refused("check", "x", "--margin", points)


# --- edges ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 6])
def test_too_few_images_for_any_drop_to_be_significant_are_refused(
    cim: Cim, boards: Boards, tmp_path: Path, n: int
) -> None:
    captions = {key: stored()[key] for key in list(stored())[:n]}
    scored(cim, tmp_path, "few", captions, "objects,length")
    scored(cim, tmp_path, "none", dict.fromkeys(captions, "nothing"), "objects,length")
    line = boards.refused("check", "none", "--baseline", cim.results / "miniscenes" / "few")
    assert f"{n} samples are too few: no drop in one of 4 values could be significant" in line


def test_eight_images_are_enough_for_four_values(cim: Cim, boards: Boards, tmp_path: Path) -> None:
    """The bound is tight: 4 x 2/2^8 is below 0.05, and everything wrong on eight images fails."""
    captions = {key: stored()[key] for key in list(stored())[:8]}
    scored(cim, tmp_path, "few", captions, "objects,length")
    scored(cim, tmp_path, "none", dict.fromkeys(captions, "nothing"), "objects,length")
    assert boards("check", "none", "--baseline", cim.results / "miniscenes" / "few").code == 1


def test_constant_values_do_not_fail(cim: Cim, boards: Boards, tmp_path: Path) -> None:
    captions = dict.fromkeys(list(stored())[:50], "nothing at all")
    scored(cim, tmp_path, "mute", captions, "objects,relation_qa,length")
    result = boards("check", "mute", "--baseline", cim.results / "miniscenes" / "mute", "--json")
    assert result.code == 0 and {row["p_permutation"] for row in result.json["comparisons"]} == {1}


def _failed(cim: Cim, folder: Path, count: int) -> None:
    """Let the first captions of a run fail and score it again; a run without one caption has no scores."""
    rows("captions.jsonl", lambda every: [row.update(caption=None, error="no answer") for row in every[:count]])(folder)
    assert cim("score", "--model", "demo-terse", "--metrics", "bleu4_char,length").code == int(count == 12)
    document("manifest.json", lambda c: c.update(captions=records.digest(records.read(folder))))(folder)


def test_failed_captions_count_as_empty_and_are_told(cim: Cim, boards: Boards, folder: Path, tmp_path: Path) -> None:
    _failed(cim, folder, 11)
    kept = tmp_path / "kept" / "demo" / "demo-terse"
    result = boards("check", "demo-terse", "--baseline", kept, "--annotations")
    assert result.code == 1
    assert "failed captions, counted as empty ones: 11 of the run, 0 of the baseline" in result.out
    assert "::warning title=cim gate::failed captions" in result.out
    assert boards("check", "demo-terse", "--baseline", folder).code == 0  # nothing is below itself
    _failed(cim, folder, 12)
    document("manifest.json", lambda c: c["made_by"].update(git=None))(folder)
    assert "all captions failed" in boards.refused("baseline", "demo-terse", "--into", tmp_path / "made")


def test_the_smallest_p_is_what_the_bound_says() -> None:
    """Two of the 2^n swaps are as far out as the observed one, so no p of n images is below 2/2^n."""
    for n in (1, 3, 5):
        rows = [stats.Column(np.full((n, 1), float(value)), registry.metric("length").aggregate) for value in (1, 0)]
        ((test,),) = stats.paired([(rows[0], rows[1])])
        assert test.p_permutation == pytest.approx(2.0 ** (1 - n), abs=0.02)
