"""The reward server: concurrent clients share a call, a dead one harms nobody, bad requests are told why."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.retrieval.scorer import CimScorer
from harness.train import reward_server
from tests.test_cim_scorer import encode, four


class Served:
    """A running server on a small gallery; ``slow`` makes its encoder take a while."""

    def __init__(self) -> None:
        self.slow, self.broken = 0.0, False
        self.scorer = CimScorer(four(), self._encode)
        self.server, self.batcher = reward_server.server(self.scorer)
        self.host, self.port = self.server.server_address[:2]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float64]:
        time.sleep(self.slow)
        if self.broken:
            raise RuntimeError("out of memory")
        return encode(texts)

    def post(self, body: Any, path: str = "/score") -> tuple[int, dict[str, Any]]:
        """Status and answer of a request."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", raw)) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = Served()
    yield started
    started.server.shutdown()
    started.server.server_close()
    started.batcher.close()


def test_concurrent_clients_get_their_own_scores_from_few_calls(served: Served) -> None:
    assert served.host == "127.0.0.1"
    served.slow = 0.1
    asked = [(["q", "r"][number % 2], f"g:{number % 4}") for number in range(24)]
    with ThreadPoolExecutor(24) as clients:
        answers = list(clients.map(lambda item: served.post({"captions": [item[0]], "source_ids": [item[1]]}), asked))
    alone = [CimScorer(four(), encode).score([caption], [key]) for caption, key in asked]
    assert [status for status, _ in answers] == [200] * 24
    assert [answer["reward"][0] for _, answer in answers] == pytest.approx([item.reward[0] for item in alone])
    assert [answer["rows"][0] for _, answer in answers] == [item.rows[0].tolist() for item in alone]
    assert served.batcher.calls <= 8


def test_a_client_that_dies_harms_nobody(served: Served) -> None:
    served.slow = 0.2
    body = json.dumps({"captions": ["q"], "source_ids": ["g:0"]}).encode()
    for sent in (body, body[:5]):
        gone = socket.create_connection(("127.0.0.1", served.port))
        gone.sendall(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + sent)
        gone.close()
    assert served.post({"captions": ["q"], "source_ids": ["g:0"]})[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "is not JSON"),
        (b"[" * 100_000, 400, "is not JSON"),
        ([1], 400, "is not a JSON object"),
        ({"captions": "q", "source_ids": ["g:0"]}, 400, "captions is not a list of strings"),
        ({"captions": ["q"], "source_ids": [0]}, 400, "source_ids is not a list of strings"),
        ({"captions": ["q"], "source_ids": []}, 400, "1 captions, 0 source_ids"),
        ({"captions": [], "source_ids": []}, 400, "0 captions, 0 source_ids; 1 to 8192"),
        ({"captions": ["q"], "source_ids": ["g:9"]}, 400, "are not in gallery arrays: 'g:9'"),
        ({"captions": ["q"], "source_ids": ["g:0"], "gallery": "other"}, 409, "this server scores with gallery"),
        (b" " * (reward_server.LARGEST + 1), 413, "more than"),
    ],
)
def test_bad_requests_are_told_why(served: Served, body: Any, status: int, message: str) -> None:
    if status == 413:  # the answer comes before the body is read
        with socket.create_connection(("127.0.0.1", served.port)) as wire:
            wire.sendall(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
            assert b" 413 " in wire.recv(100)
    else:
        code, answer = served.post(body)
        assert code == status and message in answer["error"]
    assert served.post({"captions": ["q"], "source_ids": ["g:0"]})[0] == 200


def test_one_bad_request_does_not_spoil_its_batch(served: Served) -> None:
    served.slow = 0.1
    asked = [{"captions": ["q"], "source_ids": [key]} for key in ("g:0", "g:9", "g:1", "g:2")]
    with ThreadPoolExecutor(4) as clients:
        assert [status for status, _ in clients.map(served.post, asked)] == [200, 400, 200, 200]


def test_an_encoder_that_fails_is_an_error_of_the_server(served: Served) -> None:
    served.broken = True
    status, answer = served.post({"captions": ["q"], "source_ids": ["g:0"]})
    assert status == 500 and "RuntimeError: out of memory" in answer["error"]
    served.broken = False
    assert served.post({"captions": ["q"], "source_ids": ["g:0"]})[0] == 200


def test_what_is_served_and_other_paths(served: Served) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/") as answer:
        about = json.loads(answer.read())
    assert about["gallery"] == four().sha and about["n"] == 4 and about["settings"]["k"] == 3
    assert (about["search"], about["precision"]) == ("exact", "float32")
    assert served.post({}, "/other")[0] == 404
    answered = served.post({"captions": ["q"], "source_ids": ["g:0"]})[1]
    assert answered["gallery"] == four().sha and answered["similarities"] == [[1, 1, pytest.approx(0.6)]]


@pytest.mark.parametrize("path", ["/", "/score"])
@pytest.mark.parametrize(("host", "status"), [("attacker.example", 403), ("localhost:80", 200), ("[::1]:9", 200)])
def test_only_names_of_this_machine_are_answered(served: Served, path: str, host: str, status: int) -> None:
    body = None if path == "/" else json.dumps({"captions": ["q"], "source_ids": ["g:0"]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{served.port}{path}", body, {"Host": host})
    try:
        answered = urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        answered = error.code
    assert answered == status


def test_a_trickling_body_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reward_server, "ARRIVAL", 0.2)
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(6):
            client.sendall(b" ")
            time.sleep(0.05)
        client.settimeout(10)
        assert client.recv(100).startswith(b"HTTP/1.1 408")


def test_two_hundred_connections_that_send_nothing_do_not_stand_in_the_way(served: Served) -> None:
    head = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    waiting = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(200)]
    try:
        for at, client in enumerate(waiting):  # nothing, half a header, half a body, a body that is too large
            client.sendall((b"", head, head + b"100\r\n\r\n{", head + b"99999999999\r\n\r\n")[at % 4])
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(served.post, [{"captions": ["q"], "source_ids": ["g:0"]}] * 32))
        assert [status for status, _ in answers] == [200] * 32
        waiting[3].settimeout(10)
        assert waiting[3].recv(100).startswith(b"HTTP/1.1 413")
    finally:
        for client in waiting:
            client.close()


def test_a_gallery_that_is_not_there_is_one_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert reward_server.main(["--gallery", str(tmp_path)]) == 2
    assert "no finished gallery here" in capsys.readouterr().err
