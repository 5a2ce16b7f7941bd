"""Any OpenAI-compatible server (vLLM, SGLang, llama.cpp, a company's): chat completions, several at a time.

Answers of 429, 500, 502, 503, 504 and the like, broken connections, time-outs and answers that are no whole chat
completion are tried again after exponential back-off with full jitter (``uniform(0, min(60, 2**k))`` seconds, never
sooner than ``Retry-After``), ``retries`` times. A request that still fails is given back as unanswered while other
requests succeed, and ends the engine once none does; neither is ever a caption or a reply. An image is sent in a
data URL, as the file's bytes where a server sees in them what a person sees, else as a PNG of that.
Control tokens in a prompt are broken as in ``_text.py``, by a list of usual ones: only the server knows its own.
Nothing is asked before a run needs it. Run with ``cim judge --judge J``; the TOML is explained in CONTRIBUTING.md.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from harness.engines._text import neutral
from harness.engines._weights import seed
from harness.errors import CimError, ImageError, OutageError
from harness.images import for_server
from harness.parts import Engine
from harness.types import Completion, Model, Request
from harness.weights import Server

FIRST, LONGEST = 1.0, 60.0  # seconds of the first and of the longest back-off
PATIENCE = 600.0  # seconds; a server that says to come back later than that is an outage
CONNECT = 10.0  # seconds to open a connection
LARGEST = 1 << 22  # bytes of an answer
BUSY = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Later:
    """A try that failed and may do better later; ``after`` is what the server asks to wait, in seconds."""

    reason: str
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The outcome of one request, and when its first try began."""

    completion: Completion
    began: float


def _server(model: Model) -> Server:
    if model.server is None:
        raise CimError("engine openai needs a model with a table [openai]", where=str(model.source))
    return model.server


def key(server: Server) -> str | None:
    """The API key from the environment, None where the server needs none; CimError where the variable is not set."""
    if server.api_key_env is None:
        return None
    if not (found := os.environ.get(server.api_key_env, "").strip()):
        hint = "set it to the server's API key, or remove openai.api_key_env"
        raise CimError(f"environment variable {server.api_key_env} is not set", where=server.base_url, hint=hint)
    if not found.isascii() or not found.isprintable():
        raise CimError(f"environment variable {server.api_key_env} holds no key", where=server.base_url)
    return found


def body(server: Server, request: Request) -> dict[str, Any]:
    """The JSON of one chat completion; what is left at its default is not sent, because servers differ there."""
    content: Any = neutral(request.prompt)
    if request.image is not None:
        kind, content_bytes = for_server(request.image)
        data = base64.b64encode(content_bytes).decode()
        picture = {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
        content = [picture, {"type": "text", "text": content}]
    system = [] if server.system is None else [{"role": "system", "content": server.system}]
    one = server.sampling
    made: dict[str, Any] = {
        "model": server.model,
        "messages": [*system, {"role": "user", "content": content}],
        "temperature": one.temperature,
        "max_tokens": one.max_tokens,
    }
    made |= {"top_p": one.top_p} if one.top_p != 1 else {}
    made |= {"top_k": one.top_k} if one.top_k else {}
    made |= {"repetition_penalty": one.repetition_penalty} if one.repetition_penalty != 1 else {}
    made |= {"seed": seed(server, request.sample_id)} if one.temperature else {}
    if server.thinking is not None:
        made["chat_template_kwargs"] = {"enable_thinking": server.thinking}  # as vLLM and SGLang take it
    return made


def ask(server: Server, secret: str | None, request: Request) -> Completion | Later:
    """One try: an answer, a failed completion where this request will never do, or a reason to try again.

    Raises:
        CimError: no request will do: wrong key, no such model or address.
    """

    def authorised(prepared: Any) -> Any:  # as requests' auth, so that no .netrc of the user's is sent
        if secret is not None:
            prepared.headers["Authorization"] = f"Bearer {secret}"
        return prepared

    try:
        made = body(server, request)
    except ImageError as error:
        return Completion(request.sample_id, None, error=str(error))
    address, limits, content = f"{server.base_url.rstrip('/')}/chat/completions", (CONNECT, server.timeout), bytearray()
    until = time.monotonic() + CONNECT + server.timeout
    try:
        with requests.post(
            address, json=made, auth=authorised, timeout=limits, allow_redirects=False, stream=True
        ) as answer:
            # Byte by byte: requests' own time-out starts anew with each byte that arrives, and these are few.
            for byte in answer.iter_content(1):
                content += byte
                if time.monotonic() > until or len(content) > LARGEST:
                    return Later("an answer without an end")
    except requests.RequestException as error:
        return Later(type(error).__name__)
    return _read(server, request, answer, bytes(content))


def _read(server: Server, request: Request, answer: requests.Response, content: bytes) -> Completion | Later:
    code = answer.status_code
    if code in BUSY or code >= 500:
        return Later(f"status {code}", _after(answer.headers.get("Retry-After", "")))
    said = " ".join(content[:500].decode(errors="replace").split())[:200] if code != 200 else ""
    if code in (401, 403, 404) or 300 <= code < 400:
        hint = "check base_url, model and the API key"
        raise CimError(f"server answers {code} ({said})", where=server.base_url, hint=hint)
    if code != 200:
        return Completion(request.sample_id, None, error=f"refused by the server, status {code} ({said})")
    try:
        told = json.loads(content)
        choice = told["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return Later("an answer that is no chat completion")
    if not isinstance(text, str) or any("\ud800" <= letter < "\ue000" for letter in text):
        return Later("an answer without a text")
    written, read = _count(told, "completion_tokens"), _count(told, "prompt_tokens")
    return Completion(request.sample_id, text, reason if isinstance(reason, str) else None, read, written)


def _count(told: Mapping[str, Any], name: str) -> int | None:
    usage = told.get("usage")
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) else None


def _after(given: str) -> float:
    """Seconds of a Retry-After header, which holds seconds or a date; 0 where it holds neither."""
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(given)
    except ValueError:
        return 0.0
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def insist(server: Server, secret: str | None, request: Request, stopped: threading.Event) -> Asked:
    """Try one request until it is answered, refused, or has failed ``1 + retries`` times."""
    began, tries = time.monotonic(), 0
    while True:
        made, tries = ask(server, secret, request), tries + 1
        if isinstance(made, Completion):
            return Asked(made, began)
        pause = max(made.after, random.uniform(0, min(LONGEST, FIRST * 2 ** (tries - 1))))
        if tries > server.retries or made.after > PATIENCE or stopped.wait(pause):
            error = f"no answer in {tries} tries, the last: {made.reason}"
            return Asked(Completion(request.sample_id, None, error=error, outage=True), began)


def _generate(model: Model, asked: Sequence[Request]) -> Iterator[Completion]:
    """Completions as they arrive, ``concurrency`` requests in flight.

    Raises:
        OutageError: a request failed for good, and none was answered since it began.
    """
    server, stopped = _server(model), threading.Event()
    secret, answered = key(server), float("-inf")
    waiting, flying = iter(asked), set[Future[Asked]]()
    pool = ThreadPoolExecutor(server.concurrency, thread_name_prefix="openai")
    try:
        while True:
            while len(flying) < server.concurrency and (request := next(waiting, None)) is not None:
                flying.add(pool.submit(insist, server, secret, request, stopped))
            if not flying:
                return
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            made = [future.result() for future in done]
            if any(not one.completion.outage for one in made):
                answered = time.monotonic()
            gone = next((one for one in made if one.completion.outage and one.began > answered), None)
            yield from (one.completion for one in made if one is not gone)
            if gone:
                raise OutageError(f"server {server.base_url}: {gone.completion.error}", hint="the same command goes on")
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _describe(model: Model) -> Mapping[str, Any]:
    """What the manifest records; the server is not asked."""
    server = _server(model)
    return {"name": "openai", "requests": importlib.metadata.version("requests"), **server.settings()}


ENGINE = Engine(name="openai", generate=_generate, describe=_describe)
