"""Engine openai: what servers refuse, limits and spent accounts, trickling answers, repeated keys, replaced models."""

from __future__ import annotations

import base64
import html
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from harness import registry
from harness.engines import _chat, _http, openai
from harness.errors import CimError, OutageError, SettingsError
from harness.runs import manifest, records, served
from harness.stages import model
from harness.types import Completion, Request, Served
from harness.weights import Sampling, Server
from tests import chat_server, pictures
from tests.cli import Cim
from tests.test_openai import ASKED, answers, echo
from tests.test_openai import served as model_of

SECRET = "sk-proj-no/Real+Key-0123456789abcdef&<x>"
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "percent": lambda text: quote(text, safe=""),
    "path": quote,
    "slashes": lambda text: text.replace("/", r"\/"),
    "html": html.escape,
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "bearer": lambda text: base64.b64encode(f"Bearer {text}".encode()).decode(),
    "basic": lambda text: base64.urlsafe_b64encode(f"me:{text}".encode()).decode(),
    "cut": lambda text: text[: 2 * len(text) // 3],
}


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[chat_server.Server]:
    """A server that repeats the last message; waits between tries are cut short."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(openai, "FIRST", 0.001)
    monkeypatch.setattr(openai, "CONNECT", 0.2)
    with chat_server.serving(echo) as server:
        yield server


@pytest.fixture
def captioned(
    chat: chat_server.Server, cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, ...]]:
    """Makes a task of six pictures and a model on the server; gives the command that evaluates it."""
    monkeypatch.setattr(registry, "task", registry.task)
    monkeypatch.setattr(registry, "names", registry.names)
    pictures.known(pictures.draw(tmp_path / "pictures", 6))
    chat.answer = lambda body: "A small boat on a lake."

    def command(table: str = "") -> tuple[str, ...]:
        chat.toml(tmp_path / "models", table=f"retries = 1\nconcurrency = 1\n{table}")
        monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
        return ("eval", "--model", "served", "--task", "pictures", "--metrics", "length", "--draws", "0", "--json")

    return command


def refusing(*fields: str) -> Callable[[dict[str, Any]], str]:
    """A server that refuses requests with any of these fields and names those it saw."""
    return lambda body: (
        ",".join(name for name in fields if name in body)
        and ("400 Unrecognized arguments: " + ", ".join(name for name in fields if name in body))
    )


@pytest.mark.parametrize(
    "fault", ["402 Insufficient credits", "400 Your credit balance is too low", "413 Too many tokens"]
)
def test_a_spent_account_is_an_outage_and_the_same_command_goes_on(
    fault: str, chat: chat_server.Server, captioned: Callable[..., tuple[str, ...]], cim: Cim
) -> None:
    common = captioned()
    chat.always = lambda body: "" if len(chat.bodies) <= 2 else fault
    gone = cim(*common)
    assert gone.code == 1 and gone.out == "" and f"status {fault[:3]} ({fault[4:]})" in gone.err, gone
    assert len(records.read(cim.results / "pictures" / "served")) == 2 and len(chat.bodies) == 3
    chat.always = lambda body: ""
    whole = cim(*common)
    assert whole.code == 0 and len(chat.bodies) == 3 + 4
    assert [whole.json["scores"][0][name] for name in ("n", "n_failed")] == [6, 0]


@pytest.mark.parametrize(
    ("field", "said", "remedy"),
    [
        ("temperature", "", 'field temperature: put omit = ["temperature"] into [openai]'),
        ("max_tokens", "; use 'max_completion_tokens'", 'max_tokens_field = "max_completion_tokens" into [openai]'),
        ("messages", "", "mend the model's TOML or the server"),
    ],
)
def test_a_server_that_refuses_everything_is_an_outage_that_names_the_field(
    field: str, said: str, remedy: str, chat: chat_server.Server, captioned: Callable[..., tuple[str, ...]], cim: Cim
) -> None:
    common = captioned()
    chat.always = lambda body: f"400 Unsupported parameter: '{field}'{said}" if field in body else ""
    gone = cim(*common)
    assert gone.code == 1 and gone.out == "", gone
    assert f"server refuses every request, status 400 (Unsupported parameter: '{field}'" in gone.err
    assert remedy in gone.err and len(chat.bodies) == 3  # refused, a trial, a trial without neutral fields
    assert records.read(cim.results / "pictures" / "served") == {}


def test_a_refused_sample_fails_alone_though_it_is_the_first(chat: chat_server.Server, tmp_path: Path) -> None:
    chat.always = lambda body: "400 context length" if body["messages"][-1]["content"] == "word 0" else ""
    answered = answers(model_of(chat, tmp_path, table="concurrency = 1\n"), ASKED)
    assert (
        answered["s00"].error == "refused by the server, status 400 (context length)"
        and not answered["s00"].finish_reason
    )
    assert sum(completion.text is not None for completion in answered.values()) == 19 and len(chat.bodies) == 21


def test_neutral_fields_that_a_server_does_not_know_are_left_out(chat: chat_server.Server, tmp_path: Path) -> None:
    """OpenAI's refuses both; neither would change a caption at its neutral value."""
    chat.always = refusing("top_k", "repetition_penalty")
    answered = answers(model_of(chat, tmp_path), ASKED)
    assert all(completion.text for completion in answered.values())
    assert {completion.served for completion in answered.values()} == {
        Served(None, None, ("repetition_penalty", "top_k"))
    }
    assert {"top_k", "repetition_penalty"} & chat.bodies[-1].keys() == set() and chat.bodies[-1]["top_p"] == 1
    needed = model_of(chat, tmp_path)
    assert needed.server is not None
    needed = replace(needed, server=replace(needed.server, sampling=Sampling(repetition_penalty=1.1)))
    with pytest.raises(OutageError, match=r'put omit = \["repetition_penalty"\] into \[openai\]'):
        answers(needed, ASKED)


def test_omitted_fields_are_not_sent_and_recorded_as_the_servers_choice(
    chat: chat_server.Server, tmp_path: Path
) -> None:
    table = 'omit = ["temperature", "max_tokens", "top_k"]\n'
    model_of(chat, tmp_path)
    text = (tmp_path / "served.toml").read_text().replace("[sampling]\nmax_tokens = 64\n", "")
    (tmp_path / "served.toml").write_text(text + table)
    configured = model.from_toml(tmp_path / "served.toml")
    answers(configured, ASKED[:1])
    assert chat.bodies[-1].keys() == {"model", "messages", "top_p", "repetition_penalty"}
    describe = registry.engine("openai").describe
    assert describe is not None
    assert describe(configured)["server_default"] == ["temperature", "top_k", "max_tokens", "seed"]


SERVER = Server("http://127.0.0.1:9/v1", "m")
TEXTLESS = {"role": "assistant", "content": None}
PARTS = [{"type": "text", "text": "A "}, {"type": "text", "text": "boat."}]
ANSWERS = (
    ({**TEXTLESS, "refusal": "No."}, "stop", Completion("a", None, "refusal", error="refused by the model (No.)")),
    (TEXTLESS, "content_filter", Completion("a", None, "content_filter", error="without a text")),
    ({**TEXTLESS, "reasoning": "hm"}, "length", Completion("a", None, "length", error="", reasoning="hm")),
    ({"content": "", "reasoning_content": "hm"}, "stop", Completion("a", "", "stop", reasoning="hm")),
    ({"content": PARTS}, "stop", Completion("a", "A boat.", "stop")),
    ({"content": "half \ud800"}, "st\udfffop", Completion("a", "half \ufffd", "st\ufffdop")),
)


@pytest.mark.parametrize(("message", "finish", "expected"), ANSWERS, ids=range(len(ANSWERS)))
def test_what_an_answer_means(message: Any, finish: str, expected: Completion) -> None:
    answer = json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()
    completion = _chat.read(SERVER, Request("a", "?"), _http.Answer(200, _http._content(answer, None, rows=False)))
    assert isinstance(completion, Completion) and replace(completion, error=None) == replace(expected, error=None)
    assert (completion.error is None) == (expected.error is None) and (expected.error or "") in (completion.error or "")


@pytest.mark.parametrize(
    "usage", [{"completion_tokens": count} for count in (-1, True, "7", 1e9, 1 << 60, None)] + [[], 5]
)
def test_absurd_token_counts_are_not_believed(usage: Any) -> None:
    content = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    completion = _chat.read(SERVER, Request("a", "?"), _http.Answer(200, content))
    assert isinstance(completion, Completion) and completion.completion_tokens is None


def test_errors_of_openrouter_azure_and_anthropic() -> None:
    def read(code: int, content: Any) -> Any:
        return _chat.read(SERVER, Request("a", "?"), _http.Answer(code, content))

    with pytest.raises(OutageError, match="status 402"):
        read(200, {"error": {"code": 402, "message": "Insufficient credits"}})
    with pytest.raises(OutageError, match="usage limits"):
        read(400, {"error": {"type": "invalid_request_error", "message": "You have reached your API usage limits."}})
    assert isinstance(read(429, {"error": {"code": "insufficient_quota", "message": "You exceeded"}}), _chat.Later)
    assert isinstance(read(413, "<html>"), Completion) and isinstance(
        _chat.read(SERVER, Request("a", "?"), _http.Answer(413, "", after=2.0)), _chat.Later
    )
    filtered = read(400, {"error": {"code": "content_filter", "message": "The prompt was filtered"}})
    assert filtered.finish_reason == "content_filter" and not filtered.outage
    with pytest.raises(CimError, match="server answers 401") as caught:
        read(401, [])
    assert not isinstance(caught.value, OutageError)


@contextmanager
def raw(first: bytes, again: bytes, pause: float) -> Iterator[str]:
    """A server that sends ``first`` and then ``again`` for ever; gives its address."""
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(first)
            while not ended.wait(pause):
                connection.sendall(again)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.timeout(60)  # without a deadline none of them ends
@pytest.mark.parametrize(
    ("first", "again", "pause"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a", 0.02),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" ", 0.02),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.02),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;x=y", 0.02),
        (b"HTT", b"", 0.02),
    ],
    ids=["header", "100 Continue", "body", "chunks", "chunk size", "silence"],
)
def test_no_trickle_outlasts_the_deadline(
    first: bytes, again: bytes, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with raw(first, again, pause) as address:
        answer = _http.exchange(_http.Call(f"{address}/chat/completions", json={}), None, 0.2, 0.5)
    assert isinstance(answer, _http.Unanswered), answer
    for thread in [thread for thread in threading.enumerate() if thread.name == "deadline"]:
        thread.join(20)
        assert not thread.is_alive()


def test_an_answer_without_bound_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with raw(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 4096, 0.0) as address:
        answer = _http.exchange(_http.Call(address, json={}, largest=100_000), None, 5.0, 20.0)
    assert answer == _http.Unanswered("an answer of more than 100000 bytes")


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_hidden_in_every_form(form: str) -> None:
    for before in ("", "Bearer ", "x" * 7):
        text = f"{before}{FORMS[form](SECRET)} and more"
        shown = _http.hidden(text, SECRET)
        assert _http.HIDDEN in shown and shown.endswith(" and more")
        assert not any(text[at : at + 20] in shown for at in range(len(before), len(text) - 28))


def test_no_other_text_is_changed() -> None:
    for text in ("sk-proj-...def", "A dog, İstanbul, sk-proj-no", "", "x" * 100):
        assert _http.hidden(text, SECRET) == text
    assert _http.hidden("EMPTY is a word", "EMPTY") == "EMPTY is a word"


@pytest.mark.parametrize("place", ["caption", "error", "fatal", "retried", "page"])
@pytest.mark.parametrize("form", ["plain", "percent", "bearer", "cut"])
def test_a_key_that_a_server_repeats_stands_nowhere(
    place: str,
    form: str,
    chat: chat_server.Server,
    captioned: Callable[..., tuple[str, ...]],
    cim: Cim,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIM_TEST_KEY", SECRET)
    common = captioned('api_key_env = "CIM_TEST_KEY"\n')
    shown = FORMS[form](SECRET)
    chat.answer = lambda body: f"A boat called {shown}."
    chat.message = {"reasoning_content": f"The key is {shown}", "model": shown}
    chat.top = {"model": f"m {shown}", "system_fingerprint": shown, "id": shown}
    chat.retry_after = shown
    code = {"error": "400", "fatal": "401", "retried": "429", "page": "503"}.get(place)
    chat.always = lambda body: f"{code} You sent {shown}" if code and len(chat.bodies) > 1 else ""
    done = cim(*common)
    assert done.code in (0, 1, 2) and len(chat.bodies) > 1 and chat.headers[-1]["Authorization"] == f"Bearer {SECRET}"
    assert not leaks(done.out + done.err, shown)
    files = [Path(folder) / name for folder, _, names in os.walk(cim.results) for name in names]
    assert len(files) >= 3 and not [path for path in files if leaks(path.read_text(errors="replace"), shown)]
    assert any(_http.HIDDEN in path.read_text(errors="replace") for path in files)


def leaks(text: str, shown: str) -> bool:
    """Does a text hold a good part of what the server showed?"""
    return any(shown[at : at + 20] in text for at in range(0, len(shown) - 20))


def test_a_key_in_a_header_that_is_none_is_not_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    head = f"HTTP/1.1 400 {SECRET}\r\nContent-Length: 2\r\n{SECRET}\r\n\r\n{{}}"
    with caplog.at_level("DEBUG"), raw(head.encode(), b"", 0.02) as address:
        answer = _http.exchange(_http.Call(address, json={}), SECRET, 0.5, 5.0)
    assert isinstance(answer, _http.Answer) and answer.status == 400
    assert caplog.records and SECRET not in caplog.text and SECRET not in str(answer)


def completions(*models: Served | None) -> Iterator[Completion]:
    return (Completion(f"s{at}", "x", served=who) for at, who in enumerate(models))


def test_another_answering_model_is_refused(tmp_path: Path) -> None:
    old, new = Served("gpt-1", "fp_1"), Served("gpt-2", "fp_1")
    task = {"name": "t", "version": "1", "data": "d", "prompt": "p"}
    settings = {"task": task, "model": {"engine": "openai"}, "samples": {"n": 1, "limit": None, "ids": "i"}}
    manifest.begin(tmp_path, settings, {})

    def pass_on(*models: Served | None, stored: bool = True, role: str = served.CAPTIONS) -> list[Completion]:
        return list(served.watched(tmp_path, role, completions(*models), stored=stored))

    assert len(pass_on(None, old, old, None, Served(None, "fp_1"), Served("gpt-1"), stored=False)) == 6
    assert (manifest.read(tmp_path) or {})["served"] == {"captions": {"model": "gpt-1", "fingerprint": "fp_1"}}
    with pytest.raises(SettingsError, match=r"with another model \(stored / now: model: gpt-1 / gpt-2\)"):
        pass_on(new)
    with pytest.raises(SettingsError, match="fingerprint: fp_1 / fp_2"):
        pass_on(old, Served("gpt-1", "fp_2"))
    assert pass_on(new, role="judge other") and pass_on(new, stored=False)  # another role, or all asked anew
    assert (manifest.read(tmp_path) or {})["served"]["captions"]["model"] == "gpt-2"


def test_a_model_replaced_in_the_middle_of_a_run_ends_it(
    chat: chat_server.Server, captioned: Callable[..., tuple[str, ...]], cim: Cim
) -> None:
    common = captioned()
    chat.top = {"model": "gpt-1", "system_fingerprint": "fp_1"}

    def always(body: dict[str, Any]) -> str:
        chat.top = {"model": "gpt-1" if len(chat.bodies) < 4 else "gpt-2", "system_fingerprint": "fp_1"}
        return ""

    chat.always = always
    line = cim.refused(*common)
    assert "the server answers captions with another model (stored / now: model: gpt-1 / gpt-2)" in line
    assert len(records.read(cim.results / "pictures" / "served")) == 3
    again = cim(*common)
    assert again.code == 2 and "with another model" in again.err.splitlines()[-1], "after what it goes on from"
    assert cim(*common, "--fresh").code == 0


def test_a_fingerprint_counts_where_it_is_pinned() -> None:
    content = {"choices": [{"message": {"content": "x"}}], "model": "m-1", "system_fingerprint": "fp_1"}
    for server, expected in ((SERVER, "fp_1"), (replace(SERVER, pin_fingerprint=False), None)):
        answer = _chat.read(server, Request("a", "?"), _http.Answer(200, content))
        assert isinstance(answer, Completion) and answer.served == Served("m-1", expected)


def test_a_line_separator_ends_no_row() -> None:
    rows = _http._content('{"a": "x\u2028y\x85z"}\n\n{"a": 1}\n'.encode(), None, rows=True)
    assert rows == [{"a": "x\u2028y\x85z"}, {"a": 1}]
