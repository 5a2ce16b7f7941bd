"""What engines wrote for a run: ``captions.jsonl``, ``replies.<judge>.jsonl``; one row per request, as they arrived.

A row holds the engine's text, finish reason and token counts, or the error that stands in their place, and thoughts
that were split off the text. A failed row is followed by another of its id when it was asked again: the later counts.
Written by ``cim caption`` and ``cim judge``, read by everything after them. ``RowFiles`` parses each file once per
command.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError, OutageError
from harness.lines import Index, index, is_large
from harness.runs import reasoning, served
from harness.types import Completion, Model, Request, Track

NAME = "captions.jsonl"
MANY = 50_000  # rows that are kept in memory as they are added
SURROGATE = re.compile("[\ud800-\udfff]")

Add = Callable[[Mapping[str, Any]], None]
"""Appends one row."""


def completion(row: dict[str, Any], where: str, field: str = "caption") -> Completion:
    """The completion of a stored row; CimError when it has no sample id, or neither text nor error."""
    sample_id, text, error = row.get("sample_id"), row.get(field), row.get("error")
    if not isinstance(sample_id, str) or not isinstance(text if error is None else error, str):
        raise CimError(f"a row without sample_id or {field}", where=where, hint="make the run again with --fresh")
    thoughts = row.get("reasoning")
    if SURROGATE.search(f"{sample_id}{text}{thoughts}"):
        raise CimError("half of a surrogate pair", where=where, hint="make the run again with --fresh")
    reason, counts = row.get("finish_reason"), (row.get("prompt_tokens"), row.get("completion_tokens"))
    if not isinstance(reason, str | None) or not all(isinstance(count, int | None) for count in counts):
        raise CimError("a malformed finish_reason or token count", where=where, hint="make the run again with --fresh")
    thoughts = thoughts if isinstance(thoughts, str) else None
    return Completion(sample_id, None if error is not None else text, reason, *counts, error=error, reasoning=thoughts)


def row(completion: Completion, field: str = "caption") -> dict[str, Any]:
    """The stored row of a completion, its text under ``field``; ``reasoning`` only where there is some."""
    thoughts = completion.reasoning
    return {
        "sample_id": completion.sample_id,
        field: completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "error": completion.error,
        **({} if thoughts is None else {"reasoning": SURROGATE.sub("\ufffd", thoughts)}),
    }


def read(folder: Path, name: str = NAME, field: str = "caption") -> Mapping[str, Completion]:
    """Stored completions by sample id, in the order they arrived; of a failed one, what came when it was asked again.

    Raises:
        CimError: a row is damaged, or an id is repeated though its first row did not fail; names file and line.
    """
    path, completions = folder / name, dict[str, Completion]()
    if is_large(path):
        rows = index(path, lambda line, where: completion(store.row(line, where), where, field), _sample_id)
        if rows.repeated:
            _check_repeated(path, rows.every)
        return rows
    for number, content in enumerate(store.read_rows(path), start=1):
        completed = completion(content, f"{path}:{number}", field)
        if completed.sample_id in completions and completions[completed.sample_id].final:
            raise _stands_twice(completed.sample_id, f"{path}:{number}")
        completions[completed.sample_id] = completed
    return completions


def _sample_id(completed: Completion) -> str:
    return completed.sample_id


def _stands_twice(sample_id: str, where: str) -> CimError:
    hint = "two runs were mixed: make it again with --fresh"
    return CimError(f"sample_id {sample_id!r} stands a second time", where=where, hint=hint)


def _check_repeated(path: Path, rows: Iterable[Completion]) -> None:
    final = set[int]()
    for number, completed in enumerate(rows, start=1):
        if (name := hash(completed.sample_id)) in final:
            raise _stands_twice(completed.sample_id, f"{path}:{number}")
        if completed.final:
            final.add(name)


def _row_id(row: Mapping[str, Any]) -> str:
    return str(row.get("sample_id"))


class RowFiles:
    """The row files of one run's folder: each is parsed once, and again only after another process has changed it.

    Rows of a large file stay there (``harness/lines.py``) and are parsed when they are asked for.

    Size, time and inode of a file say whether it is still the one that was parsed. What this process appends is added
    to the parsed rows. Callers must not change what they are given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parsed: dict[str, tuple[Any, Any]] = {}

    def completions(self, name: str = NAME, field: str = "caption") -> Mapping[str, Completion]:
        """Stored completions by sample id, as ``read``."""
        rows: Mapping[str, Completion] = self._once(name, lambda: read(self.folder, name, field))
        return rows

    def rows(self, name: str) -> Mapping[str, dict[str, Any]]:
        """Rows of any file by sample id, of two with one id the later."""
        path = self.folder / name
        rows: Mapping[str, dict[str, Any]] = self._once(
            name,
            lambda: (
                index(path, store.row, _row_id)
                if is_large(path)
                else {_row_id(row): row for row in store.read_rows(path)}
            ),
        )
        return rows

    def derived(self, name: str, what: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives for a file, made again only after the file has changed; ``what`` names it."""
        return self._once(name, make, f"{name} {what}")

    def _once(self, name: str, parse: Callable[[], Any], key: str = "") -> Any:
        state = self._state(name)  # taken before the file is read: a row that arrives meanwhile is read next time
        key = key or name
        if key not in self._parsed or self._parsed[key][0] != state:
            self._parsed[key] = state, parse()
        return self._parsed[key][1]

    def _state(self, name: str) -> tuple[int, int, int] | None:
        try:
            stat = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return stat.st_size, stat.st_mtime_ns, stat.st_ino

    @contextmanager
    def appending(self, name: str, field: str | None = None) -> Iterator[Add]:
        """A function that appends a row; after an exception the file is parsed again.

        Args:
            field: where the text of completions stands; None for rows of another form.
        """
        before = self.completions(name, field) if field else self.rows(name)
        added, count, few = dict[str, Any](), 0, not isinstance(before, Index)
        with store.Appender(self.folder / name) as file:

            def add(content: Mapping[str, Any]) -> None:
                nonlocal count, few
                file.append(content)
                if few:
                    row = dict(content)
                    added[row["sample_id"]] = completion(row, f"{self.folder / name}", field) if field else row
                if len(added) > MANY:  # they are read from the file when they are asked for
                    few = False
                    added.clear()
                count += 1

            yield add
        if few and len(all_rows := {**before, **added}) == len(before) + count:  # else parsing judges ids that repeat
            self._parsed[name] = self._state(name), all_rows


def fill(
    files: RowFiles,
    model: Model,
    requests: Sequence[Request],
    track: Track,
    generate: Callable[[Model, Sequence[Request]], Iterable[Completion]],
) -> int:
    """Append the caption of each request as it arrives, its thoughts split off; returns how many there were.

    A request that fails as its stored row did adds none. What judges said about a caption that had failed is removed
    before the caption arrives, as it was said about an empty one.

    Args:
        generate: a model and its requests to completions, as ``Engine.generate``.

    Raises:
        OutageError: the engine stopped before the last request, or failed on some; finished rows are kept.
    """
    count, reason, before = 0, "", files.completions()
    answers = generate(model, requests) if requests else ()
    answers = served.watched(files.folder, served.CAPTIONS, answers, stored=bool(before))
    with files.appending(NAME, "caption") as add:
        for completed in track(answers, "caption", len(requests)) if requests else ():
            if completed.outage:
                reason = reason or f" ({completed.error})"
                continue
            count += 1
            if completed == before.get(completed.sample_id):
                continue
            if completed.text is not None and completed.sample_id in before:
                _forget_replies(files.folder, completed.sample_id)
            add(row(reasoning.split_off(completed)))
    if count < len(requests):
        hint = "the same command goes on"
        raise OutageError(f"engine {model.engine} gave {count} of {len(requests)} caption texts{reason}", hint=hint)
    return count


def request_id(sample_id: str, key: str) -> str:
    """The id of a judge's prompt about a sample, of those by key."""
    return f"{sample_id}#{key}" if key else sample_id


def _forget_replies(folder: Path, sample_id: str) -> None:
    """Remove what judges replied about a caption; all of it about perturbed captions, which may be of other samples."""
    for path in folder.glob("probe.*.jsonl"):
        path.unlink()
    for path in folder.glob("replies.*.jsonl"):
        rows = store.read_rows(path)
        kept = [row for row in rows if not f"{row.get('sample_id')}#".startswith(f"{sample_id}#")]
        if len(kept) < len(rows):
            store.write_rows(path, kept, sealed=True)


def digest(captions: Mapping[str, Completion]) -> str:
    """Twelve hex digits that identify a run's captions, independent of their order."""
    digest = hashlib.sha256()
    for number, name in enumerate(sorted(captions)):
        digest.update((b"\n" if number else b"") + store.dumps(row(captions[name])).encode())
    return digest.hexdigest()[:12]
