"""What judging will cost, before anything is asked: calls, tokens, time and price.

Prompt tokens are estimated from characters (four a token), replies are at most ``max_tokens`` each; what the same model
used in stored runs of this results folder, if any, gives its pace and the length of its replies. The price is that of
the model's ``[price]``, unknown without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import registry
from harness.errors import CimError
from harness.parts import Metric
from harness.resources import data
from harness.runs import judges, signature, stored_run
from harness.runs.run import Run, of_captions
from harness.runs.stored_run import StoredRun
from harness.runs.usage import Usage
from harness.stages import judge, model
from harness.stages.judge_files import FIELD, file_name
from harness.stages.probes import CONTROLS
from harness.stages.shared_replies import cache_of, known
from harness.types import Completion, Model
from harness.weights import Price

LETTERS = 4  # of a prompt that make a token, about


@dataclass(frozen=True, slots=True)
class Estimate:
    """Calls of a judge model, estimated tokens, and seconds and price where they are known."""

    model: str
    calls: int
    prompt_tokens: int
    reply_tokens_at_most: int
    reply_tokens: int | None
    seconds: float | None
    price: float | None
    currency: str | None
    basis: str


@dataclass(frozen=True, slots=True)
class PerImage:
    """What a judge model was asked about an image of a stored run: calls, and tokens a call where they were counted.

    ``controls`` is how many of the controls it was asked about; their calls are among ``calls``.
    """

    model: str
    calls: float
    controls: int
    prompt_tokens: float | None
    reply_tokens: float | None
    price: Price | None

    def of(self, images: int) -> tuple[int, float | None]:
        """Calls for so many images, and their price where it is known."""
        calls = round(images * self.calls)
        if self.price is None or self.prompt_tokens is None or self.reply_tokens is None:
            return calls, None
        return calls, self.price.of(calls * self.prompt_tokens, calls * self.reply_tokens)


def per_image(run: StoredRun, metric: Metric) -> PerImage | None:
    """What the judge of a metric was asked, from the stored replies, else from its prompts.

    None without a judge, and where neither replies nor the task are here.
    """
    if metric.judge is None:
        return None
    name = signature.read(run.scores[metric.name]["signature"] or "").get("judge", "").rpartition("@")[0]
    files = [file_name(metric.judge, name, probe) for probe in ("", *CONTROLS)]
    stored = [rows for file in files if (rows := run.files.completions(file, FIELD))]
    replies = [reply for rows in stored for reply in rows.values()]
    prompts = len(replies) or _prompts(run, metric.judge)
    if not prompts:
        return None
    counted = [reply for reply in replies if reply.prompt_tokens is not None and reply.completion_tokens is not None]
    return PerImage(
        name,
        prompts / run.n_images,
        max(0, len(stored) - 1),
        sum(reply.prompt_tokens or 0 for reply in counted) / len(counted) if counted else None,
        sum(reply.completion_tokens or 0 for reply in counted) / len(counted) if counted else None,
        _price(name, run),
    )


def _prompts(run: StoredRun, judge: str) -> int:
    """How many prompts a judge has about a run; 0 where its task is not here."""
    try:
        samples = of_captions(data.samples(registry.task(run.task)), run.per_sample)
        return sum(len(registry.judge(judge).prompts(sample, "")) for sample in samples)
    except CimError:
        return 0


def _price(name: str, run: StoredRun) -> Price | None:
    try:
        return model.resolve(name, run.results, run.task)[0].price
    except CimError:  # a judge whose file is gone
        return None


def of_prompts(answerer: Model, prompts: Sequence[str], earlier: Sequence[Path], pictures: int = 0) -> Estimate:
    """The cost of these prompts.

    Args:
        earlier: folders whose manifests may hold what this model used for such prompts.
        pictures: how many of them come with an image, whose tokens nobody here can know.
    """
    settings = answerer.server or answerer.weights
    most = len(prompts) * settings.sampling.max_tokens if settings else 0
    tokens = sum(map(len, prompts)) // LETTERS
    before = _used(answerer, earlier)
    counted, calls = before.calls - before.uncounted, before.calls
    replies = round(before.reply_tokens / counted * len(prompts)) if counted else None
    basis = f"{LETTERS} characters a prompt token" + (", images not counted" if pictures else "")
    basis += f"; replies and pace as in {calls} earlier calls" if calls else "; at most max_tokens a reply"
    price = answerer.price
    return Estimate(
        answerer.name,
        len(prompts),
        tokens,
        most,
        replies,
        round(before.seconds / calls * len(prompts), 1) if calls else None,
        price.of(tokens, most if replies is None else replies) if price else None,
        price.currency if price else None,
        basis,
    )


def _used(answerer: Model, folders: Sequence[Path]) -> Usage:
    """What this model, with these settings, has used in these folders."""
    total = Usage()
    for folder in folders:
        try:
            entry = judges.recorded(folder).get(answerer.name)
        except CimError:  # a damaged run says nothing
            continue
        if entry and entry["settings"] == dict(answerer.settings):
            total = total.plus(judges.used(folder, answerer.name))
    return total


def before(run: Run, metrics: Sequence[Metric], probes: Sequence[str], *, fresh: bool = False) -> Estimate | None:
    """What the judge of a run would cost; None where it has none. A caption not made yet counts as a reference."""
    metrics = [metric for metric in metrics if metric.judge]
    if not metrics or judge.answering_name(run) is None:
        return None
    stored: Mapping[str, Completion] = {} if fresh else run.captions
    texts = {
        sample.id: stored.get(sample.id) or Completion(sample.id, next(iter(sample.references), ""))
        for sample in run.samples
    }
    try:
        answerer = judge.answering(run)
    except CimError:  # a recorded judge whose file is gone
        return None
    names = sorted({metric.judge for metric in metrics if metric.judge})
    questions = (
        [question for name in names for probe in ("", *probes) for question in judge.questions(run, name, texts, probe)]
        if fresh
        else judge.pending(run, metrics, probes, texts)[1]
    )
    whole = all(sample.id in stored for sample in run.samples)  # else the prompts are not those that will be sent
    shared = known(cache_of(run.results, answerer), {question.key for question in questions}, FIELD) if whole else {}
    unanswered = [(question.system or "") + question.prompt for question in questions if question.key not in shared]
    return of_prompts(answerer, unanswered, stored_run.folders(run.results))
