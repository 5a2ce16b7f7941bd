"""The page of a run: one HTML page that needs nothing else, made of its stored files.

First the main values with intervals and controls and a verdict; then all values, one card per sample with the words
that caption and reference share, miss and invent, provenance. In the run's folder no time stands in it, so a run that
was interrupted has the same page; a leaderboard shows it with tabs, ranks, differences and times (``Site``). The page
may run its own script (named by its hash) and load nothing; a caption is text wherever it stands. Written by
``cim eval`` and ``cim score``; again with ``cim report results/docci500/my-model``.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import registry, store
from harness.calibration.stored import calibrations
from harness.errors import CimError
from harness.pages import cards, provenance, scores, templates
from harness.pages.answer import answer
from harness.pages.cards import Pictures
from harness.pages.scores import Placing
from harness.pages.templates import Navigation
from harness.resources import data
from harness.runs.run import of_captions
from harness.runs.stored_run import StoredRun
from harness.types import Sample

NAME = "report.html"
MOST, RANDOM = 20_000, 500  # samples; of more, the page shows the best, the worst and some at random
LARGEST = 2000  # samples; the page of a larger run is heavy, so it is made on request only: cim report RUN
LONG = 2500  # characters; a longer text scrolls in its box
OPEN = 5  # values per sample; the others are folded


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A task as pages show it: title, source and licence, version of its data, its samples with thumbnails.

    Without the task's data ``samples`` is empty, and ``absent`` says why.
    """

    title: str
    source: str = ""
    version: str = ""
    samples: Sequence[Sample] = ()
    pictures: Pictures | None = None
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """What a leaderboard adds: tabs, the task, placings by metric and value, and the run of the model trained from.

    ``whole``: pages hold every sample, not only the best and the worst. ``address`` gives the relative address of a
    stored file, empty where the site cannot link to it.
    """

    navigation: Navigation
    benchmark: Benchmark
    placings: Mapping[tuple[str, str], Placing]
    base: str
    whole: bool
    address: Callable[[Path], str]


def write(run: StoredRun) -> Path:
    """Make the page of a stored run and put it into its folder; returns its path.

    Raises:
        CimError: its files are not whole, or its task's data is not here.
    """
    store.write_bytes(run.files.folder / NAME, page(run).encode())
    return run.files.folder / NAME


def benchmark(task_name: str, results: Path, captioned: Collection[str]) -> Benchmark:
    """A task with thumbnails of the captioned samples.

    Raises:
        CimError: an unknown task, or its data is not here.
    """
    task = registry.task(task_name)
    samples = data.samples(task)
    shown = {sample.task_id for sample in of_captions(samples, captioned)}
    pictures = cards.pictures(task, [sample for sample in samples if sample.id in shown], results)
    return Benchmark(task.title, f"{task.source}, {task.licence}", data.fingerprint(task), samples, pictures)


def page(run: StoredRun, site: Site | None = None) -> str:
    """The page of a stored run, for its folder or for a leaderboard.

    Raises:
        CimError: details are malformed; for the run's folder also: its task's data, or its version, is not here.
    """
    captions = run.files.completions()
    columns = sorted(scores.columns(run), key=lambda column: not column.main)
    ends = cards.ends(run, columns, captions)
    names, others = _names(captions, ends, site)
    shown = site.benchmark if site else benchmark(run.manifest["settings"]["task"]["name"], run.results, names)
    samples, absent = _samples(run, shown, site, names)
    shown_cards = cards.cards(run, columns, samples, shown.pictures or {})
    manifest = provenance.fields(run, times=site is not None)
    facts = provenance.facts(manifest)
    of_file = run.manifest["settings"]["model"]["engine"] == "captions"  # nobody knows what its captions answer
    placings = site.placings if site else {}
    return templates.page(
        templates.HERE,
        "report.html",
        styles=[templates.HERE / "report.css"],
        script=templates.HERE / "report.js",
        navigation=site.navigation if site else None,
        content={
            "run": run,
            "name": NAME,
            "captions": captions,
            "outcomes": run.outcomes,
            "site": site,
            "benchmark": shown,
            "absent": absent,
            "answer": answer(run, placings),
            "corrected": [calibration.line for calibration in calibrations(run).values()],
            "not_computed": scores.absent(run),
            "rows": list(scores.rows(run, placings)),
            "counts": scores.counts(run),
            "signatures": scores.signatures(run),
            "validity": scores.validity(run),
            "columns": columns,
            "ends": ends,
            "others": others,
            "cards": shown_cards,
            "numbers": {card.sample.id: card.number for card in shown_cards},
            "by_elements": any(card.elements for card in shown_cards),
            "prompt": "" if of_file else str(run.manifest.get("prompt", "")),
            "facts": facts,
            "settings": [fact for fact in facts if fact[0] in provenance.SETTINGS],
            "training": provenance.training(run),
            "manifest": list(manifest.items()),
            "long": LONG,
            "open": OPEN,
        },
    )


def _names(captions: Collection[str], ends: cards.Ends | None, site: Site | None) -> tuple[Collection[str], int]:
    """The captions that have cards, and how many of them were chosen at random."""
    extremes = {name for name, _ in (*ends.best, *ends.worst)} if ends else set[str]()
    if site and ends and (len(captions) > LARGEST or not site.whole):
        return [name for name in captions if name in extremes], 0
    if site or len(captions) <= MOST:
        return captions, 0
    others = heapq.nsmallest(RANDOM, captions, key=lambda name: hashlib.sha256(name.encode()).digest())
    extremes.update(others)
    return [name for name in captions if name in extremes], RANDOM


def _samples(run: StoredRun, shown: Benchmark, site: Site | None, names: Collection[str]) -> tuple[list[Sample], str]:
    """The captioned samples of these names, and why they lack their annotations; empty where they do not."""
    settings = run.manifest["settings"]["task"]
    absent = shown.absent
    if not absent and settings["data"] != shown.version:
        absent = f"made on another version of {settings['name']}"
        if site is None:
            raise CimError(absent, where=str(run.files.folder), hint="score it again with --fresh")
    samples = [Sample(name, ()) for name in names] if absent else shown.samples
    return of_captions(samples, names), absent
