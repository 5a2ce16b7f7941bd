"""The files of the site: rendered from templates, rewritten if changed, removed with their run.

``made.json`` in the site's folder lists the files of this command; no other file is overwritten or removed. The page of
a run is that of its folder (``harness/pages/report.py``) with ranks, so that the folder of the site can be published;
inside the results folder it also links to the stored files.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness import registry, store
from harness.errors import CimError
from harness.pages import cards, provenance, report, templates
from harness.pages.report import Benchmark, Site
from harness.pages.templates import Navigation
from harness.runs import controls, stored_run, validate
from harness.runs.stored_run import StoredRun
from leaderboards.board import download, tables
from leaderboards.board.placings import lead, placings

HERE = Path(__file__).parent
INDEX, LIST = "index.html", "made.json"
PICTURES = 50_000_000  # bytes of thumbnails on all pages of a task; without them where there would be more
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
CARDS = 5_000  # samples on the pages of all runs of a task; with more, each page has the best and the worst
MADE = re.compile(
    rf"(?:runs/[\w.-]+/)?[\w.-]+\.html|{download.FOLDER}/[\w.-]+\.(?:csv|json)", re.ASCII
)  # allowed names in the list
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Built:
    """Result of a build: path, number of pages, runs and tables per task, and what was left out and why."""

    index: Path
    pages: int
    runs: dict[str, int]
    tables: dict[str, int]
    left_out: list[str]

    def as_json(self) -> dict[str, Any]:
        """What ``board --json`` prints."""
        tasks = {name: {"runs": self.runs[name], "tables": self.tables[name]} for name in self.runs}
        return {"board": str(self.index), "pages": self.pages, "tasks": tasks, "left_out": self.left_out}


@dataclass(frozen=True, slots=True)
class Names:
    """Safe file names of pages, by task, and by task and run: folder names may contain anything."""

    tasks: Mapping[str, str]
    runs: Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Links:
    """Relative addresses of the site's pages, and of stored files if the site is ``inside`` the results folder."""

    names: Names
    out: Path
    inside: bool

    def to(self, name: str, target: str) -> str:
        """The address of a page from another."""
        return os.path.relpath(target, Path(name).parent)  # page names need no quoting

    def stored(self, name: str, path: Path) -> str:
        """The address of a stored file from a page; empty where there is none."""
        if not self.inside or not path.is_file():
            return ""
        return quote(os.fsencode(os.path.relpath(path.resolve(), (self.out / name).resolve().parent)))

    def navigation(self, name: str, task: str, *, below: bool = False) -> Navigation:
        """The tabs of a page."""
        tabs = [(other, _title(other), self.to(name, target)) for other, target in self.names.tasks.items()]
        return Navigation(self.to(name, INDEX), tabs, task, below)


def build(results: Path, out: Path, tell: Callable[[str], None]) -> Built:
    """Build the site of all runs below ``results`` in the folder ``out``; runs left out are reported to ``tell``.

    Raises:
        CimError: a file that this command did not write is in the way.
    """
    left_out = list[str]()

    def leave_out(line: str) -> None:
        tell(line)
        left_out.append(line.removeprefix("left out: ").replace(f"{results}{os.sep}", ""))

    runs = dict[tuple[str, str], StoredRun]()
    for run in stored_run.load_all(results, leave_out):
        twin = runs.get((run.task, run.model))  # a link to a folder that has been read already
        if reason := f"is the same as {twin.files.folder.name}" if twin else _misplaced(run) or validate.fault(run):
            named = reason.startswith(str(run.files.folder))
            leave_out(f"left out: {reason}" if named else f"left out: {run.files.folder}: {reason}")
        else:
            runs[run.task, run.model] = run
    by_task = {task: [run for key, run in runs.items() if key[0] == task] for task in sorted({key[0] for key in runs})}
    names = _names(by_task)
    links = Links(names, out, out.resolve().is_relative_to(results.resolve()))
    files = dict[str, bytes]()
    counts = dict[str, int]()
    summaries = list[dict[str, Any]]()
    for task, task_runs in by_task.items():
        board = tables.board(task, task_runs)
        counts[task] = len(board.tables)
        summaries.append(_summary(board))
        metrics = list(dict.fromkeys(column.group.metric for table in board.tables for column in table.columns))
        tidy = download.files(board, Path(names.tasks[task]).stem)
        files.update(tidy)
        content = {"board": board, "title": _title(task), "metrics": metrics, "downloads": list(tidy)}
        files[names.tasks[task]] = _page("task.html", links, names.tasks[task], task, **content)
        benchmark = _benchmark(task, task_runs, results)
        for run in task_runs:
            name = names.runs[task, run.model]
            files[name] = report.page(run, _site(board, run, benchmark, links, name)).encode()
    files[INDEX] = _page("index.html", links, INDEX, "", tasks=summaries, left_out=left_out, runs=len(runs))
    _write(out, files)
    return Built(
        out / INDEX,
        sum(name.endswith(".html") for name in files),
        {task: len(task_runs) for task, task_runs in by_task.items()},
        counts,
        left_out,
    )


def _misplaced(run: StoredRun) -> str | None:
    task = run.manifest["settings"]["task"]["name"]
    return None if task == run.task else f"made on task {task}, but stored under {run.task}"


def _names(by_task: Mapping[str, Sequence[StoredRun]]) -> Names:
    taken = {INDEX.casefold()}
    tasks = {task: _name(f"{task}.html", task, taken) for task in by_task}
    runs = {
        (task, run.model): _name(f"runs/{Path(tasks[task]).stem}/{run.model}.html", run.model, taken)
        for task, task_runs in by_task.items()
        for run in task_runs
    }
    return Names(tasks, runs)


def _name(path: str, name: str, taken: set[str]) -> str:
    """Path of a page: the name of its task or run if it is safe on every file system and host, else with a digest."""
    folder, _, _ = path.rpartition("/")
    if not PLAIN.fullmatch(name) or path.casefold() in taken:
        plain = re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:40]
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
        path = f"{folder}/{plain}-{digest}.html".lstrip("/-")
    taken.add(path.casefold())
    return path


def _title(task: str) -> str:
    return registry.task(task).title if task in registry.names("tasks") else task


def _summary(board: tables.TaskBoard) -> dict[str, Any]:
    table = board.tables[0]
    leading = lead(table.ranking) if table.ranking else None
    return {"task": board.task, "title": _title(board.task), "board": board, "table": table, "lead": leading}


def _page(template: str, links: Links, name: str, task: str, **content: Any) -> bytes:
    address = {
        "link_run": lambda run: links.to(name, links.names.runs[run.task, run.model]),
        "link_task": lambda other: links.to(name, links.names.tasks[other]),
    }
    return templates.page(
        HERE,
        template,
        styles=[HERE / "board.css"],
        script=HERE / "board.js" if task else None,
        filters={"rank": tables.rank, "control": controls.label},
        navigation=links.navigation(name, task),
        content={**content, **address},
    ).encode()


def _benchmark(task: str, runs: Sequence[StoredRun], results: Path) -> Benchmark:
    """The task with its samples where its data is here, with thumbnails where they are not too large for all pages."""
    captioned = {name for run in runs for name in run.files.completions()}
    try:
        benchmark = report.benchmark(task, results, captioned if len(captioned) <= report.LARGEST else ())
    except CimError as error:
        return Benchmark(_title(task), absent=str(error))
    sizes = [len(picture.address) for picture in (benchmark.pictures or {}).values() if picture]
    share = 1 if _whole(runs) else min(1.0, 2 * cards.SHOWN / max(1, len(captioned)))
    return benchmark if share * sum(sizes) * len(runs) <= PICTURES else replace(benchmark, pictures=None)


def _whole(runs: Sequence[StoredRun]) -> bool:
    return sum(len(run.per_sample) for run in runs) <= CARDS


def _site(board: tables.TaskBoard, run: StoredRun, benchmark: Benchmark, links: Links, name: str) -> Site:
    training = provenance.training(run)
    base = next((other for other in board.runs if training and other.model == training.base), None)
    return Site(
        links.navigation(name, board.task, below=True),
        benchmark,
        placings(board, run, base),
        base.model if base else "",
        _whole(board.runs),
        lambda path: links.stored(name, path),
    )


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write changed files, then remove those of an earlier build that this one did not write."""
    before = set(_listed(out))
    for name in files:
        if name not in before and os.path.lexists(out / name):
            hint = "move it away, or name another folder with --out"
            raise CimError("is in the way and not from this command", where=str(out / name), hint=hint)
    with store.writing(out, "this board"):
        store.write_document(out / LIST, {"format": FORMAT, "files": sorted({*before, *files})})
        for name, content in files.items():
            path = out / name
            if not path.is_file() or path.read_bytes() != content:
                store.write_bytes(path, content)
        for name in sorted(before - files.keys()):
            (out / name).unlink(missing_ok=True)
        for folder in sorted(
            {(out / name).parent for name in before} - {(out / name).parent for name in files} - {out}
        ):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        store.write_document(out / LIST, {"format": FORMAT, "files": sorted(files)})
        # The folder is published as it is. A writer that has opened the old lock meanwhile writes the same bytes.
        (out / store.LOCK).unlink()


def _listed(out: Path) -> Iterator[str]:
    """Files of an earlier build; the list is untrusted input."""
    names = (store.read_document(out / LIST) or {}).get("files", [])
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and MADE.fullmatch(name) and ".." not in name.split("/"):
            yield name
