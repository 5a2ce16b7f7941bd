"""A small batch server for rewards, on the loopback address only: for trainers that score one caption at a time.

``POST /score {"captions": [...], "source_ids": [...]}`` gives the components of each caption and the gallery's sha256;
``GET /`` says what is served. Requests that arrive within 5 ms of each other are scored in one call. A request may name
``"gallery"``: another one is refused. Run with ``python -m harness.train.reward_server --gallery FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import CimError
from harness.resources.devices import PRECISIONS
from harness.retrieval.consistency import PAPER, SAFE
from harness.retrieval.gallery import encoding, open_folder
from harness.retrieval.index import NAMES
from harness.retrieval.scorer import CimBatch, CimScorer
from harness.retrieval.stored_index import of_gallery
from harness.train.reward import lookup

ARRIVAL = 60.0  # seconds in which a body must have arrived
ELSEWHERE = "asked by another name than this machine's own"
HOST = "127.0.0.1"
WINDOW = 0.005  # seconds that the first request of a batch waits for others
BACKLOG = 1024  # pending connections; the default of 5 resets those of a busy trainer
LARGEST = 16 << 20  # bytes of a request
MOST = 8192  # captions of a request, and of one call of the scorer
PATIENCE = 600.0  # seconds that a request waits for its scores
READ = 30.0  # seconds that a client may take to send its request


class Refused(Exception):
    """A request that cannot be served, with its HTTP status."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(frozen=True, slots=True)
class Asked:
    """Captions of one request, and where their scores go."""

    captions: Sequence[str]
    source_ids: Sequence[str]
    answer: Future[dict[str, list[Any]]] = field(default_factory=Future)


def columns(batch: CimBatch, part: slice) -> dict[str, list[Any]]:
    """Fields of a part of a batch as JSON lists; NaN is null."""
    fields = {name: value[part] for name in CimBatch.__slots__ if (value := getattr(batch, name)) is not None}
    for name, value in fields.items():
        if value.dtype.kind == "f":
            fields[name] = value.astype(object)
            fields[name][np.isnan(value)] = None
    return {name: value.tolist() for name, value in fields.items()}


class Batcher:
    """One thread that merges what arrives within ``WINDOW`` and scores it at once."""

    def __init__(self, scorer: CimScorer) -> None:
        self.scorer, self.calls = scorer, 0
        self._queue = queue.SimpleQueue[Asked | None]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, request: Asked) -> None:
        """Queue a request; its future receives the scores."""
        self._queue.put(request)

    def close(self) -> None:
        """End the thread after the queued requests."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            merged, end, open_ = [first], time.monotonic() + WINDOW, True
            while open_ and sum(len(request.captions) for request in merged) < MOST:
                try:
                    more = self._queue.get(timeout=max(0.0, end - time.monotonic()))
                except queue.Empty:
                    break
                open_ = more is not None
                merged += [more] if more is not None else []
            self._score(merged)
            if not open_:
                return

    def _score(self, merged: Sequence[Asked]) -> None:
        """Score requests together; if that fails, each alone, so that only the faulty request fails."""
        self.calls += 1
        captions = [caption for request in merged for caption in request.captions]
        ids = [key for request in merged for key in request.source_ids]
        try:
            batch = self.scorer.score(captions, ids)
        except (CimError, RuntimeError, ValueError, MemoryError) as error:  # the last three are raised by encoders
            if len(merged) == 1:
                merged[0].answer.set_exception(error)
                return
            for request in merged:
                self._score([request])
            return
        start = 0
        for request in merged:
            request.answer.set_result(columns(batch, slice(start, start + len(request.captions))))
            start += len(request.captions)


def checked(body: bytes, gallery: str) -> Asked:
    """The captions of a request's body.

    Raises:
        Refused: the body is malformed, or names another gallery.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    captions, ids = (_texts(content, name) for name in ("captions", "source_ids"))
    if len(captions) != len(ids) or not 0 < len(captions) <= MOST:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{len(captions)} captions, {len(ids)} source_ids; 1 to {MOST} of each")
    if content.get("gallery", gallery) != gallery:
        raise Refused(HTTPStatus.CONFLICT, f"this server scores with gallery {gallery}")
    return Asked(captions, ids)


def _texts(content: dict[str, Any], name: str) -> list[str]:
    value = content.get(name)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is not a list of strings")
    return value


def arrived(stream: BufferedIOBase, length: int) -> bytes:
    """The next bytes of a stream, fewer where it ends; TimeoutError if they take more than ``ARRIVAL`` seconds."""
    body, end = bytearray(), time.monotonic() + ARRIVAL
    while len(body) < length and (block := stream.read1(length - len(body))):
        body += block
        if time.monotonic() > end:
            raise TimeoutError("it trickles")
    return bytes(body)


def is_local(host: str | None) -> bool:
    """Was this machine asked by a name of its own? A page in a browser reaches it by the page's (DNS rebinding)."""
    return host is None or re.fullmatch(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", host) is not None


def _handler(batcher: Batcher, about: dict[str, Any]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers in JSON; a client that disconnects is no error."""

        protocol_version = "HTTP/1.1"
        timeout = READ

        def do_GET(self) -> None:
            local = is_local(self.headers.get("Host"))
            self._answer(*((HTTPStatus.OK, about) if local else (HTTPStatus.FORBIDDEN, {"error": ELSEWHERE})))

        def do_POST(self) -> None:
            try:
                if not is_local(self.headers.get("Host")):
                    self.close_connection = True  # the body stays unread
                    raise Refused(HTTPStatus.FORBIDDEN, ELSEWHERE)
                if self.path != "/score":
                    raise Refused(HTTPStatus.NOT_FOUND, "POST /score, or GET /")
                request = checked(self._body(), about["gallery"])
                batcher.put(request)
                self._answer(HTTPStatus.OK, {**request.answer.result(PATIENCE), "gallery": about["gallery"]})
            except Refused as refused:
                self._answer(refused.status, {"error": refused.why})
            except CimError as error:
                self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            except (RuntimeError, ValueError, MemoryError, FutureTimeout) as error:
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}: {error}"})

        def _body(self) -> bytes:
            length = self.headers.get("Content-Length", "")
            if not length.isascii() or not length.isdigit():
                raise Refused(HTTPStatus.LENGTH_REQUIRED, "no Content-Length")
            if len(length) > 12 or int(length) > LARGEST:
                self.close_connection = True  # the body stays unread
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LARGEST} bytes")
            try:
                body = arrived(self.rfile, int(length))
            except OSError as error:  # the client timed out or disconnected
                self.close_connection = True
                raise Refused(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive") from error
            if len(body) < int(length):
                self.close_connection = True
                raise Refused(HTTPStatus.BAD_REQUEST, "the body is shorter than its Content-Length")
            return body

        def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
            body = json.dumps(content, allow_nan=False).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing per request."""

    return Handler


def server(scorer: CimScorer, port: int = 0, precision: str = "float32") -> tuple[ThreadingHTTPServer, Batcher]:
    """A bound server that is not serving yet (a free port if ``port`` is 0), and its batcher.

    Args:
        precision: in which the scorer encodes texts, to be said by ``GET /``.
    """
    batcher, gallery = Batcher(scorer), scorer.gallery
    about = {"gallery": gallery.sha, "name": gallery.name, "n": len(gallery), "search": scorer.search.label}
    about |= {"precision": precision}
    handler = _handler(batcher, {**about, "settings": asdict(scorer.settings)})
    http_server = ThreadingHTTPServer((HOST, port), handler, bind_and_activate=False)
    http_server.daemon_threads, http_server.request_queue_size = True, BACKLOG
    http_server.server_bind()
    http_server.server_activate()
    return http_server, batcher


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a port from 0 to 65535")
    return int(text)


def main(arguments: Sequence[str] | None = None, say: Callable[[str], Any] = sys.stdout.write) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m harness.train.reward_server", description=__doc__)
    parser.add_argument("--gallery", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--port", type=_port, default=8737)
    parser.add_argument("--preset", choices=("paper", "safe"), default="paper")
    parser.add_argument("--search", choices=NAMES, help="default: exact, on a GPU exact-cuda")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="of encoding captions; default: float32, on a GPU bfloat16"
    )
    args = parser.parse_args(arguments)
    try:
        gallery = open_folder(args.gallery)
        by = lookup(args.search, args.precision)
        with encoding(gallery.encoder("text"), by.precision) as encode:
            search = of_gallery(by.search, gallery)
            settings = PAPER if args.preset == "paper" else SAFE
            serving, batcher = server(CimScorer(gallery, encode, settings, search=search), args.port, by.precision)
            say(f"http://{HOST}:{serving.server_address[1]} gallery {gallery.sha} of {len(gallery)} rows\n")
            try:
                serving.serve_forever()
            except KeyboardInterrupt:
                return 0
            finally:
                serving.server_close()
                batcher.close()
    except (CimError, OSError) as error:
        sys.stderr.write(f"reward server: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
