"""The labelling page: an HTTP server on 127.0.0.1 alone, for whoever holds the token in its address.

GET shows the current question, POST answers it or takes the last answer back; every answer is on the disk before the
next question is shown. A request needs the token and a Host header of this machine (against DNS rebinding); the page
loads nothing and its forms go nowhere else. Run with ``cim judge --model RUN --label``.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from harness.calibration.questions import LabelQuestion
from harness.labelling.session import Session
from harness.pages import templates
from harness.pages.thumbnail import thumbnail

HERE = Path(__file__).parent
LARGEST_BODY = 1024
EDGE = 480  # pixels of a picture
PATIENCE = 20.0  # seconds for a request to arrive

Picture = Callable[[LabelQuestion], Path | bytes | None]


def page(session: Session, picture: Picture) -> str:
    """The page of the current question."""
    at = session.current()
    question = None if at is None else session.questions[at]
    source = None if question is None else picture(question)
    return templates.page(
        HERE,
        "label.html",
        styles=[HERE / "label.css"],
        script=HERE / "label.js",
        forms="'self'",
        content={
            "at": at,
            "question": question,
            "done": session.done,
            "total": len(session.questions),
            "undo": bool(session.past),
            "picture": None if source is None else thumbnail(source, EDGE),
        },
    )


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; ``serving`` makes a subclass that knows its session."""

    session: Session
    token: str
    picture: Picture
    timeout = PATIENCE

    def do_GET(self) -> None:
        if self._allowed() and self._path("") is not None:
            self._send(200, page(self.session, self.picture), "html")

    def do_POST(self) -> None:
        if not self._allowed() or (path := self._path("label", "undo", "finish")) is None:
            return
        form = self._form()
        if form is None or (path == "label" and not (form["at"].isascii() and form["at"].isdigit())):
            self._send(400, "no such answer")
        elif path == "finish":
            self._send(200, "Labels are stored; this page can be closed.")
            self.session.finished.set()
        else:
            _ = self.session.undo() if path == "undo" else self.session.answer(int(form["at"]), form["verdict"])
            self.send_response(303)
            self.send_header("Location", f"/{self.token}/")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _allowed(self) -> bool:
        """Does the request come from this machine, and a POST from this page? Answers one that does not."""
        names = {f"{host}:{self.connection.getsockname()[1]}" for host in ("127.0.0.1", "localhost")}
        same_site = self.command == "GET" or self.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
        if self.headers.get("Host") in names and same_site:
            return True
        self._send(403, "not from here")
        return False

    def _path(self, *known: str) -> str | None:
        """What follows the token; None, and an answer, where the token is wrong or what follows is not known."""
        _, secret, path = ("/", *self.path.split("/", 2)[1:], "", "")[:3]
        if path in known and hmac.compare_digest(secret.encode(), self.token.encode()):
            return path
        self._send(404, "not found")
        return None

    def _form(self) -> dict[str, str] | None:
        """The fields ``at`` and ``verdict``; None of a body that is longer than an answer."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= LARGEST_BODY):
            return None
        form = parse_qs(self.rfile.read(int(length)).decode("ascii", "replace"))
        return {name: form.get(name, [""])[0][:9] for name in ("at", "verdict")}

    def _send(self, status: int, text: str, kind: str = "plain") -> None:
        content = text.encode(errors="replace")
        self.send_response(status)
        headers = {"Content-Type": f"text/{kind}; charset=utf-8", "Content-Length": str(len(content)), **HEADERS}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """The address holds the token: nothing is logged."""


HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@contextmanager
def serving(session: Session, picture: Picture, port: int = 0) -> Iterator[str]:
    """Serve a session for a while; yields its address, with a token that is new each time."""
    token = secrets.token_urlsafe(16)
    known = {"session": session, "token": token, "picture": staticmethod(picture)}
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), known))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{token}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
