"""Statistics of METEOR 1.5 for a caption and its references, as meteor-1.5.jar gives them, without Java.

One text is ``reference ||| ... ||| hypothesis`` in PTB tokens (``pair``); its value is what the jar answers to
``SCORE ||| text`` with ``-l en -norm``: 23 sums, of the reference with the best score (the first of equal ones), whose
order and use are in ``harness/metrics/meteor.py``. Word lists and paraphrases are those of ``pycocoevalcap==1.2``,
read from its files. Equal to the jar on every text tried: ``tests/test_meteor15.py``. ``cim eval --metrics meteor``
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.parts import Parse, Parser, Values
from harness.resources import java

if TYPE_CHECKING:
    from cim_meteor.align import Match
    from cim_meteor.paraphrases import Table
    from cim_meteor.words import Lexicon, Word

PARAPHRASES = "c147ac7d2c91"  # of the SHA-256 of METEOR's paraphrase table in pycocoevalcap 1.2
JAR = ("meteor/meteor-1.5.jar", "1e57b4c72c0830ebe68558f1c799a624e96cbc1b6045c9f6330e26dcff6eafc2")
OPTIONS = ("-l", "en", "-norm")
STATISTICS = 23
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = (1.0, 0.6, 0.8, 0.6)  # of exact, stem, synonym and paraphrase matches


def pair(references: Sequence[str], hypothesis: str) -> str:
    """The text of one caption: token strings joined so that METEOR sees these references and no other.

    ``|||`` separates references, so it is taken out and the blanks it leaves are joined: from the
    hypothesis as in ``pycocoevalcap==1.2:meteor/meteor.py`` ``_stat``; there, a reference that holds it
    silently becomes two.
    """
    kept = [_without_bars(reference) if "|||" in reference else reference for reference in references]
    return " ||| ".join((*kept, _without_bars(hypothesis)))


def _without_bars(tokens: str) -> str:
    return tokens.replace("|||", "").replace("  ", " ")


@contextmanager
def session(_: Values | None = None) -> Iterator[Parse]:
    """Read the word lists and the paraphrase table, and yield the function from texts to their statistics.

    Raises:
        CimError: no pycocoevalcap 1.2.
    """
    from cim_meteor.paraphrases import table
    from cim_meteor.words import lexicon

    jar = java.find_jar(*JAR)
    words, paraphrases = lexicon(jar), table(jar.parent)
    yield lambda texts: (_best(text, words, paraphrases) for text in texts)


def _best(text: str, words: Lexicon, paraphrases: Table) -> list[float]:
    """Statistics against the reference with the best score."""
    *references, hypothesis = (words.words(part) for part in java.one_line(text).split("|||"))
    against = [statistics(hypothesis, reference, paraphrases) for reference in references]
    return max(against, key=score)


def statistics(caption: Sequence[Word], reference: Sequence[Word], paraphrases: Table) -> list[float]:
    """Lengths, function words, matches of each stage, chunks and matched words."""
    from cim_meteor.align import align

    alignment = align(caption, reference, paraphrases)
    counts, chunks, last, following = [0] * 16, 0, -1, 0
    for place, match in enumerate(alignment):
        if match is None:
            last = last if place < following else -1
            continue
        start, length, begin, words, stage = match
        chunks += begin != last
        following, last = start + length, begin + words
        for word in caption[begin:last]:
            counts[4 * stage + 2 * word.function] += 1
        for word in reference[start:following]:
            counts[4 * stage + 2 * word.function + 1] += 1
    sizes = (len(caption), len(reference), _functions(caption), _functions(reference))
    return [float(number) for number in (*sizes, *counts, chunks, *_covered(alignment))]


def _functions(words: Sequence[Word]) -> int:
    return sum(word.function for word in words)


def _covered(begun: Sequence[Match | None]) -> tuple[int, int]:
    matches = [match for match in begun if match]
    return sum(match[3] for match in matches), sum(match[1] for match in matches)


def score(line: Sequence[float]) -> float:
    """METEOR of one statistics line, 0 to 1, to choose the best reference by; see ``harness/metrics/meteor.py``."""
    matched = []
    for side in (0, 1):
        length, functions = line[side], line[2 + side]
        weighted = sum(
            weight * (DELTA * line[4 + 4 * stage + side] + (1 - DELTA) * line[6 + 4 * stage + side])
            for stage, weight in enumerate(WEIGHTS)
        )
        matched.append(weighted / (DELTA * (length - functions) + (1 - DELTA) * functions) if weighted else 0.0)
    if not all(matched):
        return 0.0
    mean = 1 / ((1 - ALPHA) / matched[0] + ALPHA / matched[1])
    perfect = line[20] == 1 and (line[21], line[22]) == (line[0], line[1])
    fragments = 0.0 if perfect else line[20] / ((line[21] + line[22]) / 2)
    return max(0.0, mean * (1 - GAMMA * float(fragments**BETA)))


def shared_settings() -> dict[str, str]:
    """What this parser and that of the jar have in common."""
    return {"options": " ".join(OPTIONS), "removed": "||| from every part", "blanked": java.BLANKED}


def missing() -> str | None:
    """Why it cannot run here: it needs package ``cim_meteor``, which is under a licence of its own."""
    if importlib.util.find_spec("cim_meteor") is None:
        return "package cim_meteor (LGPL) is not installed; `--metrics meteor@jar` runs the original jar"
    return None


PARSER = Parser(
    name="meteor15",
    settings=lambda: {
        "scorer": f"METEOR 1.5 (jar {JAR[1][:12]}, paraphrase table {PARAPHRASES})",
        **shared_settings(),
        "without Java": "1",  # version: raise it with every change that may change a value
    },
    session=session,
    missing=missing,
)
