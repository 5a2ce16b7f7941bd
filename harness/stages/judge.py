"""The judge verb: ask the judges that the metrics name about each caption, and store the raw replies.

The judge model is ``--judge``, else the task's. Replies are appended to ``replies.<judge>.<model>.jsonl`` as they
arrive, one row per prompt (``<sample id>`` or ``<sample id>#<key>``); the same command resumes a killed one and repeats
failed prompts. The manifest records each judge model; signatures name it with version and sampling, so numbers of two
models are never mixed, and each has files of its own.

Greedy replies of weights and servers are also cached in ``results/.cache/replies/<settings>.jsonl`` by the sha256 of
the prompt; the settings identify the model, sampling included. All runs share them, also with ``--fresh``: the same
model would write the same again. Sampled replies are not shared, nor those of a hub checkpoint without a pinned commit;
a server is taken to run what its ``model`` and ``revision`` say. Run with
``cim judge --model M --task T``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError, OutageError, SettingsError
from harness.parts import Metric
from harness.runs import manifest, records
from harness.runs.cache import Cache, key, settings_key
from harness.runs.form import malformed
from harness.runs.run import Run
from harness.stages import caption, model, probes
from harness.types import Completion, Model, Request, Sample, Track, untracked

FIELD = "reply"
PUT = "1"  # version of how engines render prompts; raise it when that changes, to invalidate cached replies
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt of a judge, with the file and id of its stored reply."""

    file: str
    id: str
    prompt: str


def file_name(judge: str, answering: str, probe: str = "") -> str:
    """The file of the raw replies that a model gave to a judge's questions, about captions altered by ``probe``."""
    return f"probe.{probe}.{judge}.{answering}.jsonl" if probe else f"replies.{judge}.{answering}.jsonl"


def reply_files(folder: Path) -> list[tuple[str, str]]:
    """Judge and answering model of each file of replies in a run's folder."""
    names = [path.name.removesuffix(".jsonl").split(".", 2) for path in sorted(folder.glob(file_name("*", "*")))]
    return [(name[1], name[2]) for name in names]


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


def check(run: Run) -> None:
    """Refuse a ``--judge`` that is neither recorded in the run nor a model here, without weights or network."""
    if run.judge is not None and answering_name(run) not in _recorded(run):
        answering(run)


def missing(metric: Metric, run: Run, *, fresh: bool = False) -> str | None:
    """Why the judge that a metric reads cannot answer here, or None; stored replies need no model, unless ``fresh``."""
    if metric.judge is None:
        return None
    if answering_name(run) is None:
        return f"no model to judge {run.task.name} with; name one: --judge J"
    if not fresh and answered(run, metric.judge):
        return None
    return _obstacle(run, answering(run))


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
    return shutil.which("nvidia-smi") is not None


def _recorded(run: Run) -> Mapping[str, Any]:
    """Settings and engines of the run's judge models, by name, from its manifest."""
    judges = (manifest.read(run.folder) or {}).get("judges", {})
    schema = {name: {"settings": {}, "engines": list} for name in judges} if isinstance(judges, dict) else {}
    if faults := list(malformed(judges, schema, f"{manifest.NAME}.judges")):
        raise CimError("; ".join(faults[:3]), where=str(run.folder), hint="make the run again with --fresh")
    return dict(judges)


def signed(run: Run, judge: str) -> dict[str, str]:
    """Signature fields of a judge: model, version, sampling and prompt."""
    name = answering_name(run) or ""
    entry = _recorded(run).get(name)
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
    return {**fields, **registry.judge(judge).signature}


def identity(settings: Mapping[str, Any]) -> str:
    """Twelve hex digits that identify a judge model, sampling included."""
    return settings_key({name: str(value) for name, value in manifest.flat(settings).items()})


def questions(run: Run, judge: str, captions: Mapping[str, Completion], probe: str = "") -> list[Prompted]:
    """Every prompt of a judge about the captions of a run; a failed caption is judged as the empty text."""
    file, part = file_name(judge, answering_name(run) or "", probe), registry.judge(judge)
    texts = [captions[sample.id].text or "" for sample in run.samples]
    texts = probes.PROBES[probe](run.samples, texts) if probe else texts
    return [
        Prompted(file, _request_id(sample, key), prompt)
        for sample, text in zip(run.samples, texts, strict=True)
        for key, prompt in part.prompts(sample, text).items()
    ]


def _request_id(sample: Sample, key: str) -> str:
    return f"{sample.id}#{key}" if key else sample.id


def _read(run: Run, judge: str, probe: str) -> tuple[list[dict[str, str]], int, int]:
    """Replies of each sample by the judge's keys, number of unanswered prompts, and number of prompts."""
    rows = run.files.completions(file_name(judge, answering_name(run) or "", probe), FIELD)
    part, by_sample, lacking, total = registry.judge(judge), list[dict[str, str]](), 0, 0
    for sample in run.samples:
        answers = {key: rows.get(_request_id(sample, key)) for key in part.prompts(sample, "")}
        texts = {key: reply.text for key, reply in answers.items() if reply and reply.text is not None}
        by_sample.append(texts)
        lacking, total = lacking + len(answers) - len(texts), total + len(answers)
    return by_sample, lacking, total


def answered(run: Run, judge: str, probe: str = "") -> bool:
    """Has the current judge model answered every prompt of a judge?"""
    return not _read(run, judge, probe)[1]


def replies(run: Run, judge: str, probe: str = "") -> list[dict[str, str]]:
    """The raw replies of each sample by the judge's keys.

    Raises:
        OutageError: a reply is missing or failed; an unanswered question is no answer.
    """
    by_sample, lacking, total = _read(run, judge, probe)
    if lacking:
        chosen = f" --judge {run.judge}" if run.judge else ""
        hint = f"run `cim judge --model {run.model.name} --task {run.task.name}{chosen}`"
        raise OutageError(f"judge {judge} has not answered {lacking} of {total} questions", hint=hint)
    return by_sample


def judge(run: Run, metrics: Sequence[Metric], track: Track = untracked, probe: Sequence[str] = ()) -> dict[str, int]:
    """Ask for the missing replies; returns the number stored now, by judge (and probe).

    Raises:
        CimError: captions are missing, or the judge cannot answer here.
        OutageError: the engine stopped before the last reply, or replies failed; finished replies are kept.
        SettingsError: the run holds replies of a model of this name with other settings.
    """
    captions, counts, todo = caption.stored(run), dict[str, int](), list[Prompted]()
    names = sorted({metric.judge for metric in metrics if metric.judge})
    for name, altered in ((name, altered) for name in names for altered in ("", *probe)):
        prompts = questions(run, name, captions, altered) if answering_name(run) else []
        done = _keep_answers(run, prompts[0].file) if prompts else set[str]()
        lacking = [question for question in prompts if question.id not in done]
        counts[f"{name} {altered}".rstrip()], todo = len(lacking), todo + lacking
    if todo:
        answerer = answering(run)
        if reason := _obstacle(run, answerer):
            raise CimError(f"judge {answerer.name} cannot answer here: {reason}")
        _ask(run, answerer, todo, track)
    return counts


def _keep_answers(run: Run, file: str) -> set[str]:
    """Ids of the answered rows of a file; failed rows are removed, so that they are asked again."""
    rows = run.files.completions(file, FIELD)
    answered_rows = {name: reply for name, reply in rows.items() if reply.text is not None}
    if len(answered_rows) < len(rows):
        store.write_rows(run.folder / file, [records.row(reply, FIELD) for reply in answered_rows.values()])
    return set(answered_rows)


def _ask(run: Run, answerer: Model, todo: Sequence[Prompted], track: Track) -> None:
    """Send all prompts to one opened engine, except those with a cached reply."""
    _record(run, answerer)
    engine, failed, count = registry.engine(answerer.engine), list[Completion](), 0
    cache = _cache(run, answerer)
    known = cache.find({key(question.prompt) for question in todo}) if cache else {}
    usable = {name: value for name, value in known.items() if isinstance(value, dict) and _is_reply(value)}
    flying = {f"{q.file}:{q.id}": q for q in todo if key(q.prompt) not in usable}
    requests = [Request(name, question.prompt) for name, question in flying.items()]
    if requests and engine.describe is not None:
        _describe(run, answerer.name, engine.describe(answerer))
    with ExitStack() as opened:
        add = {name: opened.enter_context(run.files.appending(name, FIELD)) for name in {q.file for q in todo}}
        if cache:
            opened.enter_context(closing(cache))
        for question in todo:
            if (value := usable.get(key(question.prompt))) is not None:
                add[question.file]({"sample_id": question.id, **value})
        for completed in track(engine.generate(answerer, requests), FIELD, len(requests)) if requests else ():
            question, count = flying[completed.sample_id], count + 1
            row = records.row(replace(completed, sample_id=question.id), FIELD)
            add[question.file](row)
            if completed.text is None:
                failed.append(completed)
            elif cache:
                cache.add(key(question.prompt), {name: value for name, value in row.items() if name != "sample_id"})
    hint = "the same command resumes"
    if count < len(requests):
        raise OutageError(f"engine {engine.name} gave {count} of {len(requests)} replies", hint=hint)
    if failed:
        what = f"{len(failed)} of {len(requests)} questions failed, the first: {failed[0].error}"
        raise OutageError(what, where=answerer.name, hint=hint)


def _cache(run: Run, answerer: Model) -> Cache | None:
    """The cache of a deterministic judge model: weights or a server, at temperature 0."""
    source = answerer.weights or answerer.server
    moving = answerer.weights and not answerer.weights.local and not COMMIT.fullmatch(answerer.weights.revision or "")
    if source is None or answerer.settings["sampling"].get("temperature") != 0 or moving:
        return None
    return Cache(run.results / ".cache" / "replies" / f"{identity(answerer.settings)}-{PUT}.jsonl")


def _is_reply(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get(FIELD), str) and value.get("error") is None


def _record(run: Run, answerer: Model) -> None:
    """Record the judge model in the manifest; its settings must not change while its replies are stored."""
    judges, now = _recorded(run), dict(answerer.settings)
    differing = manifest.changes(judges[answerer.name]["settings"], now) if answerer.name in judges else []
    if differing and answerer.name in [name for _, name in reply_files(run.folder)]:
        hint = f"give this judge another name, or delete {file_name('*', answerer.name)} there"
        what = f"judge {answerer.name} answered with other settings (stored / now: {', '.join(differing)})"
        raise SettingsError(what, where=str(run.folder), hint=hint)
    if differing or answerer.name not in judges:
        manifest.note(run.folder, judges={**judges, answerer.name: {"settings": now, "engines": []}})


def _describe(run: Run, name: str, engine: Mapping[str, Any]) -> None:
    """Add the judge engine's current build and device to the manifest."""
    judges = _recorded(run)
    engines = judges[name]["engines"]
    if engine not in engines:
        manifest.note(run.folder, judges={**judges, name: {**judges[name], "engines": [*engines, engine]}})
