"""Scene graphs of captions by rules on spaCy's dependency parse: parser ``scene_graph@lite``, for laptops.

Objects are the heads of noun chunks with their compounds, attributes their adjectives, participles and spelled-out
numbers, also those said of a subject ("the dog is brown"); relations join objects by a verb, a preposition or both
("dog", "sit on", "bed"). All are lemmas in lower case; CAPTURE's stop words are no objects. The idea is that of
vacancy/SceneGraphParser 0.1.0 (sng_parser); rules and code are this project's. How far its graphs are from FACTUAL's is
not known: no weights of FACTUAL were at hand. ``cim eval --metrics capture@lite,objects@lite,attributes@lite``
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from harness.parts import Parse, Values
from harness.resources import packaged, pretrained

UNUSED = ["ner", "senter"]  # components of the pipeline that the rules do not ask
BATCH = 32  # texts
SUBJECTS = ("nsubj", "nsubjpass")
# Nouns that only make a preposition longer: "in front of", "on top of", "on the left of".
PLACES = frozenset("back bottom center centre corner edge end front left middle right side top".split())  # noqa: SIM905


def _lemma(token: Any) -> str:
    return str(token.lemma_).lower().strip()


def _all(token: Any) -> list[Any]:
    """A token and what is coordinated with it."""
    return [token, *token.conjuncts] if token.dep_ != "conj" else [token]


def _is_object(token: Any) -> bool:
    return (
        token.pos_ in ("NOUN", "PROPN") and token.dep_ not in ("compound", "amod") and any(map(str.isalpha, token.text))
    )


def _name(token: Any) -> str:
    """The object's name: compounds and head as lemmas."""
    return " ".join([*(_lemma(child) for child in token.lefts if child.dep_ == "compound"), _lemma(token)])


def _described(token: Any) -> Iterator[Any]:
    """The words that describe a noun: before it, or said of it."""
    for child in token.children:
        if child.dep_ == "amod" or (child.dep_ == "nummod" and not child.text.isdigit()):
            yield from _all(child)
    if token.dep_ in SUBJECTS:
        for child in token.head.children:
            if child.dep_ == "acomp":
                yield from _all(child)


def _subjects(verb: Any) -> list[Any]:
    """What does, or undergoes, what a verb says: its subject, that of the verb it follows, or the noun it describes."""
    if subjects := [child for child in verb.children if child.dep_ in SUBJECTS]:
        return [noun for child in subjects for noun in _all(child)]
    if verb.dep_ in ("acl", "relcl"):
        return _all(verb.head)
    return _subjects(verb.head) if verb.dep_ in ("conj", "advcl", "xcomp") and verb.head.pos_ in ("VERB", "AUX") else []


def _prepositions(token: Any) -> Iterator[tuple[str, Any]]:
    """Prepositions below a token, each with the noun it governs; chains over nouns of place as one."""
    for prep in token.children:
        if prep.dep_ not in ("prep", "agent"):
            continue
        for noun in (child for child in prep.children if child.dep_ == "pobj"):
            inner = [pair for pair in _prepositions(noun) if pair[0] == "of"] if _lemma(noun) in PLACES else []
            if inner:
                yield from ((f"{_lemma(prep)} {_lemma(noun)} of", target) for _, target in inner)
            else:
                yield from ((_lemma(prep), target) for target in _all(noun))
    for near in (child for child in token.children if child.dep_ == "advmod"):  # "next to", "close to"
        yield from ((f"{_lemma(near)} {words}", target) for words, target in _prepositions(near))


def _relations(doc: Any) -> Iterator[tuple[Any, str, Any]]:
    for token in doc:
        if _is_object(token):
            yield from ((token, words, target) for words, target in _prepositions(token))
        if token.pos_ not in ("VERB", "AUX"):
            continue
        verb, passive = _lemma(token), any(child.dep_ == "auxpass" for child in token.children)
        for subject in _subjects(token):
            for child in token.children:
                if child.dep_ in ("dobj", "attr"):
                    yield from ((subject, verb, target) for target in _all(child))
            for words, target in _prepositions(token):
                if words == "by" and passive:
                    yield target, verb, subject
                else:
                    yield subject, words if verb == "be" else f"{verb} {words}", target


def graph(doc: Any, stop: frozenset[str]) -> dict[str, Any]:
    """The value of one parsed text, in the form of ``scene_graph.py``."""
    nouns = {token.i: _name(token) for token in doc if _is_object(token)}
    kept = {at: name for at, name in nouns.items() if name not in stop and nouns[at].rpartition(" ")[2] not in stop}
    attributes = dict[str, set[str]]()
    for at, name in kept.items():
        if words := {_lemma(word) for word in _described(doc[at])}:
            attributes.setdefault(name, set()).update(words)
    relations = {
        (kept[first.i], words, kept[second.i])
        for first, words, second in _relations(doc)
        if first.i in kept and second.i in kept and first.i != second.i
    }
    return {
        "objects": sorted(set(kept.values())),
        "attributes": {owner: sorted(attributes[owner]) for owner in sorted(attributes)},
        "relations": sorted(map(list, relations)),
        "sentences": sum(1 for _ in doc.sents),
        "tokens": len(doc),
        **dict.fromkeys(("tokens_cut", "inputs_cut", "outputs_cut", "malformed", "nouns_lost"), 0),
    }


def _parse(pipeline: Any, stop: frozenset[str], texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    readable = (" ".join(pretrained.readable(text).split()) for text in texts)
    return (graph(doc, stop) for doc in pipeline.pipe(readable, batch_size=BATCH))


@contextmanager
def session(stop: frozenset[str], _: Values) -> Iterator[Parse]:
    """Load spaCy's pipeline from its checked folder.

    Raises:
        CimError: the weights are not here, or other bytes.
    """
    import spacy

    yield partial(_parse, spacy.load(packaged.whole(packaged.SPACY_SM), exclude=UNUSED), stop)


def missing() -> str | None:
    """Why it cannot run here, and the command that fixes it."""
    if importlib.util.find_spec("spacy") is None:
        return "spacy not installed; run `make setup-lite`"
    return packaged.absent(packaged.SPACY_SM)


def settings() -> dict[str, str]:
    """All settings that can change a graph."""
    installed = importlib.util.find_spec("spacy") is not None
    return {
        "weights": packaged.SPACY_SM.pinned,
        "spacy": importlib.metadata.version("spacy") if installed else "not here",
        "rules": "1",
    }
