"""The report over runs: what it shows of a synthetic study, the same bytes twice, hostile captions, the browser."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import registry, store
from harness.runs import compare, stored_run
from leaderboards import __main__ as face
from leaderboards import published
from leaderboards.audit import association
from leaderboards.report import against
from leaderboards.report.lengths import Estimate
from leaderboards.report.parts import signed
from tests import report_runs
from tests.test_report import BROWSER, Page, browse, probed

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"quotes\" 'single' & &lt; <b onclick=x>",
    "evil\u202egpj.exe\u202c \u2066isolated\u2069 \u200fmarks\u200e \x01 zero\u200bwidth",
    "line\u2028separator {{ 7*7 }} {% raw %} <!-- --> ]]> </style></title> | pipe `tick` $math$",
    "https://example.org/x.png javascript:alert(1) data:text/html,<script>",
    "",
)


def built(results: Path, *arguments: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a report and what ``--json`` says."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert face.main(["report", "--results", str(results), "--json", *arguments]) == 0
    told = json.loads(out.getvalue())
    return Path(told["files"][0]).parent, told


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    report_runs.study(results, {"cim-seed0": [HOSTILE[at % len(HOSTILE)] + f" {at}" for at in range(120)]})
    for rows in (1000, 3000, 8000):
        name = "random-detail" + ("" if rows == 8000 else f"-{rows}")
        report_runs.random_detail(results / "miniscenes_pearson" / name, n=1050, rows=rows)
    return results


@pytest.fixture(scope="module")
def report(studied: Path) -> tuple[Path, dict[str, Any]]:
    """The report of the study and what ``--json`` says of it."""
    return built(studied)


def test_what_a_report_holds(studied: Path, report: tuple[Path, dict[str, Any]]) -> None:
    folder, told = report
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert folder == studied / ".leaderboards" / "report"
    for text in (
        "Binning inflates r",
        "GRC does not depend on the source image",
        "The last 50, an incomplete bin, are left out",
        "too few bins (1)",
        "truth (seed 0), truth (seed 1)",
        "length (step 12)",
        "Mean token log-probability, another control, is not stored",
        "No scored run on Oxford-IIIT Pet has both",
        "extrapolated",
        "Gallery of 8,000 rows",
        "chosen, step 20",
        "<b>a dog</b> at 20 .",
    ):
        assert text in page.text, text
    names = sorted(path.name for path in (folder / "figures").iterdir())
    assert [name for name in names if name.endswith(".svg")] == [
        "ablation.svg",
        "pearson-miniscenes_pearson-random-detail.svg",
        "pearson-own-miniscenes.svg",
        "scaling-scored-miniscenes_pearson.svg",
        "scaling-trained.svg",
        "systems.svg",
        "training-1.svg",
    ]
    assert len(names) == 14 and len(told["files"]) == 16
    sections = told["sections"]
    panel = sections["pearson"]["miniscenes_pearson / random-detail"]["QIR"]
    assert panel["bins"] == 10 and panel["n"] == 1050 and panel["r"] > 0.9 > panel["raw"] > 0.4
    assert sections["ablation"]["cim"]["fine_names f1"] > 40
    assert sorted(sections["scaling"]["trained"]) == ["1000", "8000"]
    assert set(sections["against"]) == {"mini-base → cim", "mini-base → sft", "sft → cim"}
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert "![" in markdown and "| binned r, Fisher's interval over bins |" in markdown


def test_every_chart_has_its_n_and_every_figure_a_text(report: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = report
    html = (folder / "report.html").read_text(encoding="utf-8")
    charts = re.findall(r"<figure class=\"chart\">.*?</figure>", html, re.DOTALL)
    assert len(charts) == 7
    for chart in charts:
        assert re.search(
            r"<figcaption>.*\d+ (captions|images|test images|drawn captions|distinct rows).*</figcaption>", chart
        ), chart[-400:]
        assert re.search(r'alt="[^"]{10,}"', chart)


def test_published_systems_correlate_as_the_audit_says(report: tuple[Path, dict[str, Any]]) -> None:
    folder, told = report
    assert list(told["sections"]["systems"]) == ["COCO-LN500", "DOCCI500"]
    for benchmark, numbers in told["sections"]["systems"].items():
        assert len(numbers) == 45
        for pair in association.pairs(published.read(), benchmark):
            assert numbers[f"{pair.first}, {pair.second}"] == [pair.pearson, pair.spearman, pair.n]
    assert association.WARNING in Page((folder / "report.html").read_text(encoding="utf-8")).text


def test_two_reports_have_the_same_bytes_and_no_nan(
    studied: Path, report: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    first, _ = report
    kept = {path.relative_to(first): path.read_bytes() for path in sorted(first.rglob("*")) if path.is_file()}
    moved = tmp_path / "elsewhere"
    shutil.copytree(studied, moved, ignore=shutil.ignore_patterns(".leaderboards"))
    second, told = built(moved, "--out", str(tmp_path / "again"))
    assert {path.relative_to(second): path.read_bytes() for path in sorted(second.rglob("*")) if path.is_file()} == kept
    assert not re.search(r"\bnan\b|\binf\b", json.dumps(told), re.IGNORECASE)
    for path, content in kept.items():
        if path.suffix != ".png":
            text = re.sub(rb"base64,[\w+/=]*", b"", content)
            assert not re.search(rb"\bnan\b|\binf(inity)?\b", text, re.IGNORECASE), path
        assert str(tmp_path).encode() not in content and b"<dc:date>" not in content, path


def test_hostile_captions_are_inert(report: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = report
    html = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.scripts) == 1 and {tag for tag, _ in page.elements}.isdisjoint({"b", "iframe", "object", "svg"})
    assert not re.search("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\x01]", html)
    for text in ("<script>alert(1)</script>", "onerror=alert(2)", "{{ 7*7 }}", "evilU+202Egpj.exeU+202C", "$math$"):
        assert text in page.text, text
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name not in ("srcset", "action", "formaction", "style") and not name.startswith("on")
            if name in ("src", "href"):
                assert value is not None and value.startswith(("data:image/", "data:,", "#")), (tag, value)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_an_empty_folder_says_what_to_run(tmp_path: Path) -> None:
    folder, told = built(tmp_path)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    for command in ("make ablation", "make train-cim", "make ablation SEEDS=3", "TASK=pets"):
        assert command in page.text
    assert [Path(path).name for path in told["files"]][2:] == ["systems.svg", "systems.png"]  # published, not stored
    assert [tag for tag, _ in page.elements].count("figure") == 1


def test_the_comparison_comes_first_and_says_what_the_tests_say(studied: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    folder, told = built(studied, "mini-base", "--against", "sft-seed0", "grc-seed0", *out)
    html = (folder / "report.html").read_text(encoding="utf-8")
    text = Page(html).text
    sections = re.findall(r'<h2 id="([^"]+)">', html)
    assert sections[:2] == ["comparison", "captions"] and sections[-1] == "missing"
    a, *others = (stored_run.load(studied / "miniscenes" / name) for name in ("mini-base", "sft-seed0", "grc-seed0"))
    for b in others:
        rows = compare.compare(a, b)
        sentence = compare.verdict(rows, a.model, b.model, len(a.per_sample))
        assert told["sections"]["comparison"][f"mini-base → {b.model}"]["verdict"] == sentence
        assert f"{sentence}." in text
        for row in rows:
            if row.test is not None:
                digits = registry.metric(row.metric).value(row.value).decimals
                assert f"{row.label}{signed(row.test.difference, digits)}" in text
    first = html[html.index('id="comparison"') : html.index('id="captions"')]
    assert first.count('<td class="number"') > 0 and '<td class=" better"' in first and '<td class=" worse"' in first
    elsewhere, again = built(studied, str(studied / "miniscenes" / "mini-base"), "--against", "sft-seed0", *out)
    assert again["sections"]["comparison"].keys() == {"mini-base → sft-seed0"} and elsewhere == folder


def test_an_extrapolation_beyond_the_scale_is_not_printed() -> None:
    inside, beyond = (Estimate(x, (x - 5.0, x + 5.0), 60) for x in (80.0, 119.17))
    assert "80.00" in against._adjusted(inside, True, 100.0) and "extrapolated" in against._adjusted(
        inside, True, 100.0
    )
    assert against._adjusted(beyond, True, 100.0) == "extrapolated beyond the scale"
    assert "119.17" in against._adjusted(beyond, True, None)


def test_runs_can_be_named(studied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", str(tmp_path))
    _, told = built(studied, *out, "--baseline", "sft-seed0", "--against", "cim-seed1,grc-seed0")
    sections = told["sections"]
    assert list(sections["against"]) == [
        "sft-seed0 → cim-seed1",
        "sft-seed0 → grc-seed0",
        "cim-seed1 → grc-seed0",
    ]
    for arguments, line in (
        (("--baseline", "nobody", "--against", "cim-seed0"), "no scored run 'nobody'; scored runs: cim-seed0, "),
        (("--baseline", "mini-base"), "--against needs a run to compare with; cim report RUN --against RUN"),
        (("--baseline", "mini-base", "--against", "random-detail"), "stored for miniscenes_pearson, not miniscenes"),
    ):
        assert face.main(["report", "--results", str(studied), *out, *arguments]) == 2
        told_err = capsys.readouterr().err
        assert line in told_err and told_err.count("\n") == 1


def test_a_stopped_arm_without_a_checkpoint_is_no_crash(tmp_path: Path) -> None:
    report_runs.study(tmp_path, seeds=1)
    path = tmp_path / "train" / "study.json"
    document = store.read_document(path) or {}
    document["rows"] = [{**row, "values": {} if row["arm"] == "grc" else row["values"]} for row in document["rows"]]
    store.write_document(path, document)
    folder, _ = built(tmp_path)
    assert "One seed per arm: no difference between arms" in (folder / "report.html").read_text(encoding="utf-8")
    document["rows"] = [{**row, "values": {}} for row in document["rows"]]
    store.write_document(path, document)
    folder, _ = built(tmp_path)
    assert "No study with an evaluated arm is stored" in (folder / "report.html").read_text(encoding="utf-8")


def test_thirty_models_on_two_benchmarks(thirty_copied: Path) -> None:
    """Runs without metric cim or a study: every section says what it lacks, two named runs are compared."""
    named = ("--baseline", "system-03", "--against", "system-04", "--task", "docci500")
    folder, told = built(thirty_copied, *named)
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "60 scored runs on" in html and html.count("<article") == 500
    sections = told["sections"]
    assert list(sections["against"]) == ["system-03 → system-04"]


PROBE = """
const place = document.getElementById("cards");
const visible = () => Array.from(place.children).filter((card) => !card.hidden);
const shown = () => visible().map((card) => card.querySelector(".id").textContent);
const set = (id, value, kind) => {
  const one = document.getElementById(id); one.value = value; one.dispatchEvent(new Event(kind));
};
const seen = [];
const fine = Array.from(document.getElementById("sort").options).find((one) => one.text === "fine_names f1");
set("sort", fine.value, "change"); seen.push(shown());
document.getElementById("direction").click(); seen.push(shown());
set("which", "loss", "change"); seen.push(shown(), document.getElementById("shown").textContent);
set("which", "all", "change"); set("find", "test_000003", "input"); seen.push(shown());
document.body.dataset.seen = JSON.stringify(seen);
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_the_page_works_in_a_browser(studied: Path, report: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Its script sorts by gain and loss and filters, hostile captions included; the console stays silent."""
    folder, _ = report
    html = (folder / "report.html").read_text(encoding="utf-8")
    dom, log = browse(folder / "report.html", tmp_path / "profile")
    assert "CONSOLE" not in log, log
    assert 'id="controls">' in dom and dom.count("<article") == 120
    gains, losses, lost, count, filtered = probed(html, PROBE, tmp_path)
    change = _changes(studied, ("mini-base", "cim-seed0"))
    assert gains == sorted(change, key=lambda name: (-change[name], name))
    assert losses == sorted(change, key=lambda name: (change[name], name))
    assert lost == [name for name in losses if change[name] < 0] and count == f"{len(lost)} of 120 images"
    assert filtered == ["test_000003"]


def _changes(results: Path, names: Sequence[str]) -> dict[str, float]:
    rows = [
        {
            row["sample_id"]: row["fine_names"]["f1"]
            for row in store.read_rows(results / "miniscenes" / name / "per_sample.jsonl")
        }
        for name in names
    ]
    return {name: float(f"{rows[1][name] - value:.6g}") for name, value in rows[0].items()}
