"""Battles of stored runs: what the judge is asked, its replies, and the points of each image.

Replies lie under ``results/arena/<task>/<judge>/``, as those of other judges raw and appended as they arrive; the same
command resumes a killed one. An id is made of the image and both captions, so a reply serves whatever runs wrote them.
Two equal captions are a tie that nobody is asked about. A failed caption is judged as the empty text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness import registry, store
from harness.errors import CimError, OutageError, SettingsError
from harness.pairwise import protocol
from harness.pairwise.protocol import Shown, Vote
from harness.resources import data
from harness.runs import judges, manifest, reasoning, records, served, usage
from harness.runs.records import RowFiles
from harness.runs.run import image_folder, of_captions
from harness.types import Completion, Model, Request, Sample, Task, Track, untracked

if TYPE_CHECKING:
    from harness.parts import Array

FOLDER, FIELD = "arena", "reply"


@dataclass(frozen=True, slots=True)
class Arena:
    """Runs of one task whose captions are compared: names, texts by sample id, the samples that all hold, and pairs.

    ``pairs`` are indexes of runs; ``shown`` is what the judge sees beside the captions.
    """

    task: Task
    results: Path
    runs: Sequence[str]
    captions: Sequence[Mapping[str, str]]
    samples: Sequence[Sample]
    pairs: Sequence[tuple[int, int]]
    shown: Shown

    def folder(self, judge: str) -> Path:
        """Where the replies of a judge model lie."""
        return self.results / FOLDER / self.task.name / judge

    @property
    def file(self) -> str:
        """The file of replies to this prompt."""
        return f"replies.{protocol.signature(self.shown)}.jsonl"


@dataclass(frozen=True, slots=True)
class Votes:
    """Votes (images, pairs) with the first run's caption first and second; None without a readable reply."""

    a_first: list[list[Vote | None]]
    b_first: list[list[Vote | None]]
    same: list[list[bool]]

    @property
    def outcomes(self) -> Array:
        """Points (n, p) of the first run of each pair; NaN without two votes."""
        rows = [
            [0.5 if equal else protocol.outcome(a, b) for a, b, equal in zip(*row, strict=True)]
            for row in zip(self.a_first, self.b_first, self.same, strict=True)
        ]
        return np.array(rows, dtype=np.float64)  # None becomes NaN


def open_arena(
    folders: Sequence[Path], results: Path, against: Sequence[int], shown: Shown | None, limit: int | None
) -> Arena:
    """The arena of stored runs.

    Args:
        against: indexes of the runs that the others are compared with; empty: all pairs.
        shown: None for the image and the reference, as far as they are here.

    Raises:
        CimError: runs of several tasks, none in common, or what the judge is to see is not here.
    """
    settings = [(manifest.read(folder) or {})["settings"]["task"] for folder in folders]
    if len({(task["name"], task["data"]) for task in settings}) > 1:
        raise CimError("runs of different tasks, or versions of one", hint="compare runs of one task")
    task = registry.task(settings[0]["name"])
    if data.fingerprint(task) != settings[0]["data"]:
        raise CimError(f"the runs were made on another version of {task.name}", hint="make them again")
    texts = [_captions(folder) for folder in folders]
    common = set.intersection(*map(set, texts))
    samples = [sample for sample in of_captions(data.samples(task), texts[0]) if sample.id in common][:limit]
    if not samples:
        raise CimError("the runs have no captioned sample in common", hint="cim list")
    images = _drawn_or_here(task, image_folder(task, results), samples)
    referenced = all(sample.references for sample in samples)
    chosen = shown or ("both" if images and referenced else "image" if images else "reference")
    if chosen != "reference" and not images:
        raise CimError(f"images of {task.name} are not here", hint=f"cim data fetch {task.name}, or --show reference")
    if chosen != "image" and not referenced:
        raise CimError(f"{task.name} has samples without a reference", hint="--show image")
    numbers = range(len(folders))
    pairs = [(a, b) for a in numbers for b in numbers if (a not in against and b in against if against else a < b)]
    return Arena(task, results, [folder.resolve().name for folder in folders], texts, samples, pairs, chosen)


def _captions(folder: Path) -> dict[str, str]:
    """The captions of a run; CimError where they are not those that its manifest is about."""
    rows, written = RowFiles(folder).completions(), (manifest.read(folder) or {}).get("captions")
    if written is not None and written != records.digest(rows):
        hint = "make the run again with --fresh"
        raise CimError("was changed after it was written", where=str(folder / records.NAME), hint=hint)
    return {name: row.text or "" for name, row in rows.items()}


def _drawn_or_here(task: Task, folder: Path, samples: Sequence[Sample]) -> bool:
    return all(sample.image and (task.draw or (folder / sample.image).is_file()) for sample in samples)


def _id(sample: Sample, first: str, second: str) -> str:
    digest = hashlib.sha256(f"{len(first)}:{first}{second}".encode(errors="surrogatepass")).hexdigest()[:24]
    return f"{sample.id}#{digest}"


def _battles(arena: Arena) -> Iterator[tuple[Sample, str, str]]:
    """Sample and both captions of every battle with two captions, first run first."""
    for sample in arena.samples:
        for a, b in arena.pairs:
            first, second = arena.captions[a][sample.id], arena.captions[b][sample.id]
            if first != second:
                yield sample, first, second


def requests(arena: Arena) -> list[Request]:
    """Every battle in both orders, each once; nothing is drawn yet."""
    folder, by_id = image_folder(arena.task, arena.results), dict[str, Request]()
    for sample, a, b in _battles(arena):
        for first, second in ((a, b), (b, a)):
            text = protocol.prompt(first, second, next(iter(sample.references), ""), arena.shown)
            name = _id(sample, first, second)
            by_id[name] = Request(name, text, folder / sample.image if arena.shown != "reference" else None)
    return list(by_id.values())


def todo(arena: Arena, judge: str) -> list[Request]:
    """The requests without an answer."""
    done = RowFiles(arena.folder(judge)).completions(arena.file, FIELD)
    return [request for request in requests(arena) if not ((row := done.get(request.sample_id)) and row.final)]


def ask(arena: Arena, answerer: Model, track: Track = untracked) -> int:
    """Ask for the missing replies; returns how many arrived.

    Raises:
        OutageError: the engine stopped before the last reply, or replies failed; what arrived is kept.
        SettingsError: this judge's name had other settings before.
    """
    folder, engine = arena.folder(answerer.name), registry.engine(answerer.engine)
    if reason := engine.missing():
        raise CimError(f"judge {answerer.name} cannot answer here: {reason}")
    with store.writing(folder, "battles of this judge"):
        lacking = todo(arena, answerer.name)
        if not lacking:
            return 0
        _begin(arena, answerer)
        _draw(arena, lacking)
        if engine.describe is not None:
            judges.describe(folder, answerer.name, engine.describe(answerer))
        return _store(arena, answerer, lacking, track)


def _store(arena: Arena, answerer: Model, lacking: Sequence[Request], track: Track) -> int:
    folder, engine = arena.folder(answerer.name), registry.engine(answerer.engine)
    files, count, failed = RowFiles(folder), 0, list[Completion]()
    answers = served.watched(
        folder, answerer.name, engine.generate(answerer, lacking), stored=bool(files.completions(arena.file, FIELD))
    )
    used = usage.counted(answers, partial(judges.add_usage, folder, answerer.name))
    with files.appending(arena.file, FIELD) as add, closing(used):
        for completed in track(used, FIELD, len(lacking)):
            add(records.row(completed, FIELD))
            count += 1
            failed += [] if completed.final else [completed]
    if count < len(lacking) or failed:
        what = f"{len(lacking) - count + len(failed)} of {len(lacking)} battles have no answer"
        what += f", the first: {failed[0].error}" if failed else ""
        raise OutageError(what, where=answerer.name, hint="the same command resumes")
    return count


def _begin(arena: Arena, answerer: Model) -> None:
    """The folder's manifest: the task's data, the judge and its settings."""
    task = {"name": arena.task.name, "version": arena.task.version, "data": data.fingerprint(arena.task), "prompt": ""}
    content = {"task": task, "model": {"engine": FOLDER}, "samples": {"n": 0, "limit": None, "ids": ""}}
    folder = arena.folder(answerer.name)
    stored = manifest.read(folder)
    if stored is not None and (changed := manifest.changes(stored["settings"], content)):
        what = f"its replies are about another version of {arena.task.name} (stored / now: {', '.join(changed)})"
        raise SettingsError(what, where=str(folder), hint="move that folder away")
    manifest.begin(folder, content, {})
    judges.record(folder, answerer, "replies.*.jsonl" if any(folder.glob("replies.*.jsonl")) else None)


def _draw(arena: Arena, lacking: Sequence[Request]) -> None:
    """Render the images of a synthetic task that the judge will see."""
    folder = image_folder(arena.task, arena.results)
    for sample in arena.samples if arena.task.draw and arena.shown != "reference" else ():
        if not (folder / sample.image).is_file():
            store.write_bytes(folder / sample.image, arena.task.draw(sample.task_id) if arena.task.draw else b"")


def votes(arena: Arena, judge: str) -> Votes:
    """What the judge has said of every battle.

    Raises:
        OutageError: battles without an answer: they are no ties.
    """
    if lacking := todo(arena, judge):
        raise OutageError(f"judge {judge} has not answered {len(lacking)} battles", hint="the same command resumes")
    rows = RowFiles(arena.folder(judge)).completions(arena.file, FIELD)
    read = {name: protocol.vote(reasoning.answer(row.text or "")) for name, row in rows.items()}
    tables: tuple[list[list[Vote | None]], list[list[Vote | None]], list[list[bool]]] = ([], [], [])
    for sample in arena.samples:
        texts = [(arena.captions[a][sample.id], arena.captions[b][sample.id]) for a, b in arena.pairs]
        tables[0].append([read.get(_id(sample, a, b)) for a, b in texts])
        tables[1].append([read.get(_id(sample, b, a)) for a, b in texts])
        tables[2].append([a == b for a, b in texts])
    return Votes(*tables)
