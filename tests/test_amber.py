"""AMBER's generative part: what a mention counts for, the four values, the task and its file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.metrics import amber
from harness.parts import Records
from harness.types import Sample
from tasks import amber as task
from tests.cli import Cim
from tests.conftest import SHARED

ANNOTATIONS = SHARED / "captions" / "amber" / "generative.jsonl"
IMAGE = Sample("1", (), objects=("person", "ship", "ship", "forest"), decoys=("cloud", "sea"))


@pytest.fixture(autouse=True)
def wordnet() -> None:
    if reason := amber.METRIC.missing():
        pytest.skip(reason)


def _values(*pairs: tuple[Sample, str]) -> tuple[list[list[float]], list[float]]:
    samples, captions = zip(*pairs, strict=True)
    measured = amber.METRIC.measure(Records(samples, captions, lambda *_: [], lambda _: []))
    pooled = amber.METRIC.aggregate(measured.statistics.sum(axis=0), len(pairs))
    return measured.values.round(2).tolist(), pooled.round(2).tolist()


@pytest.mark.parametrize(
    ("caption", "values"),  # chair, cover, hal, cog
    [
        ("Women and trees.", [0, 50, 0, 0]),  # both stand for annotated objects
        ("Two ships, a ship.", [0, 25, 0, 0]),  # the second ship of the image is never covered, as in the reference
        ("A cloud over a lake; the lake again.", [100, 0, 100, 100]),  # lake stands for the sea
        ("A dog and a man.", [50, 25, 100, 0]),
        ("A sign, a light; an orange camera.", [0, 0, 0, 0]),  # too general to be wrong
        ("Something, somewhere.", [0, 0, 0, 0]),
    ],
)
def test_a_mention_is_of_the_image_of_a_decoy_or_of_neither(caption: str, values: list[float]) -> None:
    assert _values((IMAGE, caption)) == ([values], values)


def test_values_are_ratios_of_sums() -> None:
    other = Sample("2", (), objects=("dog",), decoys=("cat", "hat"))
    rows, pooled = _values((IMAGE, "A dog and a man."), (other, "A dog by a sign."))
    assert rows == [[50, 25, 100, 0], [0, 100, 0, 0]] and pooled == [25, 40, 50, 0]


def test_words_are_those_of_the_pinned_repository() -> None:
    """Sums of data/relation.json and data/safe_words.txt of junyangwang0410/AMBER@534babf."""
    assert hashlib.sha256(amber.FILE.read_bytes()).hexdigest()[:12] == "c4c1491e9bbc"
    listed = ["orange", "snack", "line", "camera", "light", "shoe", "sign", "range", "individual"]
    assert hashlib.sha256("\n".join(listed).encode()).hexdigest()[:12] == "f92cf1123f45" and set(listed) == amber.PASSED


def _file(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The task's file in its own form: generative entries, then others."""
    entries = [{"id": row["id"], "type": "generative", "truth": row["truth"], "hallu": row["hallu"]} for row in rows]
    (folder / "amber").mkdir()
    entries.append({"id": len(rows) + 1, "type": "discriminative-hallucination", "truth": "no"})
    (folder / "amber" / "annotations.json").write_text(json.dumps(entries))


def test_the_task_holds_the_1004_images(tmp_path: Path) -> None:
    if not ANNOTATIONS.is_file():
        pytest.skip(f"AMBER's annotations not found: {ANNOTATIONS}")
    _file(tmp_path, [json.loads(line) for line in ANNOTATIONS.read_text(encoding="utf-8").splitlines()])
    samples = task.TASK.load(tmp_path / "amber")
    assert len(samples) == task.TASK.count and samples[0].image == "AMBER_1.jpg"
    assert samples[0].objects == ("sky", "forest", "grass", "person", "lake", "mountain", "road")
    assert samples[0].decoys == ("cloud", "sun", "bird", "dog", "flower")
    assert samples[9].objects == ("ball", "man", "hat", "sky", "tie")
    assert samples[-1].id == "1004" and samples[-1].objects == ("man", "hat", "urinal", "wall", "cup")
    assert (sum(len(sample.objects) for sample in samples), sum(len(sample.decoys) for sample in samples)) == (
        5599,
        4924,
    )
    known = amber.associated()
    assert {name.lower() for sample in samples for name in (*sample.objects, *sample.decoys)} <= known.keys()


def test_answers_in_its_own_form_are_scored(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(
        tmp_path,
        [{"id": 1, "truth": ["person", "television"], "hallu": ["sea"]}, {"id": 2, "truth": ["dog"], "hallu": ["cat"]}],
    )
    content = (tmp_path / "amber" / "annotations.json").read_bytes()
    pinned = replace(task.TASK.files[0], bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    monkeypatch.setattr(task, "TASK", replace(task.TASK, files=(pinned,), count=2))
    registry.forget()
    answers = [{"id": 1, "response": "A man and a TV by the sea."}, {"id": 2, "response": "A dog."}]
    (path := tmp_path / "mine.json").write_text(json.dumps(answers))
    done = cim("eval", "--model", path, "--task", "amber", "--json")
    assert done.code == 0, done
    registry.forget()
    (score,) = [row for row in done.json["scores"] if row["metric"] == "amber"]
    assert score["values"] == {"chair": 25, "cover": 100, "hal": 50, "cog": 50} and "near:none" in score["signature"]
    details = (cim.results / "amber" / "mine" / "details.jsonl").read_text().splitlines()
    assert json.loads(details[0])["amber"]["elements"][-1][1:3] == ["sea", "invented"]
    refused = cim.refused("caption", "--model", "mini-base", "--task", "amber")
    assert "AMBER_1.jpg" in refused and "put them there (github.com/junyangwang0410/AMBER@534babf)" in refused
