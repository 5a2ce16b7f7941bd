"""METEOR equals ``pycocoevalcap==1.2`` (meteor/meteor.py), sentence by sentence and as corpus.

``pytest tests/test_meteor.py``; all 500 images: ``pytest -m slow tests/test_meteor.py``
"""

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.metrics.meteor import METRIC, poolable
from harness.parsers import meteor15, ptb
from harness.parts import Parse, Records
from harness.resources import java
from harness.types import Sample
from tests.controls import FILES, perturbed, references
from tests.test_ptb import fake_java, gone, java_on_path  # noqa: F401

needs_java = pytest.mark.skipif(java.find_java() is None, reason=java.missing_java() or "")

KINDS = ("drop10", "half", "shuffled", "wrong_image", "reference", "empty")
DOG = ("A dog runs across the green lawn.", "A brown hound is running over grass, fast.", "Two people talk.")
Groups = dict[str, list[str]]


@pytest.fixture(scope="session")
def meteor() -> Iterator[Parse]:
    """The one session of these tests."""
    with meteor15.PARSER.session() as parse:
        yield parse


@pytest.fixture(scope="session")
def oracle() -> Iterator[Any]:
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
        tokenised = tokens.tokenize({key: [{"caption": captions[key]}] for key in groups})
    corpus, sentences = oracle.compute_score(gold, tokenised)
    measured = METRIC.measure(records(meteor, groups, captions))
    assert measured.values.shape == (len(groups), 1)
    np.testing.assert_allclose(measured.values[:, 0] / 100, sentences, rtol=0, atol=1e-12)
    total = METRIC.aggregate(measured.statistics.sum(axis=0), len(groups))
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
        measured = METRIC.measure(records(meteor, groups, perturbed(gold, kind)))
        np.testing.assert_allclose(measured.values, value, rtol=0, atol=1e-6)
        np.testing.assert_allclose(METRIC.aggregate(measured.statistics.sum(axis=0), 20), value, rtol=0, atol=1e-6)


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


def test_settings_and_signature_say_how_the_number_is_made() -> None:
    import hashlib

    table = java.find_jar(*meteor15.JAR).parent / "data" / "paraphrase-en.gz"
    settings = " ".join(meteor15.PARSER.settings().values())
    for part in ("1.5", meteor15.JAR[1][:12], hashlib.sha256(table.read_bytes()).hexdigest()[:12], "-l en -norm"):
        assert part in settings
    assert METRIC.signature()["agg"] == "corpus" and METRIC.parsers == ("ptb",)
    assert os.fspath(table.parent.parent / "meteor-1.5.jar") == os.fspath(java.find_jar(*meteor15.JAR))
