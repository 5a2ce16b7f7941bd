"""The Snowball stemmer for English (Porter2), as METEOR 1.5 has it.

Source: the algorithm's description, snowballstem.org/algorithms/english/stemmer.html; checked word by word against
``meteor-1.5.jar:org/tartarus/snowball/ext/englishStemmer`` in ``tests/test_meteor15.py``. NLTK's gives the same stems,
but importing it costs a second.
"""

from __future__ import annotations

import re

VOWELS = "aeiouy"
DOUBLES = ("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")
WHOLE = {
    **{"skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl"},
    **{"gently": "gentl", "ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl"},
    **{word: word for word in ("sky", "news", "howe", "atlas", "cosmos", "bias", "andes")},
}
AFTER_1A = ("inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed")
# Longest suffix first; what it becomes.
STEP_2 = {
    **{"ization": "ize", "ational": "ate", "fulness": "ful", "ousness": "ous", "iveness": "ive", "tional": "tion"},
    **{"biliti": "ble", "lessli": "less", "entli": "ent", "ation": "ate", "alism": "al", "aliti": "al"},
    **{"ousli": "ous", "iviti": "ive", "fulli": "ful", "enci": "ence", "anci": "ance", "abli": "able", "izer": "ize"},
    **{"ator": "ate", "alli": "al", "bli": "ble", "ogi": "og", "li": ""},
}
STEP_3 = {
    **{"ational": "ate", "tional": "tion", "alize": "al", "icate": "ic", "iciti": "ic", "ative": "", "ical": "ic"},
    **{"ness": "", "ful": ""},
}
STEP_4 = ("ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism", "ate", "iti", "ous", "ive", "ize")
STEP_4_SHORT = ("ion", "al", "er", "ic")
_VOWEL = re.compile(f"[{VOWELS}]")
_REGION = re.compile(f"[{VOWELS}][^{VOWELS}]")
_SHORT = re.compile(f"(?:^[{VOWELS}]|[^{VOWELS}][{VOWELS}])[^{VOWELS}wxY]$|^[{VOWELS}][^{VOWELS}]$")


def stem(word: str) -> str:
    """The stem of a lower-case word."""
    if word in WHOLE or len(word) <= 2:
        return WHOLE.get(word, word)
    word = _marked(word.removeprefix("'"))
    head = next((len(head) for head in ("gener", "commun", "arsen") if word.startswith(head)), None)
    first = head if head is not None else _region(word, 0)
    second = _region(word, first)
    for ending in ("'s'", "'s", "'"):
        if word.endswith(ending):
            word = word.removesuffix(ending)
            break
    word = _step_1a(word)
    if word in AFTER_1A:
        return word
    word = _step_1b(word, first)
    if len(word) > 2 and word[-1] in "yY" and word[-2] not in VOWELS:
        word = word[:-1] + "i"
    word = _step_2(word, first)
    word = _step_3(word, first, second)
    word = _step_4(word, second)
    return _step_5(word, first, second).replace("Y", "y")


def _marked(word: str) -> str:
    """Every y that stands for a consonant as Y; one after a vowel, itself included, does."""
    letters = list(word)
    for at, letter in enumerate(letters):
        if letter == "y" and (at == 0 or letters[at - 1] in VOWELS):
            letters[at] = "Y"
    return "".join(letters)


def _region(word: str, start: int) -> int:
    """Where the part after the first consonant behind a vowel begins."""
    found = _REGION.search(word, start)
    return found.end() if found else len(word)


def _step_1a(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _VOWEL.search(word[:-2]):
        return word[:-1]
    return word


def _step_1b(word: str, first: int) -> str:
    for ending in ("eedly", "ingly", "edly", "eed", "ing", "ed"):
        if word.endswith(ending):
            rest = word.removesuffix(ending)
            if ending.startswith("ee"):
                return rest + "ee" if len(rest) >= first else word
            if not _VOWEL.search(rest):
                return word
            if rest.endswith(("at", "bl", "iz")):
                return rest + "e"
            if rest.endswith(DOUBLES):
                return rest[:-1]
            return rest + "e" if len(rest) <= first and _SHORT.search(rest) else rest
    return word


def _step_2(word: str, first: int) -> str:
    for ending, becomes in STEP_2.items():
        if word.endswith(ending):
            rest = word.removesuffix(ending)
            kept = (ending == "ogi" and not rest.endswith("l")) or (
                ending == "li" and rest[-1:] not in set("cdeghkmnrt")
            )
            return word if len(rest) < first or kept else rest + becomes
    return word


def _step_3(word: str, first: int, second: int) -> str:
    for ending, becomes in STEP_3.items():
        if word.endswith(ending):
            rest = word.removesuffix(ending)
            return rest + becomes if len(rest) >= (second if ending == "ative" else first) else word
    return word


def _step_4(word: str, second: int) -> str:
    for ending in (*STEP_4, *STEP_4_SHORT):
        if word.endswith(ending):
            rest = word.removesuffix(ending)
            return rest if len(rest) >= second and (ending != "ion" or rest.endswith(("s", "t"))) else word
    return word


def _step_5(word: str, first: int, second: int) -> str:
    rest = word[:-1]
    if word.endswith("e"):
        return rest if len(rest) >= second or (len(rest) >= first and not _SHORT.search(rest)) else word
    return rest if word.endswith("ll") and len(rest) >= second else word
