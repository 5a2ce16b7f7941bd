"""The account of outcomes: what failed is asked again, what is no caption is counted and said, thoughts are no text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import registry
from harness.engines import _weights
from harness.resources import data
from harness.runs import no_caption, outcomes, reasoning, records
from harness.types import Completion, Request
from harness.weights import Sampling, Server, Weights
from tests.cli import Cim, captions_file
from tests.conftest import ROOT, SHARED

IDS = [f"demo_{i:02d}" for i in range(1, 13)]
TEXT = {name: f"A caption of {name}, which is no other." for name in IDS}
FAILED = {"error": "refused by the server, status 402 (Insufficient credits)"}
FILTERED = {"error": "content filter", "finish_reason": "content_filter"}
Script = Callable[[dict[str, Any]], None]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Write what model ``scripted`` answers, by the id of a request."""
    monkeypatch.setenv("CIM_PATH", str(ROOT / "tests" / "fakes"))
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "scripted.toml").write_text('about = "a fake"\nengine = "scripted"\n')
    return lambda answers: (tmp_path / "models" / "scripted.json").write_text(json.dumps(answers)) and None


def answers(**others: dict[str, Any]) -> dict[str, Any]:
    return {name: {"text": text, "finish_reason": "stop"} for name, text in TEXT.items()} | others


EVAL = ("eval", "--model", "scripted", "--task", "demo", "--metrics", "length", "--draws", "0")


def rows(cim: Cim, name: str = "scripted") -> list[dict[str, Any]]:
    path = cim.results / "demo" / name / records.NAME
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def verified(cim: Cim, name: str) -> bool:
    return cim("verify", cim.results / "demo" / name).code == 0


def test_failed_captions_are_asked_again_by_the_same_command(cim: Cim, script: Script) -> None:
    script(answers(demo_02=FAILED, demo_07=FAILED))
    first = cim(*EVAL)
    assert first.code == 0
    assert f"warning: 2 of 12 captions failed: {FAILED['error']}; the same command asks again" in first.out
    assert cim(*EVAL).code == 0 and len(rows(cim)) == 12  # failed as before: no row is added
    dry = cim(*EVAL, "--dry-run", "--json").json
    assert dry["captions_to_make"] == 2
    script(answers())
    told = cim(*EVAL, "--json").json
    assert told["outcomes"]["captioned"] == 12 and told["scores"][0]["n_failed"] == 0
    assert told["scores"][0]["values"] == {"words": 8}
    assert [row["sample_id"] for row in rows(cim)] == [*IDS, "demo_02", "demo_07"]
    assert verified(cim, "scripted")


def test_a_caption_that_is_no_failure_stands_once(cim: Cim, script: Script) -> None:
    script(answers(demo_02=FAILED))
    assert cim(*EVAL).code == 0
    path = cim.results / "demo" / "scripted" / records.NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[0]]))
    assert "stands a second time" in cim.refused(*EVAL)


def test_a_killed_second_try_is_scored_when_it_goes_on(cim: Cim, script: Script) -> None:
    """The row of the second try is on the disk, the manifest still has the digest of the first."""
    script(answers(demo_02=FAILED))
    assert cim(*EVAL).code == 0
    path = cim.results / "demo" / "scripted" / records.NAME
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(records.row(Completion("demo_02", TEXT["demo_02"], "stop"))) + "\n")
    assert not verified(cim, "scripted")
    script({})  # nothing is asked any more
    assert cim(*EVAL, "--json").json["outcomes"]["failed"] == 0
    assert verified(cim, "scripted")


def test_an_outage_of_the_second_try_loses_nothing(cim: Cim, script: Script) -> None:
    script(answers(demo_02=FAILED))
    assert cim(*EVAL).code == 0
    script({"demo_02": {"error": "no answer", "outage": True}})
    again = cim(*EVAL)
    assert again.code == 1 and "gave 0 of 1 caption texts (no answer)" in again.err
    assert len(rows(cim)) == 12 and verified(cim, "scripted")


def test_replies_about_a_caption_that_had_failed_are_asked_again(cim: Cim, script: Script) -> None:
    sample, other = data.samples(registry.task("miniscenes"))[:2]
    good = {"text": sample.references[0], "finish_reason": "stop"}
    command = ("eval", "--model", "scripted", "--task", "miniscenes", "--limit", "2", "--draws", "0", "--json")
    command += ("--metrics", "relation_qa")
    second = {other.id: {"text": other.references[0]}}
    script({sample.id: FAILED, **second})
    assert cim(*command).json["scores"][0]["values"]["score"] < 100
    script({sample.id: good, **second})
    assert cim(*command).json["scores"][0]["values"]["score"] == 100


def test_a_final_refusal_is_not_asked_again(cim: Cim, script: Script) -> None:
    """content_filter, or no content with a finish reason: 3 of 12, score and exit 0 (case 05)."""
    script(answers(demo_01=FILTERED, demo_05=FILTERED, demo_09={"error": "no content", "finish_reason": "stop"}))
    told = cim(*EVAL, "--json").json
    account = told["outcomes"]
    assert (account["captioned"], account["refused"], account["failed"]) == (9, 3, 0)
    assert told["scores"][0]["n_failed"] == 3 and told["scores"][0]["values"] == {"words": 6}
    assert account["warnings"][0].startswith(
        "3 of 12 captions refused by the server: content filter (other reasons: 1); they score as empty captions"
    )
    script({})
    assert cim(*EVAL).code == 0 and verified(cim, "scripted")


@pytest.mark.parametrize("answer", [FAILED, FILTERED])
def test_a_run_without_one_caption_is_no_score(cim: Cim, script: Script, answer: dict[str, Any]) -> None:
    """Exit 1 with the reason, named once (case 03); and no number when it is scored all the same."""
    script({"*": answer})
    done = cim(*EVAL)
    assert done.code == 1 and done.out == "" and done.err.count(answer["error"]) == 1
    assert "none of 12 captions could be made" in done.err
    scored = cim("score", *EVAL[1:], "--json")
    assert scored.code == 1 and scored.json["scores"][0]["values"] == {"words": None}
    assert scored.json["scores"][0]["outage"] is True
    script(answers())
    assert cim(*EVAL).code == (0 if answer is FAILED else 1)


def think(text: str) -> str:
    return f"<think>\nMaybe a boat? 1: No\n</think>\n\n{text}"


def test_reasoning_in_a_captions_file_is_split_off_and_said(cim: Cim, tmp_path: Path) -> None:
    """The same numbers as without it (case 13)."""
    command = ("--metrics", "bleu4_char,length", "--draws", "0")
    clean = cim("eval", "--model", captions_file(tmp_path / "clean.jsonl", TEXT), *command, "--json").json
    path = captions_file(tmp_path / "thinking.jsonl", {name: think(text) for name, text in TEXT.items()})
    assert "12 of 12 captions hold a reasoning block; scored without it" in cim("eval", "--model", path, *command).out
    stored = cim("eval", "--model", path, *command, "--json").json
    assert [row["values"] for row in stored["scores"]] == [row["values"] for row in clean["scores"]]
    assert rows(cim, "thinking")[0]["caption"] == TEXT["demo_01"]
    assert rows(cim, "thinking")[0]["reasoning"] == "<think>\nMaybe a boat? 1: No\n</think>"
    assert "reasoning" not in rows(cim, "clean")[0]
    manifests = [json.loads((cim.results / "demo" / n / "manifest.json").read_text()) for n in ("thinking", "clean")]
    assert [manifest.get("reasoning") for manifest in manifests] == ["split off 12 captions", None]
    assert verified(cim, "thinking")


def test_a_caption_of_thoughts_only_is_empty(cim: Cim, script: Script) -> None:
    script(answers(demo_03={"text": "<think>\nThe image shows a", "finish_reason": "length"}))
    account = cim(*EVAL, "--json").json["outcomes"]
    assert (account["captioned"], account["empty"], account["cut"], account["reasoning"]) == (11, 1, 1, 1)


SAID = {
    "template": (
        "<|im_start|>assistant\nA dog by {}.<|im_end|>",
        "12 of 12 captions hold template tokens, such as <|im",
    ),
    "refusals": ("I’m sorry, but I can’t assist with {}.", "12 of 12 captions begin as a refusal"),
    "repeated": ("At {} " + "the water is dark and " * 9, "12 of 12 captions end in a loop"),
    "same": ("A dog.", "12 of 12 captions are the same text for many images"),
    "reasoning_left": ("Okay, so I need to describe {}. It is a dog.", "12 of 12 captions hold reasoning text"),
    "empty": ("", "12 of 12 captions empty"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_no_caption_is_said_everywhere(cim: Cim, tmp_path: Path, name: str) -> None:
    """Terminal, --json, scores.json, page and board (cases 15 and 16); the texts are scored as they are."""
    form, line = SAID[name]
    path = captions_file(tmp_path / "odd.jsonl", {sample_id: form.format(sample_id) for sample_id in IDS})
    command = ("eval", "--model", path, "--metrics", "length", "--draws", "0")
    assert f"warning: {line}" in cim(*command).out
    told = cim(*command, "--json").json
    assert told["outcomes"][name] == 12
    folder = cim.results / "demo" / "odd"
    assert json.loads((folder / "scores.json").read_text())["outcomes"] == told["outcomes"]
    shown = line.replace("<", "&lt;")
    assert shown in (folder / "report.html").read_text(encoding="utf-8")
    assert cim("board").code == 0
    pages = "".join(page.read_text(encoding="utf-8") for page in cim.results.glob(".leaderboards/board/**/*.html"))
    assert shown in pages


def test_a_run_of_captions_says_nothing(cim: Cim, tmp_path: Path) -> None:
    out = cim("eval", "--model", captions_file(tmp_path / "fine.jsonl", TEXT), "--metrics", "length").out
    assert "warning" not in out and "of 12 captions" not in out


def test_an_edited_account_is_detected(cim: Cim, script: Script) -> None:
    script(answers(demo_02=FAILED))
    assert cim(*EVAL).code == 0
    path = cim.results / "demo" / "scripted" / "scores.json"
    document = json.loads(path.read_text())
    document["outcomes"]["failed"] = 0
    path.write_text(json.dumps(document))
    assert not verified(cim, "scripted")


def test_captions_cut_by_the_token_limit_are_counted() -> None:
    """Case 18; under the limit of 5 % a count is a note and no warning."""
    server = Server("http://x", "m", sampling=Sampling(max_tokens=64))
    weights = Weights("m", sampling=Sampling(max_tokens=64))
    whole = [Completion(f"{i}", f"Caption {i}.", "stop") for i in range(19)]
    for settings in (server.settings(), weights.settings()):
        account = outcomes.count([*whole, Completion("x", "Cut", "length")], settings)
        assert account.notes == ["1 of 20 captions cut at max_tokens = 64"] and account.warnings == []
    cut = outcomes.count([Completion(f"{i}", f"A {i}", "MAX_TOKENS") for i in range(12)], {"sampling": "?"})
    assert cut.warnings == ["12 of 12 captions cut at the token limit; raise sampling.max_tokens"]
    thinking = Completion("x", None, "length", error="an answer without a text", reasoning="Let me see")
    account = outcomes.count([*whole, thinking], server.settings())
    assert (account.refused, account.cut, account.failed) == (1, 1, 0)
    assert outcomes.count([], {}).as_row()["warnings"] == []


SPLIT = {
    "A dog.": ("A dog.", None),
    " A dog. \n": (" A dog. \n", None),
    "<think>x</think>A dog.": ("A dog.", "<think>x</think>"),
    "x\n</think>\n\nA dog.": ("A dog.", "x\n</think>"),
    "<think>a</think> b <think>c</think> A dog.": ("A dog.", "<think>a</think> b <think>c</think>"),
    "<think>x": ("", "<think>x"),
    "<|im_start|>assistant\n<think>x": ("", "<|im_start|>assistant\n<think>x"),
    "<think>x</think>": ("", "<think>x</think>"),
    "A dog. <think>fine?</think>": ("A dog.", "<think>fine?</think>"),
    "A tag <think> on a sign": ("A tag <think> on a sign", None),
    "<Thinking>x</Thinking>A dog.": ("A dog.", "<Thinking>x</Thinking>"),
    "<reasoning>x</reasoning>A dog.": ("A dog.", "<reasoning>x</reasoning>"),
    "<seed:think>x</seed:think>A dog.": ("A dog.", "<seed:think>x</seed:think>"),
    "&lt;think&gt;x&lt;/think&gt;A dog.": ("A dog.", "&lt;think&gt;x&lt;/think&gt;"),
    "◁think▷x◁/think▷A dog.": ("A dog.", "◁think▷x◁/think▷"),
    "[THINK]x[/THINK]A dog.": ("A dog.", "[THINK]x[/THINK]"),
    "<|START_THINKING|>x<|END_THINKING|>A dog.": ("A dog.", "<|START_THINKING|>x<|END_THINKING|>"),
    "<unused94>thought\nx<unused95>A dog.": ("A dog.", "<unused94>thought\nx<unused95>"),
    "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>A dog.": (
        "A dog.",
        "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "analysisThe user wants x.assistantfinalA dog.": ("A dog.", "analysisThe user wants x.assistantfinal"),
    "analysis of a picture": ("analysis of a picture", None),
}


@pytest.mark.parametrize("text", SPLIT)
def test_thoughts_are_split_off(text: str) -> None:
    assert reasoning.split(text) == SPLIT[text]


class Tokens:
    """A FAKE tokenizer: ids are places in ``words``; those in brackets are special, as in Magistral's."""

    words = ("[THINK]", "[/THINK]", "</s>", "a", "dog", "1: No", "<think>", "</think>")
    all_special_tokens = words[:3]

    def decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        assert clean_up_tokenization_spaces is False
        words = [self.words[i] for i in ids]
        return " ".join(word for word in words if not skip_special_tokens or word not in self.all_special_tokens)


@pytest.mark.parametrize(
    ("prompt", "ids", "text", "thoughts"),
    [
        ([3], [3, 4, 2], "a dog", None),
        ([3], [0, 5, 1, 3, 4, 2], "a dog", "[THINK] 1: No [/THINK]"),  # tags that decoding drops
        ([3, 6], [5, 7, 3, 4, 2], "a dog", "<think>1: No </think>"),  # opened by the template
        ([3, 6], [5, 4], "", "<think>1: No dog"),  # cut before they were closed
        ([6, 7], [3, 4, 2], "a dog", None),  # closed by the template: thinking is off
    ],
)
def test_thoughts_of_weights_are_split_off_whoever_writes_the_tags(
    prompt: list[int], ids: list[int], text: str, thoughts: str | None
) -> None:
    written = _weights.Written(Request("a", "?"), prompt, ids, stopped=ids[-1] == 2)
    row = _weights.completion(SimpleNamespace(tokenizer=Tokens()), written)
    assert (row.text, row.reasoning, row.finish_reason) == (text, thoughts, "stop" if ids[-1] == 2 else "length")
    assert reasoning.split_off(row) == row


FLAGGED: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "template": (
        no_caption.template_token,
        (
            "A dog.<|im_end|>",
            "A dog.<|endoftext|>",
            "<s> A dog.",
            "A dog.</s>",
            "[INST] Describe [/INST] A dog.",
            "<start_of_turn>model\nA dog.<end_of_turn>",
            "A dog.<|eot_id|>",
            "<|begin_of_box|>A dog.<|end_of_box|>",
            "<｜begin▁of▁sentence｜>A dog.",
            "ASSISTANT: A dog.",
            "A dog.\nuser\nDescribe it.",
            "A dog. ### Human: And now?",
            "A dog USER: What?",
            "ĠAĠdog",
            "<0x0A>A dog.",
            "<answer>A dog.</answer>",
        ),
    ),
    "refusal": (
        no_caption.refusal,
        (
            "I'm sorry, but I can't help with that.",
            "I’m sorry, I can’t assist.",
            "Sorry, I cannot describe this.",
            "As an AI language model, I cannot see images.",
            "As an artificial intelligence, I",
            "I cannot assist with this request.",
            "I am unable to view the image.",
            "Unfortunately, I can't provide a caption.",
            "**I apologize**, but no.",
            "\"I don't see any image here.",
            "It seems like no image was provided.",
            "很抱歉，我无法描述。",
            "Please upload the picture.",
        ),
    ),
    "thoughts": (
        no_caption.thoughts,
        (
            "Got it, let's describe the picture.",
            "Okay, the user wants a caption.",
            "The user is asking for a caption.",
            "**Thinking Process:**\n1. look",
            "We need to produce a caption.",
            "A dog </think> stands",
        ),
    ),
    "loops": (
        no_caption.loops,
        (
            "A dog " + "and a cat " * 5,
            "A dog. " + "the water is dark and " * 3 + "the wat",
            "!" * 40,
            "very " * 12,
            "一只狗" + "在草地上" * 4,
        ),
    ),
}
CAPTIONS = (
    "A dog sits on a mat. A dog sits on a mat.",
    "I can see a dog in the image.",
    "The image shows a man who is sorry; a sign says: I'm sorry, but I can't.",
    "Okay restaurant signs light up the street.",
    "Let's Go Bulldogs is written on a banner.",
    "A model: a small ship on a table, with a price of <10 dollars>.",
    "The clock shows 1 2 3 4 5 6 7 8 9 10 11 12.",
    "A user interface with the words [Settings] and [Help].",
    "Knock, knock, knock, says the sign.",
    "Please Wash Hands is written on a sign.",
    "As an airplane takes off, a man waves.",
    "I don't see a picture of a dog that is not cute.",
    "A system of pipes.\nThe model\nof a ship stands in front.",
)


@pytest.mark.parametrize("kind", FLAGGED)
def test_each_family_is_known_and_captions_are_none(kind: str) -> None:
    known, texts = FLAGGED[kind]
    assert [text for text in texts if not known(text)] == []
    assert [text for text in CAPTIONS if known(text)] == []


@pytest.mark.timeout(60)  # a pattern that backtracks takes hours
@pytest.mark.parametrize(
    "part", ["\n", " ", "<", "<|", "<think>", "sorry, but ", "a ", "*", "analysisA", "I"], ids=repr
)
def test_a_hostile_text_is_read_in_time(part: str) -> None:
    text = part * (100_000 // len(part))
    reasoning.answer(text)
    outcomes.count([reasoning.split_off(Completion("a", text))], {})


def test_human_captions_are_captions() -> None:
    """References of both benchmarks, and those of 300 photographs: nothing in them is counted."""
    files = [
        SHARED / "benchmarks" / n for n in ("coco_ln500/test_cocoln_500_gt.json", "docci500/test_docci_500_gt.json")
    ]
    if not all(path.is_file() for path in files):
        pytest.skip(f"annotation files not found under {SHARED / 'benchmarks'}")
    texts = [text for path in files for text in json.loads(path.read_text(encoding="utf-8")).values()]
    account = outcomes.count([reasoning.split_off(Completion(str(at), text)) for at, text in enumerate(texts)], {})
    assert account.captioned == len(texts) == 1000 and account.notes == account.warnings == []


QA = ("eval", "--partial", "--metrics", "relation_qa", "--judge", "scripted", "--draws", "0", "--json")


@pytest.mark.parametrize(
    ("reply", "score", "tolerant", "unparsed"),
    [
        ("{}", 100, 100, 0),
        ("<think>\n1: No, 2: no, 3: No.\n</think>\n\n{}", 100, 100, 0),
        ("1: No, 2: No, 3: No</think>{}", 100, 100, 0),
        ("<think>For 1: No, 2: No, 3: No, but", 0, 0, 100),
        ("<think>1: No</think>\n<think>{}", 0, 0, 100),
        ("[THINK]1: No, 2: No, 3: No[/THINK]{}", 100, 100, 0),
    ],
)
def test_thoughts_of_a_judge_are_no_verdicts(
    cim: Cim, script: Script, tmp_path: Path, reply: str, score: float, tolerant: float, unparsed: float
) -> None:
    """Both readings read what follows the last closing tag; thoughts that were not closed are unparsed (case 20)."""
    samples = data.samples(registry.task("miniscenes"))[:3]
    path = captions_file(tmp_path / "c.jsonl", {sample.id: sample.references[0] for sample in samples})
    script(
        {
            sample.id: {"text": reply.format(", ".join(f"{n}: {q.answer}" for n, q in enumerate(sample.questions, 1)))}
            for sample in samples
        }
        | {"*": {"text": "?"}}
    )
    (row,) = cim(*QA, "--model", path).json["scores"]
    values = row["values"]
    assert (values["score"], values["score_tolerant"], values["unparsed_rate"]) == (score, tolerant, unparsed)
    assert ("|thoughts:removed" in row["signature"]) == (reply != "{}")


def test_a_reply_that_was_refused_is_unparsed_and_all_refused_are_no_score(
    cim: Cim, script: Script, tmp_path: Path
) -> None:
    samples = data.samples(registry.task("miniscenes"))[:2]
    path = captions_file(tmp_path / "c.jsonl", {sample.id: sample.references[0] for sample in samples})
    right = ", ".join(f"{n}: {q.answer}" for n, q in enumerate(samples[0].questions, 1))
    script({samples[0].id: {"text": right}, "*": FILTERED})
    told = cim(*QA, "--model", path).json["scores"][0]
    assert told["counts"]["unparsed"] == len(samples[1].questions) and 0 < told["values"]["score"] < 100
    script({"*": FILTERED})
    none = cim(*QA, "--model", path, "--fresh")
    assert none.code == 1 and none.json["scores"][0]["values"]["score"] is None
    assert "content filter" in none.json["scores"][0]["not_computed"]
