"""Diagnostics by hand-made batches: each kind of hacked batch rings its own alarm and no other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import store
from harness.errors import AlarmError
from harness.train import alarms, diagnostics
from harness.train.log import COMPLETIONS, STEPS, VALIDATION, TrainingLog
from harness.train.reward import Scored
from tests.training import GROUP, IMAGES, healthy, scored

N = GROUP * IMAGES


def row(batch: Scored) -> dict[str, Any]:
    captions = len(batch.captions)
    return {"captions": captions, "images": captions // batch.group, **diagnostics.summary(batch)}


def rung(batch: Scored, validations: Sequence[dict[str, Any]] = ()) -> set[str]:
    return set(alarms.check([row(healthy()), row(batch)], validations))


def test_healthy_batches_ring_nothing() -> None:
    assert alarms.check([row(healthy())], []) == {}
    assert all(rung(healthy(seed)) == set() for seed in range(1, 20))


def test_one_caption_for_all_images_is_a_collapse() -> None:
    collapsed = ["a b c d e f"] * N
    assert rung(scored(collapsed, healthy().batch.qir)) == {"distinct", "opening"}
    grouped = replace(healthy(1), captions=[healthy(1).captions[at - at % GROUP] for at in range(N)])
    assert rung(grouped) == set(), "sure of each image is not collapsed"


def test_a_collapse_that_drawing_hides(tmp_path: Path) -> None:
    """What is drawn differs by chance; the likeliest caption of every image is the same one."""
    start, later = {"step": 0, "distinct": 1.0, "images": 100}, {"step": 10, "distinct": 0.04, "images": 100}
    assert rung(healthy(1), [start, later]) == {"distinct"} and rung(healthy(1), [start]) == set()
    assert rung(healthy(1), [{**later, "images": 3}]) == set(), "three images say nothing"
    opened, _ = training_log(tmp_path, stops=True)
    opened.log_validation(0, {"reward": 1.0, **{name: start[name] for name in ("distinct", "images")}})
    with pytest.raises(AlarmError, match="alarm distinct: greedy captions of validation of 100 images are 4%"):
        opened.log_validation(10, {"reward": 1.0, **{name: later[name] for name in ("distinct", "images")}})
    opened.close()


def test_captions_that_repeat_themselves() -> None:
    looped = [f"{caption} {caption}" for caption in healthy(1).captions]
    assert rung(replace(healthy(1), captions=looped)) == {"repetition"}


def test_boilerplate_before_every_caption() -> None:
    said = [f"this image shows the following things {caption}" for caption in healthy(1).captions]
    assert rung(replace(healthy(1), captions=said)) == {"opening"}


def test_the_longest_caption_wins() -> None:
    lengths = np.random.default_rng(2).permutation(N) + 5
    assert rung(scored(healthy(1).captions, 0.9 + lengths / 100, lengths=lengths)) == {"length"}


def test_everyone_retrieves_one_row() -> None:
    rows = np.arange(3 * N).reshape(N, 3) + 100
    rows[: int(0.7 * N), 0] = 5
    assert rung(replace(healthy(1), batch=replace(healthy(1).batch, rows=rows))) == {"hub"}


def test_sources_that_do_not_matter() -> None:
    blind = row(scored(healthy(1).captions, healthy(1).batch.qir, shuffled=healthy(1).batch.qir.mean()))
    sound = [row(healthy(seed)) for seed in range(3)]
    assert set(alarms.check([*sound, blind, blind, blind], [])) == {"ungrounded"}
    assert alarms.check([*sound, blind, row(healthy(2)), blind], []) == {}, "an odd batch"


@pytest.mark.parametrize(
    ("gaps", "rings"),
    [
        ([0.2] * 3 + [0.09] * 3, True),
        ([0.2] * 6, False),
        ([-0.1] * 6, False),
        ([0.0] * 6, False),
        ([-0.1, -0.06, -0.07, -0.08, -0.05, -0.02], False),
        ([0.02, 0.2, 0.2, 0.15, 0.15, 0.15], False),
    ],
)
def test_who_sees_nothing_at_first_has_nothing_to_lose(gaps: list[float], rings: bool) -> None:
    rows = [{**row(healthy()), "retrieval": {**row(healthy())["retrieval"], "qir_gap": gap}} for gap in gaps]
    assert ("ungrounded" in alarms.check(rows, [])) is rings


def test_a_number_that_is_none() -> None:
    bad = row(healthy(1))
    bad["kl"] = float("nan")
    assert set(alarms.check([row(healthy()), bad], [])) == {"nan"}
    assert "kl not finite" in alarms.check([row(healthy()), bad], [])["nan"]


def test_an_engine_that_is_another_policy() -> None:
    apart = {**row(healthy(1)), "logp_difference": 0.2}
    assert set(alarms.check([row(healthy()), apart], [])) == {"mismatch"}
    assert alarms.check([row(healthy()), {**apart, "logp_difference": 0.02}], []) == {}


def test_nothing_was_scored() -> None:
    nothing = scored(healthy(1).captions, [np.nan] * N)
    assert "nan" in rung(nothing) and diagnostics.summary(nothing)["reward"]["mean"] is None


def test_reward_up_and_truth_down_twice_in_a_row() -> None:
    def validated(*rows: tuple[float, float | None]) -> set[str]:
        return rung(
            healthy(1), [{"step": at, "reward": reward, "truth": true} for at, (reward, true) in enumerate(rows)]
        )

    assert validated((1.0, 80.0), (1.2, 62.0), (1.3, 60.0)) == {"truth"}
    assert validated((1.0, 80.0), (1.2, 60.0)) == validated((1.0, 80.0), (1.2, 60.0), (1.3, 78.0)) == set(), "a phase"
    assert validated((1.0, 80.0), (1.2, 78.0), (1.3, 60.0)) == set()
    assert validated((1.0, 80.0), (0.9, 60.0), (1.2, 60.0)) == set(), "bad, but no hack"
    assert validated((1.0, None), (1.2, None), (1.3, None)) == set()


def test_reward_up_and_captions_worse_by_their_references_twice_in_a_row() -> None:
    def validated(*rows: tuple[float, tuple[float, float] | None]) -> set[str]:
        content = [
            {"step": at, "reward": reward, "references": {"meteor": {"value": 30.0, "difference": -1.0, "ci95": ci}}}
            for at, (reward, ci) in enumerate(rows)
        ]
        return rung(healthy(1), content)

    worse, level = (-2.0, -0.5), (-1.0, 0.2)
    assert validated((1.0, None), (1.2, worse), (1.3, worse)) == {"references"}
    assert validated((1.0, None), (1.2, worse)) == validated((1.0, None), (1.2, worse), (1.3, level)) == set()
    assert validated((1.0, None), (0.9, worse), (1.3, worse)) == set(), "worse, but no hack"


def test_alarms_that_cannot_ring_are_no_guards() -> None:
    def silent(*, truth: bool = False, references: bool = True, validation: bool = True, images: int = 256) -> set[str]:
        return set(
            alarms.cannot_ring(truth=truth, references=references, validation=validation, images=images, vllm=True)
        )

    assert silent() == {"truth"} and silent(truth=True) == {"references"}
    assert silent(validation=False) == {"truth", "references"} and silent(images=1) == {"truth", "ungrounded"}
    assert silent(images=3, validation=False) == {"truth", "references", "distinct"}
    here = alarms.cannot_ring(truth=True, references=False, validation=True, images=16, vllm=False)
    assert set(here) == {"references", "mismatch"}


def test_numbers_of_a_known_batch() -> None:
    """Five equally spaced rewards in a group: deviation sqrt(2.5); caption said twice: about half of it repeats."""
    values = np.array([1.0, 2, 3, 4, 5, 7, 7, 7, 7, 7])
    numbers = diagnostics.spread(values, 5)
    assert numbers["group_std"] == pytest.approx(np.sqrt(2.5) / 2) and numbers["flat_groups"] == 0.5
    assert numbers["mean"] == pytest.approx(5.0) and numbers["q50"] == pytest.approx(6.0)
    words = list("abcdef")
    assert diagnostics.repeated(words) == 0 and diagnostics.repeated(words * 2) == pytest.approx(1 - 6 / 9)
    assert diagnostics.repeated(["a"]) == 0
    assert diagnostics.distinct_images(["x", "y", "x", "z"], 2) == pytest.approx((1 / 2 + 1) / 2)


def test_rank_correlation_is_that_of_scipy() -> None:
    from scipy.stats import spearmanr

    dice = np.random.default_rng(0)
    values, lengths = dice.integers(0, 5, 40).astype(float), dice.integers(0, 5, 40).astype(float)
    theirs = [spearmanr(a, b).statistic for a, b in zip(values.reshape(-1, 8), lengths.reshape(-1, 8), strict=True)]
    assert diagnostics.rank_correlation(values, lengths, 8) == pytest.approx(np.mean(theirs))


def training_log(
    folder: Path, stops: bool, done: int = 0, tolerated: Sequence[str] = ()
) -> tuple[TrainingLog, list[str]]:
    said: list[str] = []
    stopping = alarms.that_stop(stops, tolerated)
    return TrainingLog(folder, 1, stopping, {"gallery": "fake"}, said.append, done), said


def test_a_guarded_run_stops_and_keeps_its_rows(tmp_path: Path) -> None:
    opened, _ = training_log(tmp_path, stops=True)
    opened.add_batch(healthy())
    opened.log_update(1, {"loss": 0.1}, {"seconds": {"total": 1.0}})
    opened.add_batch(scored(["a b c d e f"] * N, healthy().batch.qir))
    with pytest.raises(
        AlarmError, match="alarm distinct: captions of 8 images are 12% different ones, under 50%"
    ) as stop:
        opened.log_update(2, {"loss": 0.1}, {"seconds": {"total": 1.0}})
    opened.close()
    assert stop.value.name == "distinct" and stop.value.exit_code == 1
    rows = store.read_rows(tmp_path / STEPS)
    assert [set(row["alarms"]) for row in rows] == [set(), {"distinct", "opening"}]
    assert rows[0]["gallery"] == "fake" and len(store.read_rows(tmp_path / COMPLETIONS)) == 2 * N


def test_paper_writes_alarms_down_and_goes_on(tmp_path: Path) -> None:
    opened, said = training_log(tmp_path, stops=False)
    for update in (1, 2, 3):
        opened.add_batch(scored(["a b c d e f"] * N, healthy().batch.qir))
        opened.log_update(update, {"loss": float("nan")}, {})
    opened.close()
    assert len(said) == 2, "each alarm is told once"
    rows = store.read_rows(tmp_path / STEPS)
    assert [row["loss"] for row in rows] == [None] * 3 and all("nan" in row["alarms"] for row in rows)


def test_a_tolerated_alarm_is_told_and_another_still_stops(tmp_path: Path) -> None:
    """Hacked and collapsed at once: without the first alarm the run goes on until the second rings."""
    start = {"step": 0, "reward": 1.0, "truth": 90.0, "distinct": 1.0, "images": 100}
    hacked = {**start, "step": 10, "reward": 1.1, "truth": 60.0}
    opened, said = training_log(tmp_path, stops=True, tolerated=["truth"])
    opened.log_validation(0, {name: value for name, value in start.items() if name != "step"})
    for step in (10, 20):
        opened.log_validation(step, {name: value for name, value in hacked.items() if name != "step"})
    assert said == ["alarm truth: reward +0.100 on validation while the share of true statements fell by 30.0 points"]
    with pytest.raises(AlarmError, match="alarm distinct"):
        opened.log_validation(30, {**{name: hacked[name] for name in hacked if name != "step"}, "distinct": 0.1})
    opened.close()
    assert alarms.that_stop(False, []) == () and set(alarms.that_stop(True, [])) == set(alarms.STOPPING)


def test_a_nan_on_an_update_without_new_captions_stops(tmp_path: Path) -> None:
    opened, _ = training_log(tmp_path, stops=True)
    with pytest.raises(AlarmError, match="alarm nan: grad_norm not finite"):
        opened.log_update(2, {"loss": 0.0, "grad_norm": float("inf")}, {})
    opened.close()


def test_rows_after_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    opened, _ = training_log(tmp_path, stops=True)
    for update in (1, 2, 3):
        opened.add_batch(replace(healthy(update), step=update - 1))
        opened.log_update(update, {"loss": 0.1}, {})
    opened.log_validation(2, {"reward": 1.0, "truth": 80.0})
    opened.log_validation(3, {"reward": 1.0, "truth": 80.0})
    opened.close()
    again, _ = training_log(tmp_path, stops=True, done=2)
    again.close()
    for name in (STEPS, COMPLETIONS, VALIDATION):
        assert {row["step"] for row in store.read_rows(tmp_path / name)} <= {1, 2}
    assert len(store.read_rows(tmp_path / COMPLETIONS)) == 2 * N and len(again.validations) == 1


def test_rows_are_json_that_anything_reads(tmp_path: Path) -> None:
    opened, _ = training_log(tmp_path, stops=False)
    opened.add_batch(scored(["\u2028 a", "b\x00", "", "d"] * IMAGES, [np.nan] * N))
    opened.log_update(1, {"loss": 0.1}, {})
    opened.close()
    for name in (STEPS, COMPLETIONS):
        for line in (tmp_path / name).read_bytes().split(b"\n")[:-1]:
            json.loads(line, parse_constant=pytest.fail)
