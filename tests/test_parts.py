"""Every part in the folders keeps its contract; a new file is found by these tests by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness import cache, registry, signature, stats
from harness.errors import CimError
from harness.parse import Parses
from harness.types import Records, Sample
from tests.cli import Cim

METRICS = registry.names("metrics")
SAMPLES = [
    Sample("a", ("A red dog runs over wet grass .",)),
    Sample("b", ("Two cats sleep on a chair .", "Cats asleep .")),
]
CAPTIONS = ["A red dog runs .", "Two cats are on a table ."]


def usable(name: str) -> None:
    if reason := registry.metric(name).missing():
        pytest.skip(f"metric {name} cannot be computed here: {reason}")


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_gives_what_it_declares(name: str, parses: Parses) -> None:
    usable(name)
    metric = registry.metric(name)
    made = metric.measure(Records(SAMPLES, CAPTIONS, parses.parse, lambda _: [None, None]))
    point = stats.point(stats.Column(made.statistics, metric.aggregate))
    assert metric.name == name and made.values.shape == (2, len(metric.values)) == (2, len(metric.empty))
    assert made.statistics.dtype == np.float64 and len(made.statistics) == 2 and point.shape == (len(metric.values),)
    stacked = metric.aggregate(np.stack([made.statistics.sum(axis=0)] * 3), 2)
    assert stacked.shape == (3, len(metric.values)) and stacked == pytest.approx(np.stack([point] * 3))


@pytest.mark.parametrize("name", METRICS)
def test_an_empty_caption_scores_the_declared_default(name: str, parses: Parses) -> None:
    usable(name)
    metric = registry.metric(name)
    made = metric.measure(Records(SAMPLES, ["", ""], parses.parse, lambda _: [None, None]))
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
    seen = Records(samples, [*hostile, *CAPTIONS], parses.parse, lambda _: [None] * len(samples))
    made, alone = (metric.measure(r) for r in (seen, Records(SAMPLES, CAPTIONS, parses.parse, lambda _: [None, None])))
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


def test_a_judge_keeps_raw_replies_and_resumes(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake judge on a fake engine: one reply a sample, appended; a second call asks for what is missing."""
    from harness import judge, model, run
    from harness.types import Completion, Engine, Judge, Model
    from harness.types import Metric as MetricType

    asked = list[str]()

    def generate(_: Model, requests: list[object]) -> object:
        for request in requests:
            asked.append(request.sample_id)  # type: ignore[attr-defined]
            yield Completion(request.sample_id, f"1: Yes\n{request.prompt[:9]}")  # type: ignore[attr-defined]

    fake, engine = Judge("fake", "fake-model", lambda s, c: None if s.id == "demo_03" else f"{c} ?"), registry.engine
    answering = Engine("fake", generate)  # type: ignore[arg-type]
    monkeypatch.setattr(registry, "judge", lambda _: fake)
    monkeypatch.setattr(registry, "engine", lambda name: answering if name == "fake" else engine(name))
    cim("caption", "--model", "demo-terse")
    planned = run.plan(
        model.resolve("demo-terse", cim.results)[0], "demo", cim.results, limit=None, partial=False, fresh=False
    )
    monkeypatch.setattr(registry, "model_file", lambda _: Path("unused"))
    monkeypatch.setattr(model, "from_toml", lambda _: Model("fake-model", "fake", None, {}))
    metric = MetricType("m", ("x",), lambda r: None, lambda: {}, (0.0,), judge="fake")  # type: ignore[arg-type, return-value]
    assert judge.judge(planned, [metric]) == {"fake": 11} and len(asked) == 11
    assert judge.judge(planned, [metric]) == {"fake": 0} and len(asked) == 11
    replies = judge.replies(planned, "fake")
    assert len(replies) == 12 and replies[2] is None and str(replies[0]).startswith("1: Yes\nA bicycle")


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
    from collections.abc import Iterator, Sequence
    from contextlib import nullcontext

    from harness.errors import OutageError
    from harness.types import Parser

    seen, working = list[str](), True

    def parse(texts: Sequence[str]) -> Iterator[int]:
        for text in texts:
            if not working and text == "c":
                return
            seen.append(text)
            yield len(text)

    monkeypatch.setattr(registry, "parser", lambda _: Parser("count", {"v": "1"}, lambda: nullcontext(parse)))
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
