"""A Batch API on this machine, on the chat server's paths: a fake that answers when a test says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Batches:
    """Files and batches by id; ``calls`` are the requests in order, ``dying`` a call that is done and not answered.

    ``response`` gives the status and body of one request's answer, None where it has none.
    """

    response: Callable[[dict[str, Any]], tuple[int, Any] | None]
    files: dict[str, str] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    dying: str = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        """Status and content of one call; None: the connection is closed without."""
        kind = f"{method} /{path.split('?')[0].strip('/').split('/')[0]}"
        self.calls.append(kind)
        content = self._do(kind, path.split("?")[0].strip("/").split("/"), body)
        if kind == self.dying:
            self.dying = ""
            return None
        return 200, content.encode() if isinstance(content, str) else json.dumps(content).encode()

    def _do(self, kind: str, path: list[str], body: bytes) -> Any:
        if kind == "POST /files":
            assert b'name="purpose"\r\n\r\nbatch\r\n' in body
            name = f"file-{len(self.files)}"
            text = body.partition(b"application/jsonl\r\n\r\n")[2].rpartition(b"\r\n--")[0].decode()
            self.files[name] = text
            return {"id": name, "object": "file"}
        if kind == "POST /batches":
            asked = json.loads(body)
            assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
            name = f"batch_{len(self.batches)}"
            self.batches[name] = {"id": name, "status": "in_progress", "input_file_id": asked["input_file_id"]}
            return self.batches[name]
        if kind == "GET /batches":
            return self.batches[path[1]] if len(path) > 1 else {"data": list(self.batches.values()), "has_more": False}
        return self.files[path[1]]

    def requests(self, batch: str) -> list[dict[str, Any]]:
        """The requests of a batch."""
        return [json.loads(line) for line in self.files[self.batches[batch]["input_file_id"]].splitlines()]

    def end(self, batch: str, status: str = "completed") -> None:
        """Answer a batch, what failed in a file of its own."""
        lines: dict[str, list[str]] = {"output_file_id": [], "error_file_id": []}
        for request in reversed(self.requests(batch)):  # the API promises no order
            response = self.response(request["body"])
            row: dict[str, Any] = {"custom_id": request["custom_id"], "response": None, "error": {"message": "expired"}}
            if response is not None:
                row |= {"response": {"status_code": response[0], "body": response[1]}, "error": None}
            lines["output_file_id" if response and response[0] == 200 else "error_file_id"].append(json.dumps(row))
        for name, rows in lines.items():
            if rows:
                file = f"{batch}-{name}"
                self.files[file] = "\n".join(rows) + "\n"
                self.batches[batch][name] = file
        self.batches[batch]["status"] = status
