"""Samples of a split: reference caption, ground-truth graph, five relation questions, species and breed.

The 500 test samples stand in ``test.jsonl`` (written by ``python -m tasks.miniscenes.samples``), so that
they never depend on the Python that reads them; a test makes them again and compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness.types import Question, Sample, SceneGraph
from tasks.miniscenes import language
from tasks.miniscenes.world import SPLITS, Dice, Scene, scene

QUESTIONS = 5
FILE = Path(__file__).parent / "test.jsonl"


def questions(scene: Scene) -> tuple[Question, ...]:
    """Five different questions on axes on which two objects differ, answers Yes or No by a fair coin."""
    dice, graph = Dice(f"questions/{scene.id}"), language.graph(scene)
    asked: dict[str, str] = {}
    while len(asked) < QUESTIONS:
        first, words, second = dice.choose(graph.relations)
        if dice.chance(0.5):
            first, words, second = second, language.OPPOSITE[words], first
        gold = "Yes" if dice.chance(0.5) else "No"
        asked.setdefault(language.question(first, words if gold == "Yes" else language.OPPOSITE[words], second), gold)
    return tuple(Question(text, gold) for text, gold in asked.items())


def reference(scene: Scene) -> str:
    """The scene's reference: a full caption."""
    return language.caption(scene, language.LEVELS["full"], Dice(f"reference/{scene.id}"))


def row(scene: Scene) -> dict[str, Any]:
    """A sample as it stands in a file."""
    graph, target = language.graph(scene), Dice(f"target/{scene.id}").choose(scene.things)
    return {
        "id": scene.id,
        "reference": reference(scene),
        "objects": list(graph.objects),
        "names": {family: name for family, (name,) in graph.names.items()},
        "attributes": {owner: list(words) for owner, words in graph.attributes.items()},
        "relations": [list(triple) for triple in graph.relations],
        "questions": {question.text: question.answer for question in questions(scene)},
        "species": target.family,
        "breed": target.name,
    }


def sample(content: dict[str, Any]) -> Sample:
    """The sample of a row."""
    attributes = {owner: tuple(words) for owner, words in content["attributes"].items()}
    return Sample(
        id=content["id"],
        references=(content["reference"],),
        image=f"{content['id']}.png",
        objects=tuple(content["objects"]),
        attributes=attributes,
        questions=tuple(Question(text, gold) for text, gold in content["questions"].items()),
        graph=SceneGraph(
            objects=tuple(content["objects"]),
            names={family: (name,) for family, name in content["names"].items()},
            attributes=attributes,
            relations=tuple((first, words, second) for first, words, second in content["relations"]),
        ),
        species=content["species"],
        breed=content["breed"],
    )


def load(folder: Path) -> list[Sample]:
    """The test samples, in order."""
    rows = (folder / FILE.name).read_text(encoding="utf-8").split("\n")
    return [sample(json.loads(line)) for line in rows if line]


def line(content: dict[str, Any]) -> str:
    """A row as a line of a file."""
    return json.dumps(content, separators=(",", ":")) + "\n"


def lines() -> str:
    """Content of the test file."""
    return "".join(line(row(scene("test", number))) for number in range(SPLITS["test"]))


if __name__ == "__main__":
    FILE.write_text(lines(), encoding="utf-8")
    sys.exit(0)
