"""The public Python interface: values are the command's, results print themselves, bad input is one clear error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cim_harness
from cim_harness import CimError, Result, compare, evaluate, load_run, load_samples, score
from tests.cli import Cim
from tests.conftest import ROOT
from tests.test_architecture import HEAVY

CHEAP = ["bleu4_char", "length"]
EXAMPLE = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def _demo() -> tuple[dict[str, str], dict[str, list[str]]]:
    samples = load_samples("demo")
    return {s.id: s.references[0][:40] for s in samples}, {s.id: list(s.references) for s in samples}


def test_every_public_name_is_there() -> None:
    for name in cim_harness.__all__:
        assert getattr(cim_harness, name) is not None
    assert dir(cim_harness) == sorted(cim_harness.__all__)
    with pytest.raises(AttributeError):
        _ = cim_harness.no_such_name


def test_the_import_loads_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import cim_harness; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "cim_harness" in loaded and not loaded & {*HEAVY, "numpy", "harness"}


def test_score_has_the_values_of_the_command(cim: Cim, tmp_path: Path) -> None:
    captions, references = _demo()
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"sample_id": n, "caption": c}) + "\n" for n, c in captions.items()))
    rows = cim("eval", "--model", str(file), "--task", "demo", "--metrics", ",".join(CHEAP), "--json").json["scores"]
    result = score(captions, references, CHEAP)
    in_order = score(list(captions.values()), list(references.values()), CHEAP)
    evaluated = evaluate(captions, "demo", CHEAP)
    for row in rows:
        for each in (result, in_order, evaluated):
            assert dict(each[row["metric"]].values) == row["values"]
            assert {n: list(pair) for n, pair in each[row["metric"]].ci95.items()} == row["ci95"]
    stored = load_run(cim.results / "demo" / "mine")
    assert stored.values == result.values and stored.per_sample == result.per_sample
    assert stored.captions == result.captions == captions
    assert str(stored).splitlines()[0] == "mine on demo"


def test_a_result_prints_value_interval_n_and_signature() -> None:
    result = score(*_demo(), CHEAP)
    text = str(result)
    assert repr(result) == text
    for metric, row in result.scores.items():
        ((name, value),) = row.values.items()
        low, high = row.ci95[name]
        line = next(line for line in text.splitlines() if line.startswith(f"{metric} "))
        assert f"{value:.2f}" in line and f"{low:.2f} .. {high:.2f}" in line and " 12 " in line
        assert row.signature in text.splitlines()


def test_evaluate_of_texts_stores_nothing_unless_it_is_told_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CIM_RESULTS", str(tmp_path / "results"))
    captions, _ = _demo()
    assert evaluate(captions, "demo", CHEAP).folder is None and list(tmp_path.iterdir()) == []
    stored = evaluate(captions, "demo", CHEAP, results=tmp_path / "other", name="mine")
    assert stored.folder == tmp_path / "other" / "demo" / "mine" and (stored.folder / "report.html").is_file()
    assert load_run("mine", results=tmp_path / "other").values == stored.values
    model = evaluate("demo-terse", "demo", CHEAP)
    assert model.folder == tmp_path / "results" / "demo" / "demo-terse"
    assert evaluate("demo-terse", "demo", CHEAP, limit=5, results=tmp_path / "five")["length"].n == 5
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_when_it_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    evaluate(_demo()[0], "demo", "length", progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "12/12" in err


def test_compare_takes_results_and_paths_and_agrees_with_the_command(cim: Cim) -> None:
    runs = [evaluate(name, "demo", CHEAP, results=cim.results) for name in ("demo-terse", "demo-detailed")]
    told = cim("compare", *(str(run.folder) for run in runs), "--json").json["comparisons"]
    for pair in (runs, [run.folder for run in runs], [str(runs[0].folder), runs[1]]):
        rows = {row.label: row for row in compare(*pair)}
        assert {row["metric"]: row["difference"] for row in told} == {n: r.test.difference for n, r in rows.items()}
        assert {row["metric"]: row["p_permutation_holm"] for row in told} == {
            n: r.holm_permutation for n, r in rows.items()
        }


def test_a_comparison_loses_no_digit_at_any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    captions, references = _demo()
    a, b = score(captions, references, CHEAP), score(dict.fromkeys(captions, "a dog"), references, CHEAP)
    comparison = compare(a, b)
    printed = set[str]()
    for columns in ("1", "20", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        printed.add(str(comparison))
    (text,) = printed
    test = comparison["length"].test
    assert test is not None and "…" not in text
    line = next(line for line in text.splitlines() if line.startswith("length"))
    for number in (f"{test.a:.2f}", f"{test.difference:+.2f}", f"{test.p_bootstrap:.4f}", f"{test.detectable:.2f}"):
        assert number in line


def test_other_references_are_not_compared() -> None:
    captions, references = _demo()
    other = {name: [*texts, "one more"] for name, texts in references.items()}
    with pytest.raises(CimError, match="task: in_memory@"):
        compare(score(captions, references, CHEAP), score(captions, other, CHEAP))


@pytest.mark.parametrize(
    ("captions", "references", "said"),
    [
        (["a"], ["a", "b"], ("1 captions", "2 references")),
        ({"x": "a", "y": "b"}, {"x": "a"}, ("1 captions", "'y'")),
        ({"x": "a"}, {"x": "a", "z": "b", "w": "c"}, ("2 references", "'z', 'w'")),
        (["a", None], ["a", "b"], ("1 captions", "'1'")),
        (["a"], [[]], ("1 samples", "'0'")),
        (["a"], [[3]], ("1 samples", "'0'")),
        (["a"], [None], ("1 samples", "'0'")),
        ("a", ["a"], ("captions are str",)),
        (["a"], "a", ("references are str",)),
        ([], [], ("no captions",)),
        ({1: "a"}, {1: "a"}, ("1 sample ids", "1")),
        (["half \ud800"], ["a"], ("1 captions", "'0'")),
        (["a"], {"x": "a"}, ("1 captions", "'0'")),
    ],
)
def test_bad_input_names_how_many_and_the_first(captions: Any, references: Any, said: tuple[str, ...]) -> None:
    with pytest.raises(CimError) as caught:
        score(captions, references, CHEAP)
    assert all(part in str(caught.value) for part in said) and caught.value.exit_code == 2


def test_other_bad_input_is_a_clear_error(tmp_path: Path) -> None:
    captions, references = _demo()
    wrong = [
        lambda: score(captions, references, "nosuch"),
        lambda: score(captions, references, []),
        lambda: score(captions, references, "objects"),
        lambda: score(captions, references, CHEAP, draws=-1),
        lambda: evaluate(captions, "nosuch"),
        lambda: evaluate(captions, "demo", CHEAP, limit=0),
        lambda: evaluate(dict(list(captions.items())[:3]), "demo", CHEAP),
        lambda: evaluate(captions, "demo", CHEAP, name="a/b"),
        lambda: load_run(tmp_path),
        lambda: load_samples("nosuch"),
        lambda: score(captions, references, CHEAP)["nosuch"],
        lambda: compare(score(captions, references, CHEAP), tmp_path / "nosuch"),
    ]
    for call in wrong:
        with pytest.raises(CimError) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_frames_need_pandas_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result: Result = score(*_demo(), CHEAP)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CimError, match=r"cim-harness\[report\]"):
        result.frame()


def test_frames_hold_every_value() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed: make setup and extra report")
    result = score(*_demo(), CHEAP)
    frame = result.frame()
    assert dict(zip(frame["metric"], frame["score"], strict=True)) == result.values
    per_sample = result.per_sample_frame()
    assert per_sample["length"].to_dict() == {name: row["length"] for name, row in result.per_sample.items()}
    assert list(compare(result, result).frame()["p_bootstrap"]) == [1.0, 1.0]


def test_the_committed_baseline_loads() -> None:
    (folder,) = (ROOT / "results" / "baseline" / "miniscenes").iterdir()
    run = load_run(folder)
    assert len(run.captions) == run["length"].n == len(run.per_sample) and str(run)


def test_the_examples_of_the_page_run_and_print_what_it_says(tmp_path: Path) -> None:
    for module in ("pandas", "torch"):
        pytest.importorskip(module, reason=f"{module} is not installed: make setup-models, and extra report")
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    examples = EXAMPLE.findall(text)
    assert len(examples) == text.count("```python") and all(output for _, output in examples)
    assert run_examples([code for code, _ in examples], tmp_path) == [output for _, output in examples]


def run_examples(codes: list[str], folder: Path, python: str = sys.executable) -> list[str]:
    """What each of several pieces of code prints, run in one fresh process in a folder."""
    mark = "=== next example ==="
    program = f"\nprint({mark!r})\n".join(codes)
    # The last ones are what TRL leaves behind in a process that ran vLLM beside a trainer: a launcher's, it seems.
    launcher = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    dropped = ("CIM_RESULTS", "PYTHONPATH", *launcher)
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(
        [python, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [part.removeprefix("\n") for part in done.stdout.split(mark)]


def test_several_captions_of_an_image_are_scored_and_resampled_together() -> None:
    references = {"a": "a dog on a mat", "b": "two cars in a street", "c": "a bird"}
    single = score(references, references, metrics="length", draws=200)
    several = score({name: [text] * 3 for name, text in references.items()}, references, metrics="length", draws=200)
    assert several["length"].n == 9 and "|n:9 captions of 3@" in (several["length"].signature or "")
    assert several["length"].ci95 == single["length"].ci95
    with pytest.raises(CimError, match="1 captions are no Unicode text: 'a'"):
        score({"a": []}, {"a": "x"}, metrics="length")
