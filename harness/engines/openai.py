"""Any OpenAI-compatible server (vLLM, SGLang, llama.cpp, a company's): chat completions, several at a time.

Answers of 429, 500, 502, 503, 504 and the like, broken connections, time-outs and answers that are no whole chat
completion are tried again after exponential back-off with full jitter (``uniform(0, min(60, 2**k))`` seconds, never
sooner than ``Retry-After``), ``retries`` times. A request that still fails is given back as unanswered while other
requests succeed, and ends the engine once none does; neither is ever a caption or a reply. An image is sent in a
data URL, as the file's bytes where a server sees in them what a person sees, else as a PNG of that.
When a request is refused before any was answered, a short one is sent: if that is refused, too, all would be, and the
command ends with the server's reason (``docs/servers.md``).
Control tokens in a prompt are broken as in ``_text.py``, by a list of usual ones: only the server knows its own.
Nothing is asked before a run needs it. Run with ``cim judge --judge J``; the TOML is explained in CONTRIBUTING.md.
"""

from __future__ import annotations

import importlib.metadata
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from harness.engines import _chat
from harness.engines._chat import Later, Refused
from harness.engines._http import Call, Unanswered, exchange
from harness.errors import CimError, ImageError, OutageError
from harness.parts import Engine
from harness.types import Completion, Model, Request
from harness.weights import SAMPLING, Server

FIRST, LONGEST = 1.0, 60.0  # seconds of the first and of the longest back-off
PATIENCE = 600.0  # seconds; a server that says to come back later than that is an outage
CONNECT = 10.0  # seconds to open a connection
TRIAL = Request("", "Answer with the word yes.")


@dataclass(frozen=True, slots=True)
class Asked:
    """The outcome of one request, and when its first try began."""

    completion: Completion
    began: float


@dataclass(slots=True)
class Session:
    """What the requests of one command share: ``left_out`` are neutral fields that the server turned out to refuse."""

    server: Server
    secret: str | None
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    left_out: frozenset[str] = frozenset()
    answered: bool = False
    refusal: OutageError | None = None


def server_of(model: Model) -> Server:
    """The server of a model; CimError where it has none."""
    if model.server is None:
        raise CimError("engine openai needs a model with a table [openai]", where=str(model.source))
    return model.server


def key(server: Server) -> str | None:
    """The API key from the environment, None where the server needs none; CimError where the variable is not set."""
    if server.api_key_env is None:
        return None
    if not (secret := os.environ.get(server.api_key_env, "").strip()):
        hint = "set it to the server's API key, or remove openai.api_key_env"
        raise CimError(f"environment variable {server.api_key_env} is not set", where=server.base_url, hint=hint)
    if not secret.isascii() or not secret.isprintable():
        raise CimError(f"environment variable {server.api_key_env} holds no key", where=server.base_url)
    return secret


def ask(session: Session, request: Request) -> Completion | Later | Refused:
    """One try: an answer, a failed completion where this request will never do, or a reason to try again.

    Raises:
        CimError: no request will do: wrong key, no such model or address, or nothing left to spend.
    """
    server, left_out = session.server, session.left_out
    try:
        content = _chat.body(server, request, left_out)
    except ImageError as error:
        return Completion(request.sample_id, None, error=str(error))
    call = Call(f"{server.base_url.rstrip('/')}/chat/completions", json=content)
    answer = exchange(call, session.secret, CONNECT, server.timeout)
    if isinstance(answer, Unanswered):
        return Later(answer.reason)
    return _chat.read(server, request, answer, left_out)


def insist(session: Session, request: Request) -> Asked:
    """Try one request until it is answered, refused, or has failed ``1 + retries`` times."""
    began, tries = time.monotonic(), 0
    while True:
        left_out = session.left_out
        outcome, tries = ask(session, request), tries + 1
        if isinstance(outcome, Refused):
            reason, verdict = outcome.reason, all_refused(session)
            if verdict is None and left_out != session.left_out:
                tries -= 1  # what was refused is not sent any more
                continue
            failed = Completion(request.sample_id, None, error=f"refused by the server, {reason}")
            outcome = failed if verdict is None else verdict
        if isinstance(outcome, Completion):
            session.answered |= outcome.text is not None or outcome.finish_reason is not None
            return Asked(outcome, began)
        pause = max(outcome.after, random.uniform(0, min(LONGEST, FIRST * 2 ** (tries - 1))))
        if tries > session.server.retries or outcome.after > PATIENCE or session.stopped.wait(pause):
            error = f"no answer in {tries} tries, the last: {outcome.reason}"
            return Asked(outcome.last or Completion(request.sample_id, None, error=error, outage=True), began)


def all_refused(session: Session) -> Later | None:
    """Whether the server refuses whatever it is asked; None where it does not, and the refused sample is to blame.

    Fields at neutral values are left out if that is what the server wants: where it does not know them it does what
    they say.

    Raises:
        OutageError: it does, and the fields that it names are needed.
    """
    with session.lock:
        while not session.answered:
            if session.refusal is not None:
                raise session.refusal
            outcome = ask(session, TRIAL)
            if isinstance(outcome, Later):
                return outcome
            if isinstance(outcome, Completion):
                session.answered = True
            elif more := _chat.spare(session.server) - session.left_out:
                session.left_out |= _chat.named(outcome.reason, more) or more
            else:
                what = f"server refuses every request, {outcome.reason}"
                remedy = _remedy(session.server, outcome.reason)
                session.refusal = OutageError(what, where=session.server.base_url, hint=remedy)
    return None


def _remedy(server: Server, reason: str) -> str:
    """The line of a model's TOML that takes away what the server does not accept."""
    fields = _chat.named(reason, {*SAMPLING, server.max_tokens_field, "chat_template_kwargs"})
    other = "max_completion_tokens" if server.max_tokens_field == "max_tokens" else "max_tokens"
    if server.max_tokens_field in fields and other in reason:
        return f'field {server.max_tokens_field}: put max_tokens_field = "{other}" into [openai] of the model\'s TOML'
    if "chat_template_kwargs" in fields:
        return "field chat_template_kwargs: take the key thinking out of the model's TOML"
    if fields := fields & {*SAMPLING}:
        names = ", ".join(f'"{name}"' for name in sorted(fields))
        line = f"put omit = [{names}] into [openai] of the model's TOML and take it out of [sampling]"
        return f"field {', '.join(sorted(fields))}: {line}"
    return "mend the model's TOML or the server; the same command goes on"


def _generate(model: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    """Completions as they arrive, ``concurrency`` requests in flight.

    Raises:
        CimError: no request will do; what was in flight is given first, as it is paid for.
        OutageError: a request failed for good, and none was answered since it began.
    """
    server = server_of(model)
    session, answered = Session(server, key(server)), float("-inf")
    waiting, flying = iter(requests), set[Future[Asked]]()
    pool = ThreadPoolExecutor(server.concurrency, thread_name_prefix="openai")
    try:
        while True:
            while len(flying) < server.concurrency and (request := next(waiting, None)) is not None:
                flying.add(pool.submit(insist, session, request))
            if not flying:
                return
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            failure = next((error for future in done if (error := future.exception())), None)
            outcomes = [future.result() for future in done if future.exception() is None]
            if any(not outcome.completion.outage for outcome in outcomes):
                answered = time.monotonic()
            lost = (answer.completion for answer in outcomes if answer.completion.outage and answer.began > answered)
            gone = next(lost, None)
            if gone and not failure:
                failure = OutageError(f"server {server.base_url}: {gone.error}", hint="the same command goes on")
            if failure:
                session.stopped.set()
                last, flying = wait(flying)
                outcomes += [future.result() for future in last if future.exception() is None]
            yield from (answer.completion for answer in outcomes if not (failure and answer.completion.outage))
            if failure:
                raise failure
    finally:
        session.stopped.set()
        pool.shutdown(cancel_futures=True)


def _describe(model: Model) -> Mapping[str, Any]:
    """What the manifest records; the server is not asked."""
    server = server_of(model)
    version = importlib.metadata.version("requests")
    return {"name": "openai", "requests": version, **server.settings(), "server_default": _chat.unsent(server)}


ENGINE = Engine(name="openai", generate=_generate, describe=_describe)
