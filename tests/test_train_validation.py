"""Validation of a user's own images: how many are held out, and captions compared with references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.train import checkpoints, validation
from tests.test_train_checkpoints import saved

NAMES = [f"own:{number}" for number in range(6000)]
SCENES = {
    f"own:{at}": [f"a {colour} {thing} in the {place} of a room"]
    for at, (colour, thing, place) in enumerate(
        (colour, thing, place)
        for colour in ("red", "green", "blue", "white")
        for thing in ("chair", "lamp", "table", "clock")
        for place in ("corner", "middle", "back", "left")
    )
}


@pytest.mark.parametrize(
    ("images", "count", "held"), [(128, None, 64), (1400, None, 70), (6000, None, 256), (60, 0, 0), (300, 100, 100)]
)
def test_enough_images_are_held_out_for_a_decision(images: int, count: int | None, held: int) -> None:
    chosen = validation.held_out(NAMES[:images], count)
    assert len(chosen) == held and chosen <= set(NAMES[:images])


@pytest.mark.parametrize(
    ("images", "count", "said"),
    [
        (60, None, "60 images: 64 held out"),
        (127, None, "127 images"),
        (500, 3, "3 images held out decide nothing, 64 is the least"),
    ],
)
def test_too_few_are_refused_with_the_number_needed(images: int, count: int | None, said: str) -> None:
    with pytest.raises(CimError, match=said):
        validation.held_out(NAMES[:images], count)


def _words(name: str, texts: Sequence[str]) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def test_worse_captions_are_told_from_as_good_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "CANDIDATES", ("no_such_metric", "rouge_l"))
    references = validation.of_captions(SCENES, _words)
    assert references is not None and references.names == ["rouge_l"]
    captions = [text for (text,) in SCENES.values()]
    start = references.values(captions, None)["rouge_l"]
    assert start["value"] == pytest.approx(100) and start["floor"] < 90 and "ci95" not in start
    hacked = [f"{text.replace('in', 'on')} a very large very large thing" for text in captions]
    worse = references.values(hacked, captions)["rouge_l"]
    assert worse["ci95"][1] < 0
    mixed = [text if at % 2 else text.replace("a room", "the room") for at, text in enumerate(captions)]
    again = references.values(mixed, [*mixed[1:], mixed[0]])["rouge_l"]
    assert again["ci95"][0] > 0, "better than the captions of other images"


def test_a_second_pair_of_encoders_tells_right_captions_from_those_of_other_images() -> None:
    pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
    from tasks.miniscenes.training import WORLD
    from tests import training

    images = [f"validation_{number:06d}" for number in range(64)]
    keys = {image: f"own:{image}" for image in images}
    material = replace(training.material(), validation=images, keys=keys)
    pair = validation.second_pair("miniscenes-1000", material, None)
    right = [WORLD.caption(image, "full") for image in images]
    start = [WORLD.caption(image, "base") for image in images]
    better, same = pair.values(right, start)[pair.names[0]], pair.values(start, start)[pair.names[0]]
    assert better["ci95"][0] > 0 and better["value"] > better["floor"] + 0.3
    assert same["difference"] == 0 and same["ci95"] == [0, 0]
    with pytest.raises(CimError, match="has the encoders of the reward"):
        validation.second_pair("miniscenes-1000", material, pair.gallery)
    with pytest.raises(CimError, match="no image is held out"):
        validation.second_pair("miniscenes-1000", training.material(), None)


def test_without_references_nothing_is_known() -> None:
    assert validation.of_captions({"own:0": [" "]}, _words) is None and validation.of_captions({}, _words) is None


def test_a_checkpoint_whose_captions_got_worse_is_not_chosen(tmp_path: Path) -> None:
    def row(step: int, reward: float, low: float, high: float) -> dict[str, object]:
        difference = (low + high) / 2
        return {
            "step": step,
            "reward": reward,
            "references": {"meteor": {"difference": difference, "ci95": [low, high]}},
        }

    folder, start = saved(tmp_path, 5, 10, 15), {"step": 0, "reward": 1.0, "references": {"meteor": {"value": 30.0}}}
    kept = checkpoints.choose(
        folder, [start, row(5, 1.1, -0.5, 0.9), row(10, 1.5, -3.0, -1.0), row(15, 1.4, -4.0, -2.0)]
    )
    assert (kept["step"], kept["references_kept"], kept["truth_kept"]) == (5, True, None)
    lost = checkpoints.choose(folder, [start, row(5, 1.1, -0.5, -0.1), row(10, 1.5, -3.0, -1.0)])
    assert (lost["step"], lost["references_kept"]) == (5, False)
