"""Section (g): captions of two runs side by side, with words highlighted that only one has, and gains and losses.

Words are compared as in ``pages/highlight.py``, ignoring positions; a metric's gain is run b's value of an image minus
run a's. Thumbnails are shown if the task renders its images or they are in ``$CIM_DATA``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness import registry
from harness.errors import CimError
from harness.pages import highlight
from harness.pages.cards import pictures as pictures_of
from harness.pages.highlight import ONLY_A, ONLY_B, Piece
from harness.pages.thumbnail import Thumbnail
from harness.resources import data
from harness.runs import stored_run
from harness.runs.stored_run import StoredRun
from harness.types import Sample, Task

LARGEST = 1000  # cards at most
SHOWN = (
    ("fine_names", "f1"),
    ("attributes", "f1"),
    ("objects", "f1"),
    ("capture", "score"),
    ("relation_qa", "score"),
    ("cim", "reward"),
    ("length", "words"),
)


@dataclass(frozen=True, slots=True)
class Card:
    """One image with both captions; ``values`` are (a, b) per column, None if missing."""

    id: str
    picture: Thumbnail | None
    a: list[Piece]
    b: list[Piece]
    reference: list[Piece]
    values: tuple[tuple[float | None, float | None], ...]

    @property
    def gains(self) -> tuple[float | None, ...]:
        """Run b minus run a, per column."""
        return tuple(None if a is None or b is None else b - a for a, b in self.values)


@dataclass(frozen=True, slots=True)
class Browser:
    """Two runs, the columns that both have with their decimals, and one card per image."""

    task: str
    a: str
    b: str
    columns: tuple[str, ...]
    digits: tuple[int, ...]
    cards: tuple[Card, ...]
    of: int


def browser(a: StoredRun, b: StoredRun, tell: Callable[[str], None]) -> Browser:
    """The cards of the images that both runs captioned, by id."""
    columns = [pair for pair in SHOWN if _computed(a, b, *pair)]
    columns = columns or [(name, v) for name in a.scores for v in _values(a, name) if _computed(a, b, name, v)][:7]
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
        cells = [run.per_sample.get(name, {}) for run in (a, b)]
        cards.append(
            Card(
                name,
                pictures.get(name),
                text_a.pieces(_apart(text_a, text_b, ONLY_A)),
                text_b.pieces(_apart(text_b, text_a, ONLY_B)),
                highlight.plain(reference),
                tuple((_cell(cells[0], *pair), _cell(cells[1], *pair)) for pair in columns),
            )
        )
    labels = tuple(name if value in ("score", "words") else f"{name} {value}" for name, value in columns)
    digits = tuple(_digits([value for card in cards for value in card.values[at]]) for at in range(len(columns)))
    return Browser(a.task, a.model, b.model, labels, digits, tuple(cards), len(both))


def _digits(column: Sequence[float | None]) -> int:
    """Decimals: one for percentages and words, two for values under ten."""
    return 2 if all(value is None or abs(value) < 10 for value in column) else 1


def _apart(text: highlight.Text, other: highlight.Text, state: str) -> list[str]:
    """``state`` for words that the other caption lacks, empty for shared words."""
    return [state if mark == state else "" for mark in highlight.by_words(text, [other], state)]


def _values(run: StoredRun, name: str) -> Sequence[str]:
    return list(run.scores[name].get("values") or {})


def _computed(a: StoredRun, b: StoredRun, name: str, value: str) -> bool:
    score_a, score_b = a.scores.get(name), b.scores.get(name)
    return stored_run.obstacle(score_a, score_b) is None and value in _values(a, name)


def _cell(cells: Mapping[str, Mapping[str, float]], metric: str, value: str) -> float | None:
    return cells.get(metric, {}).get(value)


def _samples(run: StoredRun, tell: Callable[[str], None]) -> tuple[Task | None, dict[str, Sample]]:
    """The task and its samples; without its data none, with a message to ``tell``."""
    try:
        task = registry.task(run.task)
        return task, {sample.id: sample for sample in data.samples(task)}
    except CimError as error:
        tell(f"captions are shown without images and references: {error}")
        return None, {}
