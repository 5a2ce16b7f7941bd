"""Porter's stemmer with the extensions of NLTK, equal to ``nltk.stem.porter.PorterStemmer().stem`` of nltk 3.10.4.

NLTK's own would bring the whole of NLTK with it, and that scipy, scikit-learn and pandas where they are installed:
1.4 s and 230 MB for a function of a word. Source: Porter 1980, An algorithm for suffix stripping. Used by
``meteor_nltk``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

VOWELS = frozenset("aeiou")
IRREGULAR = {
    **{"sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news", "howe": "howe"},
    **{"innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing"},
    **{"cannings": "canning", "canning": "canning", "proceed": "proceed", "exceed": "exceed", "succeed": "succeed"},
}
# The first ending that fits decides, whether or not its condition holds.
_PLURAL = {"sses": "ss", "ies": "i", "ss": "ss", "s": ""}
_DOUBLE = {
    **{"ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al"},
    **{"entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al"},
    **{"iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble"},
    **{"fulli": "ful"},
}
_SINGLE = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_LAST = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion"),
    *("ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


def stem(word: str) -> str:
    """The stem of a word, in lower case."""
    lowered = word.lower()
    if lowered in IRREGULAR:
        return IRREGULAR[lowered]
    if len(word) <= 2:
        return lowered
    result = _past(_plural(lowered))
    if result.endswith("y") and len(result) > 2 and _consonants(result)[-2]:
        result = result[:-1] + "i"
    for step in (_double, _single, _last, _final_e):
        result = step(result)
    return result[:-1] if result.endswith("ll") and _measure(result[:-1]) > 1 else result


def _consonants(word: str) -> list[bool]:
    """Whether each letter is a consonant: no vowel, and no y after a consonant."""
    flags = list[bool]()
    for letter in word:
        flags.append(letter not in VOWELS and (letter != "y" or not flags or not flags[-1]))
    return flags


def _measure(word: str) -> int:
    """Porter's m: how often a consonant follows a vowel."""
    flags = _consonants(word)
    return sum(after and not before for before, after in pairwise(flags))


def _is_short(word: str) -> bool:
    """Porter's *o, consonant, vowel, consonant but w, x and y; or a word of a vowel and a consonant."""
    flags = _consonants(word)
    return (flags[-3:] == [True, False, True] and word[-1] not in "wxy") or flags == [False, True]


def _replaced(word: str, endings: dict[str, str], condition: Callable[[str], bool]) -> str:
    for ending, new in endings.items():
        if word.endswith(ending):
            rest = word[: len(word) - len(ending)]
            return rest + new if condition(rest) else word
    return word


def _plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return _replaced(word, _PLURAL, lambda rest: True)


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        rest = word[: -len(ending)]
        if word.endswith(ending) and not all(_consonants(rest)):
            return _mended(rest)
    return word


def _mended(word: str) -> str:
    """What is left once -ed or -ing has gone: -at, -bl and -iz get their e, hopp becomes hop, fil file."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if len(word) > 1 and word[-1] == word[-2] and _consonants(word)[-1]:
        return word if word[-1] in "lsz" else word[:-1]
    return word + "e" if _measure(word) == 1 and _is_short(word) else word


def _double(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _double(word[:-2])
    if word.endswith("logi"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    return _replaced(word, _DOUBLE, lambda rest: _measure(rest) > 0)


def _single(word: str) -> str:
    return _replaced(word, _SINGLE, lambda rest: _measure(rest) > 0)


def _last(word: str) -> str:
    for ending in _LAST:
        if word.endswith(ending):
            rest = word[: len(word) - len(ending)]
            return rest if _measure(rest) > 1 and (ending != "ion" or rest[-1] in "st") else word
    return word


def _final_e(word: str) -> str:
    if not word.endswith("e"):
        return word
    rest, measure = word[:-1], _measure(word[:-1])
    return rest if measure > 1 or (measure == 1 and not _is_short(rest)) else word
