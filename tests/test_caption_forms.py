"""Captions and references in the forms that people have them in, and ids that are written otherwise than the task's."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engines import captions
from harness.errors import CimError
from harness.forms import ids, sources, texts
from tests.cli import Cim
from tests.conftest import SHARED
from tests.test_captions_file import GOOD

ROWS = list(GOOD.items())
TWO = {"a": ["first of a", "second of a"], "b": ["of b"]}
LONG = "a caption of more than eight words, as people write"


def table(delimiter: str, *header: str) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerows([header, *((name, f'{text} He said: "a, b", and\nleft.') for name, text in ROWS)])
    return stream.getvalue().encode()


def lines(make: Callable[[str, str], Any]) -> bytes:
    return "".join(json.dumps(make(name, text)) + "\n" for name, text in ROWS).encode()


def batch(name: str, text: str) -> Any:
    return {"custom_id": name, "response": {"body": {"choices": [{"message": {"content": text}}]}}}


def lmms_eval(name: str, text: str) -> Any:
    """lmms_eval/evaluator.py and loggers/evaluation_tracker.py@75571cfe: ``doc`` is taken out, metrics put in."""
    metric = {"answer": ["a", "b"], "pred": text, "image_id": name, "id": 7}
    return {"doc_id": 3, "target": "['a', \"b's\"]", "filtered_resps": text, "coco_CIDEr": metric, "input": "Describe."}


def lmms_eval_old(name: str, text: str) -> Any:
    document = {"image_id": name, "id": 3}
    return {"doc_id": 3, "doc": document, "target": "['a']", "resps": [[text]], "filtered_resps": [text]}


def evalscope(name: str, text: str) -> Any:
    """ModelResult of evalscope/api/evaluator/cache.py@fde259d2; its message may come in parts."""
    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": text}]
    output = {"model": "m", "choices": [{"message": {"content": parts}}]}
    return {"index": 3, "model": "m", "model_output": output, "messages": [], "metadata": {"image_id": name}}


def evalscope_review(name: str, text: str) -> Any:
    score = {"value": {"Bleu": 0.1}, "prediction": text}
    return {"index": 3, "target": "a", "sample_score": {"score": score, "sample_metadata": {"image_id": name}}}


FORMS: dict[str, tuple[str, bytes, str]] = {
    "COCO results": ("a.json", json.dumps([{"image_id": n, "caption": t} for n, t in ROWS]).encode(), "JSON array"),
    "object": ("b.json", json.dumps(GOOD).encode(), "captions by id"),
    "pretty object": ("c.json", json.dumps(GOOD, indent=4).encode(), "captions by id"),
    "lists of one": ("d.json", json.dumps({n: [t] for n, t in ROWS}).encode(), "captions by id"),
    "objects by id": ("d2.json", json.dumps({n: {"caption": t, "n": 1} for n, t in ROWS}).encode(), "captions by id"),
    "lists of objects": ("d3.json", json.dumps({n: [{"caption": t}] for n, t in ROWS}).encode(), "captions by id"),
    "one-entry objects": ("e.json", json.dumps([{n: t} for n, t in ROWS]).encode(), "array of captions by id"),
    "one-entry lines": ("e.jsonl", lines(lambda n, t: {n: t}), "lines of captions by id"),
    "wrapped": (
        "e2.json",
        json.dumps({"data": [{"image_id": n, "caption": t} for n, t in ROWS], "info": {}}).encode(),
        "JSON array under 'data'",
    ),
    "other keys": ("f.jsonl", lines(lambda n, t: {"image": n, "answer": t, "score": 1}), "JSON lines"),
    "keys with a slash": ("f2.jsonl", lines(lambda n, t: {"image/key": n, "x/y.z": LONG + t}), "JSON lines"),
    "compressed": ("g.jsonl.gz", gzip.compress(lines(lambda n, t: {"image_id": n, "caption": t})), "JSON lines"),
    "comma": ("h.csv", table(",", "file_name", "caption"), "CSV"),
    "semicolon": ("h2.csv", table(";", "file_name", "caption"), "CSV"),
    "tab": ("i.tsv", table("\t", "id", "prediction"), "TSV"),
    "tab by name of comma": ("j.csv", table("\t", "id", "prediction"), "TSV"),
    "no suffix": ("captions", lines(lambda n, t: {"id": n, "text": t}), "JSON lines"),
    "comma without suffix": ("table", table(",", "image_id", "caption"), "CSV"),
    "byte order mark": ("k.json", b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "captions by id"),
    "Batch API": ("l.jsonl", lines(batch), "JSON lines"),
    "lmms-eval": ("20260101_samples_coco_cap.jsonl", lines(lmms_eval), "JSON lines"),
    "lmms-eval with doc": ("20240101_samples_coco_cap.jsonl", lines(lmms_eval_old), "JSON lines"),
    "evalscope predictions": ("m.jsonl", lines(evalscope), "JSON lines"),
    "evalscope reviews": ("n.jsonl", lines(evalscope_review), "JSON lines"),
    "VLMEvalKit": ("model_COCO_VAL.tsv", table("\t", "image_path", "prediction"), "TSV"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str, tmp_path: Path) -> None:
    name, content, read_as = FORMS[form]
    (tmp_path / name).write_bytes(content)
    file = captions.read(tmp_path / name)
    (system,) = file.systems.values()
    assert file.form.name == read_as and list(system.captions) == list(GOOD)
    assert all(GOOD[name] in text for name, text in system.captions.items())
    assert system.repeated is None


def test_a_form_is_said_and_scored(tmp_path: Path, cim: Cim) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(FORMS["comma"][1])
    done = cim("eval", "--model", file, "--task", "demo", "--metrics", "length", "--draws", "0")
    assert done.code == 0 and "read as CSV, ids under 'file_name', captions under 'caption'" in done.err, done


def test_a_folder_of_texts(tmp_path: Path, cim: Cim) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in ROWS:
        (folder / f"{name}.txt").write_text(f"{text}\n")
        (folder / f"{name}.png").write_bytes(b"no picture")
    options = ("--task", "demo", "--metrics", "length", "--json")
    done = cim("eval", "--model", folder, *options)
    assert done.json["model"] == "mine" and done.json["scores"][0]["n"] == 12
    before = captions.read(folder).sha256
    (folder / "demo_01.txt").write_text("another")
    changed = captions.read(folder)
    assert changed.systems[""].captions["demo_01"] == "another" and changed.sha256 != before
    (folder / "demo_02.txt").write_bytes(b"Stra\xdfe")
    assert f"{folder}/demo_02.txt: invalid UTF-8 at byte 5" in cim.refused("eval", "--model", folder, *options)
    (folder / "below").mkdir()
    assert "a folder in a folder of texts: below" in cim.refused("eval", "--model", folder, *options)
    (tmp_path / "none").mkdir()
    assert "no model in this folder" in cim.refused("eval", "--model", tmp_path / "none", *options)
    with pytest.raises(CimError, match=r"none: no \.txt file in this folder"):
        texts.read(tmp_path / "none", texts.REFERENCES)


def test_folders_of_captions_and_references(tmp_path: Path, cim: Cim) -> None:
    for name, word in (("ours", "a cat"), ("theirs", "a cat sits")):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.txt").write_text(f"{word} {number}")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    done = cim("eval", "--model", ours, "--references", theirs, "--metrics", "bleu4_char,length", "--json")
    assert done.json["scores"][0]["n"] == 3 and cim("verify", "ours", "--task", done.json["task"]).code == 0
    (theirs / "1.txt").write_text("changed")
    again = cim.refused("score", "--model", "ours", "--task", done.json["task"], "--metrics", "length")
    assert f"{theirs}: has" in again and "expected" in again
    assert "references on standard input" in cim.refused("eval", "--model", ours, "--references", "-")


def test_a_folder_of_thousands_of_texts(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"{number:05d}.txt").touch()
    rows = texts.read(tmp_path, texts.CAPTIONS).rows
    assert [row.id for row in rows] == [f"{number:05d}" for number in range(2_000)]


def test_standard_input_is_read_once(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    sources._standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(GOOD).encode())))
    options = ("--task", "demo", "--metrics", "length", "--json")
    assert cim("eval", "--model", "-", *options).json["model"] == "stdin"
    assert cim("eval", "--model", "-", "--name", "mine", *options).json["model"] == "mine"
    sources._standard_input.cache_clear()
    assert len(texts.read(sources.STDIN, texts.CAPTIONS).rows) == 12, "kept, as a file that does not change"


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    picture = [{"bytes": b"\xff\xd8", "path": f"{name}.jpg"} for name in GOOD]
    columns = {"image": picture, "raw": [b"\xff"] * 12, "caption": [*GOOD.values()], "all": [["a", "b"]] * 12}
    parquet.write_table(arrow.table(columns), tmp_path / "x.parquet")
    file = texts.read(tmp_path / "x.parquet", texts.CAPTIONS, id_key="image.path")
    assert [(row.id, row.texts, row.image) for row in file.rows] == [
        (f"{name}.jpg", (text,), f"{name}.jpg") for name, text in ROWS
    ]
    assert texts.read(tmp_path / "x.parquet", texts.REFERENCES, "image.path", "all").rows[3].texts == ("a", "b")
    with pytest.raises(CimError, match=r"x\.parquet: row 1: image must be a text in quotes, found \{"):
        texts.read(tmp_path / "x.parquet", texts.CAPTIONS, "image.path", "image")
    (tmp_path / "y.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-40])
    with pytest.raises(CimError, match=r"y\.parquet: damaged parquet file"):
        texts.read(tmp_path / "y.parquet", texts.CAPTIONS)
    bomb = tmp_path / "bomb.parquet"
    parquet.write_table(arrow.table({"id": range(9_000), "caption": ["x" * 9_000] * 9_000}), bomb)
    monkeypatch.setattr("harness.forms.tables.LARGEST", 80_000_000)
    assert bomb.stat().st_size < 80_000
    with pytest.raises(CimError, match=r"bomb\.parquet: more than 80000000 bytes once unpacked"):
        texts.read(bomb, texts.CAPTIONS)


def test_workbooks(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [("index", "image_path", "prediction"), *((n, *row) for n, row in enumerate(ROWS)), (None, None, None)]:
        book.active.append(row)
    book.save(tmp_path / "x.xlsx")
    assert captions.read(tmp_path / "x.xlsx").systems[""].captions == GOOD
    book.active["C2"] = None
    book.save(tmp_path / "y.xlsx")
    with pytest.raises(CimError, match=r"y\.xlsx: row 2: prediction must be a text in quotes, found null"):
        captions.read(tmp_path / "y.xlsx")
    for damage in (b"", b"\0" * 300):
        content = bytearray((tmp_path / "x.xlsx").read_bytes())
        content[60:360] = damage
        (tmp_path / "z.xlsx").write_bytes(content)
        with pytest.raises(CimError, match=r"z\.xlsx: damaged xlsx"):
            captions.read(tmp_path / "z.xlsx")


def test_archives_that_are_no_workbook_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "")
        archive.writestr("xl/sharedStrings.xml", " " * 5000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b" " * 5000))
    for module in ("tables", "sources"):
        monkeypatch.setattr(f"harness.forms.{module}.LARGEST", 4999)
    large = "more than 4999 bytes once unpacked"
    for name, fault in {"x.xlsx": large, "x.json.gz": large, "x.zip": "a zip archive; unpack it"}.items():
        with pytest.raises(CimError, match=f"{name}: {fault}"):
            captions.read(tmp_path / name)


@pytest.mark.parametrize(("name", "start", "package"), [("x.parquet", b"PAR1", "pyarrow"), ("x.xlsx", b"", "openpyxl")])
def test_an_absent_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, start: bytes, package: str
) -> None:
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    if start:
        (tmp_path / name).write_bytes(start)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CimError, match=rf"{package}, which is not there; pip install"):
        captions.read(tmp_path / name)


def test_several_captions_of_one_image(tmp_path: Path) -> None:
    by_id, flat = tmp_path / "by_id.json", tmp_path / "flat.jsonl"
    by_id.write_text(json.dumps(TWO))
    rows = [("a", "first of a"), ("b", "of b"), ("a", "second of a")]
    flat.write_text("".join(json.dumps({"id": name, "caption": text}) + "\n" for name, text in rows))
    for path, second in ((by_id, f"{by_id}: 'a'"), (flat, f"{flat}:3")):
        system = captions.read(path).systems[""]
        assert system.captions == {"a#1": "first of a", "a#2": "second of a", "b": "of b"}
        assert {"a#1", "a#2"} <= system.captions.keys() and system.repeated == ("a", second)
    flat.write_text(flat.read_text() + '{"id": "a#2", "caption": "x"}\n')
    with pytest.raises(CimError, match=r":4: id 'a#2' is also"):
        captions.read(flat)


def test_rated_captions_stand_once(tmp_path: Path) -> None:
    rated = [{"caption": text, "rating": rating} for text in TWO["a"] for rating in (1, 2, 4)]
    path = tmp_path / "rated.json"
    path.write_text(json.dumps({"a": {"human_judgement": rated, "ground_truth": ["x", "y"], "image_path": "p/a.jpg"}}))
    file = texts.read(path, texts.CAPTIONS)
    assert [(row.texts, row.image) for row in file.rows] == [(tuple(TWO["a"]), "p/a.jpg")]
    assert str(file.form) == "captions by id, captions under 'human_judgement'; 6 ratings of 2 captions"
    assert texts.read(path, texts.REFERENCES).rows[0].texts == ("x", "y")


SYSTEMS: dict[str, tuple[list[dict[str, Any]], tuple[str | None, ...]]] = {
    "key": ([{"id": "a", "model": m, "caption": m} for m in ("x/1", "y")], ()),
    "named key": ([{"id": "a", "who": m, "caption": m} for m in ("x/1", "y")], (None, None, "who")),
    "named columns": ([{"id": "a", "x/1": "x/1", "y": "y"}], (None, "x/1, y")),
    "columns": (
        [{"id": "a", "x/1": f"{LONG} x/1", "y": f"{LONG} y", "note": "no", "prompt": LONG}, {"id": "b", "y": LONG}],
        (),
    ),
}


@pytest.mark.parametrize("case", SYSTEMS)
def test_several_systems_in_one_file(tmp_path: Path, case: str) -> None:
    rows, keys = SYSTEMS[case]
    path = tmp_path / "s.json"
    path.write_text(json.dumps(rows))
    systems = captions.read(path, *keys).systems
    assert list(systems) == ["x/1", "y"]
    assert all(system.captions["a"].endswith(name) for name, system in systems.items())


def test_one_system_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps([{"id": name, "model": "m", "caption": text} for name, text in ROWS]))
    assert list(captions.read(path).systems) == [""]
    with pytest.raises(CimError, match="no row has a caption under 'captoin'"):
        captions.read(path, None, "caption,captoin")


def test_a_run_per_system(tmp_path: Path, cim: Cim) -> None:
    path = tmp_path / "both.jsonl"
    rows = [{"id": name, "model": m, "caption": text + m} for name, text in ROWS for m in ("org/m 1", " 2 3")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = cim("eval", "--model", path, "--task", "demo", "--metrics", "length", "--json")
    assert [row["model"] for row in done.json] == ["both-org_m 1", "both- 2 3"]
    assert [row["scores"][0]["values"]["words"] for row in done.json] == [6.0, 7.0]
    assert "systems under 'model'; 2 systems: org/m 1,  2 3" in done.err and done.err.count("read as") == 1
    stored = json.loads((cim.results / "demo" / "both-org_m 1" / "manifest.json").read_text())["settings"]["model"]
    assert stored["system"] == "org/m 1"


REFERENCES: dict[str, tuple[str, Any]] = {
    "by id": ("r.json", TWO),
    "lists in rows": ("r.jsonl", [{"id": name, "references": some} for name, some in TWO.items()]),
    "a row each": ("r.jsonl", [{"image_id": name, "caption": text} for name, some in TWO.items() for text in some]),
    "targets of lmms-eval": ("r.jsonl", [{"doc_id": name, "target": str(some)} for name, some in TWO.items()]),
    "COCO annotations": (
        "captions_val2014.json",
        {
            "images": [{"id": name, "file_name": f"{name}.jpg"} for name in TWO],
            "annotations": [
                {"image_id": name, "id": 1, "caption": text} for name, some in TWO.items() for text in some
            ],
        },
    ),
    "Karpathy": (
        "dataset_coco.json",
        {
            "images": [
                {"filename": f"{name}.jpg", "cocoid": name, "split": "test", "sentences": [{"raw": t} for t in some]}
                for name, some in TWO.items()
            ]
        },
    ),
    "pycocoevalcap": ("gts.json", {name: [{"caption": text} for text in some] for name, some in TWO.items()}),
}


@pytest.mark.parametrize("form", REFERENCES)
def test_references_of_an_image_are_brought_together(form: str, tmp_path: Path) -> None:
    name, content = REFERENCES[form]
    rows = content if name.endswith(".jsonl") else [content]
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = texts.read(tmp_path / name, texts.REFERENCES)
    assert {row.id: list(row.texts) for row in file.rows} == TWO
    if "images" in content:
        assert [row.image for row in file.rows] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.json", b'{\n"a": "x",\n"a": "y"\n}', "a key stands twice in one object: 'a'"),
        ("a.csv", b"id,caption,id\na,b,c\n", "column 'id' stands twice"),
        ("a.csv", b"id,caption\na,b\nc\n", "a.csv:3: another number of columns"),
        ("a.csv", b"id,caption\na,\0\n", "a NUL byte at byte 14"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b'{"image_id": [1], "caption": ["a"]}', "image_id must be a text in quotes, found"),
        (
            "a.json",
            b'{"images": [3], "annotations": [{"image_id": [1], "caption": ""}]}',
            "annotation 1: image_id must",
        ),
        ("a.json", b'{"images": [{"id": 1, "sentences": ["a"]}, 3]}', "image 2: a JSON int, not an object"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CimError, match=fault):
        captions.read(tmp_path / name)


def test_keys_are_guessed_named_and_printed(tmp_path: Path, cim: Cim) -> None:
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
        (["other_01", "other_02"], ""),  # another set of images
        (["1", "01"], ""),  # two come to the same
        (["u", "v"], ""),
    ],
)
def test_ids_are_matched_where_it_is_one_to_one(known: list[str], rule: str) -> None:
    matched_by, file_ids = ids.matched(known, ["a_01", "a_02", "a_03"])
    assert matched_by == rule
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


FOLDERS = ("karpathy_systems", "opera", "chair500", "comprecap", "iiw", "faithscore", "flickr8k_expert")


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_files_are_read_as_they_are(folder: str) -> None:
    place = SHARED / "captions" / folder
    if not place.is_dir():
        pytest.skip("captions of real models are not there: ../shared/captions")
    beside = ("objects.jsonl", "reference_captions.json")
    for path in sorted(path for path in place.iterdir() if path.name not in beside):
        assert all(len(system.captions) >= 100 for system in captions.read(path).systems.values()), path


def test_public_files_hold_what_their_authors_say() -> None:
    place = SHARED / "captions"
    if not place.is_dir():
        pytest.skip("captions of real models are not there: ../shared/captions")
    answers = captions.read(place / "faithscore" / "annotation.jsonl").systems[""]
    assert (len(answers.captions), len({name.partition("#")[0] for name in answers.captions})) == (180, 30)
    rated = captions.read(place / "flickr8k_expert" / "flickr8k.json")
    assert len(rated.systems[""].captions) == 5664 and "16992 ratings of 5664 captions" in str(rated.form)
    for path in (place / "flickr8k_expert" / "flickr8k.json", place / "karpathy_systems" / "reference_captions.json"):
        assert {len(row.texts) for row in texts.read(path, texts.REFERENCES).rows} >= {5}
    described = captions.read(place / "iiw" / "IIW-400.jsonl").systems
    assert {name: len(system.captions) for name, system in described.items()} == {"IIW": 400, "IIW-P5B": 100}
