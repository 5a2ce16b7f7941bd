"""Our METEOR 1.5 gives the jar's 23 statistics, number for number: benchmark captions, ties, odd texts, every stem.

``pytest tests/test_meteor15.py``; all 1,000 references: ``pytest -m slow tests/test_meteor15.py``
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cim_meteor import paraphrases
from cim_meteor import words as meteor_words
from harness.errors import CimError
from harness.parsers import meteor15, ptb
from harness.parts import Parse
from harness.resources import java
from tests.cli import Cim
from tests.controls import FILES, perturbed, references
from tests.test_meteor import KINDS, oracle, records  # noqa: F401
from tests.test_ptb import HOSTILE, needs_java

Jar = Callable[[Sequence[str]], list[list[float]]]
FOLDER = java.find_jar(*meteor15.JAR).parent


@pytest.fixture(scope="module")
def ours() -> Iterator[Parse]:
    """Our parser's session."""
    with meteor15.PARSER.session() as parse:
        yield parse


@pytest.fixture
def jar(oracle: Any) -> Jar:  # noqa: F811
    """What the jar answers to texts that hold no line boundary."""

    def ask(texts: Sequence[str]) -> list[list[float]]:
        answers = []
        for text in texts:
            oracle.meteor_p.stdin.write(f"SCORE ||| {text}\n".encode())
            oracle.meteor_p.stdin.flush()
            answers.append([float(number) for number in oracle.meteor_p.stdout.readline().split()])
        return answers

    return ask


def equal(ours: Parse, jar: Jar, texts: Sequence[str]) -> None:
    scores = list(ours(texts))
    for text, score, expected in zip(texts, scores, jar(texts), strict=True):
        assert score == expected, text


def pairs(captions: dict[str, str], kind: str, step: int) -> list[str]:
    altered = perturbed(captions, kind)
    keys = list(captions)[::step]
    tokens = list(ptb.tokenize([*(captions[key] for key in keys), *(altered[key] for key in keys)]))
    return [meteor15.pair([r], h) for r, h in zip(tokens[: len(keys)], tokens[len(keys) :], strict=True)]


@needs_java
@pytest.mark.parametrize("task", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_tenth_control_caption(ours: Parse, jar: Jar, benchmarks: Path, task: str, kind: str) -> None:
    equal(ours, jar, pairs(references(benchmarks, task), kind, 10))


@needs_java
@pytest.mark.slow
@pytest.mark.parametrize("task", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_control_caption(ours: Parse, jar: Jar, benchmarks: Path, task: str, kind: str) -> None:
    texts = pairs(references(benchmarks, task), kind, 1)
    assert len(texts) == 500
    equal(ours, jar, texts)


@needs_java
def test_ties_are_broken_alike(ours: Parse, jar: Jar) -> None:
    """Few words, many times: thousands of alignments of one rank, of which the order of making decides."""
    generator = random.Random(11)
    words = ["the", "a", "of", "dog", "dogs", "running", "runs", "run", "car", "auto", "automobile", "in", "front of"]
    words += ["next", "to", "on", "top", "big", "large"]
    texts = [
        " ||| ".join(
            " ".join(generator.choices(words[: generator.randint(2, 19)], k=generator.randint(0, 60))) for _ in "ab"
        )
        for _ in range(400)
    ]
    equal(ours, jar, texts)


@needs_java
def test_odd_texts_are_normalised_alike(ours: Parse, jar: Jar) -> None:
    """Raw texts, not PTB tokens: dots, dashes, quotes, numbers, letters beyond ASCII."""
    generator = random.Random(12)
    odd = "U.S. Inc. e.g. No. 5 Mr. Fox's don't '90s 1990's rock-n-roll -- – ... .. .... a.b.c 3,000 a,b , . ' `` ''"
    odd += " “x” ‘y’ ½ é É straße ﬁ İ ΑΣ Кот 猫 😀 a\u00a0b a\u3000b a\u2009b x/y (z) [q] & < > % $ # @ _ DOTMULTI"
    odd += " handful boxesful ties running leaves in front of"
    texts = [
        " ||| ".join(
            generator.choice(("", " ")).join(generator.choices(odd.split(" "), k=generator.randint(1, 12)))
            for _ in "ab"
        )
        for _ in range(600)
    ]
    hostile = [java.one_line(text).replace("|||", "") for text in HOSTILE]
    texts += [f"{left} ||| {other}" for left in hostile for other in (hostile[0], left, hostile[7])]
    equal(ours, jar, texts)


@needs_java
def test_the_best_reference_is_taken_and_the_first_of_equal_ones(ours: Parse, jar: Jar, benchmarks: Path) -> None:
    gold = list(references(benchmarks, "coco_ln500").values())[:40]
    generator = random.Random(13)
    texts = [" ||| ".join(generator.choices(gold, k=generator.randint(3, 6))) for _ in range(30)]
    equal(
        ours,
        jar,
        [java.one_line(text) for text in texts] + ["a dog ||| dog a ||| a dog", "x ||| y ||| z", " |||  ||| "],
    )


@needs_java
def test_every_stem_is_the_jars(tmp_path: Path) -> None:
    """The words of its synonym files, and endings put to heads that the rules treat in their own way."""
    with zipfile.ZipFile(FOLDER / "meteor-1.5.jar") as archive:
        text = archive.read("synonym/english.synsets").decode() + archive.read("synonym/english.exceptions").decode()
    words = {word for word in text.lower().split() if not word.isdigit()}
    heads = (
        "",
        "'",
        "x",
        "y",
        "sky",
        "fly",
        "commun",
        "gener",
        "arsen",
        "hop",
        "hopp",
        "tr",
        "a",
        "e",
        "inning",
        "skis",
    )
    ends = ["s", "'s", "'", "'s'", "ied", "ies", "eed", "eedly", "ed", "ing", "ly", "y", "yy", "ogi", "logi", "ion"]
    ends += ["tion", "e", "ll", "ment", "ement", "ative", "ational"]
    words |= {head + end for head in heads for end in ends}
    (tmp_path / "words").write_text("\n".join(sorted(words)) + "\n", encoding="utf-8")
    command = [str(java.find_java()), *java.FLAGS, "-cp", str(FOLDER / "meteor-1.5.jar"), "Stemmer", "en"]
    done = subprocess.run(command, stdin=(tmp_path / "words").open("rb"), capture_output=True, check=True)
    expected = done.stdout.decode().split("\n")[:-1]
    assert len(expected) == len(words) > 100_000
    stem = meteor_words.lexicon(FOLDER / "meteor-1.5.jar").stem
    assert [(w, s) for w, s in zip(sorted(words), expected, strict=True) if stem(w) != s] == []


def test_javas_hash() -> None:
    assert [meteor_words.java_hash(text) for text in ("", "dog", "Aa", "BB")] == [0, 99644, 2112, 2112]
    assert meteor_words.java_hash("😀") == 1772899


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A cache folder of this test, and two phrases in place of the large table; counts how often it is made."""
    kept = list[int]()

    def build(_: Path) -> paraphrases.Arrays:
        kept.append(1)
        return np.array([1, 2], np.uint64), np.array([0, 1, 2], np.int32), np.array([1, 0], np.int32)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(paraphrases, "_build", build)
    return kept


def test_the_table_is_built_once(small: list[int], tmp_path: Path) -> None:
    for _ in range(3):
        assert paraphrases.table(FOLDER).pairs.tolist() == [1, 0] and small == [1]
    (kept,) = (tmp_path / "cim-harness").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["pairs.npy", "phrases.npy", "starts.npy"]
    content = (kept / "pairs.npy").read_bytes()
    for damaged in (content[:-3], b"", None):
        (kept / "pairs.npy").unlink() if damaged is None else (kept / "pairs.npy").write_bytes(damaged)
        small.clear()
        assert paraphrases.table(FOLDER).pairs.tolist() == [1, 0] and small == [1]
        assert (kept / "pairs.npy").read_bytes() == content and len(list((tmp_path / "cim-harness").iterdir())) == 1


def test_where_nothing_can_be_kept_the_table_is_still_there(small: list[int], tmp_path: Path) -> None:
    (tmp_path / "cim-harness").write_text("a file where the folder should be")
    assert paraphrases.table(FOLDER).pairs.tolist() == [1, 0]


def test_another_paraphrase_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CimError, match=r"paraphrase-en.gz: is missing or another version; run `make setup`"):
        paraphrases.table(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "paraphrase-en.gz").write_bytes(b"x")
    with pytest.raises(CimError, match="another version"):
        paraphrases.table(tmp_path)


def test_it_needs_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "find_java", lambda: None)
    monkeypatch.setenv("PATH", os.devnull)
    with meteor15.PARSER.session() as parse:
        (score,) = parse(["a dog runs fast ||| a dog runs quickly"])
    assert score[:4] == [4.0, 4.0, 1.0, 1.0] and len(score) == meteor15.STATISTICS


@needs_java
def test_the_jar_by_name_gives_the_same_numbers(cim: Cim) -> None:
    done = cim("eval", "--model", "demo-terse", "--metrics", "meteor,meteor@jar", "--json").json["scores"]
    ours_, jars = (next(row for row in done if row["metric"] == name) for name in ("meteor", "meteor@jar"))
    assert ours_["values"] == jars["values"] and ours_["ci95"] == jars["ci95"] and ours_["values"]["score"] > 0
    assert "impl:meteor-1.5.jar" in jars["signature"] and "impl:meteor1.5" in ours_["signature"]


def test_without_the_lgpl_folder_meteor_is_not_computed(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cim_meteor" else real(name))
    for module in [name for name in sys.modules if name.partition(".")[0] == "cim_meteor"]:
        monkeypatch.setitem(sys.modules, module, None)
    assert "meteor@jar" in cim.refused("eval", "--model", "demo-terse", "--metrics", "meteor")
    rows = cim("eval", "--model", "demo-terse", "--metrics", "length", "--json").json["scores"]
    assert rows[0]["values"]["words"] > 0
