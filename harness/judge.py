"""The judge verb: put each caption to the judges that the metrics name, and keep the raw replies.

Replies are appended to ``replies.<judge>.jsonl`` as they arrive; the same command goes on where a
killed one stopped. Run with ``cim judge --model M --task docci500``.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness import model, records, registry
from harness.run import Run
from harness.types import Metric, Request, Track, untracked

FIELD = "reply"


def file_name(judge: str) -> str:
    """The file of a judge's raw replies inside a run folder."""
    return f"replies.{judge}.jsonl"


def replies(run: Run, judge: str) -> list[str | None]:
    """One raw reply a sample of the run, None where there is none."""
    stored = records.read(run.folder, file_name(judge), FIELD)
    return [made.text if (made := stored.get(sample.id)) else None for sample in run.samples]


def judge(run: Run, metrics: Sequence[Metric], track: Track = untracked) -> dict[str, int]:
    """Ask for the replies that the run does not hold yet; replies made now, by judge.

    A failed caption is judged as the empty text, so it stays in every denominator.

    Raises:
        OutageError: the judge's engine ended before its last reply; what it gave is kept.
    """
    captions, made = records.read(run.folder), dict[str, int]()
    for name in sorted({metric.judge for metric in metrics if metric.judge}):
        asked, done = registry.judge(name), records.read(run.folder, file_name(name), FIELD)
        todo = [sample for sample in run.samples if sample.id in captions and sample.id not in done]
        prompts = {sample.id: asked.prompt(sample, captions[sample.id].text or "") for sample in todo}
        requests = [Request(sample_id, prompt) for sample_id, prompt in prompts.items() if prompt is not None]
        answering = model.from_toml(registry.model_file(asked.model))
        made[name] = records.fill(run.folder, answering, requests, track, file_name(name), FIELD)
    return made
