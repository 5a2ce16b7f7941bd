"""Statements of a caption counted against the scene: true, false, or a true one said again.

The truth is the scene's graph, with the places that its reference, a full caption, states. An object is true once: a
second "a ring" claims a second ring. A true statement that is repeated tells nothing new and counts as repeated, a
false one is false every time.
"""

from __future__ import annotations

from harness.types import Sample, SceneGraph
from tasks.miniscenes.language import closure
from tasks.miniscenes.reading import BACKGROUND, Statement, is_between_objects, statements

TRUE, FALSE, REPEATED = "true", "false", "repeated"


def verdicts(caption: str, sample: Sample) -> list[tuple[Statement, str]]:
    """Every statement of a caption of this sample, whose first reference is a full caption, and what it is."""
    true, before = facts(sample), set[Statement]()
    judged = list[tuple[Statement, str]]()
    for statement in statements(caption):
        fact = normal(statement)
        if fact not in true or (fact in before and fact.kind == "object"):
            verdict = FALSE
        else:
            verdict = REPEATED if fact in before else TRUE
            before.add(fact)
        judged.append((statement, verdict))
    return judged


def facts(sample: Sample) -> frozenset[Statement]:
    """Every true statement about a sample."""
    graph = sample.graph or SceneGraph()
    places = (said for text in sample.references[:1] for said in statements(text) if said.kind == "place")
    return frozenset(
        [
            *(Statement("object", family) for family in graph.objects),
            *(Statement("fine name", family, name) for family, names in graph.names.items() for name in names),
            *(
                Statement("background" if owner == BACKGROUND else "attribute", owner, word)
                for owner, words in graph.attributes.items()
                for word in words
            ),
            *places,
            *(Statement("relation", *triple) for triple in graph.relations),
        ]
    )


def normal(statement: Statement) -> Statement:
    """A statement in the form of facts: a relation with its objects in family order."""
    if statement.kind != "relation" or not is_between_objects(statement):
        return statement
    ((subject, words, other),) = closure([(statement.subject, statement.value, statement.other)], {})
    return Statement("relation", subject, words, other)
