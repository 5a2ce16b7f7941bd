"""The report verb: a run as one HTML page that needs nothing else, made of its stored files.

Table of metrics with intervals and controls, one card per sample with the words that caption and reference
share, miss and invent, then the manifest. No time stands in it, so a run that was interrupted has the same
page. The page may run its own script (named by its hash) and load nothing: a caption is text wherever it
stands. Written by ``cim eval`` and ``cim score``; again with ``cim report results/docci500/my-model``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.pages import highlight, templates
from harness.pages.highlight import Piece
from harness.pages.thumbnail import Thumbnail, thumbnail
from harness.resources import data
from harness.runs import manifest, stored_run
from harness.runs.run import image_folder
from harness.runs.stored_run import StoredRun
from harness.stages.judge import FIELD, file_name, reply_files
from harness.types import CONTROLLED, Completion, Element, Question, Sample, Task

NAME = "report.html"
PAGE = Path(__file__).parent
LARGEST = 2000  # samples; the page of a larger run is heavy, so it is made on request only: cim report RUN
LONG = 2500  # characters; a longer text scrolls in its box
KINDS = ("object", "fine name", "attribute", "relation")  # of elements, in the order of the page
CLOCK = ("started", "ended", "origin")  # times and places of a machine stay in the manifest


@dataclass(frozen=True, slots=True)
class Bar:
    """Value and interval as positions 0 to 100 between the ends of a metric's scale."""

    value: float
    low: float | None
    high: float | None
    ends: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the metrics table; ``control`` is set below the metric that it is a control of."""

    label: str
    value: str
    interval: str = ""
    n: str = ""
    failed: str = ""
    bar: Bar | None = None
    control: bool = False
    not_computed: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One sample as the page shows it; ``numbers`` are what cards are sorted by, one a column."""

    number: int
    sample: Sample
    picture: Thumbnail | None
    made: Completion
    caption: list[Piece]
    references: list[list[Piece]]
    values: list[tuple[str, str]]
    numbers: str
    elements: Mapping[str, list[Element]]
    judges: list[str]
    questions: list[tuple[Question, list[str]]]
    replies: Mapping[str, str | None]


def write(run: StoredRun) -> Path:
    """Make the page of a stored run and put it into its folder; returns its path.

    Raises:
        CimError: its files are not whole, or its task's data is not here.
    """
    store.write_bytes(run.folder / NAME, page(run).encode())
    return run.folder / NAME


def page(run: StoredRun) -> str:
    """The page of a stored run."""
    from markupsafe import Markup

    stored = run.manifest
    task = registry.task(stored["settings"]["task"]["name"])
    if stored["settings"]["task"]["data"] != data.fingerprint(task):
        hint = "score it again with --fresh"
        raise CimError(f"made on another version of {task.name}", where=str(run.folder), hint=hint)
    columns = _columns(run)
    cards = _cards(run, columns, task)
    content = {
        "model": run.folder.name,
        "task": task,
        "rows": list(_rows(run)),
        "signatures": [row["signature"] for row in run.scores.values() if row["signature"]],
        "columns": [label for label, *_ in columns],
        "cards": cards,
        "outcomes": run.outcomes,
        "failed": sum(card.made.text is None for card in cards),
        "by_elements": any(card.elements for card in cards),
        "prompt": stored.get("prompt", ""),
        "manifest": _provenance(stored),
        "long": LONG,
    }
    return templates.page(
        templates.HERE,
        "report.html",
        style=templates.read(templates.HERE / "report.css"),
        script=templates.read(templates.HERE / "report.js"),
        filters={
            "html": lambda pieces: Markup(highlight.html(pieces)),
            "html_list": lambda elements: Markup(highlight.html_list(elements)),
        },
        content=content,
    )


def _label(metric: str, value: str, values: Iterable[str]) -> str:
    return metric if len(list(values)) == 1 else f"{metric} {value}"


def _columns(run: StoredRun) -> list[tuple[str, str, str]]:
    """Label, metric and value of every number that each sample has."""
    computed = [row for row in run.scores.values() if not row.get("not_computed")]
    return [(_label(row["metric"], v, row["values"]), row["metric"], v) for row in computed for v in row["values"]]


def _known(metric: str) -> bool:
    """Whether a metric is known here; a run from elsewhere may have others."""
    stem = metric.partition("@")[0]
    return stem in registry.names("metrics") and metric in (stem, *registry.variants("metrics", stem))


def _decimals(metric: str, value: str) -> int:
    shown = registry.metric(metric) if _known(metric) else None
    return shown.value(value).decimals if shown and value in shown.names else 2


def _rows(run: StoredRun) -> Iterable[Row]:
    for name, row in run.scores.items():
        if row.get("not_computed"):
            yield Row(name, "not computed", not_computed=str(row["not_computed"]))
            continue
        scale = registry.metric(name).scale if _known(name) else None
        for at, value in enumerate(row["values"]):
            shown = at == 0 or len(row["values"]) <= CONTROLLED
            below = [(control, found) for control, found in row["controls"].items() if shown]
            seen = [found["values"][value] for _, found in [("", row), *below]]
            seen += [bound for _, found in [("", row), *below] for bound in found["ci95"][value]]
            ends = _ends(scale, [number for number in seen if number is not None])
            label, places = _label(name, value, row["values"]), _decimals(name, value)
            yield _row(label, row, value, ends, places, str(row["n"]), str(row["n_failed"]))
            for control, found in below:
                yield _row(control.replace("_", " "), found, value, ends, places, control=True)


def _row(
    label: str,
    found: Mapping[str, Any],
    value: str,
    ends: tuple[float, float],
    places: int,
    n: str = "",
    failed: str = "",
    *,
    control: bool = False,
) -> Row:
    number, (low, high) = found["values"][value], found["ci95"][value]
    if number is None:
        return Row(label, "–", n=n, failed=failed, control=control)
    shown = (f"{ends[0]:g}", f"{ends[1]:g}")
    if low is None or high is None:
        return Row(label, _text(number, places), "", n, failed, Bar(_place(number, ends), None, None, shown), control)
    bar = Bar(_place(number, ends), _place(low, ends), _place(high, ends), shown)
    interval = f"{_text(low, places)} to {_text(high, places)}"
    return Row(label, _text(number, places), interval, n, failed, bar, control)


def _place(number: float, ends: tuple[float, float]) -> float:
    return 100 * min(1.0, max(0.0, (number - ends[0]) / (ends[1] - ends[0])))


def _ends(scale: float | None, seen: Sequence[float]) -> tuple[float, float]:
    """Where a bar begins and ends: the metric's scale, or a round number beyond all that is shown."""
    low = min(0.0, *seen, 0.0)
    if scale is not None:
        return (-scale if low < 0 else 0.0, scale)
    widest = max(abs(number) for number in (*seen, 1e-9))
    step = 10.0 ** (len(f"{widest:.0f}") - 1)
    end = step * (widest // step + 1)
    return (-end if low < 0 else 0.0, end)


def _cards(run: StoredRun, columns: Sequence[tuple[str, str, str]], task: Task) -> list[Card]:
    made, images = run.captions, image_folder(task, run.folder.resolve().parent.parent)
    chosen = [sample for sample in data.samples(task) if sample.id in made]
    with ThreadPoolExecutor() as pool:  # decoding runs outside Python's lock
        pictures = list(pool.map(lambda one: _picture(task, images, one), chosen))
    details = _details(run)
    replies = _replies(run)
    cards = list[Card]()
    places = {label: _decimals(metric, value) for label, metric, value in columns}
    for sample, picture in zip(chosen, pictures, strict=True):
        elements, verdicts = details.get(sample.id, ([], {}))
        cells = run.per_sample.get(sample.id, {})
        caption, references = highlight.mark(made[sample.id].text or "", sample.references, elements)
        numbers = [cells.get(metric, {}).get(value) for _, metric, value in columns]
        words = len((made[sample.id].text or "").split())
        cards.append(
            Card(
                len(cards) + 1,
                sample,
                picture,
                made[sample.id],
                caption,
                references,
                [(label, _text(number, places[label])) for (label, *_), number in zip(columns, numbers, strict=True)],
                " ".join("-" if x is None else f"{x:.6g}" for x in (len(cards) + 1, words, *numbers)),
                _by_kind(elements),
                list(verdicts),
                [
                    (asked, [answers[at] if at < len(answers) else "–" for answers in verdicts.values()])
                    for at, asked in enumerate(sample.questions)
                ],
                {judge: stored.get(sample.id) for judge, stored in replies.items()},
            )
        )
    return cards


def _picture(task: Task, images: Path, sample: Sample) -> Thumbnail | None:
    if task.draw:
        return thumbnail(task.draw(sample.id))
    return thumbnail(images / sample.image) if sample.image else None


def _replies(run: StoredRun) -> dict[str, dict[str, str]]:
    """Stored replies by judge and answering model, then by sample: its only one, or a line a key."""
    found = dict[str, dict[str, str]]()
    for judge, answering in reply_files(run.folder):
        texts = found.setdefault(f"{judge} by {answering}", {})
        for request, made in run.files.completions(file_name(judge, answering), FIELD).items():
            sample, _, key = request.partition("#")
            line = (f"{key}: " if key else "") + (f"failed: {made.error}" if made.text is None else made.text)
            texts[sample] = f"{texts[sample]}\n{line}" if sample in texts else line
    return found


def _details(run: StoredRun) -> dict[str, tuple[list[Element], dict[str, list[str]]]]:
    """What metrics found and answers to questions, by sample; a kind once, though a metric's variants find it again."""
    found = dict[str, tuple[list[Element], dict[str, list[str]]]]()
    for sample_id, row in run.details.items():
        metrics = sorted(row.keys() - {"sample_id"})
        try:
            lists = [
                [Element(*one[:3], *map(tuple, one[3:])) for one in row[name].get("elements", ())] for name in metrics
            ]
            verdicts = {name: list(row[name]["verdicts"]) for name in metrics if "verdicts" in row[name]}
            if strangers := {one.state for ones in lists for one in ones} - set(highlight.STATES):
                raise TypeError(f"a state of {min(strangers)!r}")
        except (TypeError, AttributeError) as error:
            where = f"{run.folder / stored_run.DETAILS}, sample {sample_id}"
            raise CimError(f"is malformed ({error})", where=where, hint="run `cim score` again") from error
        kinds = dict[str, list[Element]]()
        for kind, ones in (item for elements in lists for item in _by_kind(elements).items()):
            kinds.setdefault(kind, ones)
        ordered = sorted(kinds, key=lambda kind: (KINDS.index(kind) if kind in KINDS else len(KINDS), kind))
        found[sample_id] = [one for kind in ordered for one in kinds[kind]], verdicts
    return found


def _by_kind(elements: Sequence[Element]) -> dict[str, list[Element]]:
    return {kind: [one for one in elements if one.kind == kind] for kind in dict.fromkeys(e.kind for e in elements)}


def _text(number: float | None, places: int) -> str:
    return "–" if number is None else f"{number:.{places}f}"


def _provenance(stored: Mapping[str, Any]) -> list[tuple[str, str]]:
    kept = {name: value for name, value in stored.items() if name not in (*CLOCK, "prompt")}
    return [(name, str(value)) for name, value in manifest.flat(kept).items()]
