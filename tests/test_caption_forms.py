"""Captions in the forms that people have them in, and ids that are written otherwise than the task's."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engines import captions
from harness.forms import ids
from tests.cli import Cim
from tests.conftest import SHARED
from tests.test_captions_file import GOOD

ROWS = list(GOOD.items())


def table(delimiter: str, *header: str) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerows([header, *((name, f'{text} He said: "a, b", and\nleft.') for name, text in ROWS)])
    return stream.getvalue().encode()


def lines(make: Callable[[str, str], Any]) -> bytes:
    return "".join(json.dumps(make(name, text)) + "\n" for name, text in ROWS).encode()


FORMS: dict[str, tuple[str, bytes, str]] = {
    "COCO results": ("a.json", json.dumps([{"image_id": n, "caption": t} for n, t in ROWS]).encode(), "JSON array"),
    "object": ("b.json", json.dumps(GOOD).encode(), "captions by id"),
    "pretty object": ("c.json", json.dumps(GOOD, indent=4).encode(), "captions by id"),
    "lists of one": ("d.json", json.dumps({n: [t] for n, t in ROWS}).encode(), "captions by id"),
    "one-entry objects": ("e.json", json.dumps([{n: t} for n, t in ROWS]).encode(), "array of captions by id"),
    "other keys": ("f.jsonl", lines(lambda n, t: {"image": n, "answer": t, "score": 1}), "JSON lines"),
    "compressed": ("g.jsonl.gz", gzip.compress(lines(lambda n, t: {"image_id": n, "caption": t})), "JSON lines"),
    "comma": ("h.csv", table(",", "file_name", "caption"), "CSV"),
    "tab": ("i.tsv", table("\t", "id", "prediction"), "TSV"),
    "tab by name of comma": ("j.csv", table("\t", "id", "prediction"), "TSV"),
    "no suffix": ("captions", lines(lambda n, t: {"id": n, "text": t}), "JSON lines"),
    "byte order mark": ("k.json", b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "captions by id"),
    "Batch API": (
        "l.jsonl",
        lines(lambda n, t: {"custom_id": n, "response": {"body": {"choices": [{"message": {"content": t}}]}}}),
        "JSON lines",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str, tmp_path: Path, cim: Cim) -> None:
    name, content, read_as = FORMS[form]
    (tmp_path / name).write_bytes(content)
    found = captions.read(tmp_path / name)
    assert found.form.name == read_as and list(found.captions) == list(GOOD)
    assert all(text.startswith(GOOD[key]) for key, text in found.captions.items())
    done = cim("eval", "--model", tmp_path / name, "--task", "demo", "--metrics", "length", "--draws", "0")
    assert done.code == 0 and f"read as {read_as}" in done.err, done


def test_keys_are_guessed_told_and_named(tmp_path: Path, cim: Cim) -> None:
    file = tmp_path / "mine.csv"
    rows = "".join(f"{number},{name},a b,c d e\n" for number, name in enumerate(GOOD))
    file.write_text(f"nr,key,caption,long\n{rows}")
    line = cim.refused("eval", "--model", file, "--task", "demo", "--metrics", "length")
    assert "no 'sample_id' in this row" in line and "nr, key, caption, long" in line and "--id-key" in line
    guessed = cim("eval", "--model", file, "--id-key", "key", "--metrics", "length", "--json")
    assert guessed.json["scores"][0]["values"] == {"words": 2.0}
    named = ("--id-key", "key", "--caption-key", "long", "--name", "other")
    other = cim("eval", "--model", file, *named, "--metrics", "length", "--json")
    assert (other.json["model"], other.json["scores"][0]["values"]) == ("other", {"words": 3.0})
    stored = json.loads((cim.results / "demo" / "other" / "manifest.json").read_text())["settings"]["model"]
    assert (stored["id_key"], stored["caption_key"]) == ("key", "long")


@pytest.mark.parametrize(
    ("known", "rule"),
    [
        (["img/a_01.jpg", "img/a_02.jpg"], "without folder and suffix"),
        (["1", "2"], "by their last number"),
        (["0001", "x/00002.png"], "by their last number"),
        (["a_01", "b"], ""),  # as they are: what is unknown is refused by name
        (["1", "01"], ""),  # two come to the same
        (["u", "v"], ""),
    ],
)
def test_ids_are_matched_where_it_is_one_to_one(known: list[str], rule: str) -> None:
    found, file_ids = ids.matched(known, ["a_01", "a_02", "a_03"])
    assert found == rule
    assert file_ids == (dict(zip(("a_01", "a_02"), known, strict=True)) if rule else {})
    assert ids.matched(["1"], ["a_1", "b_1"]) == ("", {}), "two samples end in the same number"


def test_matched_ids_score_as_the_tasks_own(tmp_path: Path, cim: Cim) -> None:
    plain, numbers = tmp_path / "plain.json", tmp_path / "numbers.json"
    plain.write_text(json.dumps(GOOD))
    numbers.write_text(json.dumps([{"image_id": int(name[-2:]), "caption": text} for name, text in ROWS]))
    options = ("--task", "demo", "--metrics", "bleu4_char,length", "--json")
    ours, theirs = (cim("eval", "--model", file, *options) for file in (plain, numbers))
    assert "ids matched by their last number" in theirs.err
    assert [row["values"] for row in theirs.json["scores"]] == [row["values"] for row in ours.json["scores"]]
    again = cim("score", "--model", numbers, *options)
    assert again.json["scores"] == theirs.json["scores"]


def test_unknown_ids_are_refused_or_left_out(tmp_path: Path, cim: Cim) -> None:
    file = tmp_path / "more.json"
    file.write_text(json.dumps({**GOOD, "stranger": "a"}))
    line = cim.refused("eval", "--model", file, "--task", "demo", "--metrics", "length")
    assert "1 sample ids" in line and "'stranger'" in line and "'demo_01'" in line and "--ignore-unknown" in line
    done = cim("eval", "--model", file, "--task", "demo", "--metrics", "length", "--ignore-unknown", "--json")
    assert done.json["scores"][0]["n"] == 12


@pytest.mark.parametrize("folder", ["karpathy_systems", "opera", "chair500", "comprecap"])
def test_public_files_are_read_as_they_are(folder: str) -> None:
    place = SHARED / "captions" / folder
    if not place.is_dir():
        pytest.skip("captions of real models are not there: ../shared/captions")
    beside = ("objects.jsonl", "reference_captions.json")
    for path in sorted(path for path in place.iterdir() if path.name not in beside):
        assert len(captions.read(path).captions) >= 100, path
