# SPDX-FileCopyrightText: 2026 cim-harness contributors
# SPDX-FileCopyrightText: Carnegie Mellon University (METEOR 1.5, of which this re-states the behaviour)
# SPDX-License-Identifier: LGPL-2.1-or-later
"""METEOR 1.5's words: how a line becomes words, and what it knows of each, from the files inside its jar.

Normalisation is that of ``-norm`` for English: the Moses tokenizer with dashes between words removed, quotes made one,
contractions split to the right and dots split off unless a list of prefixes keeps them. Behaviour after
``cmu-mtlab/meteor:src/edu/cmu/meteor/util/Normalizer.java`` and ``aligner/SynonymDictionary.java`` @57a9ec5, checked
against the jar in ``tests/test_meteor15.py``; written for this project.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

_ALPHA = "A-Za-zŠŽšžŸÀ-ÖØ-öø-žЀ-ӿԀ-ԧꙀ-ꙮ꙾-ꚗᴀ-ᵿ"
_ALNUM = f"0-9{_ALPHA}"
_MULTI, _STEP, _DONE = "DOTMULTI", "DOTMULTI.", "DOTDOTMULTI"  # what METEOR writes for dots in a row meanwhile
# Java's \s and StringTokenizer know ASCII only, its trim() takes all up to the blank.
_TOKEN = re.compile(r"[^ \t\n\r\f]+")
_TRIMMED = "".join(map(chr, range(33)))
# What a line must hold for the pattern to matter, the pattern, what it becomes.
_BEFORE = tuple(
    (sign, re.compile(pattern), becomes)
    for sign, pattern, becomes in (
        (",", r"([^0-9]),([^0-9])", r"\1 , \2"),
        (",", r"([0-9]),([^0-9])", r"\1 , \2"),
        (",", r"([^0-9]),([0-9])", r"\1 , \2"),
        ("", "[`‘’]", "'"),
        ("", "[“”]|''", ' " '),
        ("–", "–", "-"),
        ("-", "--", "-"),
        ("-", rf"([{_ALNUM}.])-([{_ALNUM}])", r"\1 \2"),
        ("'", rf"([^{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        ("'", rf"([^{_ALPHA}0-9])'([{_ALPHA}])", r"\1 ' \2"),
        ("'", rf"([{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        ("'", rf"([{_ALPHA}])'([{_ALPHA}])", r"\1 '\2"),
        ("'", r"([0-9])'(s)", r"\1 '\2"),
    )
)
_SEPARATE = re.compile(rf"([^{_ALNUM} \t\n\v\f\r.'`,\-‘’])")
_DOTS, _DOTS_END = re.compile(r"\.(\.+)"), re.compile(rf"{_MULTI}\.([^.])")
_LETTER, _NUMBER, _LOWER = re.compile(f"[{_ALPHA}]"), re.compile("[0-9]"), re.compile("[a-z]")
_WHITE = re.compile("[ \u2000-\u200a\u202f\u205f\u3000\xa0]+")
# WordNet 3.0, morph.c: suffixes of inflected forms and what they become, nouns, then verbs, then adjectives.
_ENDINGS = (
    "s: ses:s xes:x zes:z ches:ch shes:sh men:man ies:y s: ies:y es:e es: ed:e ed: ing:e ing: er: est: er:e est:e"
)
_ENDING = tuple((old, new) for old, _, new in (pair.partition(":") for pair in _ENDINGS.split()))


@dataclass(frozen=True, slots=True)
class Word:
    """What stages compare: Java's hash of the word and of its stem, numbers of its synonym sets, our 64-bit hash."""

    key: int
    stem: int
    synsets: tuple[int, ...]
    function: bool
    phrase: int


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The jar's lists, and the words looked up so far."""

    prefixes: Mapping[str, bool]  # words that keep their dot; True: only before a number
    functions: frozenset[str]
    bases: Mapping[str, list[str]]
    synsets: Mapping[str, str]
    stem: Callable[[str], str]  # Porter 2 for English
    known: dict[str, Word] = field(default_factory=dict)

    def words(self, line: str) -> list[Word]:
        """The words of a line, normalised and in lower case."""
        return [self.known.get(text) or self._word(text) for text in _TOKEN.findall(self.normalised(line).lower())]

    def normalised(self, line: str) -> str:
        """The line as METEOR's normalizer writes it."""
        line = _DOTS.sub(rf" {_MULTI}\1", _SEPARATE.sub(r" \1 ", f" {line.strip(_TRIMMED)} "))
        while _STEP in line:
            line = _DOTS_END.sub(rf"{_DONE} \1", line).replace(_STEP, _DONE)
        for sign, pattern, becomes in _BEFORE:
            if not sign or sign in line:
                line = pattern.sub(becomes, line)
        words = _TOKEN.findall(line)
        line = "".join(f"{self._dot(word, after)} " for word, after in pairwise([*words, ""]))
        while _DONE in line:
            line = line.replace(_DONE, _STEP)
        return _WHITE.sub(" ", line.replace(_MULTI, ".")).strip(_TRIMMED)

    def _dot(self, word: str, after: str) -> str:
        """A word that ends in a dot: without any dot (U.S.), as it is (Inc.), or with the dot split off."""
        if len(word) < 2 or not word.endswith("."):
            return word
        stem = word[:-1]
        if "." in stem and _LETTER.search(stem):
            return word.replace(".", "")
        only_numbers = self.prefixes.get(stem)
        if only_numbers is False or _LOWER.match(after) or (only_numbers and _NUMBER.match(after)):
            return word
        return f"{stem} ."

    def _word(self, text: str) -> Word:
        sets = {number for form in (text, *self._base(text)) for number in self.synsets.get(form, "").split()}
        phrase, function = phrase_hash(text), text in self.functions
        word = Word(java_hash(text), java_hash(self.stem(text)), tuple(map(int, sets)), function, phrase)
        self.known[text] = word
        return word

    def _base(self, text: str) -> list[str]:
        """Base forms of a word: exceptions, else that of the first suffix whose base is known."""
        if text in self.bases:
            return self.bases[text]
        if text.endswith("ss") or len(text) <= 2:
            return [text]
        for old, new in _ENDING:
            if text.endswith(old) and (base := text[: len(text) - len(old)] + new) in self.synsets:
                return [base + ("ful" if text.endswith("ful") else "")]
        return []


def java_hash(text: str) -> int:
    """``String.hashCode``: METEOR takes words for equal when these are."""
    value, units = 0, text.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(units), 2):
        value = (31 * value + (units[at] << 8 | units[at + 1])) & 0xFFFFFFFF
    return value


def phrase_hash(text: str) -> int:
    """64 bits that stand for a word in phrases."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def lexicon(jar: Path) -> Lexicon:
    """Read the lists for English from the jar."""
    # Version 2.2.0, which is pinned: 3.x stems nine words of the benchmarks differently from the jar.
    from snowballstemmer.english_stemmer import EnglishStemmer

    with zipfile.ZipFile(jar) as archive:
        bases: dict[str, list[str]] = {}
        for base, forms in _pairs(archive, "synonym/english.exceptions"):
            for form in _TOKEN.findall(forms):
                bases.setdefault(form, []).append(base)
        prefixes = [line.split() for line in _lines(archive, "nonbreaking/english.prefixes")]
        return Lexicon(
            {entry[0]: entry[1:2] == ["#NUMERIC_ONLY#"] for entry in prefixes if entry and entry[0][0] != "#"},
            frozenset(_lines(archive, "function/english.words")),
            bases,
            dict(_pairs(archive, "synonym/english.synsets")),
            EnglishStemmer().stemWord,
        )


def _lines(archive: zipfile.ZipFile, name: str) -> list[str]:
    return archive.read(name).decode().removesuffix("\n").split("\n")


def _pairs(archive: zipfile.ZipFile, name: str) -> Iterator[tuple[str, str]]:
    """Lines two by two."""
    lines = iter(_lines(archive, name))
    return zip(lines, lines, strict=True)
