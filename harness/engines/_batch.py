"""OpenAI's Batch API: requests in a file, answered within a day at half the price.

``POST /files`` (a JSON object a line), ``POST /batches``, ``GET /batches/ID``, ``GET /files/ID/content``; the form is
that of https://platform.openai.com/docs/guides/batch. A request's ``custom_id`` is a hash of its id and of its whole
body, so an answer belongs to a request only as long as prompt and settings are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.engines import _chat, openai
from harness.engines._http import LARGEST, Answer, Call, Unanswered, exchange
from harness.errors import CimError, OutageError
from harness.runs.cache import key
from harness.store import dumps
from harness.types import Completion, Request
from harness.weights import Server

URL = "/v1/chat/completions"
MOST, LONGEST = 50_000, 200 * 1000 * 1000  # requests and bytes of one file
ANSWERS = 1 << 30  # bytes of a file of answers
PATIENCE = 900.0  # seconds for a file up or down
ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch: its id there, and its line in the file."""

    id: str
    text: bytes


@dataclass(frozen=True, slots=True)
class State:
    """What the server says of a batch: its status in words, whether it has ended, and the files of its answers."""

    text: str
    ended: bool
    files: tuple[str, ...]


def line_of(server: Server, request: Request, left_out: Sequence[str]) -> Line:
    """The line of a request."""
    body = _chat.body(server, request, left_out)
    name = key(f"{request.sample_id}\n{dumps(body)}")
    return Line(name, (dumps({"custom_id": name, "method": "POST", "url": URL, "body": body}) + "\n").encode())


def split(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """The lines of each file, within the limits of the API."""
    part, size = list[Line](), 0
    for line in lines:
        if part and (len(part) == MOST or size + len(line.text) > LONGEST):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line.text)
    if part:
        yield part


def fields_left_out(server: Server) -> list[str]:
    """Neutral fields that the server does not know, by one short request; the errors are those of an engine's run.

    A batch would fail only after hours, request by request, where the key, the model or a field is wrong.
    """
    session = openai.Session(server, openai.key(server))
    if later := openai.all_refused(session):
        raise OutageError(f"server {server.base_url}: {later.reason}", hint="the same command goes on")
    return sorted(session.left_out)


def upload(server: Server, lines: Sequence[Line]) -> str:
    """Upload a file of requests; returns its id."""
    content = b"".join(line.text for line in lines)
    files = {"file": ("requests.jsonl", content, "application/jsonl")}
    return _id(server, _send(server, "files", files=files, data={"purpose": "batch"}))


def start(server: Server, file: str) -> str:
    """Begin the batch of an uploaded file, unless that was done already; returns its id."""
    after, more = "", True
    while more:
        page = _send(server, f"batches?limit=100{after}")
        batches = [batch for batch in page.get("data", ()) if isinstance(batch, dict)]
        if begun := next((batch for batch in batches if batch.get("input_file_id") == file), None):
            return _id(server, begun)
        more = bool(page.get("has_more") and batches)
        after = f"&after={_id(server, batches[-1])}" if more else ""
    content = {"input_file_id": file, "endpoint": URL, "completion_window": "24h"}
    return _id(server, _send(server, "batches", json=content))


def state(server: Server, batch: str) -> State:
    """How far a batch is."""
    content = _send(server, f"batches/{batch}")
    status, counts = str(content.get("status")), content.get("request_counts")
    text = f"batch {batch} {status}"
    if isinstance(counts, dict):
        text += f", {counts.get('completed')} of {counts.get('total')} answered"
    faults = content.get("errors")
    if isinstance(faults, dict) and isinstance(faults.get("data"), list) and faults["data"]:
        text += f" ({str(faults['data'][0])[:300]})"
    names = (content.get(name) for name in ("output_file_id", "error_file_id"))
    return State(text, status in ENDED, tuple(name for name in names if isinstance(name, str) and name))


def answers(server: Server, files: Sequence[str], requests: Mapping[str, Request]) -> Iterator[Completion | str]:
    """What the files of a batch answer to requests by their ids there: completions, or why there is none."""
    for file in files:
        for row in _send(server, f"files/{file}/content", rows=True):
            request = requests.get(row.get("custom_id", "")) if isinstance(row, dict) else None
            if request is not None:
                yield _answer(server, request, row)


def _answer(server: Server, request: Request, row: Mapping[str, Any]) -> Completion | str:
    response, fault = row.get("response"), row.get("error")
    if not isinstance(response, dict) or not isinstance(response.get("status_code"), int):
        return str(fault.get("message") if isinstance(fault, dict) else fault)[:300]
    try:
        outcome = _chat.read(server, request, Answer(response["status_code"], response.get("body")))
    except CimError as error:  # of this request, unlike of one that is sent alone
        return error.what
    if isinstance(outcome, Completion):
        return outcome if outcome.text is not None or outcome.finish_reason is not None else str(outcome.error)
    return outcome.reason


def _send(
    server: Server, path: str, *, json: Any = None, files: Any = None, data: Any = None, rows: bool = False
) -> Any:
    """The content of a successful answer; an object, with ``rows`` a list.

    Raises:
        CimError: the server does not take the key or has no such address.
        OutageError: it does not answer, or not with that.
    """
    address, most = f"{server.base_url.rstrip('/')}/{path}", ANSWERS if rows else LARGEST
    call = Call(address, json=json, files=files, data=data, rows=rows, largest=most)
    patience = PATIENCE if rows or files else server.timeout
    answer, hint = exchange(call, openai.key(server), openai.CONNECT, patience), "the same command goes on"
    if isinstance(answer, Unanswered):
        raise OutageError(f"{path}: {answer.reason}", where=server.base_url, hint=hint)
    if answer.status != 200:
        outcome = _chat.read(server, openai.TRIAL, answer)
        reason = outcome.error if isinstance(outcome, Completion) else outcome.reason
        raise OutageError(f"{path}: {reason}", where=server.base_url, hint=hint)
    if not isinstance(answer.content, list if rows else dict):
        raise OutageError(f"{path}: an answer that is no JSON", where=server.base_url, hint=hint)
    return answer.content


def _id(server: Server, content: Mapping[str, Any]) -> str:
    """The id of a file or batch, which becomes a part of addresses."""
    name = content.get("id")
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise OutageError("an answer without an id", where=server.base_url, hint="the same command goes on")
    return name
