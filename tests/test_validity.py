"""``cim validate``: sets read as published, judgements of one's own, cards that speak for one version of a metric."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cim_harness import compare, score
from harness import registry
from harness.errors import CimError
from harness.resources import wordnet
from harness.validity import cards, damage, layouts, own, published, sets, validation
from harness.validity.cards import Card
from harness.validity.judgements import Judgement, judged
from tests.cli import Cim
from tests.conftest import ROOT, SHARED

CAPTIONS = SHARED / "captions"
NO_CAPTIONS = pytest.mark.skipif(not CAPTIONS.is_dir(), reason="no captions of real models under ../shared")
REFERENCES = {"1": ["a dog runs on the grass"], "2": ["a red car on a road"], "3": ["two people eat at a table"]}
RATED = {"1": ("a dog on grass", 4), "2": ("a car", 3), "3": ("a cat asleep", 1)}


def _written(path: Path, content: object) -> Path:
    lines = content if isinstance(content, list) else [content]
    text = content if isinstance(content, str) else "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


@NO_CAPTIONS
def test_published_correlations_of_flickr8k_expert_come_out(tmp_path: Path) -> None:
    """All eight to the printed digit: tau-b and tau-c of BLEU-4, ROUGE-L, METEOR and CIDEr."""
    chosen = sets.SETS["flickr8k_expert"]
    source = sets.read(chosen, [CAPTIONS / "flickr8k_expert" / "flickr8k.json"])
    judgements = source.judgements
    assert (len(judgements.rows), len(judgements.texts()), len(judgements.references)) == (16992, 5664, 1000)
    measured = validation.validate(judgements, ["bleu4", "rouge_l", "meteor", "cider"], tmp_path, draws=0)
    beside = published.beside(validation.document(measured, chosen.title, source.files))
    expected = {"bleu4": (30.6, 30.8), "rouge_l": (32.1, 32.3), "meteor": (41.5, 41.8), "cider": (43.6, 43.9)}
    assert {(row.metric, row.statistic): row.published for row in beside} == {
        (metric, statistic): value
        for metric, both in expected.items()
        for statistic, value in zip(("tau_b", "tau_c"), both, strict=True)
    }
    assert [row for row in beside if not row.follows] == []


@NO_CAPTIONS
def test_sets_with_files_here_are_read_and_others_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = sets.read(sets.SETS["faithscore"], [CAPTIONS / "faithscore" / "annotation.jsonl"]).judgements
    assert (len(facts.rows), sum(row.value for row in facts.rows)) == (1380, 1114)
    source = sets.read(sets.SETS["iiw"], sorted((CAPTIONS / "iiw").glob("*.jsonl")))
    assert list(source.files) == ["DOCCI_Test.jsonl", "IIW-400.jsonl"]
    rows = judged(source.judgements, "Hallucination")
    assert (len(rows.values), int((rows.values == 0).sum()), rows.n_images) == (200, 58, 200)
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    with pytest.raises(CimError, match=r"flickr8k.json of flickr8k_expert is missing; run `cim data fetch"):
        sets.read(sets.SETS["flickr8k_expert"], [CAPTIONS / "faithscore" / "annotation.jsonl"])
    with pytest.raises(CimError, match=r"caparena_annots_eval.json of caparena is not here; get it from"):
        sets.read(sets.SETS["caparena"])


def test_pinned_sets_name_a_commit_and_a_sum_and_others_have_neither() -> None:
    for chosen in sets.SETS.values():
        assert bool(chosen.files) != bool(chosen.expects) and chosen.licence and chosen.source
        for file in chosen.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256) and re.search(r"/[0-9a-f]{40}/", file.url)


def test_layouts_are_read_as_documented(tmp_path: Path) -> None:
    """Rows made by hand in the layouts of sets that could not be had here, and of those that can."""
    vote = {"img": "t.jpg", "source1": "A", "source2": "B", "caption1": "a", "caption2": "b", "ref": "r"}
    votes = [vote | {"winner": winner} for winner in ("A", "B", "equal", "bad")] + [vote | {"source1": "human"}]
    votes[-1]["winner"] = "human"
    arena = layouts.caparena({"v": _written(tmp_path / "votes.json", json.dumps(votes))})
    assert [(row.value, row.system, row.other_system) for row in arena.rows] == [
        (value, "A", "B") for value in (1, -1, 0, 0)
    ]
    texts = {"model1_generation": "a", "model2_generation": "b", "reference": "r"}
    judgement = {"mistakes": "1_much_better", "omissions": "equal", "overall_quality": "2_slightly_better"}
    docent = layouts.docent(
        {"d": _written(tmp_path / "d.jsonl", {"uuid": "u", "model1": "A", "model2": "B", **texts, **judgement})}
    )
    assert {row.criterion: row.value for row in docent.rows} == {"mistakes": 2, "omissions": 0, "overall_quality": -1}
    table = "imgid,mt,refs,score\ni,a cat,\"['a cat', 'one cat']\",0.75\nj,a dog,\"['a dog']\",0\n"
    polaris = layouts.imgid_mt({"p": _written(tmp_path / "polaris_test.csv", table)})
    assert polaris.rows[0] == Judgement("i", "a cat", 0.75) and polaris.references["i"] == ("a cat", "one cat")
    rated = [{"caption": "a", "rating": rating} for rating in (1, 4, math.nan)]
    flickr = {"i": {"human_judgement": rated, "ground_truth": ["x", "y"]}}
    assert [row.value for row in layouts.flickr8k({"f": _written(tmp_path / "f.json", flickr)}).rows] == [1, 4]
    pair = {"image": "i", "captions": ["a", "b"], "label": 1, "references": ["x"]}
    pascal = layouts.pascal50s({"p": _written(tmp_path / "p.json", {"HC": [pair], "MM": [pair | {"label": 0}]})})
    assert [(row.criterion, row.value) for row in pascal.rows] == [("HC", -1), ("MM", 1)]
    prompts = [
        {"instruction": f"reference captions:\n{reference}\nour caption:\nA cat.{gap}Is our caption accurate?\n"}
        | {"output": "no"}
        for reference, gap in (("x", " "), ("y", ""))
    ]
    haelm = layouts.haelm({"h": _written(tmp_path / "h.jsonl", prompts)})
    assert haelm.rows == [Judgement("image 1", "A cat.", 0.0)] and haelm.references == {"image 1": ("x", "y")}
    with pytest.raises(CimError, match="no 'score' in this row"):
        layouts.imgid_mt({"p": _written(tmp_path / "q.jsonl", {"imgid": "i", "mt": "a", "refs": ["x"]})})


def test_own_judgements_are_read_in_every_shape(tmp_path: Path) -> None:
    references = _written(
        tmp_path / "references.json", json.dumps({f"{name}.jpg": t for name, t in REFERENCES.items()})
    )
    rows = [{"image_id": name, "caption": text, "rating": [value, value + 1]} for name, (text, value) in RATED.items()]
    source = own.read(own.of_file(_written(tmp_path / "ratings.jsonl", rows), references))
    assert [row.value for row in source.judgements.rows] == [4, 5, 3, 4, 1, 2]
    assert source.judgements.references["1"] == tuple(REFERENCES["1"])
    assert source.notes == ("ids matched without folder and suffix",)
    table = "id,caption,label\n1,a dog,yes\n2,a cat,0\n3,a cow,\n"
    source = own.read(own.of_file(_written(tmp_path / "labels.csv", table), None))
    assert (source.judgements.shape, [row.value for row in source.judgements.rows]) == ("labels", [1, 0])
    assert source.notes == ("1 of 3 judgements are empty and left out",)
    pair = {"id": "1", "a": "x", "b": "y", "system_a": "S", "system_b": "T"}
    pairs = _written(tmp_path / "pairs.jsonl", [pair | {"preferred": choice} for choice in ("a", "T", "tie")])
    assert [row.value for row in own.read(own.of_file(pairs, None)).judgements.rows] == [1, -1, 0]
    by_id = {name: {"caption": text, "rating": value} for name, (text, value) in RATED.items()}
    source = own.read(own.of_file(_written(tmp_path / "by_id.json", json.dumps(by_id)), None))
    assert [(row.image, row.value) for row in source.judgements.rows] == [("1", 4), ("2", 3), ("3", 1)]
    places = [{"id": f"{at}", "a": "x", "b": "y", "preferred": at} for at in (1, 2)]
    with pytest.raises(CimError, match="preferred holds only 1 and 2: a place, or how much a is preferred"):
        own.read(own.of_file(_written(tmp_path / "places.jsonl", places), None))
    with pytest.raises(CimError, match=r"odd.csv:3: 'good' is no number"):
        own.read(own.of_file(_written(tmp_path / "odd.csv", "id,caption,rating\n1,a,3\n2,b,good\n"), None))
    with pytest.raises(CimError, match="no judgement in this row; its keys: id, caption"):
        own.read(own.of_file(_written(tmp_path / "none.csv", "id,caption\n1,a\n"), None))


@pytest.fixture
def cim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cim:
    monkeypatch.setenv("CIM_RESULTS", str(tmp_path / "results"))
    return Cim(tmp_path / "results", capsys)


def test_a_benchmark_names_its_judgements(cim: Cim, tmp_path: Path) -> None:
    """[judgements] of a task.toml; the numbers of runs on that benchmark do not depend on them."""
    _written(tmp_path / "references.json", json.dumps(REFERENCES))
    rows = [{"image": name, "text": text, "stars": value} for name, (text, value) in RATED.items()]
    _written(tmp_path / "stars.jsonl", rows)
    toml = _written(tmp_path / "photographs.toml", '[references]\nfile = "references.json"\n')
    before = registry.task(registry.named("tasks", str(toml))).files
    registry.forget()
    toml.write_text(toml.read_text() + '[judgements]\nfile = "stars.jsonl"\nshape = "ratings"\nvalue_key = "stars"\n')
    assert registry.task(registry.named("tasks", str(toml))).files == before
    result = cim("validate", "--on", toml, "--metrics", "length", "--draws", 100, "--json")
    (rows_of_length,) = result.json["criteria"][""]["metrics"]
    assert rows_of_length["agreement"]["tau_c"]["value"] == pytest.approx(1 / 3 * 3 / 2 * 2 / 3)
    assert (cim.results / ".validity" / "photographs.toml.json").is_file()
    toml.write_text(toml.read_text().replace("ratings", "stars"))
    assert "judgements.shape is 'stars'" in cim.refused("validate", "--on", toml)


def test_the_table_says_what_is_significant_and_what_is_not_computed(cim: Cim, tmp_path: Path) -> None:
    part = _written(
        tmp_path / "odd.py",
        "import numpy as np\nfrom harness.parts import Measurement, Metric, Value\n"
        "def _measure(records):\n"
        "    words = np.array([[float(len(text))] for text in records.captions])\n"
        "    words[0] = np.nan\n    return Measurement(words, words)\n"
        "METRIC = Metric('odd', (Value('letters', False),), _measure, lambda: {'v': '1'}, (0.0,), frozenset())\n",
    )
    rows = [{"id": f"{at}", "caption": "w " * (at % 5) + "xxxxx" * (at % 4), "rating": 5 - at % 5} for at in range(40)]
    file = _written(tmp_path / "rated.jsonl", rows)
    result = cim("validate", "--on", file, "--metrics", part, "--draws", 400)
    assert result.code == 0 and "rated.jsonl: 40 ratings" in result.out
    assert "odd is undefined for 1 texts, which are left out for it" in result.out
    assert "no references" not in result.out and "significantly better than word count: odd" in result.out
    nothing = cim("validate", "--on", file, "--draws", 10)
    assert "no references, so only metrics without references are computed" in nothing.out
    assert "no set or file 'flickr'" in cim.refused("validate", "--on", "flickr")
    assert "cannot be read" not in cim.refused("validate", "--on", file, "--files", file)


def test_listing_loads_nothing_and_user_fetched_sets_are_not_fetched(cim: Cim) -> None:
    listed = cim("validate", "--list", "--json").json
    assert {row["set"] for row in listed} == set(sets.SETS) and all(row["licence"] for row in listed)
    assert "caparena is fetched by you, from https://box.nju.edu.cn" in cim.refused("data", "fetch", "caparena")


@pytest.mark.skipif(wordnet.folder() is None, reason="no WordNet: make setup")
def test_swapped_nouns_keep_length_and_are_absent_from_both_texts() -> None:
    nouns = "dog chair lamp apple woman tree bird bottle boat shirt"
    texts = [
        (f"A {nouns.replace(' ', ' near a ')}, seen from above.", f"There is a {nouns.split()[at]}.") for at in range(3)
    ]
    texts += [("A cat beside a car, a horse, a plate, a child, a flower and a fork.", "A cat.")]
    content = layouts.Content([Judgement(f"{at}", a, 1, b) for at, (a, b) in enumerate(texts)], {})
    swapped = damage.swapped_nouns(content)
    assert swapped == damage.swapped_nouns(content) and swapped.rows
    for row in swapped.rows:
        before, after = row.caption.split(), (row.other or "").split()
        changed = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
        assert len(changed) == damage.SWAPPED
        said = f"{row.caption} {swapped.references[row.image][0]}"
        assert not any(new.strip(",.") in said.split() for _, new in changed)


CARD = Card(
    "cider", "score", "cider", "cider|v:2", "flickr8k_expert", "Flickr8k-Expert", "ratings", "", True, "tau_c", 0.439,
    (0.418, 0.459), -0.095, 16992, 5664, 1000, 11.0,
)  # fmt: skip
LONG = replace(CARD, set="haelm", title="HaELM", shape="labels", statistic="auc", estimate=0.505, ci95=(0.434, 0.58))
BLIND = replace(LONG, median_words=54.0, judgements=300)


def test_a_sentence_follows_from_the_numbers_of_its_cards() -> None:
    line = "cider|v:2|n:500|task:docci500@037c2b904426"
    assert cards.sentence(line, "score", [CARD, BLIND]) == (
        "short captions: agrees with people (tau-c 0.439 [0.418, 0.459], Flickr8k-Expert, 11 words). "
        "long captions: blind to invention (AUC 0.505 [0.434, 0.580], HaELM, 54 words)"
    )
    sighted, chance = replace(BLIND, ci95=(0.51, 0.58)), replace(CARD, ci95=(-0.01, 0.459))
    assert "long captions: hardly tells true from invented (AUC" in cards.sentence(line, "score", [sighted])
    useful = replace(sighted, estimate=0.8, ci95=(0.7, 0.9))
    assert "long captions: tells true from invented (AUC" in cards.sentence(line, "score", [useful])
    assert "short captions: not shown to agree with people" in cards.sentence(line, "score", [chance])
    assert ": disagrees with people (" in cards.sentence(line, "score", [replace(CARD, ci95=(-0.2, -0.1))])
    assert cards.sentence(line, "score", [CARD]).endswith("long captions: not validated here")
    for other in ("cider|v:3|n:500|task:x", "cider|v:2|parser:other|n:500|task:x", "rouge_l|v:2|n:500|task:x"):
        assert cards.sentence(other, "score", [CARD]) == "not validated here"
    assert cards.summary([("cider", line, "score"), ("capture", "capture|v:1", "f1")], [CARD, BLIND]) == (
        "agreement with people on Flickr8k-Expert, 11 words: tau-c cider 0.44; HaELM, 54 words: AUC cider 0.51 "
        "(no better than chance: cider); not validated here: capture (docs/validity.md)"
    )
    alone = cards.summary([("capture", "capture|v:1", "f1")], [CARD])
    assert alone == "agreement with people: not validated here: capture (docs/validity.md)" and not cards.summary([])


@NO_CAPTIONS
def test_cards_are_written_of_the_sets_whose_files_are_named(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    names = (
        "flickr8k_expert/flickr8k.json",
        "faithscore/annotation.jsonl",
        "iiw/DOCCI_Test.jsonl",
        "iiw/IIW-400.jsonl",
    )
    files, out = [CAPTIONS / name for name in names], tmp_path / "cards.json"
    done = cim("validate", "--cards", "--metrics", "length", "--draws", 50, "--out", out, "--files", *files)
    assert done.code == 0 and "left out" in done.out and "polaris_test.json of polaris is not here" in done.out
    written = {card["set"]: card for card in json.loads(out.read_text())["cards"]}
    assert written.keys() - {"swapped_nouns"} == {"flickr8k_expert", "faithscore", "iiw"}
    assert written["iiw"]["criterion"] == "Comprehensiveness" and written["iiw"]["estimate"] == pytest.approx(0.86)
    assert (
        written["flickr8k_expert"]["estimate"]
        == written["flickr8k_expert"]["length"]
        == pytest.approx(-0.095, abs=5e-4)
    )


def test_stored_cards_speak_for_the_metrics_as_they_are() -> None:
    """Of another version they would be silent: ``cim validate --cards`` where the sets are."""
    stored = cards.read()
    assert {card.set for card in stored} >= {
        "flickr8k_expert",
        "nebula",
        "thumb",
        "pascal50s",
        "haelm",
        "swapped_nouns",
    }
    for name in ("bleu4", "rouge_l", "meteor", "cider", "length"):
        line = validation.metric_signature(registry.metric(name))
        assert len(cards.of_metric(f"{line}|n:1|task:x", registry.metric(name).names[0])) >= 6, line
    assert all(card.ci95[0] <= card.estimate <= card.ci95[1] for card in stored)
    page = (ROOT / "docs" / "validity.md").read_text(encoding="utf-8")
    assert "\n".join(cards.table()) in page  # `cim validate --table`


def test_a_comparison_says_what_its_metrics_are_worth() -> None:
    texts = {name: text for name, (text, _) in RATED.items()}
    a, b = (score(captions, REFERENCES, "bleu4,cider", draws=10) for captions in (texts, dict.fromkeys(texts, "a dog")))
    assert "agreement with people on Flickr8k-Expert, 11 words: tau-c cider 0.44, bleu4 0.31" in str(compare(a, b))
