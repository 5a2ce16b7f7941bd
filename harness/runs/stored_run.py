"""A scored run read back from its folder; what ``cim compare``, ``cim report`` and the leaderboards read.

Nothing is run or written here. An incomplete run is refused, or left out and reported.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import store
from harness.errors import CimError
from harness.parts import Metric, mean
from harness.resources import data, paths
from harness.runs import manifest, signature, stats
from harness.runs.form import DOCUMENT, malformed
from harness.runs.outcomes import Outcomes, count
from harness.runs.records import NAME, RowFiles

if TYPE_CHECKING:
    from harness.parts import Array

SCORES, PER_SAMPLE, STATISTICS, DETAILS = "scores.json", "per_sample.jsonl", "statistics.jsonl", "details.jsonl"
JUDGED = "judged.jsonl"  # kind, state and expected answer of each fact that a judge was asked about, by metric
ROWS = (PER_SAMPLE, STATISTICS, DETAILS, JUDGED)
COMMANDS = ("::", "##[")  # GitHub Actions obeys a printed line that begins with one
BLOCK = 10_000  # rows that are read at a time
PUBLISHED, BASELINE = "published", "baseline"
IMAGE_ID = "image_id"  # of a row of per_sample.jsonl, where an image has several captions
NO_TASKS = (paths.TRAINED, PUBLISHED, BASELINE)  # folders of results that hold no runs


@dataclass(frozen=True, slots=True, eq=False)
class StoredRun:
    """A scored run: task and model (the names of its folders), manifest, score document and rows.

    ``scores`` are the rows of the document by metric; ``per_sample`` and ``statistics`` are rows by sample id, in the
    order of the file. Compared and hashed by identity, so runs can be keys.
    """

    task: str
    model: str
    manifest: dict[str, Any]
    document: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    per_sample: Mapping[str, dict[str, Any]]
    statistics: Mapping[str, dict[str, Any]]
    files: RowFiles

    @property
    def results(self) -> Path:
        """The results folder that it is part of."""
        return self.files.folder.resolve().parent.parent

    @property
    def details(self) -> Mapping[str, dict[str, Any]]:
        """What metrics keep for a report, by sample id and metric."""
        return self.files.rows(DETAILS)

    @property
    def computed(self) -> dict[str, dict[str, Any]]:
        """The scores that have values, by metric."""
        return {name: row for name, row in self.scores.items() if not row.get("not_computed")}

    def numbers(self, metric: str, value: str) -> Array:
        """One value of a metric per sample (n,), float64, in the order of ids.

        Raises:
            CimError: a row lacks it, or holds no finite number.
        """
        return self._finite(metric, (_cell(row, metric, value) for row in self.per_sample.values()))[
            self._order(PER_SAMPLE)
        ]

    def column(self, metric: Metric) -> stats.Column:
        """Statistics (n, s) of a metric, in the order of ids; CimError as ``numbers``, or for another n than scored."""
        # A run scored when the metric was a mean over images stored no statistics of it: its values' mean is its score.
        aggregate = metric.aggregate if any(metric.name in row for row in self.statistics.values()) else mean
        if aggregate is mean:
            values = np.stack([self.numbers(metric.name, name) for name in metric.names], axis=1)
        else:
            rows = (row.get(metric.name) for row in self.statistics.values())
            values = self._finite(metric.name, rows)[self._order(STATISTICS)]
        if len(values) != self.scores[metric.name]["n"] or values.ndim != 2:
            raise self._lacks(metric.name)
        return stats.Column(values, aggregate, self.images)

    def _order(self, name: str) -> stats.Ints:
        """The places of a file's rows in the order of their ids (n,)."""
        order: stats.Ints = self.files.derived(name, "order", lambda: self._sorted(name))
        return order

    def _sorted(self, name: str) -> stats.Ints:
        ids = list(self.per_sample if name == PER_SAMPLE else self.statistics)
        return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)

    def _finite(self, metric: str, rows: Iterator[Any]) -> Array:
        blocks = [np.empty(0)]
        try:
            while block := list(itertools.islice(rows, BLOCK)):
                blocks.append(np.array(block, dtype=np.float64))
            values = np.concatenate(blocks[1:] or blocks)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._lacks(metric) from error
        if not np.isfinite(values).all():
            raise self._lacks(metric)
        return values

    def _lacks(self, metric: str) -> CimError:
        hint = "score the run again"
        return CimError(f"score files lack numbers of {metric}", where=str(self.files.folder), hint=hint)

    @property
    def images(self) -> stats.Ints | None:
        """The number of each sample's image (n,), in the order of ids; None where each has an image of its own."""
        images = np.fromiter((hash(row.get(IMAGE_ID, name)) for name, row in self.per_sample.items()), np.int64)
        return stats.image_numbers(images[self._order(PER_SAMPLE)])

    @property
    def n_images(self) -> int:
        """How many images it is scored on; fewer than samples where an image has several captions."""
        return len(self.per_sample) if self.images is None else int(self.images.max()) + 1

    @property
    def failed(self) -> int:
        """How many of its captions failed."""
        return sum(caption.text is None for caption in self.files.completions().values())

    @property
    def outcomes(self) -> Outcomes:
        """The account of its captions, counted anew."""
        settings = self.manifest["settings"]["model"]
        account: Outcomes = self.files.derived(
            NAME, "outcomes", lambda: count(self.files.completions().values(), settings)
        )
        return account


def sums(folder: Path, document: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of each file of scored rows of a run by name, and of the score document itself, its sums left out."""
    content = json.dumps({name: value for name, value in document.items() if name != "sums"})
    rows = {name: data.sha256(folder / name) for name in ROWS if (folder / name).is_file()}
    return {SCORES: hashlib.sha256(content.encode()).hexdigest(), **rows}


def changed(folder: Path, document: Mapping[str, Any]) -> list[str]:
    """Score files that are not those that were written together; documents from before there were sums have none."""
    written = document.get("sums")
    if not isinstance(written, dict):
        return []
    now = sums(folder, document)
    return [name for name in (SCORES, *ROWS) if now.get(name) != written.get(name)]


def folders(results: Path, task: str | None = None, name: str | None = None) -> list[Path]:
    """Folders of stored runs below a results folder, by task and name; of one task or name only where it is set."""
    pattern = "/".join("*" if part is None else glob.escape(part) for part in (task, name))
    every = sorted(path.parent for path in results.glob(f"{pattern}/{manifest.NAME}"))
    return [path for path in every if path.parent.name not in NO_TASKS and not path.parent.name.startswith(".")]


def find(named: str, results: Path, task: str | None) -> Path:
    """The folder of a stored run: a path, or a name under the results folder.

    Raises:
        CimError: no such run, or several tasks hold one of this name.
    """
    if (Path(named) / manifest.NAME).is_file():
        return Path(named)
    matches = folders(results, task, named)
    if not matches:
        stored = ", ".join(sorted({folder.name for folder in folders(results)}))
        raise CimError(f"no stored run {named!r} under {results}", hint=f"stored: {stored or 'none'}")
    if len(matches) > 1:
        tasks = ", ".join(folder.parent.name for folder in matches)
        raise CimError(f"{named!r} is stored for {tasks}", hint="say --task")
    return matches[0]


def load(folder: Path, files: RowFiles | None = None) -> StoredRun:
    """Read a scored run.

    Args:
        files: rows of this folder that the command has read already.

    Raises:
        CimError: the folder holds no manifest or no scores, or they are damaged.
    """
    stored, scores = manifest.read(folder), store.read_document(folder / SCORES)
    if stored is None:
        raise CimError("no stored run here", where=str(folder), hint="name a folder with a manifest.json")
    if scores is None:
        hint = f"run `cim score --model {folder.name} --task {folder.parent.name}`"
        raise CimError("this run has no scores", where=str(folder), hint=hint)
    if faults := list(malformed(scores, DOCUMENT, SCORES)):
        raise CimError("; ".join(faults[:3]), where=str(folder), hint="score the run again")
    if others := changed(folder, scores):
        what = f"{', '.join(others)} was changed after it was scored"
        raise CimError(what, where=str(folder), hint="score the run again")
    place, by_metric = folder.resolve(), {row["metric"]: row for row in scores["scores"]}
    if any(name.startswith(COMMANDS) for name in (place.name, place.parent.name)):
        raise CimError("a name that would be a command in the log of a workflow", where=str(folder), hint="rename it")
    files = files or RowFiles(folder)
    rows = files.rows(PER_SAMPLE), files.rows(STATISTICS)
    return StoredRun(place.parent.name, place.name, stored, scores, by_metric, *rows, files)


def load_all(results: Path, tell: Callable[[str], None], task: str | None = None) -> list[StoredRun]:
    """All scored runs below a results folder, by task and name; ``tell`` is called with what is left out and why."""
    runs = list[StoredRun]()
    for folder in folders(results, task):
        try:
            runs.append(load(folder))
        except CimError as error:
            tell(f"left out: {error}")
    return runs


def obstacle(
    first: dict[str, Any] | None, second: dict[str, Any] | None, runs: tuple[str, str] = ("run a", "run b")
) -> str | None:
    """Why rows of one metric in two score files cannot be compared, naming the runs; None if they can."""
    if first is None or second is None or first.get("not_computed") or second.get("not_computed"):
        return "not computed in " + runs[0 if first is None or first.get("not_computed") else 1]
    differing = signature.differences(first["signature"] or "", second["signature"] or "")
    return f"signatures differ ({', '.join(differing)})" if differing else None


def _cell(row: dict[str, Any], metric: str, value: str) -> Any:
    cells = row.get(metric)
    return cells.get(value) if isinstance(cells, dict) else None
