"""Benchmarks without code: references and images named on the command line, or a task.toml."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness import places, registry
from harness.benchmark import build, definition, labels
from harness.errors import CimError
from harness.resources import data
from tests.cli import Cim
from tests.conftest import ROOT
from tests.test_docs import blocks

WORDS = {"a1": "a dog on a mat", "a2": "two red cars in a street", "a3": "a bird above the sea"}


class Benchmark:
    """A folder with references, captions and images of three samples."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.references, self.captions = folder, folder / "references.json", folder / "captions.json"
        self.write("references.json", {name: [text, f"{text} today"] for name, text in WORDS.items()})
        self.write("captions.json", {name: text.replace("a ", "the ") for name, text in WORDS.items()})
        (folder / "images" / "deep").mkdir(parents=True)
        for number, name in enumerate(WORDS):
            place = folder / "images" / ("deep" if number == 2 else "") / f"{name}.png"
            Image.new("RGB", (48, 48), (90 * number, 20, 30)).save(place)

    def write(self, name: str, content: Any) -> Path:
        """Write JSON."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return self.folder / name


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return Benchmark(tmp_path)


def _score(done: Any) -> Any:
    assert done.code == 0, done
    return json.loads(done.out)


def test_references_make_a_benchmark_that_is_known_from_then_on(cim: Cim, benchmark: Benchmark) -> None:
    """Scored, verified, replayed and found by its ids without --references; the hash of the file is in signatures."""
    options = ("--metrics", "bleu4,rouge_l,length", "--draws", "20")
    first = _score(cim("eval", "--model", benchmark.captions, "--references", benchmark.references, *options, "--json"))
    assert first["task"].startswith("references-") and {row["n"] for row in first["scores"]} == {3}
    task = build.from_options(references=benchmark.references)
    assert f"task:{task.name}@{data.fingerprint(task)}" in first["scores"][0]["signature"]
    assert cim("verify", "captions").code == 0
    other = benchmark.write("other.json", {name: text.upper() for name, text in WORDS.items()})
    rescored = _score(cim("eval", "--model", other, *options, "--json"))
    assert rescored["task"] == first["task"]
    assert cim("compare", "captions", "other").code == 0


def test_changed_references_are_another_benchmark_and_refused_under_a_name(cim: Cim, benchmark: Benchmark) -> None:
    options = ("--task", "mine", "--references", benchmark.references, "--metrics", "length", "--draws", "0")
    assert _score(cim("eval", "--model", benchmark.captions, *options, "--json"))["task"] == "mine"
    before = build.from_options(references=benchmark.references).name
    benchmark.write("references.json", {name: "another text" for name in WORDS})
    assert build.from_options(references=benchmark.references).name != before
    done = cim("eval", "--model", benchmark.captions, *options)
    assert done.code == 2 and "task mine: references have changed since the first run" in done.err


def test_a_folder_of_images_is_a_benchmark_for_a_captioner(cim: Cim, benchmark: Benchmark) -> None:
    done = cim("eval", "--model", "mini-base", "--images", benchmark.folder / "images", "--metrics", "length", "--json")
    assert _score(done)["scores"][0]["n"] == 3
    task = build.from_options(images=benchmark.folder / "images")
    assert [sample.image for sample in data.samples(task)] == ["a1.png", "a2.png", "deep/a3.png"]
    (benchmark.folder / "images" / "a1.png").write_bytes(b"other")
    assert build.from_options(images=benchmark.folder / "images").name != task.name


def test_a_task_file_names_texts_annotations_and_images(benchmark: Benchmark) -> None:
    benchmark.write(
        "bench/objects.jsonl", "".join(json.dumps({"image_id": name, "things": ["dog"]}) + "\n" for name in WORDS)
    )
    benchmark.write("bench/words.json", {name: {"dog": ["brown", "wet"]} for name in WORDS})
    benchmark.write("bench/asked.json", [{"id": name, "list": [{"Question": "Is there a dog?"}]} for name in WORDS])
    benchmark.write(
        "bench/task.toml",
        'title = "Three"\nprompt = "Say."\n[references]\nfile = "../references.json"\n[images]\nfolder = "../images"\n'
        '[objects]\nfile = "objects.jsonl"\nkey = "things"\n[attributes]\nfile = "words.json"\n'
        '[questions]\nfile = "asked.json"\nkey = "list"\nanswer = "yes"\n',
    )
    task = registry.task(registry.named("tasks", str(benchmark.folder / "bench")))
    assert (task.name, task.title, task.prompt, task.questions) == ("bench", "Three", "Say.", 3)
    assert task.provides == {"references", "objects", "attributes", "questions", "gallery"}
    sample = data.samples(task)[2]
    assert sample.image == "deep/a3.png" and sample.objects == ("dog",) and sample.attributes["dog"] == ("brown", "wet")
    assert (sample.questions[0].text, sample.questions[0].answer) == ("Is there a dog?", "Yes")
    registry.forget()


def test_the_definition_of_contributing_is_read() -> None:
    (shown,) = [body for body in blocks("CONTRIBUTING.md", "toml") if body.startswith("# tasks/photographs.toml")]
    bench = definition.checked("photographs", tomllib.loads(shown), "CONTRIBUTING.md", ROOT)
    assert bench.tables.keys() == {*definition.FILES, "images"} - {"samples"} and bench.texts["judge"] == "qwen3-8b"


def test_a_task_file_in_cim_path_is_a_task(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark.write("parts/tasks/three.toml", f'[references]\nfile = "{benchmark.references}"\n')
    monkeypatch.setenv("CIM_PATH", str(benchmark.folder / "parts"))
    assert "three" in registry.names("tasks") and registry.task("three").count == 3
    assert places.kind_of(benchmark.write("x/task.toml", "")) == "tasks"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "unknown key 'x'"),
        ("title = 3", "title must be a text in quotes, found 3"),
        ('title = "t"', "neither references nor images"),
        ("references = 1", "references is no table"),
        ("[references]\nfoo = 'x'", "unknown key references.foo"),
        ("[references]\nid_key = 'x'", "key references.file is missing"),
        ("[references]\nfile = 'nothing.json'", "nothing.json"),
        ("[references]\nfile = 'references.json'\nsha256 = 'abc'", "expected"),
        ("[images]\nfolder = 'nothing'", "no such folder"),
        ("[references]\nfile = 'references.json'\n[images]\nfolder = 'other'", "no image belongs to an id"),
        ("[references]\nfile = 'references.json'\n[objects]\nfile = 'list.json'", "an object must be a text, found 3"),
        ("[references]\nfile = 'references.json'\n[questions]\nfile = 'asked.json'", "is not yes, no or n/a"),
        ("[references]\nfile = 'references.json'\n[objects]\nfile = 'strange.json'", "ids are not those of the"),
        ("[references", "not TOML"),
    ],
)
def test_a_wrong_task_file_is_one_line(benchmark: Benchmark, content: str, message: str) -> None:
    benchmark.write("list.json", {name: [3] for name in WORDS})
    benchmark.write("asked.json", {name: {"Is it?": "perhaps"} for name in WORDS})
    benchmark.write("strange.json", {"zzz": ["dog"]})
    (benchmark.folder / "other").mkdir()
    Image.new("RGB", (4, 4)).save(benchmark.folder / "other" / "unrelated.png")
    with pytest.raises(CimError) as error:
        build.from_file(benchmark.write("task.toml", content))
    assert message in str(error.value) and str(benchmark.folder) in str(error.value) and "\n" not in str(error.value)


def test_a_pinned_definition_is_the_same_benchmark(benchmark: Benchmark) -> None:
    task = build.from_options("mine", benchmark.references, benchmark.folder / "images", prompt="Say.")
    benchmark.write("results/mine/task.json", task.definition)
    again = build.from_file(benchmark.folder / "results" / "mine" / definition.PINNED)
    assert (again.name, again.files, again.prompt, again.images) == (task.name, task.files, task.prompt, task.images)
    assert data.samples(again) == data.samples(task)


def test_annotations_by_id_or_in_rows(benchmark: Benchmark) -> None:
    by_object = benchmark.write("a.json", {"x": ["dog"], "y": []})
    rows = benchmark.write("b.jsonl", '{"image_id": 7, "truth": ["sky"]}\n\n{"image_id": 7, "truth": ["sea"]}\n')
    single = benchmark.write("c.jsonl", '{"x": ["dog"]}\n{"y": ["cat"]}\n')
    assert labels.by_id(by_object, None, None) == {"x": [["dog"]], "y": [[]]}
    assert labels.by_id(rows, None, "truth") == {"7": [["sky"], ["sea"]]}
    assert labels.by_id(single, None, None) == {"x": [["dog"]], "y": [["cat"]]}
    with pytest.raises(CimError, match="no 'nothing' in this row"):
        labels.by_id(rows, None, "nothing")


def test_an_unfinished_option_is_refused(cim: Cim, benchmark: Benchmark) -> None:
    done = cim("eval", "--model", benchmark.captions, "--reference-key", "x")
    assert done.code == 2 and "--reference-key: without --references" in done.err
    done = cim("eval", "--model", benchmark.captions, "--references", benchmark.references, "--task", "demo")
    assert done.code == 2 and "names demo; one new name" in done.err
    for name in ("../up", ".hidden", "train"):
        done = cim("eval", "--model", benchmark.captions, "--references", benchmark.references, "--task", name)
        assert done.code == 2 and f"{name!r} cannot be the name of a benchmark" in done.err


def test_several_captions_and_systems_are_runs_whose_intervals_resample_images(cim: Cim, benchmark: Benchmark) -> None:
    """Rows that repeat an id are captions of one image, a column says which system wrote them; stored and verified."""
    rows = [
        {"id": name, "model": system, "caption": f"{text}{'.' * number}"}
        for number in range(2)
        for name, text in WORDS.items()
        for system in ("north", "south")
    ]
    file = benchmark.write("answers.json", rows)
    done = cim(
        "eval", "--model", file, "--references", benchmark.references, "--metrics", "rouge_l", "--draws", "50", "--json"
    )
    runs = _score(done)
    assert [run["model"] for run in runs] == ["answers-north", "answers-south"]
    assert runs[0]["scores"][0]["n"] == 6 and "|n:6 captions of 3@" in runs[0]["scores"][0]["signature"]
    folder = cim.results / runs[0]["task"] / "answers-north"
    stored = [json.loads(line) for line in (folder / "per_sample.jsonl").read_text().splitlines()]
    assert [(row["sample_id"], row["image_id"]) for row in stored[:2]] == [("a1#1", "a1"), ("a1#2", "a1")]
    assert cim("verify", folder).code == 0
    assert cim("compare", "answers-north", "answers-south").code == 0


def test_a_known_benchmark_takes_one_caption_per_image_unless_told(cim: Cim, benchmark: Benchmark) -> None:
    rows = [{"id": name, "caption": text} for name, text in [*WORDS.items(), ("a1", "again")]]
    file = benchmark.write("twice.json", rows)
    benchmark.write("known/tasks/three.toml", f'[references]\nfile = "{benchmark.references}"\n')
    refused = cim("eval", "--model", file, "--task", "demo")
    assert refused.code == 2 and "id 'a1' stands a second time" in refused.err and "--several" in refused.err


def test_captions_alone_are_scored_by_metrics_that_need_nothing(cim: Cim, benchmark: Benchmark) -> None:
    """Without references: refused with the way out, or scored where every named metric can be."""
    refused = cim("eval", "--model", benchmark.captions)
    assert refused.code == 2 and "ids belong to no task" in refused.err and "--references FILE" in refused.err
    assert _score(cim("eval", "--model", benchmark.captions, "--metrics", "length", "--json"))["scores"][0]["n"] == 3


def test_a_share_of_questions_that_nobody_asked_is_undefined(cim: Cim, benchmark: Benchmark) -> None:
    """All gold answers are Yes: accuracy of No has no value, in JSON, table and comparison."""
    scenes = data.samples(registry.task("miniscenes"))[:3]
    yes = {scene.id: {q.text: "Yes" for q in scene.questions if q.answer == "Yes"} for scene in scenes}
    benchmark.write("bench/questions.json", yes)
    benchmark.write("bench/references.json", {scene.id: scene.references[0] for scene in scenes})
    tables = "".join(f'[{name}]\nfile = "{name}.json"\n' for name in ("references", "questions"))
    benchmark.write("bench/task.toml", f'judge = "rule-judge"\n{tables}')
    captions = benchmark.write("said.json", {scene.id: scene.references[0] for scene in scenes})
    options = ("--task", benchmark.folder / "bench", "--metrics", "relation_qa")
    (row,) = _score(cim("eval", "--model", captions, *options, "--json"))["scores"]
    assert (row["values"]["yes_recall"], row["values"]["no_accuracy"]) == (100, None)
    assert row["ci95"]["no_accuracy"] == [None, None]
    assert cim("eval", "--model", captions, *options).code == 0 and cim("verify", "said").code == 0
    other = benchmark.write("less.json", {scene.id: "the image shows a circle ." for scene in scenes})
    assert cim("eval", "--model", other, *options).code == 0
    compared = cim("compare", "said", "less", "--json").json["comparisons"]
    assert {row.get("not_compared") for row in compared if row.get("value") in ("no_accuracy", None)} != {None}


def test_pages_show_every_caption_of_an_image(cim: Cim, benchmark: Benchmark) -> None:
    """The run's page, the comparison and the board of a benchmark without code, several captions per image."""
    for system in ("north", "south"):
        rows = [{"id": n, "caption": f"{system} {k} {text}"} for n, text in WORDS.items() for k in ("first", "second")]
        file = benchmark.write(f"{system}.json", rows)
        options = (
            "--references",
            benchmark.references,
            "--images",
            benchmark.folder / "images",
            "--metrics",
            "rouge_l,length",
        )
        assert cim("eval", "--model", file, *options, "--draws", "50").code == 0
    (folder,) = [path.parent for path in cim.results.glob("*/north/report.html")]
    page = (folder / "report.html").read_text()
    shown = re.sub(r"<[^>]*>", "", page)
    assert page.count("data:image/") >= 3 and all(f"north second {text}" in shown for text in WORDS.values())
    assert cim("report", "north", "--against", "south", "--out", benchmark.folder / "both").code == 0
    assert "south second" in re.sub(r"<[^>]*>", "", next((benchmark.folder / "both").glob("*.html")).read_text())
    assert cim("board", "--out", benchmark.folder / "site").code == 0
    assert str(benchmark.folder) not in "".join(
        path.read_text() for path in (benchmark.folder / "site").rglob("*.html")
    )


def test_files_that_have_moved_disturb_nothing_else(cim: Cim, benchmark: Benchmark) -> None:
    """The benchmark stays known; what reads its samples says in one line which file is missing."""
    options = ("--references", benchmark.references, "--task", "mine", "--metrics", "length", "--draws", "0")
    assert cim("eval", "--model", benchmark.captions, *options).code == 0
    benchmark.references.rename(benchmark.folder / "moved.json")
    assert "references is missing" in cim("doctor").out and cim("list", "tasks").code == 0
    assert cim("eval", "--model", "demo-terse", "--metrics", "length").code == 0
    assert cim("board", "--out", benchmark.folder / "site").code == 0
    done = cim("eval", "--model", benchmark.captions, "--task", "mine", "--metrics", "length")
    assert done.code == 2 and f"{benchmark.references}: is missing" in done.err
