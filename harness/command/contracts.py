"""The contracts of parts, for ``cim doctor --part FILE`` and for this project's tests.

A contract is a function of the part's name that raises ``AssertionError`` or ``CimError`` where it is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from harness import places, registry
from harness.errors import CimError, one_line
from harness.parts import Judge, Records, RewardContext
from harness.resources import data
from harness.runs import signature, stats
from harness.stages.parse import Parses
from harness.types import Completion, Fact, Model, Question, Request, Sample, SceneGraph

GRAPH = SceneGraph(("circle",), {"circle": ("ring",)}, {"circle": ("red",)}, (("circle", "left of", "bar"),))
QUESTIONS = (Question("Is the circle left of the bar?", "Yes"), Question("Is the bar left of the circle?", "No"))
CANNOT = "Cannot answer from the caption"
FACTS = (Fact("0", "Is a circle mentioned?", "yes"), Fact("1", "Which?", "A", choices=("circle", "bar", CANNOT)))
ALL: dict[str, Any] = {"questions": QUESTIONS, "graph": GRAPH, "facts": FACTS}
SAMPLES = (
    Sample("a", ("A red dog runs over wet grass .",), **ALL, species="circle", breed="ring"),
    Sample("b", ("Two cats sleep on a chair .", "Cats asleep ."), **ALL, species="bar"),
)
# Replies that say that a caption has what it is asked for, and that an empty one has not; a judge's parser reads one.
REPLIES = {
    True: ("yes", '{"gt_verdicts":[{"item_index":0,"verdict":"yes"}]}', "A"),
    False: ("no", '{"gt_verdicts":[{"item_index":0,"verdict":"not_mentioned"}]}', "C"),
}
CAPTIONS = ("A red dog runs .", "Two cats are on a table .")
HOSTILE = (
    "",
    " ",
    "\x00",
    "|||",
    "a ||| b",
    "\u2028\x85\r\n",
    "😀 猫 Ünïcödé",
    "<script>",
    "word " * 3000,
    "(((",
    "\"'`",
)
CORPUS = frozenset({"cider"})  # document frequencies come from the scored images, so values depend on each other

Contract = Callable[[str, Parses], None]


def records(samples: Sequence[Sample], captions: Sequence[str], parses: Parses) -> Records:
    """Records without files: replies by the rule judge, and two made-up retrievals."""
    rules = registry.engine("rules")

    def replies(judge: str) -> list[dict[str, str]]:
        part = registry.judge(judge)
        return [
            {
                key: _answer(rules.generate, text) or _plain_answer(part, caption)
                for key, text in part.prompts(sample, caption).items()
            }
            for sample, caption in zip(samples, captions, strict=True)
        ]

    def retrievals() -> list[dict[str, Any]]:
        rows = [{"grc": 0.8, "cosines": [0.5, 0.25, 0.1], "empty": False}, {"grc": 0.0, "cosines": [], "empty": True}]
        return [rows[not caption.strip()] for caption in captions]

    return Records(samples, captions, parses.parse, replies, "grammar", parses.encode, retrievals=retrievals)


def _answer(generate: Callable[[Model, Sequence[Request]], Any], prompt: str) -> str | None:
    model = Model("rule-judge", "rules", None, {})
    completions: list[Completion] = list(generate(model, [Request("", prompt)]))
    return completions[0].text


def _plain_answer(judge: Judge, caption: str) -> str:
    """The first reply that a judge reads, to a prompt that the rule judge does not know."""
    (parse, *_), usual = judge.parsers.values(), REPLIES[bool(caption.strip())]
    return next((reply for reply in usual if parse(reply, 3)[0] is not None), usual[0])


def _point(metric: Any, measurement: Any) -> Any:
    return stats.point(stats.Column(measurement.statistics, metric.aggregate))


def metric_shapes(name: str, parses: Parses) -> None:
    """Values (n, v), statistics (n, s) in float64, and an aggregate that also takes stacked sums."""
    metric = registry.metric(name)
    measurement = metric.measure(records(SAMPLES, CAPTIONS, parses))
    v = len(metric.names)
    assert any(value.main for value in metric.values), "no value is a main value"
    assert len(metric.empty) == v, f"empty has {len(metric.empty)} values, values has {v}"
    assert measurement.values.shape == (2, v), f"values have the shape {measurement.values.shape}, not (2, {v})"
    assert measurement.statistics.dtype == np.float64 and len(measurement.statistics) == 2, "statistics: (2, s) float64"
    point = _point(metric, measurement)
    assert point.shape == (v,), f"aggregate gives {point.shape}, not ({v},)"
    stacked = metric.aggregate(np.stack([measurement.statistics.sum(axis=0)] * 3), 2)
    assert np.allclose(stacked, point, rtol=1e-6, equal_nan=True), "aggregate treats stacked sums differently"


def metric_empty(name: str, parses: Parses) -> None:
    """An empty caption has the declared value, alone and aggregated."""
    metric = registry.metric(name)
    measurement = metric.measure(records(SAMPLES, ("", ""), parses))
    empty = np.nan_to_num(metric.empty)  # a share of nothing is undefined in a run, 0 in a row of a sample
    assert np.allclose(measurement.values, [empty] * 2, atol=1e-6), f"empty captions have {measurement.values[0]}"
    assert np.allclose(_point(metric, measurement), metric.empty, atol=1e-6, equal_nan=True), (
        "aggregated empty captions differ"
    )


def metric_hostile(name: str, parses: Parses) -> None:
    """Hostile captions give finite values and leave other samples alone."""
    metric = registry.metric(name)
    samples = [SAMPLES[0]] * len(HOSTILE) + list(SAMPLES)
    measurement = metric.measure(records(samples, [*HOSTILE, *CAPTIONS], parses))
    alone = metric.measure(records(SAMPLES, CAPTIONS, parses))
    point = _point(metric, measurement)[np.isfinite(metric.empty)]
    assert np.isfinite(measurement.values).all() and np.isfinite(point).all(), "not finite"
    assert name in CORPUS or np.allclose(measurement.values[-2:], alone.values), "other captions change a value"


def metric_signature(name: str, parses: Parses) -> None:
    """The signature is one line that reads back and names a version ``v``."""
    fields = dict(registry.metric(name).signature())
    line = signature.render(name, fields)
    assert signature.read(line) == {"metric": name, **fields} and "\n" not in line, f"does not read back: {line}"
    assert "v" in fields, "the field v, the version of the definition, is missing"


def task_declared(name: str, parses: Parses) -> None:
    """Licence, source, prompt, and files with sizes and SHA-256; one that is not shipped has an https address."""
    task = registry.task(name)
    assert task.count != 0 and task.prompt and task.licence and task.source and task.files, "a field is empty"
    pinned = (file for file in task.files if file.sha256 or not file.by_hand)
    assert all(len(file.sha256) == 64 and file.bytes > 0 for file in pinned), "cim data pin FILE prints both"
    brought = (file.by_hand or file.url.startswith("https://") for file in task.files)
    assert task.folder is not None or all(brought), "no folder, no url"


def task_loads(name: str, parses: Parses) -> None:
    """Files that are here are whole and give as many samples as declared, each with the annotations it provides."""
    task = registry.task(name)
    if not data.faults(task):
        samples = data.samples(task)
        assert len({sample.id for sample in samples}) == len(samples), "ids repeat"
        assert "references" not in task.provides or any(sample.references for sample in samples), "no references"


def judge_prompts(name: str, parses: Parses) -> None:
    """Prompts are texts that hold the caption, also a hostile one; an empty reply is unparsed."""
    judge = registry.judge(name)
    for sample in SAMPLES:
        for caption in ("A red dog.", *HOSTILE[:4]):
            prompts = judge.prompts(sample, caption)
            assert all(isinstance(text, str) and text for text in prompts.values()), "a prompt is no text"
            assert caption != "A red dog." or all(caption in text for text in prompts.values()), (
                "no caption in a prompt"
            )
    for parse in judge.parsers.values():
        assert list(parse("", 3)) in ([None], [None] * 3), "an empty reply must be unparsed (None), never an answer"


def reward_values(name: str, parses: Parses) -> None:
    """A reward that needs nothing gives one finite number per caption; the others name what the context holds."""
    reward = registry.reward(name)
    unknown = [field for field in reward.needs if field not in RewardContext.__dataclass_fields__]
    assert not unknown, f"needs {', '.join(unknown)}, which no context has"
    if not reward.needs:
        values = reward([*CAPTIONS, *HOSTILE], ["x:a"] * (len(CAPTIONS) + len(HOSTILE)), RewardContext())
        assert np.shape(values) == (len(CAPTIONS) + len(HOSTILE),) and np.isfinite(values).all(), "(B,) finite numbers"


def parser_settings(name: str, parses: Parses) -> None:
    """Settings are texts by name: they key stored parses. Values are not checked, as texts have a form per parser."""
    settings = registry.parser(name).settings()
    assert settings, "no settings: a change of the parser would not be seen"
    assert all(isinstance(value, str) for pair in settings.items() for value in pair), "a setting is no text"


def encoder_vectors(name: str, parses: Parses) -> None:
    """Texts, hostile ones too, give L2-normalised vectors (n, d); settings are texts."""
    if registry.encoder(name).kind == "text":
        vectors = parses.encode(name, [*CAPTIONS, *HOSTILE[:7]])
        assert vectors.ndim == 2 and len(vectors) == len(CAPTIONS) + 7, f"vectors have the shape {vectors.shape}"
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3), "not L2-normalised"
    assert all(isinstance(value, str) for value in registry.encoder(name).settings().values()), "a setting is no text"


def described(kind: str) -> Contract:
    """The part loads under its own name and says what it is in its first line."""

    def contract(name: str, parses: Parses) -> None:
        assert registry.about(kind, name), "no docstring (models: no key 'about')"
        if kind == "models":
            from harness.models import model_file
            from harness.stages import model

            path = registry.model_file(name)
            if "unavailable" not in model_file.read(path):
                model.from_toml(path)
        else:
            registry.load(kind, name)

    return contract


OF: Mapping[str, tuple[Contract, ...]] = {
    "metrics": (metric_shapes, metric_empty, metric_hostile, metric_signature),
    "tasks": (task_declared, task_loads),
    "judges": (judge_prompts,),
    "rewards": (reward_values,),
    "parsers": (parser_settings,),
    "encoders": (encoder_vectors,),
}


def unmet(kind: str, name: str) -> str | None:
    """Why the contracts of a part cannot be checked on this machine; None if they can."""
    part: Any = registry.load(kind, name) if kind in ("metrics", "engines", "parsers", "encoders") else None
    reason: str | None = part.missing() if part is not None else None
    return reason


def examine(file: Path) -> Iterator[tuple[str, str, str]]:
    """Rows of (contract, ``ok``, ``failed`` or ``skipped``, detail) of the part in a file.

    Raises:
        CimError: no such file, or no part in it.
    """
    kind = places.kind_of(file) if file.is_file() else "parts"
    name = registry.named(kind, str(file)) if file.suffix == ".toml" else places.add(kind, file)
    with TemporaryDirectory() as scratch, Parses(Path(scratch)) as parses:
        row = _row("is described and loads", described(kind), name, parses)
        yield row
        if row[1] == "failed":
            return
        reason = unmet(kind, name)
        for contract in OF.get(kind, ()):
            title = (contract.__doc__ or "").rstrip(".")
            yield (title, "skipped", reason) if reason else _row(title, contract, name, parses)


def _row(title: str, contract: Contract, name: str, parses: Parses) -> tuple[str, str, str]:
    try:
        contract(name, parses)
    except (AssertionError, CimError) as error:
        return title, "failed", one_line(str(error))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return title, "failed", one_line(f"{type(error).__name__}: {error}")
    return title, "ok", name
