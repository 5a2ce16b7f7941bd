"""Scene graphs of a run's captions and of their references in a fixed order, and which parser and encoder read them.

A value is ``{"objects": [...], "attributes": {owner: [word]}, "relations": [[s, p, o]], "tokens": n, ...}``; objects,
owners, the words of an owner and triples are taken in code-point order. ``cim parse --model M --metrics capture``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.metrics import _match
from harness.metrics._match import Hard, Pair, Phrase
from harness.parts import Records
from harness.resources.wordnet import checksum, missing_wordnet
from harness.runs.cache import settings_key
from harness.types import Element, SceneGraph, Share

COUNTED = ("tokens", "tokens_cut", "inputs_cut", "outputs_cut", "malformed", "nouns_lost")


@dataclass(frozen=True, slots=True)
class Reading:
    """How captions are read: the parser of their graphs, the encoder of phrases, and the weights of both."""

    parser: str
    encoder: str = "mpnet"
    pretrained: tuple[str, ...] = ("factual", "mpnet")


STRICT, CIM, SC = map(Reading, ("scene_graph", "scene_graph@cim", "scene_graph@sc"))
LITE = Reading("scene_graph@lite", "minilm", ("minilm", "spacy_sm"))


@dataclass(frozen=True, slots=True)
class Scenes:
    """Graphs per sample: of the caption, and of each reference; ``counts`` of what parsing truncated or dropped."""

    captions: list[SceneGraph]
    references: list[list[SceneGraph]]
    counts: dict[str, float]

    def pairs(self, part: Callable[[SceneGraph], Sequence[Phrase]]) -> list[Pair]:
        """One part of both graphs for every caption with each of its references, per sample."""
        samples = zip(self.captions, self.references, strict=True)
        return [(part(caption), part(reference)) for caption, references in samples for reference in references]

    def of_first(self) -> Scenes:
        """The same with only the first reference of each sample, whose elements a report marks."""
        return Scenes(self.captions, [group[:1] for group in self.references], self.counts)


def scenes(records: Records, parser: str) -> Scenes:
    """The graphs of all captions and references; a sample without reference has an empty one.

    Raises:
        CimError: a stored value is no scene graph.
    """
    texts = [sample.references or ("",) for sample in records.samples]
    key = ("scenes", parser, tuple(records.captions), tuple(texts))
    if key not in records.shared:
        records.shared[key] = _scenes(records, parser, texts)
    result: Scenes = records.shared[key]
    return result


def _scenes(records: Records, parser: str, texts: Sequence[Sequence[str]]) -> Scenes:
    captions = [_checked(value) for value in records.parse(parser, records.captions)]
    references = [_checked(value) for value in records.parse(parser, [text for group in texts for text in group])]
    parsed = iter(references)
    return Scenes(
        [_graph(value) for value in captions],
        [[_graph(next(parsed)) for _ in group] for group in texts],
        _counts("captions", captions) | _counts("references", references),
    )


def words(graph: SceneGraph) -> list[str]:
    """The attribute words of all owners, repeats kept."""
    return [word for words in graph.attributes.values() for word in words]


def owned(graph: SceneGraph) -> list[tuple[str, str]]:
    """Pairs of owner and attribute word."""
    return [(owner, word) for owner, words in graph.attributes.items() for word in words]


def _graph(value: Mapping[str, Any]) -> SceneGraph:
    return SceneGraph(
        objects=tuple(sorted(value["objects"])),
        attributes={owner: tuple(sorted(value["attributes"][owner])) for owner in sorted(value["attributes"])},
        relations=tuple(sorted((first, words, second) for first, words, second in value["relations"])),
    )


def _checked(value: Any) -> dict[str, Any]:
    """Validates the schema of a stored parse: runs may come from other people."""
    match value:
        case {"objects": list(objects), "attributes": dict(attributes), "relations": list(relations), **counts}:
            lists = [objects, *attributes.values(), *relations]
            numbers = [counts.get(name) for name in COUNTED]
            if (
                all(isinstance(words, list) for words in lists)
                and {type(text) for words in lists for text in words} <= {str}
                and all(len(triple) == 3 for triple in relations)
                and {type(number) for number in numbers} == {int}
            ):
                return dict(value)
    raise CimError(f"a stored scene graph has another form: {str(value)[:60]}", hint="delete it, or score with --fresh")


def _counts(side: str, values: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    sums = {name: sum(value[name] for value in values) for name in COUNTED}
    totals = {f"{side}_{name}": float(sums[name]) for name in COUNTED if name not in ("tokens", "tokens_cut")}
    tokens = max(1, sums["tokens"])
    return {f"{side}_tokens_cut_percent": Share(100.0 * sums["tokens_cut"] / tokens, tokens), **totals}


def missing(how: Reading) -> str | None:
    """Why phrases cannot be looked up or encoded here, and the command that fixes it; None if they can."""
    return missing_wordnet() or registry.encoder(how.encoder).missing()


def signature(how: Reading) -> dict[str, str]:
    """Fields that all metrics over scene graphs share; parser and encoder with the key of their settings."""
    return {
        "impl": "capture-metric-0.1.13",
        "parser": f"{how.parser}-{settings_key(registry.parser(how.parser).settings())}",
        "enc": f"{how.encoder}-{settings_key(registry.encoder(how.encoder).settings())}",
        "wn": f"3.0-{checksum()}",
        "eps": "1e-6",
        "order": "sorted",
    }


def marked(
    kind: str, records: Records, pairs: Sequence[Pair], annotated: Sequence[Sequence[Phrase]] | None = None
) -> list[list[Element]]:
    """The elements that a report marks, per sample: matched by stages 1 and 2, missed and invented.

    Args:
        pairs: of the caption with its first reference.
        annotated: lists that precision also accepts; an element found there counts as matched, not as invented.
    """
    matches = _match.hard(pairs, records)
    left = [[phrases[i] for i in match.candidates] for (phrases, _), match in zip(pairs, matches, strict=True)]
    known = _match.hard(list(zip(left, annotated or [()] * len(left), strict=True)), records)
    return [_elements(kind, *three) for three in zip(pairs, matches, known, strict=True)]


def _elements(kind: str, pair: Pair, hard: Hard, known: Hard) -> list[Element]:
    phrases, true = pair
    named = {hard.candidates[i] for i, _ in known.matched}
    elements = [_element(kind, phrases[i], "matched", true[j]) for i, j in sorted(hard.matched)]
    elements += [_element(kind, phrases[i], "matched" if i in named else "invented") for i in hard.candidates]
    return [*elements, *(_element(kind, true[j], "missed") for j in hard.references)]


def _element(kind: str, phrase: Phrase, state: str, partner: Phrase | None = None) -> Element:
    both = [phrase] if partner is None else [phrase, partner]
    if kind == "attribute":
        owner, word = phrase[0], phrase[1]
        marks, near = (tuple(dict.fromkeys(item[at] for item in both)) for at in (1, 0))
        return Element(kind, f"{word} {owner}", state, marks, near)
    texts = [item if isinstance(item, str) else " ".join(item) for item in both]
    return Element(kind, texts[0], state, tuple(dict.fromkeys(texts)) if len(set(texts)) > 1 else ())
