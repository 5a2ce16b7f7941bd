"""Benchmarks load whole: counts, first, tenth and last record, known defects kept, changed bytes refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import registry
from harness.errors import CimError
from harness.resources import data
from harness.types import Sample
from tests.cli import Cim

# index: id, start and length of the reference, objects, owners, attributes, questions, first question
PINNED = {
    "docci500": {
        0: (
            "test_00203",
            "Medium view of three Muscovy ducks movin",
            776,
            5,
            11,
            81,
            5,
            "Is the duck with its head up",
        ),
        9: ("test_01700", "An outside image looking at the back of ", 533, 5, 12, 87, 4, "Is the spider positioned in"),
        499: (
            "test_00039",
            "A view of a black Dodge Ram truck parked",
            660,
            15,
            9,
            68,
            5,
            "Is the black Dodge Ram truck",
        ),
    },
    "coco_ln500": {
        0: (
            "000000033221",
            "In this picture we can see two women sta",
            412,
            19,
            19,
            129,
            5,
            "Is the woman holding a tennis",
        ),
        9: (
            "000000565853",
            "This picture is taken in a room, there a",
            333,
            15,
            16,
            108,
            5,
            "Is the television positioned",
        ),
        499: (
            "000000084270",
            "This picture is taken in a mall. In the ",
            478,
            24,
            26,
            184,
            5,
            "Is the shelf full of watches",
        ),
    },
}
# objects, attributes, questions, answers that are neither Yes nor No, references with a no-break space
TOTALS = {"docci500": (4476, 45053, 2481, 1, 0), "coco_ln500": (9631, 59454, 2462, 3, 9)}


@pytest.fixture
def samples(request: pytest.FixtureRequest, benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    monkeypatch.setenv("CIM_DATA", str(benchmarks))
    return data.samples(registry.task(request.param))


@pytest.mark.parametrize(("samples", "name"), [(name, name) for name in PINNED], indirect=["samples"])
def test_first_tenth_and_last_record(samples: list[Sample], name: str) -> None:
    for index, (key, start, length, objects, owners, attributes, questions, asked) in PINNED[name].items():
        sample = samples[index]
        assert (sample.id, sample.image, len(sample.references)) == (key, f"{key}.jpg", 1)
        assert sample.references[0].startswith(start) and len(sample.references[0]) == length
        assert (len(sample.objects), len(sample.attributes)) == (objects, owners)
        assert sum(map(len, sample.attributes.values())) == attributes
        assert len(sample.questions) == questions and sample.questions[0].text.startswith(asked)
        assert sample.questions[0].answer == "Yes"


@pytest.mark.parametrize(("samples", "name"), [(name, name) for name in TOTALS], indirect=["samples"])
def test_totals_and_known_defects(samples: list[Sample], name: str) -> None:
    answers = [question.answer for sample in samples for question in sample.questions]
    totals = (
        sum(len(sample.objects) for sample in samples),
        sum(len(words) for sample in samples for words in sample.attributes.values()),
        len(answers),
        sum(answer not in ("Yes", "No") for answer in answers),
        sum("\xa0" in sample.references[0] for sample in samples),
    )
    assert len(samples) == 500 and totals == TOTALS[name]


def test_changed_bytes_are_refused_and_named(
    cim: Cim, benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(benchmarks / "docci500", tmp_path / "docci500")
    path = tmp_path / "docci500" / "questions_docci500.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"Yes"', b'"yes"', 1))
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    with pytest.raises(CimError, match=r"questions_docci500.json: has sha256 .* expected"):
        data.samples(registry.task("docci500"))
    assert "cim data fetch docci500" in cim.refused("eval", "--model", "demo-terse", "--task", "docci500")
    assert cim("data", "verify", "docci500").code == 1


def test_no_data_folder_names_the_command(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "nowhere"))
    line = cim.refused("eval", "--model", "demo-terse", "--task", "docci500")
    assert "no data folder for task docci500" in line and "cim data fetch docci500" in line
    assert not cim.results.exists()


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docci500").mkdir()
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    with pytest.raises(CimError, match=r"test_docci_500_gt.json: is missing; run `cim data fetch docci500`"):
        data.samples(registry.task("docci500"))


def test_fingerprints_tell_tasks_apart() -> None:
    prints = {name: data.fingerprint(registry.task(name)) for name in registry.names("tasks")}
    assert len(set(prints.values())) == len(prints)
    assert prints["docci500"] == "037c2b904426" and prints["coco_ln500"] == "dffa370af3fb"
