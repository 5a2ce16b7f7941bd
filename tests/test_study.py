"""``cim study``: which commands it runs, that it goes on, and what it tells; the commands themselves are faked here."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness import manifest, store, study
from harness.errors import CimError
from tests.cli import Cim, captions_file


class Fake:
    """Stands for ``cim``: notes what it is asked, and leaves what study reads: fake runs, evaluated captions files."""

    def __init__(self, cim: Cim, folder: Path) -> None:
        self.cim, self.folder, self.asked, self.alarm = cim, folder, list[tuple[str, ...]](), ""

    def settings(self) -> dict[str, Any]:
        stored = manifest.read(self.cim.results / study.TASK / study.BASE)
        assert stored is not None
        settings: dict[str, Any] = stored["settings"]
        return settings

    def __call__(self, say: Callable[[str], None], *arguments: str, may_stop: bool = False) -> None:
        self.asked.append(arguments)
        option = dict(pairwise(arguments))
        if arguments[0] == "gallery":
            store.write_document(study.place(arguments[2]) / "manifest.json", {"fake": True})
        elif arguments[0] == "train":
            run = self.cim.results / "train" / option["--name"]
            manifest.begin(run, self.settings(), {"fake": True})
            if self.alarm:
                manifest.advance(run, "stopped", alarm=self.alarm)
            else:
                manifest.advance(run, "complete")
            if not self.alarm:
                (run / "model.toml").write_text("")
        else:
            name = Path(option["--model"]).name
            word = "disc" if name == study.BASE else "red disc"
            captions = {f"test_{number:06d}": f"a {word} ." for number in range(12)}
            path = captions_file(self.folder / f"{name}.jsonl", captions)
            made = self.cim("eval", "--model", path, "--partial", "--metrics", "objects,attributes,fine_names,length")
            assert made.code == 0, made


@pytest.fixture
def fake(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(cim, tmp_path)
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(study, "_command", made)
    return made


def _study(cim: Cim, *arms: str, seeds: int = 1) -> dict[str, Any]:
    return study.study(cim.results, study.chosen(arms), seeds, [], lambda _: None)


def test_a_study_makes_what_is_missing_and_nothing_twice(cim: Cim, fake: Fake) -> None:
    table = _study(cim, "cim", "sft", seeds=2)
    verbs = [asked[0] for asked in fake.asked]
    assert verbs == ["gallery", "eval", *["train", "eval"] * 4]
    assert [(row["arm"], row["seed"]) for row in table["rows"]] == [("cim", 0), ("sft", 0), ("cim", 1), ("sft", 1)]
    values = table["rows"][0]["values"]
    assert (
        values["length"]["difference"] == 1 and values["attributes f1"]["ci95"][0] <= values["attributes f1"]["ci95"][1]
    )
    assert json.loads((cim.results / "train" / study.FILE).read_text()) == json.loads(json.dumps(table))
    before = len(fake.asked)
    assert _study(cim, "cim", "sft", seeds=2) == table and len(fake.asked) == before


def test_an_arm_that_builds_on_another_brings_it(cim: Cim, fake: Fake) -> None:
    assert study.chosen(["sft-cim"]) == ["sft", "sft-cim"]
    _study(cim, "sft-cim")
    trained = [asked for asked in fake.asked if asked[0] == "train"]
    assert trained[0][2] == study.BASE and trained[1][2] == str(cim.results / "train" / "sft-seed0")


def test_an_alarm_is_told_and_the_study_goes_on(cim: Cim, fake: Fake) -> None:
    fake.alarm = "distinct"
    assert _study(cim, "grc")["rows"] == [{"arm": "grc", "seed": 0, "stopped": "distinct", "values": {}}]


def test_unknown_arms_are_refused() -> None:
    with pytest.raises(CimError, match="unknown arm 'gcr'"):
        study.chosen(["gcr"])
    assert study.chosen(["all"]) == list(study.ARMS) and study.chosen([]) == ["cim", "sft"]


def test_a_command_that_fails_ends_the_study(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    with pytest.raises(CimError, match=r"`cim eval --model nobody` ended with 2: unknown model 'nobody'"):
        study._command(said.append, "eval", "--model", "nobody")
