"""Objects, attributes and questions of images from JSON: by id, or rows with an id and a key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.store import regular
from harness.types import Question

IDS = ("sample_id", "image_id", "id", "image", "image_path", "img_path", "file_name", "filename", "question_id")
ANSWERS = {"yes": "Yes", "no": "No", "n/a": "n/a", "na": "n/a", "true": "Yes", "false": "No"}


def by_id(path: Path, id_key: str | None, key: str | None) -> dict[str, list[Any]]:
    """What a file holds of each id, in its order: JSON lines, an array of rows, or an object by id.

    Args:
        id_key: where a row has its id; the first usual key if None.
        key: where a row has the annotation; the whole row if None.

    Raises:
        CimError: not JSON, a row without id or key; names file and row.
    """
    values = dict[str, list[Any]]()
    for where, row in _rows(path):
        if id_key is None and len(row) == 1 and not row.keys() & {*IDS, key}:
            values.setdefault(*next((name, []) for name in row)).append(next(iter(row.values())))
            continue
        name = id_key or next((usual for usual in IDS if usual in row), None)
        if name is None or name not in row:
            raise CimError(f"no {name or 'id'!r} in this row", where=where, hint=f"its keys: {', '.join(row)[:80]}")
        if key is not None and key not in row:
            raise CimError(f"no {key!r} in this row", where=where, hint=f"its keys: {', '.join(row)[:80]}")
        values.setdefault(str(row[name]), []).append(row if key is None else row[key])
    return values


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        content = regular(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CimError(f"cannot be read ({error})", where=str(path)) from error
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        for number, line in enumerate(content.split("\n"), start=1):
            if line.strip():
                yield _object(_loaded(line, f"{path}:{number}"), f"{path}:{number}")
        return
    if isinstance(whole, list):
        for number, entry in enumerate(whole, start=1):
            yield _object(entry, f"{path}: entry {number}")
    elif isinstance(whole, dict) and whole.keys() & set(IDS):
        yield str(path), whole
    else:
        for name, value in _object(whole, str(path))[1].items():
            yield f"{path}: {name!r}", {name: value}


def _loaded(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CimError(f"not JSON ({error})", where=where) from error


def _object(value: Any, where: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise CimError(f"a JSON {type(value).__name__}, not an object", where=where)
    return where, value


def objects(values: Iterable[Any], where: str) -> tuple[str, ...]:
    """Names of objects, from lists of texts.

    Raises:
        CimError: something else.
    """
    names = [name for value in values for name in (value if isinstance(value, list) else [value])]
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise CimError(f"an object must be a text, found {json.dumps(wrong[0])[:40]}", where=where)
    return tuple(names)


def attributes(values: Iterable[Any], where: str) -> Mapping[str, tuple[str, ...]]:
    """Attribute words by object, from ``{object: [word, ...]}``.

    Raises:
        CimError: something else.
    """
    words = dict[str, tuple[str, ...]]()
    for value in values:
        if not isinstance(value, dict):
            raise CimError(f"attributes are {{object: [word, ...]}}, found {json.dumps(value)[:40]}", where=where)
        for owner, listed in value.items():
            words[owner] = words.get(owner, ()) + objects([listed], where)
    return words


def questions(values: Iterable[Any], where: str, table: Mapping[str, str]) -> tuple[Question, ...]:
    """Questions with their answers, from ``{question: answer}``, or from rows with both.

    Args:
        table: ``question_key`` and ``answer_key`` of a row (default: question, answer in any case), and ``answer``,
            that of all questions where the file holds none.

    Raises:
        CimError: something else, or an answer other than yes, no and n/a.
    """
    listed = [entry for value in values for entry in (value if isinstance(value, list) else [value])]
    return tuple(question for entry in listed for question in _questions(entry, where, table))


def _questions(entry: Any, where: str, table: Mapping[str, str]) -> Iterator[Question]:
    if not isinstance(entry, dict):
        raise CimError(f"a question is an object, found {json.dumps(entry)[:40]}", where=where)
    keys = {name.lower(): name for name in entry}
    question_key = table.get("question_key") or keys.get("question")
    if question_key is None:
        for text, answer in entry.items():
            yield Question(text, _answer(answer, where))
        return
    answer_key = table.get("answer_key") or keys.get("answer", "")
    text, answer = entry.get(question_key), entry.get(answer_key, table.get("answer"))
    if not isinstance(text, str):
        raise CimError(f"no text under {question_key!r}", where=where, hint="question_key = ...")
    yield Question(text, _answer(answer, where))


def _answer(answer: Any, where: str) -> str:
    word = ANSWERS.get(str(answer).strip().lower())
    if word is None:
        what = "a question has no answer" if answer is None else f"answer {str(answer)[:40]!r} is not yes, no or n/a"
        raise CimError(what, where=where, hint='answer_key = ..., or answer = "Yes" for all')
    return word
