"""Would a metric notice invention in a long caption? Nouns of true descriptions swapped for absent ones.

Two people described each image at length, independently: one text is the reference, the other the caption. In a copy of
the caption ``SWAPPED`` of its nouns, in all their places, become nouns of other images' captions: of the same kind of
thing (WordNet's lexicographer file: animal, artifact, food, object, person, plant), in neither text, with the same
article, so that length, style and grammar stay. The original is preferred to the copy. A noun is a word that is a lemma
of WordNet 3.0 and whose most frequent sense, of all parts of speech, is such a thing; which nouns are swapped, and for
what, is drawn from a seed of the image's name. Captions with fewer nouns to swap are left out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from harness.errors import CimError
from harness.resources import wordnet
from harness.validity.judgements import Judgement
from harness.validity.layouts import Content, References

SWAPPED = 5
THINGS = ("05", "06", "13", "17", "18", "20")  # lexnames(5WN): animal, artifact, food, object, person, plant
WORD = re.compile(r"[^\W\d_]+")


def swapped_nouns(content: Content) -> Content:
    """Pairs of each description and its copy with swapped nouns, from side-by-sides of two descriptions of one image.

    Raises:
        CimError: WordNet is not here.
    """
    folder = wordnet.folder()
    if folder is None:
        raise CimError(f"nouns cannot be swapped: {wordnet.missing_wordnet()}")
    kinds = nouns(folder)
    texts = {row.image: (row.caption, row.other or "") for row in content.rows}
    of_image = {image: _things(kinds, caption) for image, (caption, _) in texts.items()}
    judgements, references = list[Judgement](), References()
    for image, (caption, reference) in texts.items():
        others = sorted({noun for other, listed in of_image.items() if other != image for noun in listed})
        damaged = _damaged(caption, reference, others, kinds, random.Random(image))
        if damaged is not None:
            judgements.append(Judgement(image, caption, 1.0, damaged))
            references[image] = (reference,)
    return Content(judgements, references)


def _damaged(
    caption: str, reference: str, donors: list[str], kinds: Mapping[str, str], chance: random.Random
) -> str | None:
    """The caption with ``SWAPPED`` nouns swapped; None where it has not so many that can be."""
    said = {word.lower() for word in WORD.findall(f"{caption} {reference}")}
    absent = [noun for noun in donors if noun not in said and f"{noun}s" not in said]
    swaps, things = dict[str, str](), _things(kinds, caption)
    for noun in chance.sample(things, len(things)):
        like = [new for new in absent if kinds[new] == kinds[noun] and (new[0] in "aeiou") == (noun[0] in "aeiou")]
        if like and len(swaps) < SWAPPED:
            swaps[noun] = chance.choice(like)
            absent.remove(swaps[noun])
    if len(swaps) < SWAPPED:
        return None
    return WORD.sub(lambda match: swaps.get(match[0], match[0]), caption)


def _things(kinds: Mapping[str, str], text: str) -> list[str]:
    """The nouns of a text in lower case, each once, in its order."""
    return list(dict.fromkeys(word for word in WORD.findall(text) if word in kinds))


@cache
def nouns(folder: Path) -> Mapping[str, str]:
    """The kind of thing of each noun of WordNet, by lemma."""
    best = dict[str, tuple[int, str]]()
    for line in (folder / "index.sense").read_text(encoding="ascii").splitlines():
        # senseidx(5WN): lemma%type:file:id:head:head_id offset sense_number tag_count; type 1 is a noun
        key, _, sense, count = line.split()
        lemma, _, place = key.partition("%")
        kind, file, *_ = place.split(":")
        rank = (2 * int(count) + (kind == "1" and sense == "1"), file if kind == "1" else "")
        best[lemma] = max(best.get(lemma, rank), rank)
    return {lemma: file for lemma, (_, file) in best.items() if file in THINGS}
