"""Judges through the Batch API, against a fake of it: nothing twice, nothing lost, the same rows as without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.engines import _batch, openai
from harness.resources import data
from tests import chat_server
from tests.batch_server import Batches
from tests.cli import Cim, captions_file

SECRET = "sk-this-is-no-real-key"


def completion(body: dict[str, Any]) -> tuple[int, Any]:
    """What the chat server answers, as the body of a response."""
    message = {"role": "assistant", "content": chat_server.by_rules(body)}
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    return 200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def api(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[chat_server.Server]:
    """A server with a Batch API that answers as the rule judge, and a run of twelve captions to be judged."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("CIM_TEST_KEY", SECRET)
    monkeypatch.setattr(openai, "FIRST", 0.001)
    samples = data.samples(registry.task("miniscenes"))[:12]
    captions_file(tmp_path / "twelve.jsonl", {sample.id: sample.references[0] for sample in samples})
    with chat_server.serving() as server:
        server.batches = Batches(completion)
        server.toml(tmp_path / "models", table='api_key_env = "CIM_TEST_KEY"\n')
        monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
        assert cim(*command(tmp_path, "caption")).code == 0
        yield server


def command(folder: Path, verb: str = "judge", *more: str) -> tuple[str | Path, ...]:
    common = (verb, "--model", folder / "twelve.jsonl", "--partial", "--metrics", "relation_qa", "--judge", "served")
    return (*common, "--json", *more)


def stored(cim: Cim) -> list[str]:
    path = cim.results / "miniscenes" / "twelve" / "replies.relation_qa.served.jsonl"
    return sorted(path.read_text().splitlines()) if path.is_file() else []


def test_a_batch_gives_the_rows_that_single_requests_give(api: chat_server.Server, cim: Cim, tmp_path: Path) -> None:
    batches = api.batches
    assert batches is not None
    plan = cim(*command(tmp_path, "judge", "--batch", "submit", "--dry-run")).json
    assert (plan["requests"], plan["in_batches"], plan["reply_tokens"]) == (12, 0, 12 * 64) and plan[
        "prompt_tokens"
    ] > 99
    assert batches.calls == [] and not list(cim.results.rglob("batches.*"))
    sent = cim(*command(tmp_path, "judge", "--batch", "submit")).json
    assert (sent["requests"], sent["in_batches"], sent["batches"]) == (12, 12, ["batch_0"])
    again = cim(*command(tmp_path, "judge", "--batch", "submit")).json
    assert (again["requests"], again["in_batches"]) == (0, 12) and batches.calls == [
        "POST /files",
        "GET /batches",
        "POST /batches",
    ]
    early = cim(*command(tmp_path, "judge", "--batch", "collect"))
    assert early.code == 1 and "12 of 12 replies are not there: batch batch_0 in_progress" in early.err
    assert stored(cim) == []
    batches.end("batch_0")
    done = cim(*command(tmp_path, "judge", "--batch", "collect"))
    assert done.code == 0 and done.json["replies"] == {"relation_qa": 12}, done
    from_batch, asked = stored(cim), len(api.bodies)
    assert cim(*command(tmp_path, "judge", "--batch", "collect")).json["replies"] == {"relation_qa": 0}
    (cim.results / "miniscenes" / "twelve" / "replies.relation_qa.served.jsonl").unlink()
    assert cim(*command(tmp_path)).code == 0 and len(api.bodies) == asked + 12
    assert stored(cim) == from_batch and len(from_batch) == 12
    assert sorted(map(json.dumps, api.bodies[-12:])) == sorted(
        json.dumps(row["body"]) for row in batches.requests("batch_0")
    )
    files = [path for path in cim.results.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("dying", ["POST /files", "GET /batches", "POST /batches"])
def test_a_submission_that_dies_is_not_made_twice(
    dying: str, api: chat_server.Server, cim: Cim, tmp_path: Path
) -> None:
    """Each call arrives, and its answer does not."""
    batches = api.batches
    assert batches is not None
    batches.dying = dying
    gone = cim(*command(tmp_path, "judge", "--batch", "submit"))
    assert gone.code == 1 and "the same command goes on" in gone.err and "Traceback" not in gone.err
    assert cim(*command(tmp_path, "judge", "--batch", "submit")).json["in_batches"] == 12
    assert list(batches.batches) == ["batch_0"] and len(batches.requests("batch_0")) == 12
    batches.end("batch_0")
    batches.dying = "GET /files"
    assert cim(*command(tmp_path, "judge", "--batch", "collect")).code == 1
    assert cim(*command(tmp_path, "judge", "--batch", "collect")).code == 0 and len(stored(cim)) == 12


def test_what_a_batch_leaves_is_submitted_again(api: chat_server.Server, cim: Cim, tmp_path: Path) -> None:
    batches = api.batches
    assert batches is not None
    answers = iter([*[(500, {"error": {"message": "oh"}})] * 2, None, (400, {"error": {"message": "no"}})])
    batches.response = lambda body: next(answers, completion(body))
    cim(*command(tmp_path, "judge", "--batch", "submit"))
    batches.end("batch_0", "expired")
    part = cim(*command(tmp_path, "judge", "--batch", "collect"))
    assert part.code == 1 and "4 of 12 replies are not there, the first: status 500 (oh)" in part.err
    assert "`--batch submit` in place of `--batch collect` asks for them again" in part.err and len(stored(cim)) == 8
    assert cim(*command(tmp_path, "judge", "--batch", "submit")).json["requests"] == 4
    batches.batches["batch_1"] |= {"status": "failed", "errors": {"data": [{"message": "bad line"}]}}
    failed = cim(*command(tmp_path, "judge", "--batch", "collect"))
    assert failed.code == 1 and "batch batch_1 failed" in failed.err and "bad line" in failed.err
    assert cim(*command(tmp_path, "judge", "--batch", "submit")).json["requests"] == 4
    batches.end("batch_2")
    assert cim(*command(tmp_path, "judge", "--batch", "collect")).code == 0 and len(stored(cim)) == 12
    assert cim(*command(tmp_path, "score")).json["scores"][0]["values"]["score"] == 100


def test_a_key_that_a_batch_repeats_stands_nowhere(api: chat_server.Server, cim: Cim, tmp_path: Path) -> None:
    batches = api.batches
    assert batches is not None
    cim(*command(tmp_path, "judge", "--batch", "submit"))
    whole, at = completion, iter(range(12))

    def repeating(body: dict[str, Any]) -> tuple[int, Any]:
        status, answer = whole(body)
        answer["choices"][0]["message"]["content"] += f" {SECRET}"
        return (status, answer) if next(at) % 2 else (400, {"error": {"message": f"key {SECRET}"}})

    batches.response = repeating
    batches.end("batch_0")
    done = cim(*command(tmp_path, "judge", "--batch", "collect"))
    assert done.code == 1 and SECRET not in done.out + done.err and "[API key]" in done.err and len(stored(cim)) == 6
    files = [path for path in cim.results.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_server_that_refuses_a_field_is_known_before_the_upload(
    api: chat_server.Server, cim: Cim, tmp_path: Path
) -> None:
    batches = api.batches
    assert batches is not None
    api.always = lambda body: "400 Unknown: top_k" if "top_k" in body else ""
    assert cim(*command(tmp_path, "judge", "--batch", "submit")).code == 0
    assert all("top_k" not in row["body"] for row in batches.requests("batch_0"))
    assert cim(*command(tmp_path, "judge", "--batch", "submit")).json["requests"] == 0
    batches.end("batch_0")
    assert cim(*command(tmp_path, "judge", "--batch", "collect")).code == 0 and len(stored(cim)) == 12


def test_files_keep_the_limits_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [_batch.Line(str(at), b"x" * 10) for at in range(7)]
    monkeypatch.setattr(_batch, "MOST", 3)
    assert [len(part) for part in _batch.split(lines)] == [3, 3, 1]
    monkeypatch.setattr(_batch, "LONGEST", 25)
    assert [len(part) for part in _batch.split(lines)] == [2, 2, 2, 1]


def test_bad_uses_are_refused(api: chat_server.Server, cim: Cim, tmp_path: Path) -> None:
    common = ("judge", "--model", tmp_path / "twelve.jsonl", "--partial", "--batch", "submit")
    assert "engine openai needs a model with a table [openai]" in cim.refused(*common, "--judge", "rule-judge")
    assert "--fresh does not go with --batch" in cim.refused(*common, "--judge", "served", "--fresh")
    assert "no metric that a judge answers for" in cim.refused(*common, "--judge", "served", "--metrics", "length")
    (cim.results / "miniscenes" / "twelve" / "batches.served.json").write_text('{"batches": [{}]}')
    assert "lacks sha256; " in cim.refused(*common, "--judge", "served")
