"""Parity of BLEU, ROUGE-L and CIDEr with pycocoevalcap 1.2, and of character BLEU with NLTK, caption by caption.

Reference tools: ``pycocoevalcap==1.2`` (``bleu.bleu.Bleu(4)``, ``rouge.rouge.Rouge``, ``cider.cider.Cider``) on
the same PTB tokens; ``nltk.translate.bleu_score.sentence_bleu`` with ``SmoothingFunction().method3`` on
characters, as in ``zl2048/SC-Captioner:src/llamafactory/train/sft/metric.py@6c35a35``.
"""

from __future__ import annotations

import importlib.metadata
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import registry
from harness.metrics import bleu4_char, rouge_l
from harness.parts import Measurement, Records
from harness.runs import stats
from harness.stages import parse
from harness.types import Sample
from tests import controls

KINDS = ("reference", "drop10", "half", "shuffled", "wrong_image", "empty")
EXACT = 1e-10


def records(captions: Sequence[str], references: Sequence[tuple[str, ...]], parses: Any) -> Records:
    """Records of captions and references without any file."""
    samples = [Sample(id=str(number), references=texts) for number, texts in enumerate(references)]
    return Records(samples, captions, parses, lambda _: [])


def split(name: str, texts: Sequence[str]) -> list[str]:
    """A tokenisation for tests that compare formulas only: both sides get the same tokens."""
    return [" ".join(text.lower().replace(".", " ").replace(",", " ").split()) for text in texts]


def oracle(captions: Sequence[str], references: Sequence[tuple[str, ...]]) -> dict[str, tuple[float, list[float]]]:
    """Corpus value and value a caption of pycocoevalcap 1.2, on tokens."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    assert importlib.metadata.version("pycocoevalcap") == "1.2"
    gts = {number: list(texts) for number, texts in enumerate(references)}
    res = {number: [text] for number, text in enumerate(captions)}
    corpus, single = Bleu(4).compute_score(gts, res, verbose=0)
    rouge, cider = Rouge().compute_score(gts, res), Cider().compute_score(gts, res)
    return {
        "bleu4": (100 * corpus[3], [100 * value for value in single[3]]),
        "rouge_l": (100 * float(rouge[0]), list(100 * rouge[1])),
        "cider": (100 * float(cider[0]), list(100 * cider[1])),
    }


def value(name: str, measured: Measurement) -> float:
    """The corpus value of a measurement."""
    return float(stats.point(stats.Column(measured.statistics, registry.metric(name).aggregate))[0])


def agree(captions: Sequence[str], references: Sequence[tuple[str, ...]], tokenise: Any) -> None:
    """Assert that ours and pycocoevalcap's values agree, corpus and caption by caption."""
    inputs = records(captions, references, tokenise)
    flat = iter(tokenise("ptb", [text for texts in references for text in texts]))
    tokens = [tuple(next(flat) for _ in texts) for texts in references]
    expected = oracle(tokenise("ptb", captions), tokens)
    for name, (corpus, single) in expected.items():
        measured = registry.metric(name).measure(inputs)
        assert value(name, measured) == pytest.approx(corpus, abs=EXACT), name
        np.testing.assert_allclose(measured.values[:, 0], single, atol=EXACT, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("task", ["docci500", "coco_ln500"])
@pytest.mark.parametrize("kind", KINDS)
def test_word_metrics_equal_pycocoevalcap(benchmarks: Path, parses: parse.Parses, task: str, kind: str) -> None:
    """All 500 captions, our PTB tokens; every fifth one for the reference's slow ROUGE and CIDEr."""
    references = controls.references(benchmarks, task)
    captions = list(controls.perturbed(references, kind).values())
    agree(captions[::5], [(text,) for text in references.values()][::5], parses.parse)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["docci500", "coco_ln500"])
@pytest.mark.parametrize("kind", KINDS)
def test_word_metrics_equal_pycocoevalcap_on_all(benchmarks: Path, parses: parse.Parses, task: str, kind: str) -> None:
    references = controls.references(benchmarks, task)
    captions = list(controls.perturbed(references, kind).values())
    agree(captions, [(text,) for text in references.values()], parses.parse)


@pytest.mark.parametrize("task", ["docci500", "coco_ln500"])
def test_tokens_and_scores_from_raw_captions_equal_pycocoevalcap(
    benchmarks: Path, parses: parse.Parses, task: str
) -> None:
    """The whole chain: pycocoevalcap's own tokenizer and scorers against ours, from the raw texts."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    references = dict(list(controls.references(benchmarks, task).items())[:60])
    captions = controls.perturbed(references, "drop10")
    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({key: [{"caption": text}] for key, text in references.items()})
    res = tokenizer.tokenize({key: [{"caption": text}] for key, text in captions.items()})
    expected = oracle([res[key][0] for key in captions], [tuple(gts[key]) for key in captions])
    inputs = records(list(captions.values()), [(text,) for text in references.values()], parses.parse)
    for name, (corpus, _) in expected.items():
        assert value(name, registry.metric(name).measure(inputs)) == pytest.approx(corpus, abs=EXACT), name


words = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "ee", "the", ",", ".", "x"]), max_size=30).map(" ".join)
holding_words = words.filter(lambda text: split("ptb", [text]) != [""])
pairs = st.lists(st.tuples(words, st.lists(holding_words, min_size=1, max_size=3)), min_size=1, max_size=6)


@settings(max_examples=150)
@given(pairs)
def test_word_metrics_equal_pycocoevalcap_on_any_small_corpus(corpus: list[tuple[str, list[str]]]) -> None:
    """Several references, repeats, empty captions, one image."""
    agree([caption for caption, _ in corpus], [tuple(texts) for _, texts in corpus], split)


def test_word_metrics_with_a_large_vocabulary() -> None:
    """Where n-gram numbers would not fit a machine word they are renumbered; nothing may change."""
    generator = random.Random(7)
    texts = [" ".join(f"w{generator.randrange(200_000)}" for _ in range(120)) for _ in range(400)]
    captions = [" ".join(text.split()[:100]) for text in texts]
    agree(captions, [(text,) for text in texts], split)


def nltk_character_bleu(label: str, prediction: str) -> float:
    """The column's formula as SC-Captioner writes it."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    score = sentence_bleu([list(label)], list(prediction), smoothing_function=SmoothingFunction().method3)
    return round(score * 100, 4)


def character_bleu(captions: Sequence[str], references: Sequence[str]) -> list[float]:
    inputs = records(captions, [(text,) for text in references], split)
    return list(bleu4_char.METRIC.measure(inputs).values[:, 0])


GOLDEN = [
    ("abcd", "abcd", 100.0),
    ("abcd", "abce", 59.4604),
    ("abcd", "abc", 60.2529),
    ("a cat sat", "a cat sat.", 88.0112),
    ("Abcd", "abcd", 59.4604),
    ("abcdef", "abcdefabcdef", 41.7226),
    ("abcd", "xyz", 0.0),
    ("abcd", "", 0.0),
]


def test_character_bleu_golden_values() -> None:
    labels, predictions, expected = zip(*GOLDEN, strict=True)
    assert character_bleu(predictions, labels) == list(expected)


@pytest.mark.parametrize("task", ["docci500", "coco_ln500"])
@pytest.mark.parametrize("kind", KINDS)
def test_character_bleu_equals_nltk(benchmarks: Path, task: str, kind: str) -> None:
    references = list(controls.references(benchmarks, task).values())
    captions = list(controls.perturbed(controls.references(benchmarks, task), kind).values())
    expected = [nltk_character_bleu(r, c) for r, c in zip(references[::5], captions[::5], strict=True)]
    assert character_bleu(captions, references)[::5] == expected


@settings(max_examples=300)
@given(st.text(alphabet="ab \né😀", max_size=12), st.text(alphabet="ab \né😀", min_size=1, max_size=12))
def test_character_bleu_equals_nltk_on_any_short_text(prediction: str, label: str) -> None:
    assert character_bleu([prediction], [label]) == [nltk_character_bleu(label, prediction)]


@given(st.lists(st.integers(0, 5), max_size=40), st.lists(st.integers(0, 5), max_size=40))
def test_longest_common_subsequence(first: list[int], second: list[int]) -> None:
    from pycocoevalcap.rouge.rouge import my_lcs

    assert rouge_l.common([str(x) for x in first], [str(x) for x in second]) == my_lcs(first, second)


def test_corpus_bleu_is_not_the_mean_of_captions() -> None:
    inputs = records(["a b c d e", "a b"], [("a b c d e",), ("a b c d",)], split)
    measured = registry.metric("bleu4").measure(inputs)
    assert not math.isclose(value("bleu4", measured), float(measured.values.mean()), abs_tol=1.0)
