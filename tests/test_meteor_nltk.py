"""meteor_nltk is nltk 3.10.4's ``meteor_score`` on white-space tokens, bit for bit."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from nltk.stem.porter import PorterStemmer

from harness.errors import CimError
from harness.metrics import meteor_nltk
from harness.metrics._porter import IRREGULAR, stem
from harness.metrics.meteor_nltk import METRIC, scorer
from harness.parts import Records
from harness.resources.wordnet import folder, missing_wordnet
from harness.resources.wordnet_words import lemma_names, synonyms
from harness.types import Sample
from tests.controls import FILES, perturbed, references

KINDS = ("reference", "drop10", "half", "shuffled", "wrong_image", "empty")
Score = Callable[[list[str], str], float]


@pytest.fixture(scope="module")
def score() -> Score:
    """Our scorer, or a skip that says how to bring WordNet."""
    if missing_wordnet():
        pytest.skip(missing_wordnet() or "")
    return scorer()


@pytest.fixture(scope="module")
def oracle(score: Score) -> Score:
    """Plain ``nltk.translate.meteor_score.meteor_score``, with NLTK's own stemmer and WordNet reader."""
    from nltk.translate.meteor_score import meteor_score

    return lambda texts, caption: meteor_score([text.split() for text in texts], caption.split())


def mean(score: Score, captions: dict[str, str], candidates: dict[str, str]) -> float:
    return sum(100 * score([captions[key]], candidates[key]) for key in captions) / len(captions)


def agree(score: Score, oracle: Score, captions: dict[str, str], kind: str, step: int) -> None:
    candidates = perturbed(captions, kind)
    for key in list(captions)[::step]:
        assert score([captions[key]], candidates[key]) == oracle([captions[key]], candidates[key]), key


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", FILES)
def test_parity_on_every_fifth_image(score: Score, oracle: Score, benchmarks: Path, task: str, kind: str) -> None:
    agree(score, oracle, references(benchmarks, task), kind, 5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", FILES)
def test_parity_on_all_images(score: Score, oracle: Score, benchmarks: Path, task: str, kind: str) -> None:
    agree(score, oracle, references(benchmarks, task), kind, 1)


def test_parity_on_odd_texts(score: Score, oracle: Score) -> None:
    odd = [
        "",
        " \n ",
        "Ä é 犬 🐕",
        "a_b _ %",
        "galore(p) aslant(ip)",
        "(",
        "the the the",
        "Dogs' geese oxen better BEST",
    ]
    odd += ["men women mice", "boxes churches flies dying bigger", "traffic_light traffic light", "U.S. 1900s 'hood"]
    for reference in odd:
        for caption in odd:
            assert score([reference], caption) == oracle([reference], caption), (reference, caption)
            assert score([reference, "a dog"], caption) == oracle([reference, "a dog"], caption)


def same_synonyms(words: set[str]) -> None:
    from nltk.corpus import wordnet

    place = folder()
    assert place
    ours, all_of_them = synonyms(place), lemma_names(place)
    for word in words:
        names = {lemma.name() for synset in wordnet.synsets(word) for lemma in synset.lemmas()}
        assert all_of_them(word) == names and ours(word) == {name for name in names if "_" not in name}, word


@pytest.mark.usefixtures("score")
def test_synonyms_are_those_of_nltk(benchmarks: Path) -> None:
    words = {word for task in FILES for text in references(benchmarks, task).values() for word in text.split()}
    same_synonyms(set(sorted(words)[::5]))


@pytest.mark.slow
@pytest.mark.usefixtures("score")
def test_synonyms_are_those_of_nltk_for_every_lemma() -> None:
    from nltk.corpus import wordnet

    same_synonyms(set(wordnet.all_lemma_names()))


def test_worked_examples(score: Score) -> None:
    """protocol 6: three identical words are one chunk of three, 1 - 0.5 / 27."""
    assert round(100 * score(["a small dog"], "a small dog"), 4) == 98.1481
    assert round(100 * score(["a small dog"], "A Small DOGS"), 4) == 98.1481
    assert score(["a small dog"], "") == score(["a small dog"], "zebra") == 0
    # "auto" and "car" share a synset; so do their stems, which is what NLTK looks up.
    assert score(["the car"], "the auto") == score(["the car"], "the car") > score(["the car"], "the boat") > 0


def test_controls(score: Score, benchmarks: Path) -> None:
    """A reference as caption is all but 100, an empty one 0; the floor was measured with nltk 3.10.4 itself."""
    for task in FILES:
        captions = references(benchmarks, task)
        assert 99.99 <= mean(score, captions, captions) <= 100
        assert mean(score, captions, perturbed(captions, "empty")) == 0
    captions = references(benchmarks, "docci500")
    assert mean(score, captions, perturbed(captions, "wrong_image")) == pytest.approx(19.8613035620851, rel=1e-12)


def records(samples: list[Sample], captions: list[str]) -> Records:
    return Records(samples, captions, parse=lambda parser, texts: [], replies=lambda judge: [])


@pytest.mark.usefixtures("score")
def test_measurement_and_signature() -> None:
    samples = [Sample("a", ("a small dog",)), Sample("b", ("nothing alike", "one red car")), Sample("c", ("a cat",))]
    measured = METRIC.measure(records(samples, ["a small dog", "one red car", ""]))
    assert measured.values.shape == measured.statistics.shape == (3, 1)
    assert measured.values[:, 0].round(4).tolist() == [98.1481, 98.1481, 0.0]
    assert METRIC.aggregate(measured.statistics.sum(axis=0), 3)[0] == pytest.approx(measured.values.mean())
    assert METRIC.measure(records([], [])).values.shape == (0, 1)
    fields = METRIC.signature()
    assert fields["impl"].startswith("nltk-3") and fields["tok"] == "whitespace" and len(fields["wn"]) == 16


def test_without_wordnet_reason_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.resources.wordnet.search_path", list)
    assert ".venv/bin/python -m harness.resources.wordnet" in str(METRIC.missing())
    with pytest.raises(CimError, match=r"-m harness\.resources\.wordnet"):
        scorer()
    assert meteor_nltk.folder() is None


def test_nltk_is_not_imported_to_score() -> None:
    """Nor what it brings with it: scipy, scikit-learn and pandas, a second and 230 MB."""
    if missing_wordnet():
        pytest.skip(missing_wordnet() or "")
    code = (
        "import sys; from harness.metrics.meteor_nltk import scorer; scorer()(['two dogs'], 'a dog')\n"
        "sys.exit(bool(sys.modules.keys() & {'nltk', 'scipy', 'sklearn', 'pandas'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def same_stems(words: Iterable[str]) -> None:
    stems = PorterStemmer().stem
    assert [(word, stem(word), stems(word)) for word in words if stem(word) != stems(word)] == []


def test_stems_are_those_of_nltk(benchmarks: Path) -> None:
    endings = ("ed", "ing", "eed", "ied", "ies", "ll", "e", "ion", "ment", "alli", "logi", "bli", "fulli", "y", "s", "")
    dice = random.Random(0)
    words = ("".join(dice.choices("aeiouylsztbnmİß犬'", k=dice.randint(0, 7))) for _ in range(20_000))
    same_stems(word + dice.choice(endings) for word in words)
    same_stems(IRREGULAR)
    same_stems({word for task in FILES for text in references(benchmarks, task).values() for word in text.split()})


@pytest.mark.slow
@pytest.mark.usefixtures("score")
def test_stems_are_those_of_nltk_for_every_lemma() -> None:
    from nltk.corpus import wordnet

    same_stems(word + end for word in set(wordnet.all_lemma_names()) for end in ("", "s", "ed", "ing", "ly"))
