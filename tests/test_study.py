"""``cim study``: which commands it runs, that it goes on, and what it tells; the commands themselves are faked here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from harness import store
from harness.errors import CimError
from harness.runs import manifest, stats, stored_run
from tasks.miniscenes import contrasts, study
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

    def __call__(
        self, say: Callable[[str], None], *arguments: str, may_stop: bool = False, module: str = "harness"
    ) -> None:
        self.asked.append(arguments if module == "harness" else (module, *arguments))
        option = dict(pairwise(arguments))
        if module != "harness" or arguments[0] == "audit-reward":
            return
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
        elif option["--task"] == study.PEARSON:
            outcome = self.cim("eval", "--model", option["--model"], "--metrics", "length", "--draws", "0")
            assert outcome.code == 0, outcome
        else:
            name = Path(option["--model"]).name.removesuffix(".jsonl")
            word = "disc" if name == study.BASE else "red disc"
            word = f"large {word}" if name.startswith("sft") else word
            captions = {f"test_{number:06d}": f"a {word} ." for number in range(12)}
            shortened = Path(option["--model"]) if name != Path(option["--model"]).name else None
            path = shortened or captions_file(self.folder / f"{name}.jsonl", captions)
            outcome = self.cim(
                "eval", "--model", path, "--partial", "--metrics", "objects,attributes,fine_names,length"
            )
            assert outcome.code == 0, outcome


@pytest.fixture
def fake(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    stand_in = Fake(cim, tmp_path)
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(study, "command", stand_in)
    return stand_in


def _study(cim: Cim, *arms: str, seeds: int = 1) -> dict[str, Any]:
    return study.study(cim.results, study.chosen(arms), range(seeds), [], lambda _: None)


def test_a_study_makes_what_is_missing_and_nothing_twice(cim: Cim, fake: Fake) -> None:
    table = _study(cim, "cim", "sft", seeds=2)
    verbs = [asked[0] for asked in fake.asked]
    assert verbs == ["gallery", "eval", *["train", "eval", "eval", "eval"] * 4]
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
    rows = _study(cim, "grc")["rows"]
    assert rows == [{"arm": "grc", "seed": 0, "stopped": "distinct", "caught": ["truth"], "values": {}}]
    assert study.uncaught(rows) == ["control grc, seed 0, was to be stopped by truth, was by distinct"]
    assert study.uncaught([{**rows[0], "stopped": "truth"}, {**rows[0], "stopped": None, "caught": []}]) == []


def test_a_control_that_no_alarm_stops_fails_the_command(cim: Cim, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.command import train as cli_train

    monkeypatch.setattr(cli_train, "_refuse_without_packages", lambda: None)
    done = cim("study", "--arms", "grc")
    assert done.code == 1 and "control grc, seed 0, was to be stopped by truth, was by none" in done.err
    fake.alarm = "distinct"
    done = cim("study", "--arms", "weak,collapse")
    assert done.code == 0 and "was to be stopped" not in done.err, done.err
    start = ("tasks.miniscenes.weaken", str(cim.results / "train" / "weak-start"))
    trained = fake.asked[fake.asked.index(start) + 1]
    assert trained[:3] == ("train", "--model", start[1]), "weak begins from what the module wrote"


def test_arms_are_told_apart_after_holm_and_only_where_seeds_agree(cim: Cim, fake: Fake) -> None:
    """Twelve images: length differs by a word in each, so p is about 2^-12; the other values are level."""
    table = _study(cim, "cim", "sft", seeds=2)
    tested = [row["values"][label] for row in table["rows"] for label in contrasts.SHOWN if label in row["values"]]
    assert [cell["p_holm"] for cell in tested] == pytest.approx(stats.holm([cell["p"] for cell in tested]))
    assert table["than"] == "cim" and [row["arm"] for row in table["between"]] == ["sft"]
    mean = {row["arm"]: row["values"]["length"] for row in [*table["means"], *table["views"]]}
    assert mean["sft, cut to the length of mini-base's"]["difference"] == 0, "its last word and the full stop are cut"
    assert mean["sft, first sentences"]["difference"] == 2
    assert (mean["cim"]["difference"], mean["sft"]["difference"]) == (1, 2) and mean["sft"]["by_seed"] == [2, 2]
    between = table["between"][0]["values"]
    assert between["length"]["difference"] == 1 and contrasts.apart(between["length"])
    assert not contrasts.apart(between["objects f1"]) and between["objects f1"]["p_holm"] == 1
    assert not contrasts.apart({**between["length"], "by_seed": [1, -1]}), "seeds disagree"
    assert not contrasts.apart({**between["length"], "p_holm": 0.06})


def test_a_mean_has_the_interval_of_seeds_and_images_together() -> None:
    """Student's t with the variance of both; two seeds that agree leave the images' alone, as wide as t(1) makes it."""
    test = stats.Difference(0.0, 2.0, 2.0, (1.0, 3.0), 0.01, 0.01, detectable=stats.minimum_detectable(0.5))
    apart, alike = contrasts.over_seeds(test, [1.0, 2.0, 3.0]), contrasts.over_seeds(test, [2.0, 2.0])
    half = scipy.stats.t.ppf(0.975, 2) * math.sqrt(1 / 3 + 0.5**2)
    assert apart["ci95"] == pytest.approx([2 - half, 2 + half])
    assert apart["p"] == pytest.approx(2 * scipy.stats.t.sf(2 / math.sqrt(1 / 3 + 0.5**2), 2))
    half = 0.5 * scipy.stats.t.ppf(0.975, 1)
    assert alike["ci95"] == pytest.approx([2 - half, 2 + half])
    assert contrasts.over_seeds(test, [2.0]) == {}, "one seed says nothing of others"


def test_seeds_can_be_named(cim: Cim) -> None:
    done = cim("study", "--seed-list", "11,12,13", "--dry-run", "--json")
    assert json.loads(done.out)["seeds"] == [11, 12, 13]
    for wrong in ("11,11", "1,x", "-1", ""):
        assert "whole number" in cim.refused("study", "--seed-list", wrong, "--dry-run")


def test_captions_are_shortened_by_sentence_and_to_the_length_of_the_base() -> None:
    assert study.first_sentence("a ring . the ring is red .", "") == "a ring ."
    assert study.first_sentence("a ring and no stop", "") == "a ring and no stop"
    assert study.cut("a ring . the ring is red .", "a b c d") == "a ring . the"


def test_a_mean_over_seeds_is_that_of_its_runs(cim: Cim, tmp_path: Path) -> None:
    """Runs of different captions: the mean's value and difference are those of the runs, for ratios as for means."""
    words = {"base": "disc", "one": "red disc", "two": "disc and a blue tile left of it in the upper left"}
    for name, word in words.items():
        captions = {f"test_{number:06d}": f"a {word} ." for number in range(12)}
        path = captions_file(tmp_path / f"{name}.jsonl", captions)
        done = cim("eval", "--model", path, "--partial", "--metrics", "objects,fine_names,relation_qa,length")
        assert done.code == 0, done
    base, first, two = (stored_run.load(cim.results / study.TASK / name) for name in words)
    (row,) = contrasts.means(base, {"arm": {0: first, 1: two}})
    for label in ("objects f1", "fine_names f1", "relation_qa", "length"):
        apart = [contrasts.against(base, run)[label] for run in (first, two)]
        assert row["values"][label]["value"] == pytest.approx(sum(cell["value"] for cell in apart) / 2)
        assert row["values"][label]["by_seed"] == pytest.approx([cell["difference"] for cell in apart])
    (row,) = contrasts.between({"a": {0: base, 1: first}, "b": {1: two, 2: base}, "c": {3: first}}, "a")
    assert row["arm"] == "b" and row["seeds"] == 1, "runs are paired by their seed"
    assert row["values"]["length"]["difference"] == pytest.approx(contrasts.against(first, two)["length"]["difference"])


def test_captions_of_random_detail_are_written_and_looked_up_once(cim: Cim, fake: Fake) -> None:
    """3,000 captions under three names, one a gallery."""
    study.study(cim.results, [], [0], [], lambda _: None, pearson=True)
    evaluated = [dict(pairwise(asked)) for asked in fake.asked if asked[0] == "eval" and study.PEARSON in asked]
    assert [Path(call["--model"]).stem for call in evaluated] == list(study.RANDOM)
    assert [call["--gallery"] for call in evaluated] == ["miniscenes", "miniscenes-1000", "miniscenes-3000"]
    assert len({Path(call["--model"]).read_bytes() for call in evaluated}) == 1
    assert len(store.read_rows(Path(evaluated[0]["--model"]))) == 3000
    assert fake.asked[-1][:-1] == ("audit-reward", "cim", "--gallery", "miniscenes", "--out")
    store.write_document(Path(fake.asked[-1][-1]), {"fake": True})
    before = len(fake.asked)
    study.study(cim.results, [], [0], [], lambda _: None, pearson=True)
    assert len(fake.asked) == before


@pytest.mark.slow
def test_each_negative_control_is_stopped_by_its_own_alarm(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the project's own encoders and gallery, nothing faked: the gallery, three runs and their evaluation."""
    pytest.importorskip("trl", reason="trl is not installed: run `make setup-train`")
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    controls = [name for name, arm in study.ARMS.items() if arm.caught]
    table = study.study(cim.results, controls, [0], ["objects", "fine_names"], lambda _: None)
    stopped = {row["arm"]: row["stopped"] for row in table["rows"]}
    assert stopped == {"grc": "truth", "collapse": "distinct", "weak": "distinct"} and not study.uncaught(table["rows"])
    for name in controls:
        folder = cim.results / "train" / study.run_name(name, 0)
        assert (manifest.read(folder) or {})["status"] == "stopped" and (folder / "model.toml").is_file()
    rows = store.read_rows(cim.results / "train" / study.run_name("grc", 0) / "validation.jsonl")
    assert rows[-1]["reward"] > rows[0]["reward"] and rows[-1]["truth"] < rows[0]["truth"] - 5
    rows = store.read_rows(cim.results / "train" / study.run_name("collapse", 0) / "validation.jsonl")
    assert rows[-1]["distinct"] < 0.5 < rows[0]["distinct"] and rows[-1]["reward"] > rows[0]["reward"]


def test_unknown_arms_are_refused() -> None:
    with pytest.raises(CimError, match="unknown arm 'gcr'"):
        study.chosen(["gcr"])
    assert study.chosen(["all"]) == list(study.ARMS) and study.chosen([]) == ["cim", "length-kl", "sft"]


def test_a_command_that_fails_ends_the_study(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    with pytest.raises(CimError, match=r"`cim eval --model nobody` ended with 2: unknown model 'nobody'"):
        study.command(said.append, "eval", "--model", "nobody")
