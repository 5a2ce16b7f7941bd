"""CHAIR: what counts as a mention, parity with stored counts, task ``chair500``."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.metrics import _coco_objects, chair
from harness.metrics._coco_objects import Mention, mentions, word_list
from harness.parts import Measurement, Records
from harness.resources.wordnet import missing_wordnet
from harness.runs import stats
from harness.types import Sample
from tasks import chair500
from tests.cli import Cim, captions_file
from tests.conftest import ROOT, SHARED

STORED, OPERA = SHARED / "captions" / "chair500", SHARED / "captions" / "opera"
# CHAIRs, CHAIRi, recall: Areebol/vlm-decoding-hal@65602c2, "overall_metrics" of re_log/llava-1.5/<system>_chair.jsonl
PUBLISHED = {"regular": (44.6, 12.70, 79.19), "vcd": (54.8, 15.23, 79.00), "deco": (41.6, 10.15, 73.65)}
PAGE = (ROOT / "docs" / "hallucination.md").read_text(encoding="utf-8")
CONTENT = tomllib.loads(_coco_objects.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A man rides a bike past two women, children and people.", ["person", "bicycle", *["person"] * 3]),
        ("A hot dog, hot-dogs; the dog is hot. Dogs!", ["hot dog", "hot dog", "dog", "dog"]),
        ("A dining table, a table and two wine glasses by a glass.", ["dining table", "dining table", "wine glass"]),
        ("A toilet seat. The seat of the toilet is up.", ["toilet", "toilet"]),
        ("Every seat is taken.", ["chair"]),
        ("A baby elephant and a baby on a passenger train.", ["elephant", "person", "train"]),
        ("An adult, an adult giraffe, a baby animal.", ["person", "giraffe"]),
        ("A train track near the train tracks; a train.", ["train"]),
        ("A bow tie, ties.", ["tie", "tie"]),
        ("A jet ski, a jet and skis.", ["airplane", "skis"]),
        ("A computer mouse, a laptop computer, a TV set and TVs.", ["mouse", "laptop", "tv", "tv"]),
        ("A stop sign; it stops. Sign here. A traffic light.", ["stop sign", "traffic light"]),
        ("Knives, scissors, buses, benches and a bus.", ["knife", "scissors", "bus", "bench", "bus"]),
        ("An orange vest, orange and white; the vest is orange. Orange juice.", []),
        ("Oranges, an orange, and the orange in a bowl.", ["orange", "orange", "orange", "bowl"]),
        ("An apple, an orange and a banana; an orange and black cat.", ["apple", "orange", "banana", "cat"]),
        ("A bare tree, a carpet, cattails, the catch, a cupboard.", []),
        ("", []),
    ],
)
def test_words_that_name_an_object_and_words_that_do_not(text: str, named: list[str]) -> None:
    assert [mention.category for mention in mentions(text)] == named


def test_a_mention_keeps_the_words_of_the_text() -> None:
    assert mentions("Two Tennis Rackets, women") == [
        Mention("tennis racket", "tennis rackets"),
        Mention("person", "women"),
    ]


def test_the_list_has_the_80_categories_and_no_word_twice() -> None:
    listed = [
        word for source in _coco_objects.SOURCES for words in CONTENT[source].values() for word in words.split(", ")
    ]
    known = [*CONTENT["categories"], *CONTENT["no_object"], *listed]
    assert len(CONTENT["categories"]) == 80 and max(Counter(known).values()) == 1
    assert all(set(CONTENT[source]) <= set(CONTENT["categories"]) for source in _coco_objects.SOURCES)
    assert all(re.fullmatch(r"[a-z]+( [a-z]+){0,2}", word) for word in known)
    assert set(CONTENT["plurals"].values()) <= word_list().vocabulary


@pytest.mark.slow  # NLTK's reader takes seconds
def test_words_from_wordnet_are_below_their_category() -> None:
    if reason := missing_wordnet():
        pytest.skip(reason)
    from nltk.corpus import wordnet

    roots = {"sports ball": "ball", "dining table": "table", "tie": "necktie", "boat": "vessel"}
    for category, words in CONTENT["wordnet"].items():
        above = set(wordnet.synsets(roots.get(category, category).replace(" ", "_"), "n"))
        for word in words.split(", "):
            senses = wordnet.synsets(word.replace(" ", "_"), "n")
            assert any(above & {sense, *sense.closure(lambda s: s.hypernyms())} for sense in senses), (category, word)


def test_sums_over_captions() -> None:
    """Two captions by hand: a dog twice and an invented cat; nothing said of a car."""
    measured = chair.from_words([(["dog", "cat", "dog"], {"dog"}), ([], {"car", "person"})])
    assert measured.values.round(4).tolist() == [[100, 33.3333, 100], [0, 0, 0]]
    pooled = chair.ratios(measured.statistics.sum(axis=0), 2)
    assert pooled.round(4).tolist() == [50, 33.3333, 33.3333]
    assert measured.counts == {"mentions": 3, "invented_mentions": 1, "annotated_objects": 3}


def _rows(system: str) -> list[dict[str, Any]]:
    path = STORED / f"llava-1.5_{system}.jsonl"
    if not path.is_file():
        pytest.skip(f"captions with stored counts not found: {path}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _objects() -> dict[int, list[str]]:
    rows = map(json.loads, (STORED / "objects.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["image_id"]: row["objects"] for row in rows}


def _pooled(measured: Measurement) -> list[float]:
    return [float(value) for value in chair.ratios(measured.statistics.sum(axis=0), 1)]


@pytest.mark.parametrize("system", PUBLISHED)
def test_stored_words_give_the_published_values(system: str) -> None:
    rows, objects = _rows(system), _objects()
    measured = chair.from_words((row["generated"], set(objects[row["image_id"]])) for row in rows)
    assert _pooled(measured) == pytest.approx(PUBLISHED[system], abs=0.005)
    of_captions = [[100 * row["metrics"][name] for name in ("CHAIRs", "CHAIRi", "Recall")] for row in rows]
    assert np.allclose(measured.values, of_captions)


def test_the_list_has_every_word_that_the_stored_counts_call_hallucinated() -> None:
    known = word_list()
    pairs = {tuple(pair) for system in PUBLISHED for row in _rows(system) for pair in row["hallucinated"]}
    assert {pair for pair in pairs if known.phrases.get(known.singular(pair[0])) != pair[1]} == set()


def _agreement(system: str) -> str:
    """A row of the page's table of agreement: how mentions, captions and values compare with the stored counts."""
    rows, objects = _rows(system), _objects()
    ours = [[mention.category for mention in mentions(row["caption"])] for row in rows]
    pairs = [(Counter(named), Counter(row["generated"])) for named, row in zip(ours, rows, strict=True)]
    shared = sum((named & stored).total() for named, stored in pairs)
    shares = [100 * shared / sum(pair[side].total() for pair in pairs) for side in (0, 1)]
    shares.append(100 * sum(named == stored for named, stored in pairs) / len(pairs))
    values = _pooled(chair.from_words((n, set(objects[row["image_id"]])) for n, row in zip(ours, rows, strict=True)))
    beside = [f"{value:.2f} ({stored:.2f})" for value, stored in zip(values, PUBLISHED[system], strict=True)]
    return f"| {system} | {' | '.join([f'{share:.1f}' for share in shares] + beside)} |"


def test_the_agreement_with_the_stored_counts_is_that_of_the_page() -> None:
    assert [row for row in map(_agreement, PUBLISHED) if row not in PAGE] == []


Written = Callable[[dict[int, list[str]]], None]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Writes the task's file in its own form with these annotations, which the task then expects."""

    def write(objects: dict[int, list[str]]) -> None:
        rows = [{"image_id": key, "caption": "not read", "mscoco_gt_words": names} for key, names in objects.items()]
        content = json.dumps({"sentences": rows, "overall_metrics": {}}).encode()
        (path := tmp_path / "chair500" / "regular_chair.jsonl").parent.mkdir()
        path.write_bytes(content)
        file = replace(chair500.TASK.files[0], bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setattr(chair500, "TASK", replace(chair500.TASK, files=(file,), count=len(objects)))
        registry.forget()

    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    yield write
    registry.forget()


def test_the_task_is_what_it_says() -> None:
    task, (file,) = chair500.TASK, chair500.TASK.files
    assert (task.count, file.bytes, file.sha256[:8]) == (500, 1_274_650, "37588902")
    assert file.url.endswith("/65602c27385193338be1dfea80dd0315e1b8fa24/re_log/llava-1.5/regular_chair.jsonl")


def test_the_task_holds_the_500_images(written: Written, tmp_path: Path) -> None:
    _rows("regular")
    written(_objects())
    samples = registry.task("chair500").load(tmp_path / "chair500")
    assert [(samples[at].id, samples[at].coco_objects) for at in (0, 9, -1)] == [
        ("226988", ("dining table", "person", "pizza")),
        ("400596", ("bottle", "cup", "sink")),
        ("196815", ("chair", "person", "remote")),
    ]
    assert samples[0].image == "COCO_val2014_000000226988.jpg" and sum(len(s.coco_objects) for s in samples) == 1533


def test_captions_by_image_id_are_scored_and_their_inventions_marked(
    cim: Cim, written: Written, tmp_path: Path
) -> None:
    written({42: ["person", "dog"], 7: ["cat"]})
    rows = [{"image_id": 42, "caption": "A woman, a dog and a sofa."}, {"image_id": 7, "caption": "Cats sleep."}]
    (path := tmp_path / "mine.json").write_text(json.dumps(rows))
    done = cim("eval", "--model", path, "--task", "chair500", "--json")
    score = next(row for row in done.json["scores"] if row["metric"] == "chair")
    assert score["values"] == {"chair_s": 50, "chair_i": 25, "recall": 100}
    assert set(score["controls"]) == {"next_caption"}  # there are no references that could be another image's
    details = (cim.results / "chair500" / "mine" / "details.jsonl").read_text().splitlines()
    states = [element[1:4] for element in json.loads(details[0])["chair"]["elements"]]
    assert states == [["person", "matched", ["woman"]], ["dog", "matched", ["dog"]], ["couch", "invented", ["sofa"]]]
    assert '<mark class="invented">sofa</mark>' in (cim.results / "chair500" / "mine" / "report.html").read_text()
    assert "needs coco_objects, task demo has none" in cim.refused(
        "eval", "--model", "demo-terse", "--task", "demo", "--metrics", "chair"
    )


def test_annotations_are_called_as_coco_calls_them(cim: Cim, written: Written, tmp_path: Path) -> None:
    sample = Sample("a", (), coco_objects=("Television", "dining  table", "tv"))
    assert _coco_objects.annotated(sample) == {"tv", "dining table"}
    written({42: ["grass"], 7: ["cat"]})
    path = captions_file(tmp_path / "mine.jsonl", {"42": "A dog.", "7": "A cat."})
    assert "sample 42: 'grass' is no object of COCO" in cim.refused("eval", "--model", path, "--task", "chair500")


def test_a_benchmark_without_code_has_chair(cim: Cim, tmp_path: Path) -> None:
    (tmp_path / "objects.json").write_text(json.dumps({"a": ["dog"], "b": ["tv", "couch"]}))
    path = captions_file(tmp_path / "mine.jsonl", {"a": "A dog on a bed.", "b": "A television."})
    (tmp_path / "task.toml").write_text('[samples]\nfile = "mine.jsonl"\n[coco_objects]\nfile = "objects.json"\n')
    done = cim("eval", "--model", path, "--task", tmp_path / "task.toml", "--metrics", "chair", "--json")
    values = done.json["scores"][0]["values"]
    assert values == {"chair_s": 50, "chair_i": pytest.approx(100 / 3), "recall": pytest.approx(200 / 3)}


def test_eleven_systems_have_the_values_of_the_page() -> None:
    """The three files with stored counts and OPERA's nine; one of each is the same."""
    paths = [STORED / f"llava-1.5_{name}.jsonl" for name in PUBLISHED] + sorted(OPERA.glob("*.jsonl"))
    if len(paths) != 12 or not all(path.is_file() for path in paths):
        pytest.skip(f"captions of twelve systems not found under {SHARED / 'captions'}")
    objects, columns = _objects(), dict[str, stats.Column]()
    for path in paths:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        samples = [Sample(str(row["image_id"]), (), coco_objects=tuple(objects[row["image_id"]])) for row in rows]
        records = Records(samples, [row["caption"] for row in rows], lambda *_: [], lambda _: [])
        for name in ("chair", "length"):
            metric = registry.metric(name)
            columns[f"{path.stem} {name}"] = stats.Column(metric.measure(records).statistics, metric.aggregate)
    bounds = dict(zip(columns, map(stats.interval, stats.bootstrap([*columns.values()])), strict=True))
    shown = {}
    for path in paths:
        values = stats.point(columns[f"{path.stem} chair"])
        cells = [
            f"{value:.1f} ({low:.1f}..{high:.1f})"
            for value, (low, high) in zip(values, bounds[f"{path.stem} chair"], strict=True)
        ]
        shown[path.stem] = " | ".join([*cells, f"{stats.point(columns[f'{path.stem} length'])[0]:.1f}"])
    assert shown.pop("llava-1.5_regular") == shown["llava-1.5_ours"]
    assert [row for name, cells in shown.items() if (row := f"| {name} | {cells} |") not in PAGE] == []
