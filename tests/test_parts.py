"""Every part in the folders keeps its contract; a new file is found by these tests by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.engines import rules
from harness.errors import CimError
from harness.parts import Records
from harness.resources import data
from harness.runs import cache, signature, stats
from harness.stages.parse import Parses
from harness.types import Question, Sample, SceneGraph
from tests.cli import Cim, captions_file

METRICS = registry.names("metrics")
GRAPH = SceneGraph(("circle",), {"circle": "ring"}, {"circle": ("red",)}, (("circle", "left of", "bar"),))
ASKED = (Question("Is the circle left of the bar?", "Yes"), Question("Is the bar left of the circle?", "No"))
SAMPLES = [
    Sample("a", ("A red dog runs over wet grass .",), questions=ASKED, graph=GRAPH, species="circle", breed="ring"),
    Sample("b", ("Two cats sleep on a chair .", "Cats asleep ."), questions=ASKED, graph=GRAPH, species="bar"),
]
CAPTIONS = ["A red dog runs .", "Two cats are on a table ."]


def records(samples: Sequence[Sample], captions: Sequence[str], parses: Parses) -> Records:
    """Records without any file; judges are answered by the rule judge."""

    def replies(judge: str) -> list[dict[str, str]]:
        asked = registry.judge(judge).prompts
        pairs = zip(samples, captions, strict=True)
        return [{key: rules.reply(prompt) for key, prompt in asked(*pair).items()} for pair in pairs]

    def retrievals() -> list[dict[str, Any]]:
        found = [{"grc": 0.8, "cosines": [0.5, 0.25, 0.1], "empty": False}, {"grc": 0.0, "cosines": [], "empty": True}]
        return [found[not caption.strip()] for caption in captions]

    return Records(samples, captions, parses.parse, replies, "grammar", parses.encode, retrievals=retrievals)


def usable(name: str) -> None:
    if reason := registry.metric(name).missing():
        pytest.skip(f"metric {name} cannot be computed here: {reason}")


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_gives_what_it_declares(name: str, parses: Parses) -> None:
    usable(name)
    metric = registry.metric(name)
    made = metric.measure(records(SAMPLES, CAPTIONS, parses))
    point = stats.point(stats.Column(made.statistics, metric.aggregate))
    assert metric.name == name and made.values.shape == (2, len(metric.values)) == (2, len(metric.empty))
    assert made.statistics.dtype == np.float64 and len(made.statistics) == 2 and point.shape == (len(metric.values),)
    stacked = metric.aggregate(np.stack([made.statistics.sum(axis=0)] * 3), 2)
    assert stacked.shape == (3, len(metric.values)) and stacked == pytest.approx(np.stack([point] * 3))


@pytest.mark.parametrize("name", METRICS)
def test_an_empty_caption_scores_the_declared_default(name: str, parses: Parses) -> None:
    usable(name)
    metric = registry.metric(name)
    made = metric.measure(records(SAMPLES, ["", ""], parses))
    assert made.values == pytest.approx(np.array([metric.empty, metric.empty]), abs=1e-6)
    assert stats.point(stats.Column(made.statistics, metric.aggregate)) == pytest.approx(
        np.array(metric.empty), abs=1e-6
    )


@pytest.mark.parametrize("name", METRICS)
def test_hostile_captions_crash_nothing_and_leave_the_others_alone(name: str, parses: Parses) -> None:
    usable(name)
    metric = registry.metric(name)
    hostile = [
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
    ]
    samples = [SAMPLES[0]] * len(hostile) + SAMPLES
    seen = records(samples, [*hostile, *CAPTIONS], parses)
    made, alone = (metric.measure(r) for r in (seen, records(SAMPLES, CAPTIONS, parses)))
    assert (
        np.isfinite(made.values).all()
        and np.isfinite(stats.point(stats.Column(made.statistics, metric.aggregate))).all()
    )
    if name != "cider":  # its document frequencies are those of the images scored
        assert made.values[-2:] == pytest.approx(alone.values)


@pytest.mark.parametrize("name", METRICS)
def test_a_signature_is_one_line_that_can_be_read_again(name: str) -> None:
    usable(name)
    fields = dict(registry.metric(name).signature())
    line = signature.render(name, fields)
    assert signature.read(line) == {"metric": name, **fields} and "\n" not in line and "v" in fields


@pytest.mark.parametrize("name", registry.names("tasks"))
def test_a_task_names_its_licence_source_and_files(name: str) -> None:
    task = registry.task(name)
    assert task.name == name and task.count > 0 and task.prompt and task.licence and task.source and task.files
    assert all(len(file.sha256) == 64 and file.bytes > 0 for file in task.files)
    assert task.folder is not None or all(file.url.startswith("https://") for file in task.files)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_names_load_and_say_what_they_are(kind: str) -> None:
    for name in registry.names(kind):
        assert registry.about(kind, name)
        if kind != "models":
            assert registry._load(kind, name).name == name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "typo", "meant"), [("tasks", "docci", "docci500"), ("metrics", "meteor-nltk", "meteor_nltk")]
)
def test_an_unknown_name_gets_a_suggestion(kind: str, typo: str, meant: str) -> None:
    with pytest.raises(CimError, match=f"did you mean {meant}"):
        registry.check(kind, typo)


def test_lists_and_places(cim: Cim) -> None:
    listing = cim("list", "--json").json
    assert set(listing) == set(registry.KINDS) and "docci500" in listing["tasks"] and "captions" in listing["engines"]
    assert "unknown kind 'metric'" in cim.refused("list", "metric")
    assert cim("where", "--json").json["results"] == str(cim.results)
    parts = cim("doctor", "--json").json
    assert {"part", "state", "detail"} == set(parts[0]) and any(row["part"] == "data docci500" for row in parts)


def test_a_judge_keeps_raw_replies_and_resumes(cim: Cim) -> None:
    """Every stage on its own; replies that are there are not asked for again, missing ones are no score."""
    folder = cim.results / "miniscenes" / "five"
    file = folder / "replies.taxonomy.rule-judge.jsonl"
    captions = {sample.id: sample.references[0] for sample in data.samples(registry.task("miniscenes"))[:5]}
    path = captions_file(cim.results / "five.jsonl", captions)
    arguments = ("--model", path, "--partial", "--metrics", "taxonomy")
    assert cim("caption", *arguments).code == 0
    unasked = cim("score", *arguments, "--json")
    assert unasked.code == 1 and unasked.json["scores"][0]["values"] == {"species": None, "breed": None}
    assert "has not answered 10 of 10 questions" in unasked.json["scores"][0]["not_computed"]
    assert cim("judge", *arguments, "--json").json["replies"] == {"taxonomy": 10}
    rows = file.read_text().splitlines()
    assert len(rows) == 10 and json.loads(rows[0])["reply"] == "yes" and "#species" in json.loads(rows[0])["sample_id"]
    file.write_text("\n".join(rows[:7]) + "\n" + rows[7][:9])
    assert cim("score", *arguments).code == 1
    assert cim("judge", *arguments, "--json").json["replies"] == {"taxonomy": 3}
    assert file.read_text().splitlines() == rows
    assert cim("score", *arguments, "--json").json["scores"][0]["values"] == {"species": 100, "breed": 100}


def test_a_cache_keeps_values_by_content_and_survives_torn_lines(tmp_path: Path) -> None:
    store = cache.Cache(tmp_path / "cache.jsonl")
    store.add(cache.key("one"), [1, "x"])
    store.close()
    with (tmp_path / "cache.jsonl").open("a") as stream:
        stream.write('{"key":"' + cache.key("two"))
    again = cache.Cache(tmp_path / "cache.jsonl")
    again.add(cache.key("three"), {"a": None})
    again.close()
    wanted = [cache.key(text) for text in ("one", "two", "three")]
    assert again.find(wanted) == {wanted[0]: [1, "x"], wanted[2]: {"a": None}}
    assert cache.Cache(tmp_path / "other.jsonl").find(wanted) == {}


def test_a_parse_is_made_once_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections.abc import Iterator
    from contextlib import nullcontext

    from harness.errors import OutageError
    from harness.parts import Parser

    seen, working = list[str](), True

    def parse(texts: Sequence[str]) -> Iterator[int]:
        for text in texts:
            if not working and text == "c":
                return
            seen.append(text)
            yield len(text)

    monkeypatch.setattr(registry, "parser", lambda _: Parser("count", lambda: {"v": "1"}, lambda _: nullcontext(parse)))
    with Parses(tmp_path) as first:
        assert first.parse("count", ["a", "bb", "a"]) == [1, 2, 1]
    working = False
    with Parses(tmp_path) as second, pytest.raises(OutageError, match="parser count gave 1 of 2 values"):
        second.parse("count", ["bb", "dddd", "c"])
    working = True
    with Parses(tmp_path) as third:
        assert third.parse("count", ["c", "dddd"]) == [1, 4]
    assert seen == ["a", "bb", "dddd", "c"]
    (file,) = (tmp_path / ".cache" / "parses").iterdir()
    assert [json.loads(line)["value"] for line in file.read_text().splitlines()] == [1, 2, 4, 1]
