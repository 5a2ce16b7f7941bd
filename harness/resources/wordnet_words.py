"""Words of WordNet 3.0 read from its files: base forms, lemmas and synonyms, equal to NLTK's reader.

NLTK builds one object per synset first, 5 s of CPU time; these readers keep lines. Rules and order are those of
nltk/corpus/reader/wordnet.py 3.10.4. Read by ``meteor_nltk`` and parser ``synonyms`` (names of synsets), and by parser
``scene_graph`` (lemmas).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# nltk/corpus/reader/wordnet.py 3.10.4, MORPHOLOGICAL_SUBSTITUTIONS: endings of inflected forms, by part of speech.
ENDINGS = {
    "noun": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}


@dataclass(frozen=True, slots=True)
class _PartOfSpeech:
    """One part of speech: lemma to index line, and what turns inflected into base forms."""

    index: Mapping[str, str]
    exceptions: Mapping[str, list[str]]
    endings: tuple[tuple[str, str], ...]

    def forms(self, word: str) -> list[str]:
        """The word and its base forms, those that WordNet has, as NLTK's ``_morphy`` gives them."""
        bases = self.exceptions.get(word)
        if bases is None:
            bases = [word[: -len(old)] + new for old, new in self.endings if word.endswith(old)]
        return [form for form in dict.fromkeys((word, *bases)) if form in self.index]


@cache
def _part_of_speech(folder: Path, pos: str) -> _PartOfSpeech:
    entries = (line.partition(" ") for line in _lines(folder / f"index.{pos}") if not line.startswith(" "))
    exceptions = (line.split() for line in _lines(folder / f"{pos}.exc"))
    return _PartOfSpeech(
        index={lemma: rest for lemma, _, rest in entries},
        exceptions={forms[0]: forms[1:] for forms in exceptions},
        endings=tuple((old, new) for old, _, new in (pair.partition(":") for pair in ENDINGS[pos].split())),
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()


def _names(part: _PartOfSpeech, data: bytes, word: str) -> Iterator[str]:
    """Lemma names of all synsets of a lower-case word and of its base forms."""
    for form in part.forms(word):
        # wndb(5WN): pos n_synsets n_pointers pointers n_senses n_tagged offsets
        fields = part.index[form].split()
        for offset in map(int, fields[-int(fields[1]) :]):
            # wndb(5WN): offset(8) file(2) type(1) n_words(2, hex) (word lex_id)...; an adjective may end in "(marker)".
            many = 2 * int(data[offset + 14 : offset + 16], 16)
            line = data[offset + 17 : data.index(b"|", offset)].decode("ascii").split(" ", many)
            yield from (name.partition("(")[0] for name in line[:many:2])


@cache
def lemma_names(folder: Path) -> Callable[[str], frozenset[str]]:
    """A function from a word, or words joined by "_", to all names in its synsets, as NLTK's reader gives them."""
    parts = [(_part_of_speech(folder, pos), (folder / f"data.{pos}").read_bytes()) for pos in ENDINGS]
    return lambda word: frozenset(name for part, data in parts for name in _names(part, data, word.lower()))


def synonyms(folder: Path) -> Callable[[str], frozenset[str]]:
    """The same without names of several words."""
    names = lemma_names(folder)
    return lambda word: frozenset(name for name in names(word) if "_" not in name)


def lemmatiser(folder: Path, pos: str) -> Callable[[str], str]:
    """A function from a word to its lemma: of its forms that WordNet has the shortest, the first of equal ones.

    A word that WordNet lacks stays as it is; letter case matters, and WordNet's forms are lower-case. The same
    as ``nltk.stem.WordNetLemmatizer().lemmatize(word, pos)`` of nltk 3.10.4.

    Args:
        pos: a key of ``ENDINGS``.
    """
    part = _part_of_speech(folder, pos)

    @cache
    def lemma(word: str) -> str:
        return min(part.forms(word), key=len, default=word)

    return lemma
