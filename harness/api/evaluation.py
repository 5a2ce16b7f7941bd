"""Captions to scores from Python: ``score`` on lists, ``evaluate`` on a benchmark as ``cim eval`` does it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness import places, registry
from harness.api.inputs import Captions, captions_by_id, references_by_id
from harness.api.result import Result, of_stored
from harness.engines import captions as captions_file
from harness.errors import CimError
from harness.pages import report
from harness.resources import paths
from harness.runs import in_memory, run, stats, stored_run
from harness.runs.records import RowFiles
from harness.runs.stored_run import StoredRun
from harness.stages import caption, choice, model, parse
from harness.stages import evaluate as stages
from harness.stages import score as scoring
from harness.types import Model, Task, Track, untracked


def score(
    captions: Captions,
    references: Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]],
    metrics: str | Sequence[str] | None = None,
    *,
    name: str = "captions",
    draws: int = stats.DRAWS,
    progress: bool = False,
) -> Result:
    """Score captions against references that are given here; nothing is stored.

    Args:
        captions: n texts, or texts by sample id; a list in place of a text where an image has several captions: each is
            scored, and confidence intervals resample images.
        references: one or several texts per caption, in the same order or by the same ids.
        metrics: names or ``.py`` files; all that references allow and this machine can compute if None.
        name: what a comparison calls this result.
        draws: bootstrap resamples; 0 leaves confidence intervals out.
        progress: show a progress bar on standard error.

    Raises:
        CimError: ids or lengths differ, a text is no text, or a metric is unknown or cannot be computed here.
    """
    texts, images = captions_by_id(captions)
    truth = references_by_id(references, list(dict.fromkeys(images.values())))
    _check_draws(draws)
    with tempfile.TemporaryDirectory() as scratch:
        planned = in_memory.in_memory_run(name, truth, images, Path(scratch))
        in_memory.add_captions(planned, texts)
        with parse.Parses(planned.results, _track(progress)) as parses:
            chosen, absent = choice.choose(_names(metrics), planned, parses)
            computed = scoring.compute(planned, chosen, parses, draws=draws)
            account = caption.account(planned).as_row()
        scored = {name: row.text for name, row in planned.captions.items()}
    stored = StoredRun(
        task=planned.task.name,
        model=name,
        manifest={},
        document={"outcomes": account},
        scores={row.metric: asdict(row) for row in (*computed.scores, *absent)},
        per_sample=_by_id(computed.per_sample),
        statistics=_by_id(computed.statistics),
        files=RowFiles(Path(name)),
    )
    return Result(stored, scored, _by_id(computed.details))


def evaluate(
    captions: Mapping[str, str | Sequence[str]] | str | Path,
    task: str,
    metrics: str | Sequence[str] | None = None,
    *,
    limit: int | None = None,
    results: str | Path | None = None,
    name: str = "captions",
    partial: bool = False,
    engine: str | None = None,
    judge: str | None = None,
    gallery: str | None = None,
    draws: int = stats.DRAWS,
    fresh: bool = False,
    progress: bool = False,
    page: bool = True,
) -> Result:
    """Evaluate captions or a model on a benchmark, as ``cim eval`` does; a stored run is continued.

    Args:
        captions: texts (or lists of texts, for a benchmark without code) by sample id; or what ``cim eval --model``
        takes: a captions file, a model, a stored run. task: a benchmark's name, ``.py`` file or ``task.toml``. metrics:
        names or ``.py`` files; all that the benchmark allows and this machine can compute if None. limit: the first so
        many samples only. results: where the run is stored. If None: texts are stored nowhere; a file or model where
        ``cim eval`` stores
            it, ``$CIM_RESULTS``, else ``results/``.
        name: of the run, for texts.
        partial: score only the samples that have a caption.
        engine: runs a model's weights in place of the engine that its file names.
        judge: the model that answers the questions of judges.
        gallery: where metric ``cim`` looks captions up.
        draws: bootstrap resamples; 0 leaves confidence intervals out.
        fresh: discard a stored run of this name first.
        progress: show a progress bar on standard error.
        page: write the page of a run that is stored.

    Raises:
        CimError: unknown task, metric or model, ids that are missing or unknown, data that is not there.
        OutageError: the engine stopped; what it wrote is kept.
    """
    if limit is not None and limit < 1:
        raise CimError(f"limit is {limit}", hint="1 or more")
    _check_draws(draws)
    with ExitStack() as stack:
        source, folder = str(captions), paths.results_root(results)
        if isinstance(captions, Mapping):
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            source = str(_captions_file(scratch / f"{model.run_name(name, Path(name))}.jsonl", captions))
            folder = scratch / "results" if results is None else folder
        places.remember(folder)
        benchmark = registry.task(registry.named("tasks", task))
        resolved = _single(source, folder, benchmark, engine)
        planned = run.plan(resolved, benchmark, folder, limit=limit, partial=partial, fresh=fresh)
        planned = replace(planned, judge=judge, gallery=gallery or planned.gallery)
        options = stages.Options(fresh=fresh, draws=draws, track=_track(progress))
        stored = _evaluate(planned, _names(metrics), options, page)
        kept = results is not None or not isinstance(captions, Mapping)
        result = of_stored(stored)
        return result if kept else replace(result, run=replace(stored, files=RowFiles(Path(name))), folder=None)


def _single(source: str, results: Path, benchmark: Task, engine: str | None) -> Model:
    """The one model that a source means; CimError for a file of several systems, or of captions not expected here."""
    resolved, *others = model.resolve(source, results, benchmark.name, engine)
    if others and resolved.engine == "captions":
        names = ", ".join(str(other.settings.get("system")) for other in (resolved, *others))
        raise CimError(f"captions of several systems: {names}", where=source, hint="one mapping or file for each")
    if not benchmark.definition:
        captions_file.refuse_repeated(resolved)
    return resolved


def _evaluate(planned: run.Run, metrics: Sequence[str], options: stages.Options, page: bool) -> StoredRun:
    """Do all stages of one run; a parser, judge or encoder that stops is told by its metrics."""
    with parse.Parses(planned.results, options.track) as parses:
        works = stages.plan([planned], metrics, parses, fresh=options.fresh)
        for work in stages.evaluate(works, tuple(stages.STAGES), parses, options):
            if work.failure is not None:
                raise work.failure
            stored = stored_run.load(planned.folder, planned.files)
            if page and len(planned.samples) <= report.LARGEST:
                report.write(stored)
    return stored


def _captions_file(path: Path, captions: Mapping[str, str | Sequence[str]]) -> Path:
    texts, images = captions_by_id(captions)
    rows = [{"sample_id": images[name], "caption": text} for name, text in texts.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _names(metrics: str | Sequence[str] | None) -> list[str]:
    listed = [metrics] if isinstance(metrics, str) else list(metrics or ())
    if metrics is not None and not listed:
        raise CimError("no metric is named", hint="cim list metrics")
    return [registry.named("metrics", name.strip()) for text in listed for name in text.split(",")]


def _check_draws(draws: int) -> None:
    if draws < 0:
        raise CimError(f"draws is {draws}", hint="0 or more")


def _by_id(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["sample_id"]: row for row in rows}


def _track(progress: bool) -> Track:
    return _bar if progress else untracked


def _bar(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
    from tqdm import tqdm

    yield from tqdm(items, desc=title, total=total)
