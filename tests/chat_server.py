"""An OpenAI-compatible server on this machine that answers chat completions and can be told to misbehave."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tasks.miniscenes.engines import rules
from tests.batch_server import Batches

HANG, DRIP = 3.0, 0.02  # seconds; the one more than the time-out that tests set, the other a byte
FAULTS = ("429", "500", "503", "hang", "garbage", "no choices", "no text", "cut", "reset", "drip")


@dataclass
class Server:
    """Answers by ``answer`` (body to text); ``faults`` are those of each next request, ``always`` of every one.

    A fault is one of ``FAULTS`` or a status, with what the server says of it behind a space. ``message`` and ``top``
    are further fields of an answer's message and of the answer. ``batches`` answers all other paths.
    """

    answer: Callable[[dict[str, Any]], str]
    address: str = ""
    faults: list[str] = field(default_factory=list)
    always: Callable[[dict[str, Any]], str] = lambda body: ""
    pause: float = 0.0
    retry_after: str = ""
    message: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    batches: Batches | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def began(self, body: dict[str, Any], headers: dict[str, str]) -> str:
        """Note a request that has come in; the fault it is answered with."""
        with self.lock:
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return self.faults.pop(0) if self.faults else self.always(body)

    def toml(self, folder: Path, name: str = "served", more: str = "", table: str = "") -> Path:
        """Write the TOML of a model on this server."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.toml").write_text(
            f'about = "a test server"\nengine = "openai"\n{more}[sampling]\nmax_tokens = 64\n'
            f'[openai]\nbase_url = "{self.address}"\nmodel = "rules"\ntimeout = 1.5\n{table}',
            encoding="utf-8",
        )
        return folder


def by_rules(body: dict[str, Any]) -> str:
    """What the rule judge replies to the last message."""
    return rules.reply(body["messages"][-1]["content"])


@contextmanager
def serving(answer: Callable[[dict[str, Any]], str] = by_rules) -> Iterator[Server]:
    """A server for a while."""
    state = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet

        def do_GET(self) -> None:
            self._batch("GET", b"")

        def _batch(self, method: str, content: bytes) -> None:
            assert state.batches is not None
            answer = state.batches.answer(method, self.path.partition("/v1")[2], content)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if not self.path.endswith("/chat/completions"):
                self._batch("POST", content)
                return
            body = json.loads(content)
            fault = state.began(body, dict(self.headers))
            try:
                time.sleep(state.pause)
                _respond(self, state, fault, body)
            finally:
                with state.lock:
                    state.at_once -= 1

        def log_message(self, *_: object) -> None:
            pass

    class Listening(ThreadingHTTPServer):
        request_queue_size = 64  # of 5, sixteen clients at once would wait a second for their turn

        def handle_error(self, *_: object) -> None:
            """A client that has gone is what some tests are about."""

    server = Listening(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _respond(handler: BaseHTTPRequestHandler, state: Server, fault: str, body: dict[str, Any]) -> None:
    if fault == "reset":
        # Linger 0: closing sends RST, as a server that dies does.
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.connection.close()
        return
    if fault == "hang":
        time.sleep(HANG)
        handler.close_connection = True
        return
    status, _, reason = fault.partition(" ")
    code = int(status) if status.isdigit() else 200
    message: dict[str, Any] = {"role": "assistant", "content": None if fault == "no text" else state.answer(body)}
    message |= state.message
    answer: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **state.top}
    answer["usage"] = {"prompt_tokens": 7, "completion_tokens": 5}
    if fault == "no choices":
        answer = {"choices": []}
    content = json.dumps(answer if code == 200 else {"error": {"message": reason or f"fault {fault}"}}).encode()
    content = b"<html>a page, no JSON" if fault == "garbage" else content
    handler.send_response(code)
    if code == 429 and state.retry_after:
        handler.send_header("Retry-After", state.retry_after)
    if code in (301, 302, 307):
        handler.send_header("Location", "http://127.0.0.1:9/v1/chat/completions")
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if fault == "drip":  # whole in the end, but later than anyone would wait
        for byte in content:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(DRIP)
        return
    if fault == "cut":
        handler.wfile.write(content[: len(content) // 2])
        handler.close_connection = True
        return
    handler.wfile.write(content)
