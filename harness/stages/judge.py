"""The judge verb: ask the judges that the metrics name about each caption, and store the raw replies.

The judge model is ``--judge``, else the task's. Replies are appended to ``replies.<judge>.<model>.jsonl`` as they
arrive, one row per prompt (``<sample id>`` or ``<sample id>#<key>``); the same command resumes a killed one and repeats
failed prompts. A final refusal is an unparsed reply; verdicts are read in what follows a reply's thoughts. The manifest
records each judge model; signatures name it with version and sampling, so numbers of two models are never mixed, and
each has files of its own.

Greedy replies are shared by all runs (``shared_replies.py``). Run with
``cim judge --model M --task T``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness import registry, store
from harness.errors import CimError, OutageError
from harness.parts import Judge, Metric
from harness.resources import machine
from harness.runs import judges, outcomes, reasoning, records, served, usage
from harness.runs.run import Run
from harness.stages import caption, model, probes
from harness.stages.caption import Generate
from harness.stages.judge_files import FIELD, Prompted, file_name, reply_files
from harness.stages.shared_replies import cache_of, identity, known
from harness.types import Completion, Model, Track, untracked
from harness.weights import Price


def answering_name(run: Run) -> str | None:
    """The name of the judge model: that of ``--judge``, else the task's, or None."""
    named = run.judge or run.task.judge
    in_folder = named is not None and (Path(named) / model.TOML).is_file()
    return Path(named).resolve().name if named and in_folder else named


def answering(run: Run) -> Model:
    """The judge model.

    Raises:
        CimError: none of that name, or a captions file, which answers no questions.
    """
    named = run.judge or run.task.judge or ""
    answerer = model.resolve(named, run.results, run.task.name)[0]
    if registry.engine(answerer.engine).known is not None:
        raise CimError(
            f"{named} has captions and answers no questions", hint="name a model that writes: cim list models"
        )
    return answerer


def price(run: Run) -> Price | None:
    """What the judge model's provider asks; None where its file says nothing, or is gone."""
    try:
        return answering(run).price
    except CimError:
        return None


def check(run: Run) -> None:
    """Refuse a ``--judge`` that is neither recorded in the run nor a model here, without weights or network."""
    if run.judge is not None and answering_name(run) not in judges.recorded(run.folder):
        answering(run)


def missing(metric: Metric, run: Run, *, fresh: bool = False) -> str | None:
    """Why the judge that a metric reads cannot answer here, or None; stored replies need no model, unless ``fresh``."""
    if metric.judge is None:
        return None
    if answering_name(run) is None:
        return f"no model to judge {run.task.name} with; name one: --judge J"
    if not fresh and answered(run, metric.judge):
        return None
    answerer = answering(run)
    return _obstacle(run, answerer) or _too_short(answerer, registry.judge(metric.judge))


def _too_short(answerer: Model, judge: Judge) -> str | None:
    """Why a judge's replies would be cut off by a model's own limit, or None."""
    limit = answerer.settings.get("sampling", {}).get("max_tokens")
    if limit is None or limit >= judge.reply_tokens:
        return None
    hint = f"ask it by a TOML with max_tokens = {judge.reply_tokens} under [sampling]"
    return f"a reply to {judge.name} has up to {judge.reply_tokens} tokens, {answerer.name} stops at {limit}; {hint}"


def _obstacle(run: Run, answerer: Model) -> str | None:
    if run.judge is None and answerer.weights and not answerer.weights.local and not _gpu():
        hint = f"add `--judge {answerer.name}` to ask it all the same, or another J"
        return f"judge {answerer.name} wants a GPU and none answers here; {hint}"
    if answerer.server and answerer.server.api_key_env and not os.environ.get(answerer.server.api_key_env):
        return (
            f"environment variable {answerer.server.api_key_env} with the API key of judge {answerer.name} is not set"
        )
    return registry.engine(answerer.engine).missing()


def _gpu() -> bool:
    return machine.usable_gpu()


def signed(run: Run, judge: str) -> dict[str, str]:
    """Signature fields of a judge: model, version, sampling and prompt."""
    name = answering_name(run) or ""
    entry = judges.recorded(run.folder).get(name)
    settings = entry["settings"] if entry else answering(run).settings
    versions = (str(settings[field]) for field in ("revision", "checkpoint", "model", "sha256") if settings.get(field))
    version = next(versions, "").removeprefix("sha256:").replace("@", "-")
    fields = {
        "judge": f"{name}@{version[:12] if len(version) >= 40 else version}",
        "judge_settings": identity(settings),
    }
    if sampling := settings.get("sampling"):
        # What openai.omit leaves out is the server's choice, and not known here.
        decode = [f"{name}={sampling[name]:g}" for name in ("temperature", "max_tokens") if name in sampling]
        decode += [f"thinking={settings['thinking']}".lower()] if "thinking" in settings else []
        fields["decode"] = ",".join(decode)
    if any(map(reasoning.thought, _rows(run, judge).values())):
        fields["thoughts"] = "removed"  # only where there were some: they were read as a part of the reply before
    return {**fields, **registry.judge(judge).signature}


def questions(run: Run, judge: str, captions: Mapping[str, Completion], probe: str = "") -> list[Prompted]:
    """Every prompt of a judge about the captions of a run; a failed caption is judged as the empty text."""
    file, part = file_name(judge, answering_name(run) or "", probe), registry.judge(judge)
    texts = [captions[sample.id].text or "" for sample in run.samples]
    texts = probes.PROBES[probe](run.samples, texts) if probe else texts
    return [
        Prompted(file, records.request_id(sample.id, key), prompt, part.system)
        for sample, text in zip(run.samples, texts, strict=True)
        for key, prompt in part.prompts(sample, text).items()
    ]


def _rows(run: Run, judge: str, probe: str = "") -> Mapping[str, Completion]:
    return run.files.completions(file_name(judge, answering_name(run) or "", probe), FIELD)


def _read(run: Run, judge: str, probe: str) -> tuple[list[dict[str, str]], int, int]:
    """Replies of each sample by the judge's keys, number of unanswered prompts, and number of prompts."""
    rows = _rows(run, judge, probe)
    part, by_sample, lacking, total = registry.judge(judge), list[dict[str, str]](), 0, 0
    for sample in run.samples:
        answers = {key: rows.get(records.request_id(sample.id, key)) for key in part.prompts(sample, "")}
        texts = {key: reasoning.answer(reply.text or "") for key, reply in answers.items() if reply and reply.final}
        by_sample.append(texts)
        lacking, total = lacking + len(answers) - len(texts), total + len(answers)
    return by_sample, lacking, total


def answered(run: Run, judge: str, probe: str = "") -> bool:
    """Has the current judge model answered every prompt of a judge?"""
    return not _read(run, judge, probe)[1]


def replies(run: Run, judge: str, probe: str = "") -> list[dict[str, str]]:
    """The replies of each sample by the judge's keys, without thoughts; empty where the server refused to reply.

    Raises:
        OutageError: a reply is missing or failed, or the server refused all: an unanswered question is no answer.
    """
    by_sample, lacking, total = _read(run, judge, probe)
    if lacking:
        chosen = f" --judge {run.judge}" if run.judge else ""
        hint = f"run `cim judge --model {run.model.name} --task {run.task.name}{chosen}`"
        raise OutageError(f"judge {judge} has not answered {lacking} of {total} questions", hint=hint)
    rows = _rows(run, judge, probe).values()
    if rows and all(reply.text is None for reply in rows):
        raise OutageError(f"judge {judge} was refused all {total} replies: {outcomes.reason(list(rows))}")
    return by_sample


def judge(
    run: Run,
    metrics: Sequence[Metric],
    track: Track = untracked,
    probe: Sequence[str] = (),
    generate: Generate | None = None,
) -> dict[str, int]:
    """Ask for the missing replies; returns the number stored now, by judge (and probe).

    Args:
        generate: a model and its requests to completions, in place of its engine.

    Raises:
        CimError: captions are missing, or the judge cannot answer here.
        OutageError: the engine stopped before the last reply, or replies failed; finished replies are kept.
        SettingsError: the run holds replies of a model of this name with other settings.
    """
    counts, todo = pending(run, metrics, probe)
    if todo:
        answerer = usable(run, metrics)
        _ask(run, answerer, todo, track, generate or registry.engine(answerer.engine).generate)
    return counts


def pending(
    run: Run, metrics: Sequence[Metric], probe: Sequence[str] = (), captions: Mapping[str, Completion] | None = None
) -> tuple[dict[str, int], list[Prompted]]:
    """How many prompts have no answer, by judge (and probe), and all of them.

    Args:
        captions: in place of the stored ones; CimError if some of those are missing.
    """
    captions, counts, todo = captions or caption.stored(run), dict[str, int](), list[Prompted]()
    names = sorted({metric.judge for metric in metrics if metric.judge})
    for name, altered in ((name, altered) for name in names for altered in ("", *probe)):
        prompts = questions(run, name, captions, altered) if answering_name(run) else []
        rows = run.files.completions(prompts[0].file, FIELD) if prompts else {}
        done = {name for name, reply in rows.items() if reply.final}
        lacking = [question for question in prompts if question.id not in done]
        counts[f"{name} {altered}".rstrip()], todo = len(lacking), todo + lacking
    return counts, todo


def usable(run: Run, metrics: Sequence[Metric]) -> Model:
    """The judge model; CimError where it cannot answer here for the judges of these metrics."""
    answerer = answering(run)
    asking = [registry.judge(metric.judge) for metric in metrics if metric.judge]
    too_short = (reason for judge in asking if (reason := _too_short(answerer, judge)))
    if reason := _obstacle(run, answerer) or next(too_short, None):
        raise CimError(f"judge {answerer.name} cannot answer here: {reason}")
    return answerer


def _drop_failed(run: Run, file: str) -> None:
    """Remove the failed rows of a file, which are asked again."""
    rows = run.files.completions(file, FIELD).values()
    answered_rows = [reply for reply in rows if reply.final]
    if len(answered_rows) < len(rows):
        store.write_rows(run.folder / file, [records.row(reply, FIELD) for reply in answered_rows], sealed=True)


def _ask(run: Run, answerer: Model, todo: Sequence[Prompted], track: Track, generate: Generate) -> None:
    """Send all prompts to one opened engine, except those with a cached reply."""
    replied = answerer.name in [name for _, name in reply_files(run.folder)]
    judges.record(run.folder, answerer, file_name("*", answerer.name) if replied else None)
    engine, failed, count = registry.engine(answerer.engine), list[Completion](), 0
    cache = cache_of(run.results, answerer)
    shared = known(cache, {question.key for question in todo}, FIELD)
    flying = {question.request.sample_id: question for question in todo if question.key not in shared}
    requests = [question.request for question in flying.values()]
    if requests and engine.describe is not None:
        judges.describe(run.folder, answerer.name, engine.describe(answerer))
    answers = generate(answerer, requests) if requests else ()
    answers = served.watched(run.folder, f"judge {answerer.name}", answers, stored=replied)
    used = usage.counted(answers, partial(judges.add_usage, run.folder, answerer.name))
    files = {question.file for question in todo}
    for name in files:
        _drop_failed(run, name)
    with ExitStack() as opened:
        add = {name: opened.enter_context(run.files.appending(name, FIELD)) for name in files}
        if cache:
            opened.enter_context(closing(cache))
        if shared:
            judges.add_usage(run.folder, answerer.name, usage.Usage(shared=len(todo) - len(requests)))
        opened.enter_context(closing(used))
        for question in todo:
            if (value := shared.get(question.key)) is not None:
                add[question.file]({"sample_id": question.id, **value})
        for completed in track(used, FIELD, len(requests)) if requests else ():
            question, count = flying[completed.sample_id], count + 1
            row = records.row(replace(completed, sample_id=question.id), FIELD)
            add[question.file](row)
            if not completed.final:
                failed.append(completed)
            elif cache and completed.text is not None:
                cache.add(question.key, {name: value for name, value in row.items() if name != "sample_id"})
    hint = "the same command resumes"
    if count < len(requests):
        raise OutageError(f"engine {engine.name} gave {count} of {len(requests)} replies", hint=hint)
    if failed:
        what = f"{len(failed)} of {len(requests)} questions failed, the first: {failed[0].error}"
        raise OutageError(what, where=answerer.name, hint=hint)
