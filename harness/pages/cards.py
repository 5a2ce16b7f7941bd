"""The cards of a run's page: a sample's caption and references, marked, with values, elements, verdicts, replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.errors import CimError
from harness.pages import highlight
from harness.pages.highlight import Piece
from harness.pages.scores import Column
from harness.pages.thumbnail import Thumbnail, thumbnail
from harness.resources import address_space
from harness.runs import stored_run
from harness.runs.run import image_folder
from harness.runs.stored_run import StoredRun
from harness.runs.validate import is_number
from harness.stages.judge_files import FIELD, file_name, reply_files
from harness.types import Completion, Element, Fact, Question, Sample, Task

KINDS = ("object", "fine name", "attribute", "relation")  # of elements, in the order of the page
SHOWN = 10  # samples at either end
MISSING = "–"

Pictures = Mapping[str, Thumbnail | None]
"""Thumbnails by the id of an image's sample in its task."""


@dataclass(frozen=True, slots=True)
class Card:
    """One sample as the page shows it; ``numbers`` are what cards are sorted by, one a column."""

    number: int
    sample: Sample
    picture: Thumbnail | None
    completion: Completion
    caption: list[Piece]
    references: list[list[Piece]]
    values: list[tuple[str, str]]
    numbers: str
    elements: Mapping[str, list[Element]]
    judges: list[str]
    questions: list[tuple[Question | Fact, list[str]]]
    replies: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Ends:
    """The samples with the best and the worst values of a column, as (id, value), the extremes first."""

    label: str
    best: Sequence[tuple[str, str]]
    worst: Sequence[tuple[str, str]]


def pictures(task: Task, samples: Sequence[Sample], results: Path) -> Pictures:
    """Thumbnails of samples whose image is here, or is drawn by the task."""
    if task.draw:  # by Python, which threads do not make faster
        return {sample.id: thumbnail(task.draw(sample.task_id)) for sample in samples}
    images = image_folder(task, results)
    files = {sample.id: images / sample.image for sample in samples if sample.image}
    if address_space.limited():  # a thread that dies before it has begun, for want of memory, is waited for without end
        return {name: thumbnail(file) for name, file in files.items()}
    with ThreadPoolExecutor() as pool:  # decoding runs outside Python's lock; without files no thread is started
        return dict(zip(files, pool.map(thumbnail, files.values()), strict=True))


def ends(run: StoredRun, columns: Sequence[Column], names: Iterable[str]) -> Ends | None:
    """The best and the worst samples by the first main value that has a direction; None where there is none."""
    column = next((column for column in columns if column.main and column.higher_is_better is not None), None)
    if column is None:
        return None
    sign = -1 if column.higher_is_better else 1
    cells = ((_cell(run.per_sample.get(name, {}), column), name) for name in names)
    numbers = sorted((sign * number, name) for number, name in cells if number is not None)
    shown = min(SHOWN, (len(numbers) + 1) // 2)
    best, worst = numbers[:shown], numbers[shown:][-shown:][::-1]
    return Ends(column.label, *([(name, column.text(sign * number)) for number, name in end] for end in (best, worst)))


def cards(run: StoredRun, columns: Sequence[Column], samples: Sequence[Sample], shown: Pictures) -> list[Card]:
    """A card per sample, in the order of ``samples``."""
    details, replies, captions = _details(run), _replies(run), run.files.completions()
    return [
        _card(
            number,
            sample,
            captions[sample.id],
            [_cell(run.per_sample.get(sample.id, {}), column) for column in columns],
            columns,
            *details.get(sample.id, ([], {})),
            shown.get(sample.task_id),
            {judge: texts.get(sample.id) for judge, texts in replies.items()},
        )
        for number, sample in enumerate(samples, start=1)
    ]


def _card(
    number: int,
    sample: Sample,
    completion: Completion,
    values: Sequence[float | None],
    columns: Sequence[Column],
    elements: Sequence[Element],
    verdicts: Mapping[str, Sequence[str]],
    picture: Thumbnail | None,
    replies: Mapping[str, str | None],
) -> Card:
    text, asked = completion.text or "", [*(sample.questions or sample.facts)]
    caption, references = highlight.mark(text, sample.references, elements)
    sorting = (number, len(text.split()), *values)
    return Card(
        number,
        sample,
        picture,
        completion,
        caption,
        references,
        [(column.label, column.text(value)) for column, value in zip(columns, values, strict=True)],
        " ".join("-" if value is None else f"{value:.6g}" for value in sorting),
        _by_kind(elements),
        list(verdicts),
        [
            (question, [answers[at] if at < len(answers) else MISSING for answers in verdicts.values()])
            for at, question in enumerate(asked)
        ],
        replies,
    )


def _cell(row: Mapping[str, object], column: Column) -> float | None:
    cells = row.get(column.metric)
    number = cells.get(column.value) if isinstance(cells, Mapping) else None
    return number if is_number(number) else None


def _replies(run: StoredRun) -> dict[str, dict[str, str]]:
    """Stored replies by judge and answering model, then by sample: its only one, or a line a key."""
    replies = dict[str, dict[str, str]]()
    for judge, answering in reply_files(run.files.folder):
        texts = replies.setdefault(f"{judge} by {answering}", {})
        for request, completion in run.files.completions(file_name(judge, answering), FIELD).items():
            sample, _, key = request.partition("#")
            text = f"failed: {completion.error}" if completion.text is None else completion.text
            line = f"{key}: {text}" if key else text
            texts[sample] = f"{texts[sample]}\n{line}" if sample in texts else line
    return replies


def _details(run: StoredRun) -> dict[str, tuple[list[Element], dict[str, list[str]]]]:
    """Elements and verdicts of questions by sample; a kind once, though a metric's variants have it again."""
    details = dict[str, tuple[list[Element], dict[str, list[str]]]]()
    for sample_id, row in run.details.items():
        metrics = sorted(row.keys() - {"sample_id"})
        try:
            lists = [
                [Element(*fields[:3], *map(tuple, fields[3:])) for fields in row[name].get("elements", ())]
                for name in metrics
            ]
            verdicts = {name: list(row[name]["verdicts"]) for name in metrics if "verdicts" in row[name]}
            if strangers := {element.state for elements in lists for element in elements} - set(highlight.STATES):
                raise TypeError(f"a state of {min(strangers)!r}")
        except (TypeError, AttributeError) as error:
            where = f"{run.files.folder / stored_run.DETAILS}, sample {sample_id}"
            raise CimError(f"is malformed ({error})", where=where, hint="run `cim score` again") from error
        kinds = dict[str, list[Element]]()
        for elements in lists:
            kinds = _by_kind(elements) | kinds
        ordered = sorted(kinds, key=lambda kind: (KINDS.index(kind) if kind in KINDS else len(KINDS), kind))
        details[sample_id] = [element for kind in ordered for element in kinds[kind]], verdicts
    return details


def _by_kind(elements: Iterable[Element]) -> dict[str, list[Element]]:
    kinds = dict[str, list[Element]]()
    for element in elements:
        kinds.setdefault(element.kind, []).append(element)
    return kinds
