"""One exchange with a server: a deadline over all of it, a bound on its size, and no API key in what comes back.

requests' own time-outs begin anew with every byte that arrives, so a server that sends one header letter a second, or
``100 Continue`` again and again, would outlast them: here a thread shuts the connection down. A server may repeat the
key that it was sent, in an error or in a caption. It is removed before anything else sees the answer, also where it is
percent-encoded, escaped, in hexadecimal or base64 digits, or cut to no less than half; of the exceptions of requests,
which may hold an address, only the name is kept.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import HTTPAdapter

# A header that is none is logged as it is, and may hold the key.
logging.getLogger("urllib3.connection").addFilter(lambda record: "parse headers" not in str(record.msg))

LARGEST = 1 << 22  # bytes of an answer
BLOCK = 1 << 16
AGAIN = 0.5  # seconds after which connections are shut down once more, of a name with many addresses, say
SHORTEST = 8  # letters; a shorter key ("EMPTY") is a word, and removing it would change captions
HIDDEN = "[API key]"
SURROGATE = re.compile("[\ud800-\udfff]")
LOWER = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, content and the seconds that the server asks to wait; the content is JSON, or text where it is none."""

    status: int
    content: Any
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why there is no answer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent: ``json`` as the body, or ``files`` as a form; ``rows``: the answer has a JSON object a line."""

    address: str
    json: Any = None
    files: Any = None
    data: Any = None
    rows: bool = False
    largest: int = LARGEST


def exchange(call: Call, secret: str | None, connect: float, timeout: float) -> Answer | Unanswered:
    """Send one request and read the whole answer.

    Args:
        secret: the API key, sent as bearer token; None where the server needs none.
        connect: seconds to open a connection.
        timeout: seconds from then to the last byte of the answer.
    """
    until, content = time.monotonic() + connect + timeout, bytearray()
    late = Unanswered(f"no whole answer in {connect + timeout:g} s")
    with requests.Session() as session, _Deadline(connect + timeout) as deadline:
        for scheme in ("http://", "https://"):
            session.mount(scheme, deadline.adapter)
        try:
            with session.request(
                "GET" if call.json is None and call.files is None else "POST",
                call.address,
                json=call.json,
                files=call.files,
                data=call.data,
                auth=functools.partial(_authorised, secret),
                timeout=(connect, timeout),
                allow_redirects=False,
                stream=True,
            ) as answer:
                for block in answer.iter_content(BLOCK):
                    content += block
                    if len(content) > call.largest:
                        return Unanswered(f"an answer of more than {call.largest} bytes")
        # Some of urllib3's own come through: of a host that it cannot parse, say.
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
            return late if time.monotonic() >= until else Unanswered(type(error).__name__)
    # A connection that was shut down may look like the end of an answer.
    if time.monotonic() >= until:
        return late
    return Answer(answer.status_code, _content(bytes(content), secret, rows=call.rows), after(answer.headers))


def _authorised(secret: str | None, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """The request with its key; as requests' ``auth``, so that no .netrc of the user's is sent."""
    if secret is not None:
        prepared.headers["Authorization"] = f"Bearer {secret}"
    return prepared


class _Deadline:
    """Shuts down the connections of ``adapter`` after so many seconds, also those that are opened later."""

    def __init__(self, seconds: float) -> None:
        self.adapter, self._seconds, self._ended = _Watched(), seconds, threading.Event()

    def _watch(self) -> None:
        pause = self._seconds
        while not self._ended.wait(pause):
            self.adapter.shut_down()
            pause = AGAIN

    def __enter__(self) -> _Deadline:
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()


class _Watched(HTTPAdapter):
    """requests' adapter, which hides its connections while they are in use; this one knows them."""

    def __init__(self) -> None:
        super().__init__()
        self._connections: list[Any] = []

    def get_connection_with_tls_context(self, *arguments: Any, **settings: Any) -> Any:
        """The pool of a request's connection, in which new ones are remembered."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **settings)
        pool.ConnectionCls = functools.partial(self._remembered, type(pool).ConnectionCls)
        return pool

    def _remembered(self, kind: Callable[..., Any], **settings: Any) -> Any:
        self._connections.append(kind(**settings))
        return self._connections[-1]

    def shut_down(self) -> None:
        """End all connections; who reads from one reads its end."""
        for connection in self._connections:
            if isinstance(connection.sock, socket.socket):
                with suppress(OSError):  # closed in this moment
                    # Not SSLSocket's own, which would take the encryption away under the reading thread.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _content(content: bytes, secret: str | None, *, rows: bool) -> Any:
    text = content.decode(errors="replace")
    try:
        return _clean(
            [json.loads(line) for line in text.split("\n") if line.strip()] if rows else json.loads(text), secret
        )
    except (ValueError, RecursionError):
        return _clean(text, secret)


def _clean(value: Any, secret: str | None) -> Any:
    """A JSON value without the key and without halves of surrogate pairs, which no file can hold."""
    if isinstance(value, str):
        text = SURROGATE.sub("\ufffd", value)
        return hidden(text, secret) if secret else text
    if isinstance(value, list):
        return [_clean(inner, secret) for inner in value]
    if isinstance(value, dict):
        return {_clean(name, secret): _clean(inner, secret) for name, inner in value.items()}
    return value


def hidden(text: str, secret: str) -> str:
    """The text without the key in any of its forms, and without pieces of half its length or more."""
    size, pieces = _pieces(secret)
    folded = text.translate(LOWER)
    parts, end = list[str](), 0  # up to ``end`` the text is done
    for start in range(len(text) - size + 1) if pieces else ():
        if folded[start : start + size] in pieces:
            if start >= end:
                parts += [text[end:start], HIDDEN]
            end = start + size
    return "".join([*parts, text[end:]])


@functools.lru_cache(maxsize=8)
def _pieces(secret: str) -> tuple[int, frozenset[str]]:
    """The length of a piece that gives the key away, and all pieces of that length."""
    if len(secret) < SHORTEST:
        return len(secret), frozenset()
    size = max(12, len(secret) // 2) if len(secret) > 12 else len(secret)
    escaped = json.dumps(secret)[1:-1]
    forms = {secret, quote(secret, safe=""), quote(secret), html.escape(secret), escaped, escaped.replace("/", r"\/")}
    forms.add(secret.encode().hex())
    for offset in range(3):  # base64 digits depend on how many bytes stand before, as "Bearer " does
        digits = base64.b64encode(b"\0" * offset + secret.encode()).decode().rstrip("=")
        inner = digits[(0, 2, 3)[offset] :]
        inner = inner[:-1] if (offset + len(secret)) % 3 else inner
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    folded = [form.translate(LOWER) for form in forms]
    return size, frozenset(form[at : at + size] for form in folded for at in range(len(form) - size + 1))


def after(headers: Mapping[str, str]) -> float:
    """Seconds that ``retry-after-ms`` or ``Retry-After`` ask to wait; the longest of several, 0 where none is valid.

    Retry-After holds seconds or a date (RFC 9110, 10.2.3); requests joins several with commas.
    """
    text = headers.get("Retry-After", "")
    waits = [_seconds(headers.get("retry-after-ms", "")) / 1000, _until(text)]
    return max(0.0, *waits, *map(_seconds, text.split(",")))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _until(date: str) -> float:
    """Seconds until a date; 0 where it is none, or one that no calendar has."""
    try:
        at = parsedate_to_datetime(date)
        return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
