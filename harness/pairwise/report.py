"""What an arena found, as JSON and as lines: ratings, pairs, and how much the judge goes by position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import one_line
from harness.pairwise import protocol, ratings
from harness.pairwise.battles import Arena, Votes
from harness.pairwise.ratings import Interval, Rating, Resampling
from harness.runs import stats

if TYPE_CHECKING:
    from harness.parts import Array

BIASED = 65.0  # percent of decisive votes for one position, from which a line warns


@dataclass(frozen=True, slots=True)
class Pair:
    """Run a against run b on n images: counts, win rate of a in percent (ties half), also at equal length.

    ``net`` is CapArena-Auto's score in percent of the images: 100 (wins - losses) / n. ``unread`` battles have no vote;
    ``same`` of the ties are of equal captions.
    """

    a: str
    b: str
    n: int
    wins: int
    ties: int
    losses: int
    unread: int
    same: int
    win_rate: float | None
    ci95: Interval
    equal_length: float | None
    equal_length_ci95: Interval
    net: float | None
    words: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Position:
    """Decisive votes for whichever caption stood first, in percent (50: no bias), and their number.

    ``contradicted`` are battles, in percent of those with two votes, of which both orders named the same position.
    """

    first: float | None
    n: int
    contradicted: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that is reported of an arena."""

    task: str
    judge: str
    shown: str
    prompt: str
    n_images: int
    ratings: Sequence[Rating]
    pairs: Sequence[Pair]
    position: Position


def report(arena: Arena, votes: Votes, judge: str, draws: int) -> Report:
    """The report of an arena whose battles are judged."""
    images = stats.image_numbers([sample.image_key for sample in arena.samples])
    how, outcomes = Resampling(draws, images), votes.outcomes
    return Report(
        arena.task.name,
        judge,
        arena.shown,
        protocol.signature(arena.shown),
        len({sample.image_key for sample in arena.samples}),
        ratings.ratings(arena.runs, arena.pairs, outcomes, how),
        [_pair(arena, at, votes, outcomes[:, at], how) for at in range(len(arena.pairs))],
        _position(votes),
    )


def _pair(arena: Arena, at: int, votes: Votes, outcomes: Array, how: Resampling) -> Pair:
    a, b = arena.pairs[at]
    words = np.array([[len(arena.captions[run][sample.id].split()) for sample in arena.samples] for run in (a, b)])
    longer = (words[0] - words[1]).astype(np.float64)
    rate, around = ratings.rate(outcomes, how)
    equal, around_equal = ratings.at_equal_length(outcomes, longer, how)
    wins, ties, losses = (int((outcomes == points).sum()) for points in (1.0, 0.5, 0.0))
    n = wins + ties + losses
    return Pair(
        arena.runs[a],
        arena.runs[b],
        n,
        wins,
        ties,
        losses,
        len(outcomes) - n,
        sum(row[at] for row in votes.same),
        rate,
        around,
        equal,
        around_equal,
        100 * (wins - losses) / n if n else None,
        (float(words[0].mean()), float(words[1].mean())),
    )


def _position(votes: Votes) -> Position:
    first = [vote for row in votes.a_first for vote in row]
    second = [vote for row in votes.b_first for vote in row]
    decisive = [vote for vote in (*first, *second) if vote in ("first", "second")]
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return Position(
        100 * decisive.count("first") / len(decisive) if decisive else None,
        len(decisive),
        100 * sum(a == b != "tie" for a, b in both) / len(both) if both else None,
    )


def lines(of: Report) -> Iterator[str]:
    """The report for a terminal, without its tables (``rating_rows``, ``pair_rows``)."""
    shown = {"both": "image and reference"}.get(of.shown, of.shown)
    yield f"{of.task}: {of.n_images} images, judge {of.judge}, which sees the {shown}; ties count half"
    for reason in dict.fromkeys(rating.reason for rating in of.ratings if rating.reason):
        yield one_line(reason)
    if of.position.first is not None:
        text = (
            f"position: {of.position.first:.1f} % of {of.position.n} decisive votes name the first caption; "
            f"in {of.position.contradicted or 0:.1f} % of battles both orders name one position, which counts as a tie"
        )
        biased = max(of.position.first, 100 - of.position.first) >= BIASED
        yield f"warning: the judge goes by {text}" if biased else text
    if unread := sum(pair.unread for pair in of.pairs):
        yield f"warning: {unread} battles without two readable replies are left out"


def rating_rows(of: Report) -> list[tuple[str, str, str]]:
    """Run, rating and interval, the best first."""
    ordered = sorted(of.ratings, key=lambda rating: -(rating.rating or 0))
    return [(one_line(rating.run), _text(rating.rating, 0), _between(rating.ci95, 0)) for rating in ordered]


def pair_rows(of: Report) -> list[tuple[str, ...]]:
    """A row for each pair: names, counts, win rate, win rate at equal length, net wins, words."""
    return [
        (
            one_line(f"{pair.a} : {pair.b}"),
            f"{pair.wins}/{pair.ties}/{pair.losses}",
            f"{_text(pair.win_rate, 1)} {_between(pair.ci95, 1)}".strip(),
            f"{_text(pair.equal_length, 1)} {_between(pair.equal_length_ci95, 1)}".strip(),
            _text(pair.net, 1),
            f"{pair.words[0]:.0f} : {pair.words[1]:.0f}",
        )
        for pair in of.pairs
    ]


def _text(number: float | None, decimals: int) -> str:
    return "-" if number is None else f"{number:.{decimals}f}"


def _between(bounds: Interval, decimals: int) -> str:
    return "" if bounds[0] is None or bounds[1] is None else f"{bounds[0]:.{decimals}f}..{bounds[1]:.{decimals}f}"
