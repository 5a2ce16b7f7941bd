"""``cim meteor`` prints every METEOR that the paper's column may be; variants equal NLTK and the mean of METEOR 1.5.

Sentence splitting is trained on the spot where NLTK's own data is not there: ``pytest tests/test_meteor_variants.py``
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.metrics import meteor
from harness.parts import Records
from harness.resources import nltk_data
from harness.resources.wordnet import missing_wordnet
from harness.types import Sample
from tests.cli import Cim, captions_file
from tests.controls import references
from tests.test_ptb import needs_java

needs_wordnet = pytest.mark.skipif(missing_wordnet() is not None, reason=missing_wordnet() or "")
TRAINING = "A dog sat. The cat ran off. It rained. Mr. Fox left at 5 p.m. sharp. Mr. Hare stayed. " * 20


@pytest.fixture
def punkt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A sentence splitter of our own where NLTK looks for its own, named by NLTK_DATA."""
    import nltk
    from nltk import tokenize
    from nltk.tokenize.punkt import PunktTrainer, save_punkt_params

    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk"))
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk"), *nltk.data.path])
    folder = tmp_path / "nltk" / nltk_data.PUNKT.place
    folder.mkdir(parents=True, mode=0o700)
    save_punkt_params(PunktTrainer(TRAINING).get_params(), dir=str(folder))
    tokenize._get_punkt_tokenizer.cache_clear()
    yield folder
    tokenize._get_punkt_tokenizer.cache_clear()


def rows(cim: Cim, *arguments: str | Path) -> dict[str, Any]:
    outcome = cim("meteor", "--json", *arguments)
    assert outcome.code == 0, outcome
    return {row["metric"]: row for row in outcome.json["scores"]}


@needs_java
@needs_wordnet
def test_all_candidates_with_intervals_and_what_is_open(cim: Cim, punkt: Path) -> None:
    table = rows(cim, "--model", "demo-detailed")
    assert table.keys() == set(meteor.CANDIDATES) and len(table) == 5
    for row in table.values():
        assert row["ci95"]["score"][0] < row["values"]["score"] < row["ci95"]["score"][1], row
    stored = [json.loads(line) for line in (cim.results / "demo" / "demo-detailed" / "per_sample.jsonl").open()]
    mean = sum(row["meteor"]["score"] for row in stored) / len(stored)
    assert table["meteor@mean"]["values"]["score"] == pytest.approx(mean, rel=1e-12)
    assert table["meteor"]["values"]["score"] != pytest.approx(mean, rel=1e-6)
    assert "|agg:mean|" in table["meteor@mean"]["signature"] and "|agg:corpus|" in table["meteor"]["signature"]
    told = cim("meteor", "--model", "demo-detailed", "-v").out
    assert "Which METEOR the paper prints is open" in told and told.count("wrong image") == 5
    assert cim("verify", "demo-detailed").code == 0
    assert "meteor@mean" in (cim.results / "demo" / "demo-detailed" / "report.html").read_text()


@needs_wordnet
def test_without_punkt_one_candidate_says_what_to_run(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nltk_data, "root", lambda _: None)
    monkeypatch.setattr("harness.resources.java.find_java", lambda: None)
    table = rows(cim, "--model", "demo-detailed")
    assert (
        "punkt_tab is not on this machine: .venv/bin/python -m harness.resources.nltk_data"
        in table["meteor_nltk@word_tokenize"]["not_computed"]
    )
    assert "no Java found" in table["meteor"]["not_computed"] and "no Java" in table["meteor@mean"]["not_computed"]
    assert table["meteor_nltk"]["values"]["score"] > 0
    line = cim.refused("score", "--model", "demo-detailed", "--metrics", "meteor_nltk@word_tokenize")
    assert "punkt_tab" in line


@needs_wordnet
def test_on_word_tokens_it_is_nltks(punkt: Path, benchmarks: Path) -> None:
    from nltk.tokenize import word_tokenize
    from nltk.translate.meteor_score import meteor_score

    gold = list(references(benchmarks, "docci500").values())[:40]
    captions = [*gold[1:], "Mr. Fox left. It's 5 p.m., isn't it?"]
    metric = registry.metric("meteor_nltk@word_tokenize")
    samples = [Sample(str(number), (text,)) for number, text in enumerate(gold)]
    seen = Records(samples, captions, parse=lambda *_: [], replies=lambda _: [])
    expected = [
        100 * meteor_score([word_tokenize(text)], word_tokenize(caption))
        for text, caption in zip(gold, captions, strict=True)
    ]
    assert metric.measure(seen).values[:, 0].tolist() == expected
    assert registry.metric("meteor_nltk").measure(seen).values[:, 0].tolist() != expected
    before = metric.signature()
    (punkt / "abbrev_types.txt").write_text("x")
    assert before["tok"] == "word_tokenize" and metric.signature()["punkt"] != before["punkt"]


@needs_java
@needs_wordnet
def test_the_printed_captions_lie_as_the_protocol_says(
    cim_on_benchmarks: Cim, paper: Path, punkt: Path, tmp_path: Path
) -> None:
    """Twelve captions of Figures 7 and 8: METEOR 1.5 clearly below NLTK's, word tokens above white space."""
    printed = [json.loads(line) for line in (paper / "figure_7_8_captions.jsonl").open(encoding="utf-8")]
    scores: dict[str, list[float]] = {name: [] for name in meteor.CANDIDATES}
    files = list[Path]()
    for number, system in enumerate(sorted({row["system"] for row in printed})):
        captions = {row["sample_id"]: row["caption"] for row in printed if row["system"] == system}
        files.append(captions_file(tmp_path / f"system_{number}.jsonl", captions))
    given = ("--model", ",".join(map(str, files)), "--task", "docci500", "--partial", "--draws", "0")
    assert cim_on_benchmarks("meteor", *given).code == 0
    for file in files:
        for line in (cim_on_benchmarks.results / "docci500" / file.stem / "per_sample.jsonl").open():
            for name, values in scores.items():
                values.append(json.loads(line)[name]["score"])
    means = {name: sum(values) / len(values) for name, values in scores.items()}
    assert len(scores["meteor"]) == 12 and round(means["bleu4_char"], 4) == 32.2954
    assert means["meteor@mean"] + 3 < means["meteor_nltk"] < means["meteor_nltk@word_tokenize"], means


def test_a_task_without_references_is_refused_in_one_line(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from tasks import demo

    monkeypatch.setattr(demo, "TASK", replace(demo.TASK, provides=frozenset()))
    registry.forget()
    line = cim.refused("meteor", "--model", "demo-detailed")
    registry.forget()
    assert "task demo has none of the annotations" in line
