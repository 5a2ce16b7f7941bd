"""The judge verb: put each caption to the judges that the metrics name, and keep the raw replies.

Replies are appended to ``replies.<judge>.<model>.jsonl`` as they arrive, a row a question put
(``<sample id>`` or ``<sample id>#<key>``); the same command goes on where a killed one stopped. Run with
``cim judge --model M --task miniscenes``.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness import model, records, registry
from harness.errors import OutageError
from harness.parts import Metric
from harness.run import Run
from harness.types import Request, Sample, Task, Track, untracked

FIELD = "reply"


def file_name(judge: str, answering: str) -> str:
    """The file of the raw replies that a model gave to a judge's questions."""
    return f"replies.{judge}.{answering}.jsonl"


def missing(metric: Metric, task: Task) -> str | None:
    """Why the judge that a metric reads cannot answer for this task, or None."""
    if metric.judge is None:
        return None
    if task.judge is None:
        return f"no model to judge {task.name} with yet"
    return registry.engine(model.from_toml(registry.model_file(task.judge)).engine).missing()


def replies(run: Run, judge: str) -> list[dict[str, str]]:
    """The raw replies of each sample by the judge's keys.

    Raises:
        OutageError: a reply is missing or failed; an unanswered question is no answer.
    """
    asked = registry.judge(judge)
    stored = records.read(run.folder, file_name(judge, run.task.judge or ""), FIELD)
    found, lacking, total = list[dict[str, str]](), 0, 0
    for sample in run.samples:
        answers = {key: stored.get(_request_id(sample, key)) for key in asked.prompts(sample, "")}
        texts = {key: made.text for key, made in answers.items() if made and made.text is not None}
        found.append(texts)
        lacking, total = lacking + len(answers) - len(texts), total + len(answers)
    if lacking:
        hint = f"run `cim judge --model {run.model.name} --task {run.task.name}`"
        raise OutageError(f"judge {judge} has not answered {lacking} of {total} questions", hint=hint)
    return found


def _request_id(sample: Sample, key: str) -> str:
    return f"{sample.id}#{key}" if key else sample.id


def judge(run: Run, metrics: Sequence[Metric], track: Track = untracked) -> dict[str, int]:
    """Ask for the replies that the run does not hold yet; replies made now, by judge.

    A failed caption is judged as the empty text, so it stays in every denominator.

    Raises:
        OutageError: the judge's engine ended before its last reply; what it gave is kept.
    """
    captions, made = records.read(run.folder), dict[str, int]()
    names = sorted({metric.judge for metric in metrics if metric.judge})
    if not names or run.task.judge is None:
        return made
    answering = model.from_toml(registry.model_file(run.task.judge))
    for name in names:
        file, asked = file_name(name, answering.name), registry.judge(name)
        done = records.read(run.folder, file, FIELD)
        prompts = {
            _request_id(sample, key): prompt
            for sample in run.samples
            if sample.id in captions
            for key, prompt in asked.prompts(sample, captions[sample.id].text or "").items()
        }
        requests = [Request(key, prompt) for key, prompt in prompts.items() if key not in done]
        made[name] = records.fill(run.folder, answering, requests, track, file, FIELD)
    return made
