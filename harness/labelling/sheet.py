"""Questions as a CSV sheet for people who label in a spreadsheet, and their answers read back.

Texts that a spreadsheet would take for a formula begin with an apostrophe. Answers are yes, no or n/a, in any case;
y, n and "not answerable" as well; an empty cell is no answer.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from harness import store
from harness.errors import CimError
from harness.labelling.session import Session

COLUMNS = ("id", "caption_hash", "caption", "question", "answer")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
ANSWERS = {"y": "yes", "yes": "yes", "n": "no", "no": "no", "n/a": "n/a", "na": "n/a", "not answerable": "n/a"}
LARGEST = 1 << 24  # bytes of a sheet


def write(path: Path, session: Session) -> int:
    """Write the questions without an answer; returns how many."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    rows = [question for at, question in enumerate(session.questions) if at not in session.verdicts]
    for question in rows:
        name = f"{question.fact[0]}#{question.fact[1]}"
        writer.writerow([*map(_safe, (name, question.caption_hash, question.caption, question.question)), ""])
    store.write_bytes(path, b"\xef\xbb\xbf" + text.getvalue().encode(errors="replace"))  # a mark that Excel asks for
    return len(rows)


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def read(path: Path, session: Session) -> int:
    """Store the answers of a sheet; returns how many are new. Nothing is stored of a sheet with a fault.

    Raises:
        CimError: no such sheet, an answer that is none of the three, a question that is not in the plan, or one about
            another caption; names the line.
    """
    places = {f"{question.fact[0]}#{question.fact[1]}": at for at, question in enumerate(session.questions)}
    answers = dict[int, str]()
    for line, row in _rows(path):
        name = row["id"].removeprefix("'") if row["id"] not in places else row["id"]
        where = f"{path}:{line}"
        if name not in places:
            raise CimError(f"no question {name[:60]!r} to label", where=where, hint="fill in what --label --out wrote")
        if row["caption_hash"] != session.questions[places[name]].caption_hash:
            raise CimError("is about another caption", where=where, hint="write the sheet again: --label --out")
        answer = row["answer"].strip().lower()
        if answer and answer not in ANSWERS:
            raise CimError(f"answer {answer[:30]!r}", where=where, hint="yes, no, n/a, or nothing")
        if answer:
            answers[places[name]] = ANSWERS[answer]
    new = {at: verdict for at, verdict in answers.items() if session.verdicts.get(at) != verdict}
    for at, verdict in sorted(new.items()):
        session.put(at, verdict)
    return len(new)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise CimError("no sheet of labels", where=str(path), hint="cim judge --model RUN --label --out FILE.csv")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        first = text.partition("\n")[0]
        mark = max(",;\t", key=first.count)  # spreadsheets of some countries write semicolons
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise CimError(f"lacks a column of {', '.join(COLUMNS)}", where=str(path), hint="keep the first line")
        for row in reader:
            yield reader.line_num, {name: row[name] or "" for name in COLUMNS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise CimError(f"is no CSV file in UTF-8 ({error})", where=str(path)) from error
