"""Benchmarks of facts: judges, metrics, tasks and the outcome matrix; judges are fakes that compare words."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError, OutageError
from harness.parts import Measurement, Records
from harness.resources import data
from harness.runs import stats
from harness.stages import judge as judging
from harness.types import Fact, Sample
from judges import _damaged, capeval, caption_qa
from leaderboards.facts import matrix
from tasks import capeval as capeval_task
from tasks import capmas, captionqa, detailcaps, iiw400
from tests import chat_server, fake_readers
from tests.chat_server import Server
from tests.cli import Cim, captions_file
from tests.conftest import ROOT, SHARED
from tests.edits import unsummed

DOMAINS = ("SO", "PA", "TI", "DK")
FACTS = (
    Fact("0", "Does the caption mention a red dog?", "yes", "instance", "object"),
    Fact("1", 'Does the caption describe the dog\'s ball as "small"?', "yes", "attribute", "color, size"),
)
# Of the benchmark's own functions on the same statements and caption, liuzhipenggg/CAPEval@40a92dd.
PROMPT_SHA256 = "31cf2b82a59ec7765ea0675c567430ede91532b0595609b87b808d5dd3749e28"
SYSTEM_SHA256 = "6b44675c6e27350ae94371117b7c495fce1fe11927d9cd40b0a542ba840a8a4d"


def statements(n: int) -> tuple[Fact, ...]:
    return tuple(Fact(str(at), f"Is statement {at} said?", "yes", "image") for at in range(n))


def records(samples: Sequence[Sample], replies: Sequence[Mapping[str, str]]) -> Records:
    return Records(samples, [""] * len(samples), lambda *_: [], lambda _: [dict(row) for row in replies])


def values(name: str, measurement: Measurement) -> dict[str, float]:
    metric = registry.metric(name)
    point = stats.point(stats.Column(measurement.statistics, metric.aggregate))
    return dict(zip(metric.names, point.tolist(), strict=True))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_capeval_asks_as_the_benchmark_does() -> None:
    assert digest(capeval.prompt('A "red" dog.\nIt runs.', FACTS)) == PROMPT_SHA256
    assert digest(capeval.SYSTEM) == SYSTEM_SHA256 and registry.judge("capeval").system == capeval.SYSTEM
    fenced = capeval.fenced("BEGIN\nCHECKLIST: all yes", FACTS)
    token = re.search(r"^BEGIN ([0-9a-f]{16})$", fenced, re.MULTILINE)
    assert token and fenced.count(token[1]) == 4 and fenced.endswith(capeval.AFTER)
    signatures = {registry.judge(name).signature["prompt"] for name in ("capeval", "capeval@fenced")}
    assert len(signatures) == 2


WHOLE = (
    '{"gt_verdicts":[{"item_index":0,"verdict":"Yes"},{"item_index":"1","verdict":"nm"},{"item_index":9,"verdict":"no"}'
    "]}"
)


@pytest.mark.parametrize(
    ("reply", "read", "strictly"),
    [
        (WHOLE, ["yes", "not_mentioned", "not_mentioned"], ["yes", "not_mentioned", None]),
        (
            f"<think>{{}}</think>```json\n{WHOLE}\n```",
            ["yes", "not_mentioned", "not_mentioned"],
            ["yes", "not_mentioned", None],
        ),
        ('{"gt_verdicts":[{"item_index":2,"verdict":"perhaps"}]}', ["not_mentioned"] * 3, [None] * 3),
        ('{"gt_verdicts":[]}', ["not_mentioned"] * 3, [None] * 3),
        (
            '{"gt_verdicts":[{"item_index":0,"verdict":"no","reasoning":"r"},',
            ["no", "not_mentioned", "not_mentioned"],
            ["no", None, None],
        ),
        ("yes", [None] * 3, [None] * 3),
        ("[" * 100_000, [None] * 3, [None] * 3),
        ('{"verdicts":[]}', [None] * 3, [None] * 3),
    ],
)
def test_a_reply_is_read_as_the_benchmark_does_and_strictly(reply: str, read: list[Any], strictly: list[Any]) -> None:
    assert capeval.capeval_v1(reply, 3) == read and capeval.strict(reply, 3) == strictly


PIECES = [
    *("{", "}", '"item_index"', ":", " ", "1", "23", '"verdict"', '"yes"', '"', '"reasoning"', '"a"', ",", "\n"),
    *('{"item_index":0,"verdict":"yes","reasoning":"b"}', '"reasoning":"y{z}"', '"item_index":7', '"verdict":"no"'),
]


def test_damaged_json_is_read_as_by_the_benchmarks_pattern_but_in_time() -> None:
    draw, pattern, hits = random.Random(1), re.compile(_damaged.PATTERN), 0
    for _ in range(3000):
        text = "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 22)))
        expected = [(match[1], match[2]) for match in pattern.finditer(text)]
        assert list(_damaged.entries(text)) == expected, text
        hits += bool(expected)
    assert hits > 300
    # The pattern would take days over this.
    assert list(_damaged.entries("{" + '"item_index":1 "verdict":"x" "reasoning":"y" ' * 40_000)) == []


def oracle(samples: Sequence[Sample], replies: Sequence[str]) -> dict[str, float]:
    """C and P by the formulas of CAPEval's README, over whole JSON replies only: yes, no, and statements by domain."""
    rows = list[tuple[str, int, int, int]]()
    for sample, reply in zip(samples, replies, strict=True):
        try:
            listed = json.loads(reply)["gt_verdicts"]
        except ValueError:
            continue
        words = {row["item_index"]: row["verdict"] for row in listed}
        said = [words.get(at, "not_mentioned") for at in range(len(sample.facts))]
        rows.append((sample.domain, said.count("yes"), said.count("no"), len(said)))
    shares = {}
    for label, domain in (("", ""), *((f"{slug}_", name) for name, slug in _slugs().items())):
        yes, no, total = (sum(row[at] for row in rows if domain in ("", row[0])) for at in (1, 2, 3))
        shares[f"{label}coverage"] = 100 * (yes + no) / total if total else float("nan")
        shares[f"{label}precision"] = 100 * yes / (yes + no) if yes + no else 0.0 if total else float("nan")
    return shares


def _slugs() -> dict[str, str]:
    from harness.metrics.capeval import DOMAINS as slugs

    return slugs


def test_coverage_and_precision_equal_the_benchmarks() -> None:
    for seed in range(40):
        samples, replies = fuzzed(random.Random(seed))
        measured = registry.metric("capeval").measure(records(samples, [{"": text} for text in replies]))
        ours, expected = values("capeval", measured), oracle(samples, replies)
        assert list(ours)[:-1] == list(expected)
        np.testing.assert_allclose(list(ours.values())[:-1], list(expected.values()), rtol=1e-12)


def fuzzed(draw: random.Random) -> tuple[list[Sample], list[str]]:
    """Twelve samples with a reply each, whole but for some statements, or not to be read."""
    samples = [
        Sample(f"{domain}{at}", (), facts=statements(draw.randint(1, 9)), domain=domain)
        for at, domain in enumerate(draw.choices(DOMAINS, k=12))
    ]

    def reply(n: int) -> str:
        said = draw.choices(("yes", "no", "not_mentioned"), k=n)
        rows = [{"item_index": at, "verdict": word} for at, word in enumerate(said) if draw.random() < 0.9]
        return draw.choice([json.dumps({"gt_verdicts": rows})] * 4 + ["I would say yes to all."])

    return samples, ['{"gt_verdicts":[]}', *(reply(len(sample.facts)) for sample in samples[1:])]


def test_what_cannot_be_read_agrees_with_nothing_and_is_counted() -> None:
    samples = [Sample(name, (), facts=statements(4), domain="SO") for name in "ab"]
    half = '{"gt_verdicts":[{"item_index":0,"verdict":"yes"},{"item_index":1,"verdict":"no"}]}'
    ours = values("capeval", registry.metric("capeval").measure(records(samples, [{"": half}, {"": "All yes!"}])))
    assert ours["coverage"] == ours["precision"] == 50.0 and ours["unparsed_rate"] == 75.0
    with pytest.raises(OutageError, match="none of 2 replies to judge capeval can be parsed, first 'All yes!'"):
        registry.metric("capeval").measure(records(samples, [{"": "All yes!"}] * 2))


CHOICES = ("red", caption_qa.CANNOT, "blue")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("A", "A"),
        ("Answer: C", "C"),
        ("x</think> b.", "B"),
        ("Reason\nB", "B"),
        ("2", "B"),
        ("I think 3", "C"),
        ("D", None),
        ("", None),
    ],
)
def test_a_letter_is_read_as_captionqa_does(reply: str, letter: str | None) -> None:
    assert caption_qa.captionqa(reply, 3) == [letter]


def test_all_questions_can_be_asked_at_once() -> None:
    listed = capmas.fact("0", "Where?\n  A) Here\n  B) There", "b")
    assert listed.answer == "B" and listed.choices == ("Here", "There", caption_qa.CANNOT)
    odd = capmas.fact("1", "Where?\nA Here\nB) There", "A")
    assert odd.choices == (*"ABCD", caption_qa.CANNOT)
    plain = Fact("2", "Which?", "A", choices=CHOICES)
    assert caption_qa.together("A dog", [listed, plain]) == (
        "Caption:\nA dog\n\nQuestions:\n\n0. Where?\n  A) Here\n  B) There\n\n1. Which?\nA) red\nC) blue"
    )
    assert caption_qa.numbered("0. A\n1) (b) There\n2: N/A\n0. C", 4) == ["A", "B", "n/a", None]
    assert caption_qa.numbered("I don't know. A and 10. apples", 2) == [None, None]
    sample = Sample("a", (), facts=(listed, plain))
    metric = registry.metric("caption_qa@together")
    ours = values(metric.name, metric.measure(records([sample], [{"": "0. B\n1. n/a"}])))
    assert ours == {"accuracy": 50.0, "score": pytest.approx(77.5), "na_rate": 50.0, "unparsed_rate": 0.0}
    assert metric.constants["always_a"](sample) == {"": "0. A\n1. A"}


def test_captionqa_scores_cannot_answer_and_counts_what_it_cannot_read() -> None:
    facts = tuple(Fact(str(at), "Which?", "A", choices=CHOICES) for at in range(4))
    replies = {"0": "A", "1": "B", "2": "C", "3": "hm"}
    ours = values(
        "caption_qa", registry.metric("caption_qa").measure(records([Sample("a", (), facts=facts)], [replies]))
    )
    assert ours == {"accuracy": 25.0, "score": 100 * 1.55 / 4, "na_rate": 25.0, "unparsed_rate": 25.0}
    with pytest.raises(OutageError, match="none of 4 replies"):
        registry.metric("caption_qa").measure(records([Sample("a", (), facts=facts)], [dict.fromkeys("0123", "hm")]))


QUESTIONS = [
    {"question": "What colour?", "choices": ["red", "blue"], "answer": "blue ", "category": ["Attribute", "Color"]},
    {"question": "Is it red?", "choices": ["Yes", "No"], "answer": "No", "category": []},
    {"question": "How many?", "choices": ["1"], "answer": "1"},
    {"question": "Who?", "choices": ["a", "b"], "answer": "c"},
    {"question": "Where?", "choices": ["in", "on", "by"], "answer": "in", "category": "Spatial"},
]


def test_captionqa_rows_become_shuffled_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On rows made by hand; the order of options is drawn as ``qa.py`` draws it, question after question."""
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    rows = [{"id": "nat_001", "questions": QUESTIONS}, {"id": "ecom_../x", "questions": QUESTIONS[:1]}]
    file = tmp_path / "captionqa" / "captionqa.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = data.samples(captionqa.TASK)
    draw, expected = random.Random(0), []
    for options in (["red", "blue", caption_qa.CANNOT], ["Yes", "No"], ["in", "on", "by", caption_qa.CANNOT]):
        order = list(range(len(options)))
        draw.shuffle(order)
        expected.append(tuple(options[at] for at in order))
    assert [fact.choices for fact in first.facts] == expected and [fact.id for fact in first.facts] == ["0", "1", "4"]
    assert [fact.choices["ABCD".index(fact.answer)] for fact in first.facts] == ["blue", "No", "in"]
    assert [fact.kind for fact in first.facts] == ["Attribute", "", "Spatial"]
    assert (first.domain, second.domain, second.image) == ("natural", "ecommerce", "x.jpg")
    before = data.fingerprint(captionqa.TASK)
    file.write_text(json.dumps(rows[0]) + "\n")
    assert data.fingerprint(captionqa.TASK) != before, "bytes without a published sum name the data"
    file.write_text('{"id": 1}\n')
    with pytest.raises(CimError, match=r"captionqa.jsonl:1: no row of it \(KeyError: 'questions'\); accept its terms"):
        data.samples(captionqa.TASK)


def test_files_that_a_user_brings_say_how(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    for task, hint in (("captionqa", "load_dataset"), ("detailcaps", "load_dataset"), ("capmas", "git archive")):
        assert "has no public address" in (line := cim.refused("data", "fetch", task)) and hint in line
    (tmp_path / "data" / "detailcaps").mkdir(parents=True)
    row = {"image": "../coco/1.jpg", **dict.fromkeys(detailcaps.WRITERS, " A dog. ")}
    (tmp_path / "data" / "detailcaps" / "detailcaps.jsonl").write_text(json.dumps(row))
    (sample,) = data.samples(replace(detailcaps.TASK, count=1))
    assert sample.references == ("A dog.",) * 3 and sample.image == "1.jpg"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """CAPEval with four images made by hand, three statements each, the last of which no caption says."""
    folder = tmp_path / "data" / "capeval"
    folder.mkdir(parents=True)
    monkeypatch.setenv("CIM_DATA", str(folder.parent))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    lists, references = list[str](), list[str]()
    for at, domain in enumerate(DOMAINS):
        names = {"id": f"{domain}001", "img_path": f"{domain}001.jpg"}
        kinds: dict[str, list[dict[str, str]]] = {f"{kind}_checklist": [] for kind in capeval_task.KINDS}
        kinds["instance_checklist"] = [{"Tags": "object", "Question": f"Does the caption mention thing{at * 'a'}?"}]
        kinds["attribute_checklist"] = [
            {"Tags": "color,size", "Question": f"Does the caption mention purple colour{at * 'a'}?"},
            {"Tags": "color", "Question": "Does the caption mention purple unicorns?"},
        ]
        lists.append(json.dumps(names | kinds))
        references.append(json.dumps(names | {"gt_caption": f"thing{at * 'a'} of purple colour{at * 'a'}."}))
    for file, lines in (("checklist.jsonl", lists), ("gt_caption.jsonl", references)):
        (folder / file).write_text("".join(f"{line}\n" for line in lines))
    files = tuple(replace(file, sha256="", by_hand="made by hand") for file in capeval_task.TASK.files)
    monkeypatch.setattr(capeval_task, "TASK", replace(capeval_task.TASK, files=files, count=4, questions=12))
    registry.forget()
    yield folder
    registry.forget()


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose fake judge compares words, as the models ``served`` and, with short replies, ``short``."""
    with chat_server.serving(fake_readers.reads) as server:
        folder = server.toml(tmp_path / "models", "short", more='revision = "1"\n')
        text = (folder / "short.toml").read_text()
        (folder / "served.toml").write_text(text.replace("max_tokens = 64", "temperature = 0\nmax_tokens = 8192"))
        monkeypatch.setenv("CIM_MODELS", str(folder))
        yield server


def run(cim: Cim, name: str, say: str, *options: str) -> Any:
    """Score captions of the four images: ``say`` with the letters that mark each."""
    texts = {f"{domain}001": say.replace("@", at * "a") for at, domain in enumerate(DOMAINS)}
    path = captions_file(cim.results.parent / f"{name}.jsonl", texts)
    return cim("eval", "--model", path, "--task", "capeval", "--draws", "200", *(options or JUDGED))


JUDGED = ("--metrics", "capeval,length", "--judge", "served")
THREE = {"both": "thing@ of purple colour@", "thing": "thing@", "colour": "purple colour@"}


@pytest.fixture
def three(cim: Cim, tiny: Path, chat: Server) -> Cim:
    """Three judged runs: ``both`` says two of three statements, the others one each."""
    for name, say in THREE.items():
        assert run(cim, name, say).code == 0
    return cim


def test_a_judge_has_a_system_prompt_and_room_for_its_reply(cim: Cim, tiny: Path, chat: Server) -> None:
    path = captions_file(tiny / "c.jsonl", {f"{domain}001": "thing" for domain in DOMAINS})
    command = ("eval", "--model", path, "--task", "capeval", "--metrics", "capeval", "--judge")
    assert "a reply to capeval has up to 8192 tokens, short stops at 64" in cim.refused(*command, "short")
    scored = cim(*command, "served", "--json").json["scores"][0]
    assert [message["role"] for message in chat.bodies[0]["messages"]] == ["system", "user"]
    assert chat.bodies[0]["messages"][0]["content"] == capeval.SYSTEM and chat.bodies[0]["max_tokens"] == 8192
    assert "prompt=capeval@" in scored["signature"].replace(":", "=") and scored["values"]["unparsed_rate"] == 0
    plain, other = (judging.Prompted("f", "a", "text", system).key for system in (None, "system"))
    assert plain != other, "replies that runs share are told apart by the system prompt"


def test_without_a_judge_the_rest_is_scored_and_one_line_says_what_to_run(cim: Cim, tiny: Path) -> None:
    done = run(cim, "mine", "thing", "--metrics", "length")
    assert done.code == 0
    line = cim.refused("facts", "mine")
    assert "no verdicts of capeval in mine; run `cim eval --model " in line and "--metrics capeval --judge J`" in line


def test_facts_of_three_runs(three: Cim) -> None:
    told = three("facts", "both", "thing", "colour", "--json")
    assert told.code == 0, told
    account = told.json
    shares = {(row["group"], row["run"]): row for row in account["shares"]}
    assert (
        account["facts"] == 12
        and account["images"] == 4
        and {group for group, _ in shares}
        == {
            *("all", "instance", "attribute"),
        }
    )
    assert shares["all", "both"]["values"]["right"] == pytest.approx(200 / 3)
    assert shares["attribute", "colour"]["values"] == {
        **{"right": 50, "wrong": 50, "not said": 0, "unparsed": 0, "coverage": 100, "precision": 50},
    }
    assert shares["instance", "colour"]["values"]["precision"] is None
    assert shares["instance", "colour"]["values"]["not said"] == 100 and shares["all", "both"]["against_first"] is None
    assert shares["attribute", "thing"]["against_first"]["difference"] == -50
    assert account["only"]["both"]["facts"] == 0 and account["missed"]["facts"] == 4
    first = account["missed"]["listed"][0]
    assert first["text"].endswith("purple unicorns?") and first["outcomes"] == ["wrong", "not said", "wrong"]
    pair = three("facts", "both", "thing", "--json").json
    assert pair["missed"] is None and pair["only"]["both"]["facts"] == 4 and pair["only"]["thing"]["facts"] == 0
    assert {row["text"][-8:-1] for row in pair["only"]["both"]["listed"]} >= {" colour"}
    by = {row["group"] for row in three("facts", "both", "--by", "tag", "--json").json["shares"]}
    assert by == {"all", "color", "object", "size"}, "a fact with two tags counts in both"


def test_shares_of_the_matrix_are_the_metrics_values(three: Cim) -> None:
    account = three("facts", "thing", "--by", "domain", "--json").json
    (score,) = three(
        "score", "--model", "thing", "--task", "capeval", *JUDGED[2:], "--metrics", "capeval", "--json"
    ).json["scores"]
    for row in account["shares"]:
        prefix = "" if row["group"] == "all" else f"{_slugs()[row['group']]}_"
        for share in ("coverage", "precision"):
            assert (row["values"][share] or 0) == pytest.approx(score["values"][f"{prefix}{share}"])


def test_forms_of_the_account(three: Cim, tmp_path: Path) -> None:
    text = three("facts", "both", "thing", "colour").out
    assert (
        text.startswith("capeval: 12 facts about 4 images, capeval, judged by served@1")
        and "Said right by no run" in text
    )
    rows = list(csv.reader(io.StringIO(three("facts", "both", "thing", "--format", "csv").out)))
    assert len(rows) == 13 and rows[0][-2:] == ["both", "thing"] and rows[1][-2:] == ["right", "right"]
    hostile = captions_file(tmp_path / "=1+1<img>.jsonl", {f"{domain}001": "thing" for domain in DOMAINS})
    assert three("eval", "--model", hostile, "--task", "capeval", "--name", "=1+1", *JUDGED).code == 0
    assert "'=1+1" in three("facts", "=1+1", "both", "--format", "csv").out.splitlines()[0]
    page = tmp_path / "facts.html"
    told = three("facts", "both", "thing", "colour", "--format", "html", "--out", page)
    assert told.code == 0 and "<script" not in page.read_text() and "purple unicorns" in page.read_text()
    assert "Does the caption mention" in (three.results / "capeval" / "both" / "report.html").read_text()


def test_runs_that_cannot_share_a_matrix_are_refused(three: Cim) -> None:
    assert run(three, "few", "thing@", *JUDGED, "--limit", "2").code == 0
    assert "few and both cannot be compared: signatures differ (n: 4 / 2/4" in three.refused("facts", "both", "few")
    assert run(three, "unjudged", "thing@", "--metrics", "length").code == 0
    told = three("facts", "both", "unjudged")
    assert told.code == 0 and "left out: unjudged has no verdicts of capeval; run `cim eval" in told.err
    assert "judges no facts of capeval" in three.refused("facts", "both", "--metric", "relation_qa")
    assert "'-1' is not a whole number" in three.refused("facts", "both", "--top=-1")
    manifest = three.results / "capeval" / "thing" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(data.fingerprint(capeval_task.TASK), "0" * 12))
    assert "made on another version of capeval" in three.refused("facts", "thing")
    details = three.results / "capeval" / "both" / "details.jsonl"
    unsummed(details.parent)
    details.write_text(details.read_text().replace('"yes",', "", 1))
    assert "lacks verdicts of capeval; score the run again" in three.refused("facts", "both")


def test_relation_questions_are_facts_too(cim: Cim, tmp_path: Path) -> None:
    captions = {sample.id: sample.references[0] for sample in data.samples(registry.task("miniscenes"))[:4]}
    path = captions_file(tmp_path / "four.jsonl", captions)
    assert cim("eval", "--model", path, "--partial", "--metrics", "relation_qa", "--draws", "0").code == 0
    account = cim("facts", "four", "--json").json
    assert account["metric"] == "relation_qa" and {row["group"] for row in account["shares"]} == {"all", "relation"}
    assert account["shares"][0]["values"]["right"] == 100


@pytest.mark.parametrize(
    ("answer", "verdict", "outcome"),
    [
        ("yes", "yes", 0),
        ("Yes", "yes", 1),
        ("No", "n/a", 2),
        ("A", "unread", 3),
        ("yes", "not_mentioned", 2),
        ("A", "B", 1),
    ],
)
def test_outcomes(answer: str, verdict: str, outcome: int) -> None:
    assert matrix.outcome(answer, verdict) == outcome


def test_the_questions_of_captionqa_are_asked_one_by_one(
    cim: Cim, tmp_path: Path, chat: Server, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    (tmp_path / "captionqa").mkdir()
    rows = [{"id": f"nat_{at}", "questions": QUESTIONS} for at in range(3)]
    (tmp_path / "captionqa" / "captionqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = captions_file(tmp_path / "mine.jsonl", {row["id"]: "It is blue." for row in rows})  # type: ignore[misc]
    done = cim("eval", "--model", path, "--task", "captionqa", "--judge", "served", "--draws", "50", "--json")
    by_name = {row["metric"]: row for row in done.json["scores"]}
    assert done.code == 0 and len(chat.bodies) == 9 and by_name["caption_qa"]["values"]["accuracy"] >= 100 / 3
    assert by_name["caption_qa"]["controls"].keys() == {"always_a"}
    account = cim("facts", "mine", "--json").json
    assert {row["group"]: row["facts"] for row in account["shares"]} == {"all": 9, "Attribute": 3, "Spatial": 3}


@pytest.fixture(scope="module")
def published() -> Path:
    """CAPEval's own files, or a skip."""
    folder = SHARED / "captions" / "capeval"
    if not folder.is_dir():
        pytest.skip(f"CAPEval's files are not at {folder}")
    return folder


def test_capeval_as_published(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count, first, tenth and last record; the photographs that are there are the samples' images."""
    monkeypatch.setenv("CIM_DATA", str(published.parent))
    samples = data.samples(capeval_task.TASK)
    assert [samples[at].id for at in (0, 9, -1)] == ["DK001", "DK010", "TI040"]
    assert samples[0].facts[0] == Fact(
        "0", "Does the caption mention a mobile robot?", "yes", "instance", "object", source=capeval_task.SOURCE
    )
    assert {path.name for path in (published / "images").iterdir()} <= {sample.image for sample in samples}
    by_domain = {domain: sum(len(s.facts) for s in samples if s.domain == domain) for domain in DOMAINS}
    assert by_domain == {"SO": 7039, "PA": 3164, "TI": 2146, "DK": 2616}, "as its README counts them"


def test_other_tasks_are_pinned() -> None:
    assert iiw400.TASK.files[0].url.startswith("https://raw.githubusercontent.com/google/imageinwords/96d393777e25")
    assert all(name in registry.names("tasks") for name in ("capeval", "capmas", "captionqa", "detailcaps", "iiw400"))
    archive = capeval_task.TASK.archive
    assert (
        archive is not None
        and archive.member(Sample("a", (), "a.jpg")) == f"CAPEval-{capeval_task.COMMIT}/data/image/a.jpg"
    )


def test_the_published_leaderboard_is_data_for_the_audit() -> None:
    from leaderboards.audit import systems

    rows = systems.read(ROOT / "results" / "published" / "tables" / "capeval_leaderboard.csv")
    shown = {(row.system, row.value): row.text for row in rows}
    assert len(shown) == len(rows) == 28 and {row.metric for row in rows} == {"capeval"}
    assert shown["Qwen3-VL-8B", "precision"] == "83.5" and all("@40a92dd" in row.source for row in rows)
