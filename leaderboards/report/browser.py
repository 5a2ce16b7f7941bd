"""Section (g): captions of two runs side by side, with words highlighted that only one has, and gains and losses.

Words are compared as in ``pages/highlight.py``, ignoring positions; a gain is what run b's value of an image is better
by than run a's. Thumbnails are shown if the task renders its images or they are in ``$CIM_DATA``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness import registry
from harness.errors import CimError
from harness.pages import highlight, scores
from harness.pages.cards import pictures as pictures_of
from harness.pages.highlight import ONLY_A, ONLY_B, Piece
from harness.pages.scores import Column
from harness.pages.thumbnail import Thumbnail
from harness.resources import data
from harness.runs import stored_run
from harness.runs.stored_run import StoredRun
from harness.types import Sample, Task

LARGEST = 1000  # cards at most
MOST = 14  # values to sort by


@dataclass(frozen=True, slots=True)
class Card:
    """One image with both captions; ``values`` are (a, b), ``gains`` what b is better by; None if missing."""

    id: str
    picture: Thumbnail | None
    a: list[Piece]
    b: list[Piece]
    reference: list[Piece]
    values: tuple[tuple[float | None, float | None], ...]
    gains: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Browser:
    """Two runs, the values that both have, main ones before others, and one card per image."""

    task: str
    a: str
    b: str
    columns: tuple[Column, ...]
    cards: tuple[Card, ...]
    of: int


def browser(a: StoredRun, b: StoredRun, tell: Callable[[str], None]) -> Browser:
    """The cards of the images that both runs captioned, by id."""
    columns = [column for column in scores.columns(a) if _computed(a, b, column)]
    columns = sorted(columns, key=lambda column: not column.main)[:MOST]
    captions_a, captions_b = a.files.completions(), b.files.completions()
    both = sorted(captions_a.keys() & captions_b.keys())
    task, samples = _samples(a, tell)
    pictures = (
        pictures_of(task, [samples[name] for name in both[:LARGEST] if name in samples], a.results) if task else {}
    )
    cards = list[Card]()
    for name in both[:LARGEST]:
        text_a, text_b = highlight.Text(captions_a[name].text or ""), highlight.Text(captions_b[name].text or "")
        sample = samples.get(name)
        reference = sample.references[0] if sample and sample.references else ""
        values = [(_cell(a, name, column), _cell(b, name, column)) for column in columns]
        cards.append(
            Card(
                name,
                pictures.get(name),
                text_a.pieces(_apart(text_a, text_b, ONLY_A)),
                text_b.pieces(_apart(text_b, text_a, ONLY_B)),
                highlight.plain(reference),
                tuple(values),
                tuple(_gain(column, *pair) for column, pair in zip(columns, values, strict=True)),
            )
        )
    return Browser(a.task, a.model, b.model, tuple(columns), tuple(cards), len(both))


def _apart(text: highlight.Text, other: highlight.Text, state: str) -> list[str]:
    """``state`` for words that the other caption lacks, empty for shared words."""
    return [state if mark == state else "" for mark in highlight.by_words(text, [other], state)]


def _computed(a: StoredRun, b: StoredRun, column: Column) -> bool:
    return stored_run.obstacle(a.scores.get(column.metric), b.scores.get(column.metric)) is None


def _cell(run: StoredRun, sample: str, column: Column) -> float | None:
    number: float | None = run.per_sample.get(sample, {}).get(column.metric, {}).get(column.value)
    return number


def _gain(column: Column, a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return a - b if column.higher_is_better is False else b - a


def _samples(run: StoredRun, tell: Callable[[str], None]) -> tuple[Task | None, dict[str, Sample]]:
    """The task and its samples; without its data none, with a message to ``tell``."""
    try:
        task = registry.task(run.task)
        return task, {sample.id: sample for sample in data.samples(task)}
    except CimError as error:
        tell(f"captions are shown without images and references: {error}")
        return None, {}
