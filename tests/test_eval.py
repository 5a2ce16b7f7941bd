"""`cim eval` from a captions file to scores: the contract of its output, known values, controls, defaults."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from harness import registry
from harness.resources import data
from harness.runs import signature
from tests import controls
from tests.cli import Cim, captions_file

FAST = "bleu4,bleu4_char,cider,length,rouge_l"


def _rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_json_has_the_promised_form(cim: Cim) -> None:
    result = cim("eval", "--model", "demo-terse", "--metrics", FAST, "--json")
    assert result.code == 0 and list(result.json) == ["task", "model", "scores", "outcomes"]
    assert (result.json["task"], result.json["model"]) == ("demo", "demo-terse")
    assert [score["metric"] for score in result.json["scores"]] == FAST.split(",")
    for score in result.json["scores"]:
        assert {"metric", "values", "ci95", "n", "n_failed", "signature"} <= set(score)
        assert (score["n"], score["n_failed"]) == (12, 0)
        for name, value in score["values"].items():
            low, high = score["ci95"][name]
            assert low <= value <= high
        fields = signature.read(score["signature"])
        assert fields["metric"] == score["metric"] and fields["n"] == "12" and "v" in fields
        assert fields["task"] == f"demo@{data.fingerprint(registry.task('demo'))}"


def test_several_runs_give_a_list_and_a_file_each(cim: Cim) -> None:
    result = cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", "length", "--json")
    assert [report["model"] for report in result.json] == ["demo-terse", "demo-detailed"]
    for report in result.json:
        folder = cim.results / "demo" / report["model"]
        assert json.loads((folder / "scores.json").read_text())["scores"] == report["scores"]
        rows = _rows(folder / "per_sample.jsonl")
        assert len(rows) == 12 and set(rows[0]) == {"sample_id", "length"} and set(rows[0]["length"]) == {"words"}


def test_the_twelve_captions_of_the_paper(cim_on_benchmarks: Cim, paper: Path, tmp_path: Path) -> None:
    """Five files, one a system; per-caption character BLEU averages 32.2954 (protocol.md, section 5)."""
    systems: dict[str, dict[str, str]] = defaultdict(dict)
    for row in _rows(paper / "figure_7_8_captions.jsonl"):
        systems[str(row["system"]).replace("/", " ")][str(row["sample_id"])] = str(row["caption"])
    assert len(systems) == 5
    values = []
    for number, captions in enumerate(systems.values()):
        path = captions_file(tmp_path / f"system-{number}.jsonl", captions)
        result = cim_on_benchmarks("eval", "--model", path, "--partial", "--metrics", "bleu4_char", "--json")
        assert result.json["task"] == "docci500" and result.json["scores"][0]["n"] == len(captions)
        rows = _rows(cim_on_benchmarks.results / "docci500" / path.stem / "per_sample.jsonl")
        values += [row["bleu4_char"]["score"] for row in rows]  # type: ignore[index]
    assert len(values) == 12 and round(sum(values) / 12, 4) == 32.2954


@pytest.mark.parametrize("task", ["docci500", "coco_ln500"])
def test_references_reach_the_ceiling_and_their_floor_is_what_wrong_captions_score(
    cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path, task: str
) -> None:
    """Control C-4: the floor printed beside a run is the score of a file that holds the next image's reference."""
    references = controls.references(benchmarks, task)
    right = captions_file(tmp_path / "references.jsonl", references)
    wrong = captions_file(tmp_path / "wrong.jsonl", controls.perturbed(references, "wrong_image"))
    reports = cim_on_benchmarks("eval", "--model", f"{right},{wrong}", "--metrics", FAST, "--json").json
    assert [report["task"] for report in reports] == [task] * 2
    top, floor = ({score["metric"]: score for score in report["scores"]} for report in reports)
    words = [len(reference.split()) for reference in references.values()]
    assert top["length"]["values"]["words"] == pytest.approx(sum(words) / 500)
    for name in ("bleu4", "bleu4_char", "rouge_l", "cider"):
        value, other = top[name]["values"]["score"], floor[name]["values"]["score"]
        assert other < value and (name == "cider" or value == pytest.approx(100, abs=1e-6))
        assert top[name]["controls"]["wrong_image"]["values"]["score"] == pytest.approx(other, abs=1e-9)
        below = floor[name]["ci95"]["score"]
        assert top[name]["controls"]["wrong_image"]["ci95"]["score"] == pytest.approx(below, abs=1e-9)


def test_empty_captions_score_the_declared_default(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "empty.jsonl", {f"demo_{i:02d}": "" for i in range(1, 13)})
    result = cim("eval", "--model", path, "--metrics", FAST, "--json")
    for score in result.json["scores"]:
        declared = registry.metric(score["metric"]).empty
        assert list(score["values"].values()) == pytest.approx(list(declared), abs=1e-6)
        assert score["n"] == 12 and score["n_failed"] == 0


def test_the_table_shows_values_intervals_controls_and_signatures(cim: Cim) -> None:
    result = cim("eval", "--model", "demo-detailed", "--metrics", "bleu4_char,length", "--verbose")
    assert result.code == 0 and result.err == ""
    assert "demo-detailed on demo" in result.out and "wrong image" in result.out and "95 % interval" in result.out
    assert "bleu4_char|impl:nltk-sentence|" in result.out
    assert str(cim.results / "demo" / "demo-detailed") in result.out.replace("\n", "")


def test_default_metrics_are_all_that_fit_and_a_dry_run_writes_nothing(cim: Cim) -> None:
    plan = cim("eval", "--model", "demo-terse", "--dry-run", "--json").json
    everything = {name for name in registry.names("metrics") if registry.metric(name).needs <= {"references"}}
    assert set(plan["metrics"]) | set(plan["not_computed"]) == everything
    assert not cim.results.exists()


def test_later_metrics_join_earlier_ones(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse", "--metrics", "length")
    cim("score", "--model", "demo-terse", "--metrics", "bleu4_char")
    folder = cim.results / "demo" / "demo-terse"
    together = {name: (folder / name).read_bytes() for name in ("scores.json", "per_sample.jsonl", "statistics.jsonl")}
    assert [row["metric"] for row in json.loads(together["scores.json"])["scores"]] == ["bleu4_char", "length"]
    cim("eval", "--model", "demo-terse", "--metrics", "length,bleu4_char", "--fresh")
    assert together == {name: (folder / name).read_bytes() for name in together}


def test_stages_one_by_one_equal_eval(cim: Cim) -> None:
    assert "captions" in cim("score", "--model", "demo-terse", "--metrics", "length").err
    for verb in ("caption", "parse", "judge", "score"):
        assert cim(verb, "--model", "demo-terse", "--metrics", "bleu4,length").code == 0
    folder = cim.results / "demo" / "demo-terse"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    cim("eval", "--model", "demo-terse", "--metrics", "bleu4,length", "--fresh")
    assert files == {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_limit_takes_the_first_samples(cim: Cim) -> None:
    result = cim("eval", "--model", "demo-terse", "--metrics", "length", "--limit", "3", "--json")
    assert result.json["scores"][0]["n"] == 3
    assert [row["sample_id"] for row in _rows(cim.results / "demo" / "demo-terse" / "per_sample.jsonl")] == [
        "demo_01",
        "demo_02",
        "demo_03",
    ]


def test_one_sample_has_no_interval(cim: Cim) -> None:
    result = cim("eval", "--model", "demo-terse", "--metrics", "bleu4,length", "--limit", "1", "--json")
    assert all(bounds == [None, None] for score in result.json["scores"] for bounds in score["ci95"].values())


def test_no_draws_no_interval(cim: Cim) -> None:
    result = cim("eval", "--model", "demo-terse", "--metrics", "length", "--draws", "0", "--json")
    assert result.json["scores"][0]["ci95"] == {"words": [None, None]}


def test_line_separators_in_captions_shift_nothing(cim: Cim, tmp_path: Path) -> None:
    """One caption with every line boundary Python knows leaves all other captions' scores as they are."""
    captions = {f"demo_{i:02d}": reference for i, reference in enumerate(_references(), start=1)}
    plain = captions_file(tmp_path / "plain.jsonl", captions)
    captions["demo_03"] = "a\nb\rc\x0bd\x0ce\x1cf\x1dg\x1eh\x85i\u2028j\u2029k\x00l\tm"
    hostile = captions_file(tmp_path / "hostile.jsonl", captions)
    metrics = "bleu4,rouge_l,bleu4_char"
    cim("eval", "--model", f"{plain},{hostile}", "--metrics", metrics)
    harmless, other = (_rows(cim.results / "demo" / name / "per_sample.jsonl") for name in ("plain", "hostile"))
    assert [a for a, b in zip(harmless, other, strict=True) if a != b] == [harmless[2]]
    assert len(_rows(cim.results / "demo" / "hostile" / "captions.jsonl")) == 12


def _references() -> list[str]:
    return [sample.references[0] for sample in data.samples(registry.task("demo"))]


def test_a_stored_run_is_scored_by_name_and_replayed_elsewhere(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "mine.jsonl", {f"demo_{i:02d}": f"scene {i}" for i in range(1, 5)})
    first = cim("eval", "--model", path, "--partial", "--metrics", "length,bleu4_char", "--json")
    path.unlink()
    again = cim("score", "--model", "mine", "--metrics", "length,bleu4_char", "--json")
    assert again.json == first.json
    other = tmp_path / "elsewhere"
    replayed = cim(
        "eval", "--model", cim.results / "demo" / "mine", "--results", other, "--metrics", "length,bleu4_char", "--json"
    )
    assert replayed.json == first.json
    names = ("captions.jsonl", "per_sample.jsonl", "scores.json")
    assert all(
        (other / "demo" / "mine" / n).read_bytes() == (cim.results / "demo" / "mine" / n).read_bytes() for n in names
    )
    assert cim("verify", other / "demo" / "mine").code == 0


def test_a_run_needs_its_java_metrics_or_says_why(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java the other metrics are computed; asking for a Java metric by name is refused."""
    from harness.resources import java

    monkeypatch.setattr(java, "find_java", lambda: None)
    result = cim("eval", "--model", "demo-terse", "--metrics", "bleu4")
    assert result.code == 2 and "no Java" in result.err and result.err.count("\n") == 1
    plan = cim("eval", "--model", "demo-terse", "--dry-run", "--json").json
    assert {"bleu4", "cider", "meteor", "rouge_l"} <= set(plan["not_computed"]) and "length" in plan["metrics"]


def test_a_parser_that_stops_is_no_score_and_the_same_command_goes_on(
    cim: Cim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """METEOR's process dies after three captions: null and exit 1, the other metrics stand, nothing is asked twice."""
    from collections.abc import Iterator, Sequence
    from contextlib import nullcontext

    from harness.errors import OutageError
    from harness.parts import Parser

    asked = list[str]()

    def parse(texts: Sequence[str]) -> Iterator[list[float]]:
        for text in texts:
            if len(asked) == 3:
                raise OutageError("METEOR stopped")
            asked.append(text)
            yield [1.0] * 23

    original = registry.parser
    fake = Parser("meteor15", lambda: {"fake": "yes"}, lambda _: nullcontext(parse))
    monkeypatch.setattr(registry, "parser", lambda name: fake if name == "meteor15" else original(name))
    arguments = ("eval", "--model", "demo-terse", "--metrics", "meteor,length", "--json")
    broken = cim(*arguments)
    meteor, length = broken.json["scores"]
    assert broken.code == 1 and meteor["values"] == {"score": None} and meteor["ci95"] == {"score": [None, None]}
    assert meteor["n"] == 12 and "METEOR stopped" in meteor["not_computed"] and length["values"]["words"] > 0
    manifest = json.loads((cim.results / "demo" / "demo-terse" / "manifest.json").read_text())
    assert manifest["status"] == "captioned"
    first = list(asked)
    asked[:] = [""] * 4
    whole = cim(*arguments)
    assert whole.code == 0 and whole.json["scores"][0]["values"]["score"] is not None
    assert not set(first) & set(asked)


def test_a_model_folder(cim: Cim, tmp_path: Path) -> None:
    """What training leaves behind: a folder with model.toml, named after itself."""
    folder = tmp_path / "checkpoint-3"
    captions_file(folder / "captions.jsonl", {f"demo_{i:02d}": "a b" for i in range(1, 13)})
    (folder / "model.toml").write_text(
        'about = "x"\nengine = "captions"\ncaptions = "captions.jsonl"\ntasks = ["demo"]\n'
    )
    result = cim("eval", "--model", folder, "--metrics", "length", "--json")
    assert (result.json["model"], result.json["scores"][0]["values"]) == ("checkpoint-3", {"words": 2})


def test_a_terminal_that_is_not_utf8(tmp_path: Path) -> None:
    from tests.cli import process

    path = captions_file(tmp_path / "Übung 😀.jsonl", {f"demo_{i:02d}": "ü 😀" for i in range(1, 13)})
    for json_flag in ([], ["--json"]):
        running = process(
            "eval", "--model", path, "--metrics", "length", *json_flag, results=tmp_path, PYTHONIOENCODING="ascii"
        )
        out, err = running.communicate()
        assert running.returncode == 0 and "Traceback" not in err, err
    assert json.loads(out)["model"] == "Übung 😀"


def test_a_tokenizer_that_stops_leaves_the_other_metrics(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    from harness.errors import OutageError
    from harness.parts import Parser

    def parse(texts: object) -> object:
        raise OutageError("no tokens today")

    original = registry.parser
    fake = Parser("ptb", lambda: {"fake": "yes"}, lambda _: nullcontext(parse))  # type: ignore[arg-type]
    monkeypatch.setattr(registry, "parser", lambda name: fake if name == "ptb" else original(name))
    result = cim("eval", "--model", "demo-terse", "--metrics", "bleu4,length", "--json")
    bleu4, length = result.json["scores"]
    assert result.code == 1 and bleu4["values"] == {"score": None} and (bleu4["n"], bleu4["n_failed"]) == (12, 12)
    assert length["values"]["words"] > 0
    assert cim("parse", "--model", "demo-terse", "--metrics", "bleu4").code == 1


def test_the_floor_of_a_part_is_that_of_the_task(cim: Cim, tmp_path: Path) -> None:
    """With --partial too, the wrong image is the task's next one, not the next one that is captioned."""
    captions = {"demo_03": "a man fishes", "demo_12": "a bench"}
    following = {"demo_03": _references()[3], "demo_12": _references()[0]}
    paths = [captions_file(tmp_path / f"{n}.jsonl", c) for n, c in {"part": captions, "wrong": following}.items()]
    for path in paths:
        cim("eval", "--model", path, "--partial", "--metrics", "bleu4_char")
    part, wrong = (json.loads((cim.results / "demo" / p.stem / "scores.json").read_text())["scores"][0] for p in paths)
    assert part["controls"]["wrong_image"]["values"] == wrong["values"]


def test_a_limit_above_the_count_is_no_limit(cim: Cim) -> None:
    assert cim("eval", "--model", "demo-terse", "--metrics", "length").code == 0
    assert cim("eval", "--model", "demo-terse", "--metrics", "length", "--limit", "12").code == 0
    assert cim("eval", "--model", "demo-terse", "--metrics", "length", "--limit", "99").code == 0


def test_partial_and_limit_take_the_first_captioned_samples(cim: Cim, tmp_path: Path) -> None:
    path = captions_file(tmp_path / "x.jsonl", {"demo_11": "a b", "demo_04": "a", "demo_12": "a b c"})
    result = cim("eval", "--model", path, "--partial", "--limit", "2", "--metrics", "length", "--json")
    assert (result.json["scores"][0]["n"], result.json["scores"][0]["values"]) == (2, {"words": 1.5})
    again = cim("score", "--model", "x", "--metrics", "length", "--json")
    assert again.json == result.json


def test_version(cim: Cim, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cim("--version")
    assert capsys.readouterr().out.startswith("cim ")
