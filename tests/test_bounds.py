"""No number on a command line keeps a machine busy for days: each option has bounds, told in one line."""

from __future__ import annotations

import argparse

import pytest

from cim_harness import compare
from harness.command import arguments, numbers
from harness.errors import CimError
from harness.runs import stats
from tests.cli import Cim

ABSURD = ("999999999999", "-1", "1e9", "nan", "inf", "0x10", "", "9" * 5000)
VERBS = [
    (name,) for name in (*arguments.STAGES, *arguments.BOARDS, "arena", "doctor", "train", "study", "watch", "plan")
]
VERBS += [("validate",), ("audit-reward",), ("gallery", "build"), ("meteor",)]


def _parser(words: tuple[str, ...]) -> argparse.ArgumentParser:
    """The parser of a verb, by the way that argparse takes to it."""
    parser = arguments.parser(words)
    for word in words:
        (choices,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = choices[word]
    return parser


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_number_has_bounds(words: tuple[str, ...]) -> None:
    """An option with a type refuses what is absurd; an option that is a number to argparse itself has none."""
    for action in _parser(words)._actions:
        assert action.type not in (int, float), action.option_strings
        if action.type is None or isinstance(action.type, type):  # texts and paths
            continue
        for text in ABSURD:
            with pytest.raises(argparse.ArgumentTypeError):
                action.type(text)


def test_the_line_names_option_and_bounds(cim: Cim) -> None:
    line = cim.refused("eval", "--model", "demo-terse", "--draws", "999999999999")
    assert line == "cim: argument --draws: '999999999999' is not a whole number from 0 to 100000; cim eval --help\n"
    assert numbers.MOST_DRAWS == stats.MOST_DRAWS
    assert "samples" not in cim.refused("gallery", "build", "x", "--from", "miniscenes", "9" * 5000)


def test_draws_are_bounded_in_python_too(cim: Cim) -> None:
    assert cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", "length", "--draws", "0").code == 0
    runs = [cim.results / "demo" / name for name in ("demo-terse", "demo-detailed")]
    with pytest.raises(CimError, match="1000000000000 draws; 0 to 100000"):
        compare(*runs, draws=10**12)
