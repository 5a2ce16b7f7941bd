"""The synonym table is what ``capture_metric==0.1.13:get_synonyms`` makes of nltk's WordNet, phrase by phrase."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

from harness import registry
from harness.errors import CimError
from harness.resources.wordnet import missing_wordnet
from harness.stages.parse import Parses
from tests.controls import FILES, references

with_wordnet = pytest.mark.skipif(missing_wordnet() is not None, reason=missing_wordnet() or "")


def nltk_names(phrase: str) -> list[str]:
    """The reference's look-up: inner blanks become "_", lemma names of all synsets."""
    from nltk.corpus import wordnet

    synsets = wordnet.synsets("_".join(phrase.split()))
    return sorted({lemma.name() for synset in synsets for lemma in synset.lemmas()})


def agree(phrases: Iterable[str], parses: Parses) -> None:
    wanted = list(dict.fromkeys(phrases))
    for phrase, names in zip(wanted, parses.parse("synonyms", wanted), strict=True):
        assert names == nltk_names(phrase), phrase


@with_wordnet
@pytest.mark.parametrize("task", FILES)
def test_on_all_annotated_phrases_and_words_of_a_benchmark(task: str, benchmarks: Path, parses: Parses) -> None:
    """Objects, owners and attribute words, then the words and pairs of words of every fifth reference."""
    known = registry.task(task)
    samples = known.load(benchmarks / task)
    lists = [[*s.objects, *s.attributes, *itertools.chain.from_iterable(s.attributes.values())] for s in samples]
    phrases = list(itertools.chain.from_iterable(lists))
    assert len(set(phrases)) > 2500
    words = [text.split() for text in list(references(benchmarks, task).values())[::5]]
    pairs = [f"{first} {second}" for text in words for first, second in itertools.pairwise(text)]
    agree([*phrases, *itertools.chain.from_iterable(words), *pairs], parses)


@with_wordnet
def test_on_odd_phrases(parses: Parses) -> None:
    odd = ["", " ", "_", "%", "traffic light", "Traffic  Lights", " fire hydrant ", "hot_dog", "ice-cream", "US"]
    odd += [
        "U.S.",
        "men",
        "glasses",
        "galore(p)",
        "猫",
        "😀",
        "Ünï",
        "ß",
        "\x00",
        "a\nb",
        "better",
        "axes",
        "İ",
        "x" * 3000,
    ]
    agree(odd, parses)
    (light,) = parses.parse("synonyms", ["traffic lights"])
    assert "stoplight" in light and parses.parse("synonyms", ["zzz"]) == [[]]


@with_wordnet
def test_a_table_that_is_stored_never_opens_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Parses(tmp_path) as first:
        parsed = first.parse("synonyms", ["dog", "red car"])
    monkeypatch.setattr("harness.resources.wordnet_words.lemma_names", lambda _: pytest.fail("WordNet was opened"))
    with Parses(tmp_path) as second:
        assert second.parse("synonyms", ["red car", "dog"]) == parsed[::-1]


def test_without_wordnet_reason_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = registry.parser("synonyms")
    monkeypatch.setattr("harness.resources.wordnet.search_path", list)
    assert "-m harness.resources.wordnet" in str(parser.missing())
    with parser.session(lambda *_: []) as parse, pytest.raises(CimError, match=r"-m harness\.resources\.wordnet"):
        list(parse(["dog"]))
