"""Scene graphs of a run's captions and of their references, as parser ``scene_graph`` gives them, in a fixed order.

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
from harness.types import Element, SceneGraph

ENCODER = "mpnet"
COUNTED = ("tokens", "tokens_cut", "inputs_cut", "outputs_cut", "malformed", "nouns_lost")


@dataclass(frozen=True, slots=True)
class Scenes:
    """Graphs sample by sample: of the caption, and of each reference; ``counts`` of what parsing cut or lost."""

    captions: list[SceneGraph]
    references: list[list[SceneGraph]]
    counts: dict[str, float]

    def pairs(self, part: Callable[[SceneGraph], Sequence[Phrase]]) -> list[Pair]:
        """One part of both graphs for every caption with each of its references, sample by sample."""
        both = zip(self.captions, self.references, strict=True)
        return [(part(own), part(one)) for own, references in both for one in references]

    def of_first(self) -> Scenes:
        """The same with the first reference of each sample alone, whose elements a report marks."""
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
    found: Scenes = records.shared[key]
    return found


def _scenes(records: Records, parser: str, texts: Sequence[Sequence[str]]) -> Scenes:
    captions = [_checked(value) for value in records.parse(parser, records.captions)]
    references = [_checked(value) for value in records.parse(parser, [text for group in texts for text in group])]
    given = iter(references)
    return Scenes(
        [_graph(value) for value in captions],
        [[_graph(next(given)) for _ in group] for group in texts],
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
    """A parse that has the form of one; those of a run may come from other people."""
    match value:
        case {"objects": list(objects), "attributes": dict(attributes), "relations": list(relations), **counts}:
            lists = [objects, *attributes.values(), *relations]
            numbers = [counts.get(name) for name in COUNTED]
            if (
                all(isinstance(one, list) for one in lists)
                and {type(text) for one in lists for text in one} <= {str}
                and all(len(triple) == 3 for triple in relations)
                and {type(number) for number in numbers} == {int}
            ):
                return dict(value)
    raise CimError(f"a stored scene graph has another form: {str(value)[:60]}", hint="delete it, or score with --fresh")


def _counts(side: str, values: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    sums = {name: sum(value[name] for value in values) for name in COUNTED}
    found = {f"{side}_{name}": float(sums[name]) for name in COUNTED if name not in ("tokens", "tokens_cut")}
    return {f"{side}_tokens_cut_percent": 100.0 * sums["tokens_cut"] / max(1, sums["tokens"]), **found}


def missing() -> str | None:
    """Why phrases cannot be looked up or encoded here, and the command that mends it; None where they can."""
    return missing_wordnet() or registry.encoder(ENCODER).missing()


def signature(parser: str) -> dict[str, str]:
    """Fields that all metrics over scene graphs share; parser and encoder with the key of their settings."""
    encoder = registry.encoder(ENCODER)
    return {
        "impl": "capture-metric-0.1.13",
        "parser": f"{parser}-{settings_key(registry.parser(parser).settings())}",
        "enc": f"{ENCODER}-{settings_key(encoder.settings())}",
        "wn": f"3.0-{checksum()}",
        "eps": "1e-6",
        "order": "sorted",
    }


def marked(
    kind: str, records: Records, pairs: Sequence[Pair], annotated: Sequence[Sequence[Phrase]] | None = None
) -> list[list[Element]]:
    """What a report marks, sample by sample: what stages 1 and 2 of the matching pair, miss and leave over.

    Args:
        pairs: of the caption with its first reference.
        annotated: lists that precision looks in as well; what is left of the caption and found there is no invention.
    """
    found = _match.hard(pairs, records)
    left = [[own[i] for i in one.candidates] for (own, _), one in zip(pairs, found, strict=True)]
    known = _match.hard(list(zip(left, annotated or [()] * len(left), strict=True)), records)
    return [_elements(kind, *three) for three in zip(pairs, found, known, strict=True)]


def _elements(kind: str, pair: Pair, hard: Hard, known: Hard) -> list[Element]:
    own, true = pair
    named = {hard.candidates[i] for i, _ in known.matched}
    found = [_element(kind, own[i], "matched", true[j]) for i, j in sorted(hard.matched)]
    found += [_element(kind, own[i], "matched" if i in named else "invented") for i in hard.candidates]
    return [*found, *(_element(kind, true[j], "missed") for j in hard.references)]


def _element(kind: str, phrase: Phrase, state: str, partner: Phrase | None = None) -> Element:
    both = [phrase] if partner is None else [phrase, partner]
    if kind == "attribute":
        owner, word = phrase[0], phrase[1]
        marks, near = (tuple(dict.fromkeys(one[at] for one in both)) for at in (1, 0))
        return Element(kind, f"{word} {owner}", state, marks, near)
    texts = [one if isinstance(one, str) else " ".join(one) for one in both]
    return Element(kind, texts[0], state, tuple(dict.fromkeys(texts)) if len(set(texts)) > 1 else ())
