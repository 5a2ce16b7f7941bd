"""Runs too large for memory give what small ones give: every limit is set so low that a few samples cross it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import lines, registry
from harness.errors import CimError, OutageError
from harness.forms import sources, texts
from harness.lines import Index, Lines
from harness.pages import cards, report
from harness.parts import Records, mean
from harness.runs import records, stats
from harness.runs.cache import Cache, key
from harness.runs.cache_index import CacheIndex
from harness.runs.records import RowFiles
from harness.stages import choice, measure, parse
from tests.cli import Cim

WORDS = [
    "a",
    "the",
    "red",
    "small",
    "dog",
    "cat",
    "runs",
    "sits",
    "on",
    "under",
    "green",
    "grass",
    "table",
    "and",
    "looks",
    "away",
]
N = 23


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, limit in (
        (lines, "LARGE", 0),
        (measure, "WHOLE", 10),
        (measure, "BLOCK", 7),
        (records, "MANY", 5),
        (parse, "MANY", 40),
    ):
        monkeypatch.setattr(module, name, limit)


def _text(seed: str) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=12)) + "."


def _write(folder: Path, captions: int = 1, references: int = 1) -> tuple[str, ...]:
    """A captions file and its references; options that name them. Rows of one image stand apart from each other."""
    rows = [{"sample_id": f"x{at}", "caption": _text(f"c{at} {k}")} for k in range(captions) for at in range(N)]
    truth = [{"sample_id": f"x{at}", "references": [_text(f"r{at} {k}")]} for k in range(references) for at in range(N)]
    for name, content in (("mine", rows), ("truth", truth)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return ("--model", str(folder / "mine.jsonl"), "--references", str(folder / "truth.jsonl"))


def _stored(results: Path) -> dict[str, Any]:
    (folder,) = (path.parent for path in results.glob("*/mine/scores.json"))
    document = json.loads((folder / "scores.json").read_text())
    document.pop("sums")
    return {
        "document": document,
        **{p.name: [json.loads(line) for line in p.read_text().splitlines()] for p in folder.glob("*.jsonl")},
    }


def _near(a: Any, b: Any) -> bool:
    """Equal but for the last digits of numbers: sums of floats in another order."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(_near(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_near, a, b))
    return bool(a == pytest.approx(b, rel=1e-9, abs=1e-9)) if isinstance(a, float) else bool(a == b)


@pytest.mark.parametrize(("captions", "references"), [(1, 1), (1, 3), (3, 1)])
def test_a_large_run_has_the_values_of_a_small_one(
    cim: Cim, tmp_path: Path, request: pytest.FixtureRequest, captions: int, references: int
) -> None:
    options = _write(tmp_path, captions, references)
    command = ("eval", *options, "--metrics", "bleu4,cider,rouge_l,length", *(["--several"] if captions > 1 else []))
    assert cim(*command).code == 0
    small = _stored(cim.results)
    request.getfixturevalue("small_limits")
    assert cim(*command, "--fresh").code == 0
    large = _stored(cim.results)
    assert large["captions.jsonl"] == small["captions.jsonl"] and len(large["captions.jsonl"]) == N * captions
    assert set(large) == set(small) and all(_near(large[name], small[name]) for name in small)
    assert cim("verify", "mine").code == 0


def test_whoever_reads_stored_runs_reads_large_ones(cim: Cim, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    options = _write(tmp_path, 2)
    other = tmp_path / "other.jsonl"
    other.write_text((tmp_path / "mine.jsonl").read_text().replace("green", "very green"))
    for model in (options[1], other):
        command = ("eval", "--model", model, *options[2:], "--several", "--metrics", "length,bleu4_char")
        assert cim(*command).code == 0
    site = tmp_path / "site"
    readers = (
        ("compare", "mine", "other", "--json"),
        ("table", "mine", "other"),
        ("report", "mine", "--against", "other"),
        ("audit", "--runs", "--json"),
        ("export", "mine", "--to", "eee", "--out", tmp_path / "exported"),
        ("board", "--out", site),
    )
    small = [cim(*command) for command in readers]
    pages = {path.name: path.read_bytes() for path in site.rglob("*.html")}
    request.getfixturevalue("small_limits")
    large = [cim(*command) for command in readers]
    assert [(ended.code, ended.out) for ended in large] == [(ended.code, ended.out) for ended in small]
    assert [ended.code for ended in large] == [0] * len(readers)
    assert pages and {path.name: path.read_bytes() for path in site.rglob("*.html")} == pages


def test_the_page_of_a_large_run_shows_its_ends_and_some_at_random(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in (("MOST", 10), ("RANDOM", 4)):
        monkeypatch.setattr(report, name, limit)
    monkeypatch.setattr(cards, "SHOWN", 2)
    assert cim("eval", *_write(tmp_path), "--metrics", "bleu4_char").code == 0
    assert cim("report", "mine").code == 0
    (page,) = cim.results.glob("*/mine/report.html")
    shown = page.read_text().count("<article ")
    assert (
        4 <= shown <= 8
        and f"Shown are {shown} of {N} samples, the best and the worst and 4 at random" in page.read_text()
    )


@pytest.mark.usefixtures("small_limits")
def test_a_killed_large_run_goes_on(cim: Cim, tmp_path: Path) -> None:
    command = ("eval", *_write(tmp_path), "--metrics", "length")
    assert cim(*command).code == 0
    (file,) = cim.results.glob("*/mine/captions.jsonl")
    whole, before = file.read_bytes(), _stored(cim.results)
    file.write_bytes(whole[: len(whole) // 3])
    assert cim(*command).code == 0
    assert file.read_bytes() == whole and _stored(cim.results) == before


@pytest.mark.usefixtures("small_limits")
def test_a_metric_that_stops_in_a_later_block_has_no_values_and_the_others_all(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = registry.metric
    rouge = registered("rouge_l")

    def stops(inputs: Records) -> Any:
        if inputs.samples[0].id == "x14":
            raise OutageError("gone")
        return rouge.measure(inputs)

    monkeypatch.setattr(
        choice.registry, "metric", lambda name: replace(rouge, measure=stops) if name == "rouge_l" else registered(name)
    )
    ended = cim("eval", *_write(tmp_path), "--metrics", "rouge_l,length", "--json")
    scores = {row["metric"]: row for row in ended.json["scores"]}
    assert ended.code == 1 and scores["rouge_l"]["values"] == {"score": None} and scores["length"]["values"]
    rows = _stored(cim.results)["per_sample.jsonl"]
    assert len(rows) == N and all("length" in row and "rouge_l" not in row for row in rows)


def test_rows_stay_in_the_file_and_a_damaged_one_is_named(tmp_path: Path, small_limits: None) -> None:
    rows = [{"sample_id": name, "caption": text, "error": None} for name, text in (("b", "one"), ("a", "two"))]
    failed = {"sample_id": "c", "caption": None, "error": "lost"}
    path = tmp_path / records.NAME
    path.write_text("".join(json.dumps(row) + "\n" for row in (failed, *rows, rows[0] | {"sample_id": "c"})) + '{"cut')
    captions = records.read(tmp_path)
    assert isinstance(captions, Index) and list(captions) == ["c", "b", "a"] and len(captions) == 3
    assert captions["c"].text == "one" and "d" not in captions and captions.get("d") is None
    assert [row.text for row in captions.values()] == [row.text for _, row in captions.items()] == ["one", "one", "two"]
    with path.open("a") as file:
        file.write("\n")
    with pytest.raises(CimError, match="is not JSON") as damaged:
        RowFiles(tmp_path).completions()
    assert damaged.value.where == f"{path}:5"
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, rows[0])))
    with pytest.raises(CimError, match="'b' stands a second time") as twice:
        records.read(tmp_path)
    assert twice.value.where == f"{path}:3"


@pytest.mark.parametrize(
    "content",
    [
        '{"id": "a", "caption": "one"}\n\n{"id": "b", "caption": "two"}',
        '\ufeff{"id": "a", "caption": "one"}\r\n{"id": "b", "caption": ["two", "three"]}\r\n',
        '{"id": "a", "caption": "one", "system": "s"}\n{"id": "b", "caption": "two", "system": "t"}\n',
        '{"id": "a", "caption": "one", "model": "s"}\n{"id": "b", "caption": "two"}\n',
        '{"a": "one"}\n{"b": "two"}\n',
        '{"a": "one", "b": "two"}\n',
        '[{"id": "a", "caption": "one"}]\n',
        "id,caption\na,one\nb,two\n",
        '{"id": "a", "caption": "one"}\n{"id": "a", "caption": "two"}\n',
    ],
)
@pytest.mark.parametrize("kind", [texts.CAPTIONS, texts.REFERENCES], ids=["captions", "references"])
def test_a_large_file_is_read_as_a_small_one(
    tmp_path: Path, request: pytest.FixtureRequest, content: str, kind: texts.Kind
) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(content, newline="")
    small = texts.read(path, kind)
    texts._read.cache_clear()
    request.getfixturevalue("small_limits")
    large = texts.read(path, kind)
    assert (large.form, large.sha256) == (small.form, small.sha256)
    assert [(r.id, r.texts, r.system, r.image) for r in large.rows] == [
        (r.id, r.texts, r.system, r.image) for r in small.rows
    ]
    assert isinstance(large.rows, Lines) == (content.count('"id"') > 1)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    "line", ['{"id": "b"}', "[1]", "{", '{"id": "b", "caption": 5}', '{"id": "b", "id": "c", "caption": "x"}']
)
def test_a_wrong_row_of_a_large_file_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text('{"id": "a", "caption": "one"}\n\n' + line + "\n")
    with pytest.raises(CimError) as wrong:
        texts.read(path, texts.CAPTIONS)
    assert wrong.value.where == f"{path}:3"


def test_groups_of_images_have_the_interval_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).gamma(2.0, size=(4000, 1))
    images = np.repeat(np.arange(1000), 4)
    columns = [stats.Column(values, mean), stats.Column(np.repeat(values[:1000], 4, axis=0), mean, images)]
    alone = [stats.interval(stats.bootstrap([column], 4000)[0])[0] for column in columns]
    ((test,),) = stats.paired([(columns[0], stats.Column(values + 0.05, mean))], 2000)
    monkeypatch.setattr(stats, "GROUPS", 200)
    for column, (low, high) in zip(columns, alone, strict=True):
        grouped = stats.interval(stats.bootstrap([column], 4000)[0])[0]
        assert np.ptp(grouped) == pytest.approx(high - low, rel=0.15) and low < stats.point(column)[0] < high
    ((again,),) = stats.paired([(columns[0], stats.Column(values + 0.05, mean))], 2000)
    assert again.difference == pytest.approx(test.difference) and again.p_permutation == test.p_permutation


def test_groups_cover_the_mean_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "GROUPS", 100)
    generator, inside = np.random.default_rng(1), 0
    for _ in range(200):  # values that rise with their number: groups are dealt at random, not in order
        values = np.sort(generator.normal(size=(1000, 1)), axis=0)
        low, high = stats.interval(stats.bootstrap([stats.Column(values, mean)], 400)[0])[0]
        inside += low < 0 < high
    assert 180 <= inside <= 198  # 190 expected, deviation 3.1


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    filled = Cache(tmp_path / "values.jsonl")
    for number in range(500):
        filled.add(key(str(number)), number)
    filled.close()
    yield filled


WANTED = {key(str(number)): number for number in (3, 250, 499)}


def test_an_index_finds_rows_that_came_before_and_after_it(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runs.cache_index.WORTH", 0)
    index = cache.path.with_suffix(".index.npy")
    assert Cache(cache.path).find([*WANTED, key("new")]) == WANTED and index.is_file()
    cache.add(key("new"), "new")
    cache.close()
    assert Cache(cache.path).find([*WANTED, key("new")]) == {**WANTED, key("new"): "new"}
    monkeypatch.setattr(CacheIndex, "_scan", lambda *_: None)
    assert Cache(cache.path).find([*WANTED]) == WANTED  # from the index alone


@pytest.mark.parametrize("damage", ["cut", "zeros", "shifted", "other", "gone"])
def test_a_wrong_index_costs_time_only(cache: Cache, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr("harness.runs.cache_index.WORTH", 0)
    Cache(cache.path).find(WANTED)
    index = cache.path.with_suffix(".index.npy")
    if damage == "cut":
        index.write_bytes(index.read_bytes()[:1000])
    elif damage == "zeros":
        np.save(index, np.zeros((4, 2)))
    elif damage == "shifted":
        rows = np.load(index)
        rows[1:, 1] += 5
        rows[0, 0] += 10
        np.save(index, rows)
    elif damage == "other":  # somebody took lines out of the file
        cache.path.write_bytes(cache.path.read_bytes()[90:])
    else:
        index.unlink()
    assert Cache(cache.path).find(WANTED) == WANTED


def test_a_large_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path)
    path = tmp_path / "mine.jsonl"
    rows = texts.read(path, texts.CAPTIONS).rows
    before, first = path.read_bytes(), rows[0]
    (tmp_path / "other").write_bytes(before[::-1])
    (tmp_path / "other").replace(path)
    assert rows[0] == first  # the file that was opened is still there
    path.write_bytes(before)
    rows = texts.read(path, texts.CAPTIONS).rows
    path.write_bytes(before[:-20])
    with pytest.raises(CimError, match=re.escape(f"{path}: was changed while it was read")):
        rows[0]
    path.write_bytes(before + b"\n")

    def replaced(path: Path) -> str:
        path.unlink()
        path.write_bytes(before)
        return "0"

    monkeypatch.setattr(sources, "digest", replaced)
    with pytest.raises(CimError, match="was changed while it was read"):
        texts.read(path, texts.CAPTIONS)
