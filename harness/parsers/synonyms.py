"""Lemma names of a phrase in WordNet, all senses and parts of speech: the table of CAPTURE's synonym test.

A value is the sorted list of names; two phrases are synonyms where their lists share one. The phrase's words are
joined by "_", then looked up as NLTK does it, in lower case and with its morphology
(``capture_metric==0.1.13:capture.py`` ``compute_synonyms_score``, ``get_synonyms``). What is known stands in the
cache of parses, so a warm evaluation never opens WordNet. ``cim eval --metrics capture,objects``
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from harness.errors import CimError
from harness.parts import Parse, Parser, Values
from harness.resources import wordnet, wordnet_words


def _parse(phrases: Sequence[str]) -> Iterator[list[str]]:
    folder = wordnet.folder()
    if folder is None:
        raise CimError(f"synonyms cannot be looked up: {wordnet.missing_wordnet()}")
    names = wordnet_words.lemma_names(folder)
    for phrase in phrases:
        yield sorted(names("_".join(phrase.split())))


def _session(_: Values) -> AbstractContextManager[Parse]:
    return nullcontext(_parse)


PARSER = Parser(
    name="synonyms",
    settings=lambda: {"names": "all senses and parts of speech, as nltk 3.10", "wordnet": f"3.0-{wordnet.checksum()}"},
    session=_session,
    missing=wordnet.missing_wordnet,
)
