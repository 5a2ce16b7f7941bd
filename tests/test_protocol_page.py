"""``docs/protocol.md``: the defects it counts are there, and the variants it names exist."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from harness import registry
from harness.parsers.scene_graph import stop_words
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
PLACEHOLDERS = {"none", "not visible", "unknown", "null", "na"}


@pytest.mark.parametrize(("task", "column"), [("coco_ln500", 1), ("docci500", 2)])
def test_the_defects_are_those_of_the_files(task: str, column: int, benchmarks: Path) -> None:
    samples = registry.task(task).load(benchmarks / task)
    answers = [question.answer for sample in samples for question in sample.questions]
    objects = [name for sample in samples for name in sample.objects]
    pairs = [pair for sample in samples for pair in itertools.combinations(set(sample.objects), 2)]
    owned = [[word.lower() in PLACEHOLDERS for word in words] for s in samples for words in s.attributes.values()]
    counted = [
        f"{len(answers):,}; {sum(answer not in ('Yes', 'No') for answer in answers)}",
        f"{100 * answers.count('Yes') / len(answers):.1f} %",
        f"{sum(name != name.strip() for name in objects)}",
        f"{sum(name in stop_words() for name in objects)} of {len(objects):,}",
        f"{sum(left in other or other in left for left, other in pairs)}",
        f"{sum(map(sum, owned))} of {sum(map(len, owned)):,}",
        f"{sum(map(all, owned))}",
    ]
    table = PAGE[PAGE.index("| defect |") :].splitlines()[2:]
    assert [row.split("|")[column + 1].strip() for row in table] == counted


def test_every_variant_it_names_is_one() -> None:
    named = set(re.findall(r"`([a-z_0-9]+@[a-z0-9]+)`", PAGE))
    assert named == {"capture@cim", "capture@sc", "objects@compat", "attributes@compat"}
    assert all(registry.metric(name).name == name for name in named)
