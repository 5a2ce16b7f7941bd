"""Which words of a caption and of its references are matched, missed or invented, as pieces of text to mark.

Two readings share one form. By words: a word is matched where the other side holds it too, wherever it
stands; letter case, compatibility forms, possessives and plural -s aside; articles, pronouns and the
commonest prepositions are not marked. By elements: what a metric found (``types.Element``) is marked where
its words stand. Characters that a reader cannot see, bidirectional controls among them, become pieces of
their own that show their code.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from html import escape

from harness.types import Element

Piece = tuple[str, str]
"""How to mark a stretch of text (a state, ``control`` or nothing), and the text."""

MATCHED, MISSED, INVENTED, CONTROL = "matched", "missed", "invented", "control"
STATES = (MATCHED, MISSED, INVENTED)
ONLY_A, ONLY_B = "only-a", "only-b"  # of two captions side by side
# All but blanks, punctuation (an inner apostrophe stays) and characters that control others. Scripts
# written without blanks are compared letter by letter.
_UNSPACED = "\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_BETWEEN = (
    "\\s\x00-&(-/:-@\\[-^`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\u061c\u2000-\u200b\u200e-\u2018\u201a-\u206f"
    "\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\ufeff"
)
_WORD = re.compile(f"[{_UNSPACED}]|[^{_BETWEEN}{_UNSPACED}]+")
# Invisible, or able to reorder what stands around: shown by their code. Joiners (U+200C, U+200D) stay, emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_WORDS = (
    "a an the and or but of to in on at with by from for as is are was were be been being has have had it its "
    "there this that these those which who whose while also he she they his her their them him"
)
_PLAIN = frozenset(_WORDS.split())


@functools.lru_cache(maxsize=1 << 16)
def key(word: str) -> str:
    """A word as it is compared; empty when it is one that carries no content."""
    folded = unicodedata.normalize("NFKC", word).casefold().strip("'’")
    folded = folded.removesuffix("'s").removesuffix("’s")
    if len(folded) > 3 and folded.endswith("s") and not folded.endswith(("ss", "us", "is")):
        folded = folded[:-1]
    return "" if folded in _PLAIN else folded


class Text:
    """A text, and where its words stand in it."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        words = [(match.span(), key(match[0])) for match in _WORD.finditer(self.text)]
        self.spans = [span for span, _ in words]
        self.keys = [word for _, word in words]
        self.places = dict[str, list[int]]()
        for at, word in enumerate(self.keys):
            self.places.setdefault(word, []).append(at)

    def pieces(self, states: Sequence[str]) -> list[Piece]:
        """The text in pieces; ``states`` has one per word, neighbours of one state share a piece."""
        edges, end, before = list[tuple[int, str]](), 0, ""
        for (start, stop), state in zip(self.spans, states, strict=True):
            if state != before or (state and not self.text[end:start].isspace()):
                edges += [(end, ""), (start, state)] if before else [(start, state)]
            end, before = stop, state
        edges += [(end, "")]
        starts = [0, *(at for at, _ in edges)]
        ends, kinds = [*starts[1:], len(self.text)], ["", *(state for _, state in edges)]
        cut = [(state, self.text[start:stop]) for start, stop, state in zip(starts, ends, kinds, strict=True)]
        if not _HIDDEN.search(self.text):
            return [piece for piece in cut if piece[1]]
        return [piece for state, text in cut for piece in _shown(state, text)]


def _shown(state: str, text: str) -> Iterator[Piece]:
    end = 0
    for hidden in _HIDDEN.finditer(text):
        yield from ((state, part) for part in (text[end : hidden.start()],) if part)
        yield CONTROL, f"U+{ord(hidden[0]):04X}"
        end = hidden.end()
    if end < len(text):
        yield state, text[end:]


def plain(text: str) -> list[Piece]:
    """A text in pieces, nothing marked but what cannot be seen."""
    return list(_shown("", text.replace("\r\n", "\n")))


def visible(text: str) -> str:
    """A short text on one line: what cannot be seen replaced by its code in brackets."""
    if not _HIDDEN.search(text):
        return text
    return "".join(f"[{part}]" if state == CONTROL else part for state, part in plain(text))


def by_words(text: Text, others: Sequence[Text], otherwise: str) -> list[str]:
    """A state for each word of ``text``: matched where one of ``others`` holds it, else ``otherwise``."""
    shared = {word for other in others for word in other.keys}
    return [(MATCHED if word in shared else otherwise) if word else "" for word in text.keys]


def by_elements(text: Text, elements: Sequence[Element], states: Collection[str]) -> list[str]:
    """A state for each word of ``text``, from the elements of these states; where two meet, the fault shows."""
    marks = [""] * len(text.keys)
    for element in sorted(elements, key=lambda element: element.state != MATCHED):
        if element.state not in states:
            continue
        places = _places(text, element.marks or (element.text,))
        if element.near and places:
            owners = _places(text, element.near)
            places = [min(places, key=lambda place: _gap(place, owners))]
        for start, stop in places:
            marks[start:stop] = [element.state] * (stop - start)
    return marks


def _places(text: Text, phrases: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where phrases stand in a text, from word to word."""
    places = list[tuple[int, int]]()
    for words in _keys(phrases):
        for start in text.places.get(words[0], ()):
            stop = start + len(words)
            if len(words) == 1 or tuple(text.keys[start:stop]) == words:
                places.append((start, stop))
    return places


@functools.lru_cache(maxsize=1 << 16)
def _keys(phrases: tuple[str, ...]) -> list[tuple[str, ...]]:
    words = {tuple(word for word in map(key, _WORD.findall(phrase)) if word) for phrase in phrases}
    return sorted(words - {()})


def _gap(place: tuple[int, int], owners: Sequence[tuple[int, int]]) -> float:
    """How far a word stands from the closest owner; one that follows it is closer than one before ("red dog")."""
    start, stop = place
    return min((first - stop if first >= stop else 2.0 * (start - last + 1) for first, last in owners), default=0.0)


def mark(
    caption: str, references: Sequence[str], elements: Sequence[Element] = ()
) -> tuple[list[Piece], list[list[Piece]]]:
    """Pieces of a caption and of each of its references: by ``elements`` where there are some, else by words.

    Nothing is marked where there is neither an element nor a reference.
    """
    if not elements and not references:
        return plain(caption), []
    written, human = Text(caption), [Text(reference) for reference in references]
    if elements:
        ours = by_elements(written, elements, (MATCHED, INVENTED))
        theirs = [by_elements(text, elements, (MATCHED, MISSED)) for text in human]
    else:
        ours = by_words(written, human, INVENTED)
        theirs = [by_words(text, [written], MISSED) for text in human]
    return written.pieces(ours), [text.pieces(states) for text, states in zip(human, theirs, strict=True)]


def html(pieces: Iterable[Piece]) -> str:
    """HTML of pieces, escaped: what is marked in ``mark``, a code in ``span``."""
    return _tagged(pieces, _IN_TEXT)


def html_list(elements: Iterable[Element]) -> str:
    """HTML of elements, escaped: an ``li`` each, its state said in words where it is a fault."""
    return _tagged(((element.state, visible(element.text)) for element in elements), _IN_LIST)


def _tagged(pieces: Iterable[Piece], tags: _Tags) -> str:
    """Pieces between the tags of their states.

    A character that no shown text holds, since pieces show it by its code, stands for a tag until all of the text has
    been escaped: once a text, not once a piece.
    """
    joined = "".join([f"{_BEGIN[state]}{text}{_END[state]}" if state else text for state, text in pieces])
    escaped = escape(joined)
    for state, (opening, closing) in tags.items():
        escaped = escaped.replace(_BEGIN[state], opening).replace(_END[state], closing)
    return escaped


_Tags = Mapping[str, tuple[str, str]]  # what opens and closes a state
_MARKED = (*STATES, ONLY_A, ONLY_B)
_BEGIN = dict(zip((*_MARKED, CONTROL), "\x01\x02\x03\x04\x0e\x0f", strict=True))
_END = dict(zip((*_MARKED, CONTROL), "\x05\x06\x07\x08\x10\x11", strict=True))
_IN_TEXT: _Tags = {state: (f'<mark class="{state}">', "</mark>") for state in _MARKED} | {
    CONTROL: ('<span class="control">', "</span>")
}
_IN_LIST: _Tags = {MATCHED: ('<li><mark class="matched"><bdi>', "</bdi></mark></li>")} | {
    state: (f'<li><mark class="{state}"><bdi>', f'</bdi></mark> <span class="state">{state}</span></li>')
    for state in (MISSED, INVENTED)
}


def size(pieces: Sequence[Piece]) -> int:
    """Characters of a marked text."""
    return sum(len(text) for _, text in pieces)


def count(pieces: Sequence[Piece], state: str) -> int:
    """Words of one state in a marked text."""
    return sum(len(_WORD.findall(text)) for mark, text in pieces if mark == state)
