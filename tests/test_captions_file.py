"""Bad captions files and bad options: one clear line, exit 2, nothing written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.engines import captions
from tests.cli import Cim, captions_file

GOOD = {f"demo_{i:02d}": f"A caption of scene {i}." for i in range(1, 13)}


def _row(**fields: object) -> str:
    return json.dumps(fields) + "\n"


ROWS = [_row(sample_id=key, caption=text) for key, text in GOOD.items()]
# Further ones, with their whole texts, are in tests/snapshots/errors.txt.
BAD: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "has no rows"),
    "blank lines only": (b"\n  \n\n", "has no rows"),
    "array without captions": (b'[\n{"sample_id": "demo_01"}\n]', "x.jsonl: entry 1: no 'caption' in this row"),
    "array of texts": (b'["demo_01"]', "x.jsonl: entry 1: a JSON str, not an object"),
    "array that is cut off": (b'[{"sample_id": "demo_01",', "x.jsonl:1: not JSON"),
    "text row": (b'"demo_01"\n', "x.jsonl:1: a JSON str, not an object"),
    "invalid UTF-8": (
        ROWS[0].encode() + b'{"sample_id": "demo_02", "caption": "\xff"}\n',
        "x.jsonl:2: invalid UTF-8 at byte 38",
    ),
    "truncated last line": ("".join(ROWS)[:-9].encode(), "x.jsonl:12: the last line is cut off"),
    "damaged middle line": ((ROWS[0] + "{oops\n" + ROWS[1]).encode(), "x.jsonl:2: not JSON"),
    "caption is null": (
        _row(sample_id="demo_01", caption=None).encode(),
        "caption must be a text in quotes, found null",
    ),
    "caption is a number in a list": (
        _row(sample_id="demo_01", caption=["a", 3]).encode(),
        "caption must be a text in quotes, found 3",
    ),
    "no caption in a list": (_row(sample_id="demo_01", caption=[]).encode(), "caption is an empty list"),
    "caption is not a number": (
        b'{"sample_id": "demo_01", "caption": NaN}\n',
        "caption must be a text in quotes, found NaN",
    ),
    "id with two captions": (_row(sample_id="demo_01", caption=["a", "b"]).encode(), "'demo_01' stands a second time"),
    "no caption": (_row(sample_id="demo_01").encode(), "x.jsonl:1: no 'caption' in this row"),
    "no id": (_row(caption="x").encode(), "no 'sample_id' in this row"),
    "id is a fraction": (_row(sample_id=3.5, caption="x").encode(), "sample_id must be a text in quotes, found 3.5"),
    "id is a truth": (_row(sample_id=True, caption="x").encode(), "sample_id must be a text in quotes, found true"),
    "damaged gzip": (b"\x1f\x8bnothing", "damaged gzip file"),
    "UTF-16": ("".join(ROWS).encode("utf-16"), "x.jsonl: UTF-16; save the file as UTF-8"),
    "pickle": (b"\x80\x04N.", "x.jsonl: a pickle; it is never opened"),
    "NUL byte": (b'{"sample_id": "demo_01", "caption": "\0"}\n', "x.jsonl:1: a NUL byte at byte 38"),
    "1 MB caption": (_row(sample_id="demo_01", caption="x" * 1_000_000).encode(), "caption of 1000000 characters"),
    "half a surrogate pair": (
        b'{"sample_id": "demo_01", "caption": "a\\ud83d"}\n',
        "half of a surrogate pair at character 2",
    ),
    "nested too deeply": (b'{"a":' * 200_000, "x.jsonl:1: "),
    "a number of 5,000 digits": (
        b'{"sample_id": "demo_01", "caption": "a", "n": ' + b"9" * 5000 + b"}\n",
        "not usable JSON",
    ),
    "a key twice": (
        b'{"sample_id": "demo_01", "caption": "a", "caption": "b"}\n',
        "x.jsonl:1: not usable JSON (a key stands twice in one object: 'caption')",
    ),
    "missing ids": ("".join(ROWS[:9]).encode(), "no caption for 3 of 12 samples: 'demo_10', 'demo_11', 'demo_12'"),
    "extra ids": (
        ("".join(ROWS) + _row(sample_id="demo_99", caption="x")).encode(),
        "1 sample ids are not in this task: 'demo_99'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(cim: Cim, tmp_path: Path, case: str) -> None:
    content, expected = BAD[case]
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    line = cim.refused("eval", "--model", path, "--metrics", "length")
    assert expected in line and "x.jsonl" in line, line
    assert not cim.results.exists()


def test_missing_ids_are_pointed_to_partial(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "x.jsonl", dict(list(GOOD.items())[:9]))
    assert "--partial" in cim.refused("eval", "--model", path, "--metrics", "length")
    result = cim("eval", "--model", path, "--metrics", "length", "--partial", "--json")
    assert result.code == 0 and result.json["scores"][0]["n"] == 9
    assert "|n:9/12@" in result.json["scores"][0]["signature"]


def test_extra_ids_are_refused_with_partial_too(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "x.jsonl", {"demo_01": "x", "demo_99": "y"})
    assert "'demo_99'" in cim.refused("eval", "--model", path, "--partial", "--metrics", "length")


def test_harmless_differences_are_accepted(cim: Cim, tmp_path: Path) -> None:
    rows = [_row(further={"a": 1}, caption=text, sample_id=key).replace("\n", "\r\n") for key, text in GOOD.items()]
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(reversed(rows)).encode().rstrip())
    assert cim("eval", "--model", path, "--metrics", "length").code == 0


def test_odd_files_are_refused(cim: Cim, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jsonl")
    assert "no regular file" in cim.refused("eval", "--model", tmp_path / "fifo.jsonl")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    assert "loop.jsonl: captions file cannot be read" in cim.refused("eval", "--model", tmp_path / "loop.jsonl")


def test_control_characters_reach_no_terminal(cim: Cim, tmp_path: Path) -> None:
    line = cim.refused("eval", "--model", "x\x1b[2Jy\u202e")
    assert "\\x1b" in line and "\x1b" not in line and "\u202e" not in line
    path = captions_file(tmp_path / "[red]x.jsonl", GOOD)
    for option, shown in (("--verbose", "[red]x on demo"), ("--partial", "demo    [red]x\n")):
        assert shown in cim("eval", "--model", path, "--metrics", "length", option).out


@pytest.mark.parametrize(
    "name", ["a\x9bb.jsonl", "a\u202eb.jsonl", "...jsonl", ".hidden.jsonl", "a:b.jsonl", "new\nline.jsonl"]
)
def test_a_name_that_makes_no_folder_is_refused(cim: Cim, tmp_path: Path, name: str) -> None:
    assert "cannot be the name of a run" in cim.refused("eval", "--model", captions_file(tmp_path / name, GOOD))


OPTIONS = {
    "negative limit": (["--limit", "-3"], "argument --limit: '-3' is not a whole number from 1 to 1000000000"),
    "limit in words": (["--limit", "ten"], "--limit"),
    "unknown option": (["--lmit", "3"], "unrecognized arguments: --lmit 3; cim --help"),
    "negative draws": (["--draws", "-1"], "--draws"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_bad_option_is_refused_in_one_line(cim: Cim, case: str) -> None:
    options, expected = OPTIONS[case]
    assert expected in cim.refused("eval", "--model", "demo-terse", *options)
    assert not cim.results.exists()


MODELS = {
    "demo-ters": "unknown model 'demo-ters'; did you mean demo-terse?",
    "nobody.jsonl": "nobody.jsonl: captions file cannot be read (No such file or directory)",
    "tests/": "no model in this folder",
    " ": "--model is empty",
}


@pytest.mark.parametrize("model", MODELS)
def test_an_unknown_model_is_refused_in_one_line(cim: Cim, model: str) -> None:
    assert MODELS[model] in cim.refused("eval", "--model", model)


def test_an_unknown_verb_and_no_verb(cim: Cim) -> None:
    assert "invalid choice: 'evaluate'" in cim.refused("evaluate")
    assert "VERB" in cim.refused()


def test_an_unwritable_results_folder(cim: Cim, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = cim.refused(
        "eval", "--model", "demo-terse", "--metrics", "length", "--results", tmp_path / "file" / "results"
    )
    assert "Not a directory" in line and str(tmp_path / "file") in line


def test_two_files_of_one_name_are_refused(cim: Cim, tmp_path: Path) -> None:
    first, other = (captions_file(tmp_path / folder / "x.jsonl", GOOD) for folder in "ab")
    assert "two models are called x" in cim.refused("eval", "--model", f"{first},{other}", "--metrics", "length")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = captions_file(tmp_path / "x.jsonl", {"demo_01": "one"})
    assert captions.read(path).systems[""].captions == {"demo_01": "one"}
    captions_file(path, {"demo_01": "two!"})
    assert captions.read(path).systems[""].captions == {"demo_01": "two!"}


TOML = {
    'about = "x"\nengine = "captions"\n\ncolour = 3\n': "m.toml:4: unknown key 'colour'",
    'about = "x"\nengine = 7\n': "m.toml:2: key 'engine' must be str, found int",
    'engine = "captions"\n': "key 'about' is missing",
    'about = "x"\nengine = "captions"\n': "key 'captions' is missing",
    'about = "x"\nengine = "vlm"\n': "unknown engine 'vlm'",
    "about = x\n": "not a readable TOML file",
}


@pytest.mark.parametrize("content", TOML)
def test_a_bad_model_file_names_key_and_line(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "m.toml").write_text(content)
    monkeypatch.setenv("CIM_MODELS", str(tmp_path))
    assert TOML[content] in cim.refused("eval", "--model", "m", "--task", "demo")


def test_a_broken_model_file_does_not_break_the_list(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.toml").write_text("about = x")
    monkeypatch.setenv("CIM_MODELS", str(tmp_path))
    result = cim("list", "models")
    assert result.code == 0 and "m.toml is not a readable TOML file" in result.out
