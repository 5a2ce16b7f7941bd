"""Judges through OpenAI's Batch API: submit all prompts at once, and collect the replies when they are there.

What is submitted stands in ``batches.<model>.json`` of the run's folder before anything is waited for: the sha256 of
each file of requests, the ids of its requests, and the ids that the server gave to file and batch. A prompt that is in
a batch is not submitted again; one whose batch expired or failed is. Replies are stored as those of ``cim judge``. Run
with ``cim judge --judge J --batch submit``, and hours later ``--batch collect``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import store
from harness.engines import _batch, openai
from harness.errors import CimError, OutageError
from harness.parts import Metric
from harness.runs.form import malformed
from harness.runs.run import Run
from harness.stages import judge
from harness.stages.judge_files import FIELD
from harness.stages.shared_replies import cache_of, known
from harness.types import Completion, Model, Request, Track, untracked

FORM = {
    "batches": [{"sha256": str, "left_out": list, "ids": list, "file": (str, type(None)), "batch": (str, type(None))}]
}
LETTERS = 4  # of a prompt that make a token, about


@dataclass(frozen=True, slots=True)
class Submission:
    """Requests submitted now, and how many are in batches with earlier ones.

    ``prompt_tokens`` is about how many tokens the new ones have, ``reply_tokens`` the most that their replies may have.
    """

    judge: str
    requests: int
    in_batches: int
    batches: tuple[str, ...]
    prompt_tokens: int
    reply_tokens: int


def submit(run: Run, metrics: Sequence[Metric], probe: Sequence[str] = (), *, dry: bool = False) -> Submission:
    """Submit every prompt that has no answer and is in no batch.

    Args:
        dry: only count; nothing is sent or written.

    Raises:
        CimError: captions are missing, or the judge model is behind no server.
        OutageError: the server did not answer; the same command goes on and submits nothing twice.
    """
    answerer = judge.usable(run, metrics)
    server, path = openai.server_of(answerer), _path(run, answerer)
    todo, batches = judge.pending(run, metrics, probe)[1], _read(path)
    replied = known(cache_of(run.results, answerer), {question.key for question in todo}, FIELD)
    requests = [question.request for question in todo if question.key not in replied]
    batches = [batch for batch in batches if batch["file"]]  # one without was not uploaded
    submitted = {name for batch in batches for name in batch["ids"]}
    variants = {tuple(batch["left_out"]) for batch in batches} or {()}
    new = [r for r in requests if not any(_batch.line_of(server, r, fields).id in submitted for fields in variants)]
    if not dry and (new or any(batch["batch"] is None for batch in batches)):
        batches = _send(answerer, path, batches, new)
    return Submission(
        answerer.name,
        len(new),
        sum(len(batch["ids"]) for batch in batches),
        tuple(batch["batch"] for batch in batches if batch["batch"]),
        sum(len(request.prompt) + len(request.system or server.system or "") for request in new) // LETTERS,
        len(new) * server.sampling.max_tokens,
    )


def _send(answerer: Model, path: Path, batches: list[dict[str, Any]], new: Sequence[Request]) -> list[dict[str, Any]]:
    """Upload new requests and begin all batches that have not begun; every step is written down before the next."""
    server = openai.server_of(answerer)
    left_out = _batch.fields_left_out(server) if new else []
    for part in _batch.split([_batch.line_of(server, request, left_out) for request in new]):
        digest = hashlib.sha256(b"".join(line.text for line in part)).hexdigest()
        batch: dict[str, Any] = {
            "sha256": digest,
            "left_out": left_out,
            "ids": [line.id for line in part],
            "file": None,
            "batch": None,
        }
        batches.append(batch)
        store.write_document(path, {"batches": batches})
        batch["file"] = _batch.upload(server, part)
        store.write_document(path, {"batches": batches})
    for batch in batches:
        if batch["batch"] is None:
            batch["batch"] = _batch.start(server, str(batch["file"]))
            store.write_document(path, {"batches": batches})
    return batches


def collect(run: Run, metrics: Sequence[Metric], track: Track = untracked, probe: Sequence[str] = ()) -> dict[str, int]:
    """Store the replies of all batches that have ended; returns the number stored now, by judge (and probe).

    Raises:
        CimError: as ``judge.judge``.
        OutageError: a batch has not ended, or has left prompts unanswered; finished replies are kept.
    """

    def generate(answerer: Model, requests: Sequence[Request]) -> Iterator[Completion]:
        return _replies(answerer, _path(run, answerer), requests)

    openai.server_of(judge.usable(run, metrics))
    return judge.judge(run, metrics, track, probe, generate)


def _replies(answerer: Model, path: Path, requests: Sequence[Request]) -> Iterator[Completion]:
    """The replies of ended batches; a batch is forgotten once they are stored: what it lacks can be submitted again."""
    server, batches, waiting, reasons = openai.server_of(answerer), _read(path), list[str](), list[str]()
    answered = set[str]()
    for batch in [entry for entry in batches if entry["batch"]]:
        state = _batch.state(server, batch["batch"])
        if not state.ended:
            waiting.append(state.text)
            continue
        by_id = {_batch.line_of(server, request, batch["left_out"]).id: request for request in requests}
        for outcome in _batch.answers(server, state.files, by_id):
            if isinstance(outcome, str):
                reasons.append(outcome)
            elif outcome.sample_id not in answered:
                answered.add(outcome.sample_id)
                yield outcome
        reasons += [] if state.files else [state.text]
        batches.remove(batch)
        store.write_document(path, {"batches": batches})
    what = f"{len(requests) - len(answered)} of {len(requests)} replies are not there"
    if waiting:
        raise OutageError(f"{what}: {'; '.join(waiting[:3])}", where=answerer.name, hint="the same command goes on")
    if len(answered) < len(requests):
        hint = "`--batch submit` in place of `--batch collect` asks for them" + (" again" if reasons else "")
        reason = f", the first: {reasons[0]}" if reasons else ""
        raise OutageError(f"{what}{reason}", where=answerer.name, hint=hint)


def _path(run: Run, answerer: Model) -> Path:
    return run.folder / f"batches.{answerer.name}.json"


def _read(path: Path) -> list[dict[str, Any]]:
    content = store.read_document(path) or {"batches": []}
    if faults := list(malformed(content, FORM, path.name)):
        hint = "delete that file; what is in its batches will be submitted again"
        raise CimError("; ".join(faults[:3]), where=str(path), hint=hint)
    batches: list[dict[str, Any]] = content["batches"]
    return batches
