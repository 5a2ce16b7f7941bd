"""The control predictions that tests are made of are what the protocol says (section 12)."""

import pytest

from tests.controls import perturbed

CAPTIONS = {"a": "one two three four five six seven eight nine ten  eleven", "b": "x y z", "c": ""}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("reference", "one two three four five six seven eight nine ten  eleven"),
        ("drop10", "one two three four five six seven eight nine eleven"),
        ("half", "one two three four five"),
        ("wrong_image", "x y z"),
        ("empty", ""),
    ],
)
def test_control(kind: str, expected: str) -> None:
    assert perturbed(CAPTIONS, kind)["a"] == expected


def test_wrong_image_is_cyclic() -> None:
    assert perturbed(CAPTIONS, "wrong_image")["c"] == CAPTIONS["a"]


def test_shuffled_keeps_the_words_and_repeats() -> None:
    once, again = perturbed(CAPTIONS, "shuffled")["a"], perturbed(CAPTIONS, "shuffled")["a"]
    assert once == again != " ".join(CAPTIONS["a"].split()) and sorted(once.split()) == sorted(CAPTIONS["a"].split())


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        perturbed(CAPTIONS, "nothing")
