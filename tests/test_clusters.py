"""Several captions per image: intervals and tests resample images, and controls never use the image's own texts."""

from __future__ import annotations

import numpy as np
import pytest

from harness.parts import mean
from harness.runs import controls, stats
from harness.types import Sample

N, COPIES = 40, 5


def _column(values: np.ndarray, images: np.ndarray | None = None) -> stats.Column:
    return stats.Column(values[:, None], mean, images)


def test_copies_of_a_caption_make_no_interval_narrower() -> None:
    """k equal captions per image are worth one: the interval and p values are those of one caption per image."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, N))
    copied = [np.repeat(side, COPIES) for side in (a, b)]
    images = np.repeat(np.arange(N), COPIES)
    single, several = (
        stats.interval(stats.bootstrap([column], 2000)[0]) for column in (_column(a), _column(copied[0], images))
    )
    assert several == pytest.approx(single, abs=1e-12)
    naive = stats.interval(stats.bootstrap([_column(copied[0])], 2000)[0])
    assert np.ptp(several) / np.ptp(naive) == pytest.approx(np.sqrt(COPIES), rel=0.15)
    ((alone,),) = stats.paired([(_column(a), _column(b))], 2000)
    ((clustered,),) = stats.paired([(_column(copied[0], images), _column(copied[1], images))], 2000)
    assert clustered.p_permutation == alone.p_permutation and clustered.p_bootstrap == alone.p_bootstrap
    assert clustered.ci95 == pytest.approx(alone.ci95, abs=1e-12)


def test_images_with_many_captions_weigh_more_as_they_do_in_the_value() -> None:
    values, images = np.array([0.0, 1.0, 1.0, 1.0]), np.array([0, 1, 1, 1])
    drawn = stats.bootstrap([_column(values, images)], 4000)[0][:, 0]
    assert set(np.unique(drawn)) == {0.0, 0.75, 1.0}  # both images 0, one of each, both images 1


def test_numbers_of_images() -> None:
    assert stats.image_numbers(["x", "y", "z"]) is None
    numbers = stats.image_numbers(["b", "a", "b"])
    assert numbers is not None and numbers.tolist() == [0, 1, 0]


def _samples(*names: str) -> list[Sample]:
    return [
        Sample(name, (f"reference of {name[0]}",), image_id=name[0] if len(name) > 1 else "", image=f"{name[0]}.jpg")
        for name in names
    ]


def test_controls_are_of_another_image() -> None:
    samples, whole = _samples("a#1", "a#2", "b#1", "c"), _samples("a", "b", "c")
    texts = controls.texts(samples, whole, ["a one", "a two", "b one", "c"])
    assert texts[controls.WRONG_IMAGE] == ["reference of b", "reference of b", "reference of c", "reference of a"]
    assert texts[controls.NEXT_CAPTION] == ["b one", "b one", "c", "a one"]


def test_one_image_has_no_control() -> None:
    assert controls.texts(_samples("a#1", "a#2"), _samples("a"), ["one", "two"]) == {}


def test_a_benchmark_that_lists_an_image_twice_still_gets_another_image() -> None:
    """Two samples of one image file: the next image is not the second of them."""
    whole = [Sample("1", ("r1",), "x.jpg"), Sample("2", ("r2",), "x.jpg"), Sample("3", ("r3",), "y.jpg")]
    texts = controls.texts(whole, whole, ["c1", "c2", "c3"])
    assert texts[controls.WRONG_IMAGE][:2] == ["r3", "r3"] and texts[controls.NEXT_CAPTION][:2] == ["c3", "c3"]


def test_a_value_that_is_no_better_than_a_control_is_named() -> None:
    score = {
        "values": {"f1": 10.0, "rate": 5.0},
        "controls": {
            "wrong_image": {"values": {"f1": 20.0, "rate": 1.0}},
            "next_caption": {"values": {"f1": 3.0, "rate": 5.0}},
        },
    }
    assert controls.under(score, "f1", True) == (), "the floor is what the run's own captions earn"
    assert controls.under(score, "rate", False) == ("next_caption",)
    assert controls.under(score, "f1", None) == ()
    judged = {"values": {"s": 60.0}, "controls": {"all_yes": {"values": {"s": 100}}, "all_no": {"values": {"s": 61.0}}}}
    assert controls.under(judged, "s", True) == ("all_yes",)
    assert controls.under(judged, "s", True, best=100) == ("all_no",), "what earns the most possible is no floor"
