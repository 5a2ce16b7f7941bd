"""WordNet's answers about a word, read from its files as NLTK's reader gives them, without building NLTK's objects.

``reader(folder)`` loads 0.5 s of index files once a process; a part of speech knows the base forms of a word
(``forms``: NLTK's morphy) and the lemma names of its synsets (``names``), in NLTK's order. Words are looked up in
lower case, phrases with "_" between their words. Source: nltk/corpus/reader/wordnet.py 3.10.4; equality with NLTK
on every lemma of WordNet is a test. Used by ``cim eval --metrics meteor_nltk,capture,objects``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
class PartOfSpeech:
    """One part of speech of WordNet: lemma to index line, inflected to base forms, synset lines by offset."""

    index: Mapping[str, str]
    exceptions: Mapping[str, list[str]]
    endings: tuple[tuple[str, str], ...]
    data: bytes

    def forms(self, word: str) -> list[str]:
        """The lower-case word itself and its base forms, those that are in WordNet, each once."""
        bases = self.exceptions.get(word)
        if bases is None:
            bases = [word[: -len(old)] + new for old, new in self.endings if word.endswith(old)]
        return [form for form in dict.fromkeys((word, *bases)) if form in self.index]

    def names(self, word: str) -> Iterator[str]:
        """Lemma names of all synsets of a lower-case word and of its base forms; some come several times."""
        for form in self.forms(word):
            # wndb(5WN): pos n_synsets n_pointers pointers n_senses n_tagged offsets
            fields = self.index[form].split()
            for offset in fields[-int(fields[1]) :]:
                yield from self._lemmas(int(offset))

    def _lemmas(self, offset: int) -> Iterator[str]:
        # wndb(5WN): offset file type n_words(hex) (word lex_id)...; an adjective may end in "(marker)".
        fields = self.data[offset : self.data.index(b"|", offset)].decode("ascii").split()
        yield from (name.split("(")[0] for name in fields[4 : 4 + 2 * int(fields[3], 16) : 2])


@cache
def reader(found: Path) -> Mapping[str, PartOfSpeech]:
    """The four parts of speech by name (noun, verb, adj, adv) of WordNet's folder, read once a process."""
    return {pos: _part_of_speech(found, pos) for pos in ENDINGS}


def synonyms(found: Path, phrase: str) -> frozenset[str]:
    """Lemma names in all synsets of a phrase, all senses and parts of speech, as NLTK's ``synsets`` gives them."""
    word = phrase.lower()
    return frozenset(name for part in reader(found).values() for name in part.names(word))


def _part_of_speech(found: Path, pos: str) -> PartOfSpeech:
    entries = (line.partition(" ") for line in _lines(found / f"index.{pos}") if not line.startswith(" "))
    exceptions = (line.split() for line in _lines(found / f"{pos}.exc"))
    return PartOfSpeech(
        index={lemma: rest for lemma, _, rest in entries},
        exceptions={forms[0]: forms[1:] for forms in exceptions},
        endings=tuple((old, new) for old, _, new in (pair.partition(":") for pair in ENDINGS[pos].split())),
        data=(found / f"data.{pos}").read_bytes(),
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()
