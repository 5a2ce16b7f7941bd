"""report.html: what it holds, the same each time, captions inert in it, and that it works in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness import registry, store
from harness.errors import CimError
from harness.pages import report, templates
from harness.pages.public import public
from harness.resources import address_space, data
from harness.runs import records, stored_run
from tests import controls
from tests.cli import Cim, captions_file
from tests.edits import unsummed

METRICS = ("--metrics", "bleu4_char,length")
HOSTILE = {
    "demo_01": "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"quotes\" 'single' & &lt; <b onclick=x>",
    "demo_02": "evil\u202egpj.exe\u202c \u2066isolated\u2069 \u200fmarks\u200e \x01 zero\u200bwidth \u061c",
    "demo_03": "word " * 3000,
    "demo_04": "كلب أحمر with English and 😀 👩‍👩‍👧 emoji",
    "demo_05": "line\u2028separator\u2029and\x85next {{ 7*7 }} {% raw %} <!-- --> ]]> </style></title></textarea>",
    "demo_06": "https://example.org/x.png //example.org/y.js javascript:alert(1) data:text/html,<script>",
    "demo_07": "  ",
}
VOID = ("meta", "link", "input", "img", "br")


class Page(HTMLParser):
    """Elements with their attributes, the text outside script and style, and the scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements, self.scripts, self.open = list[tuple[str, dict[str, str | None]]](), list[str](), list[str]()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID and not (self.open and "svg" in self.open):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text += data

    def attributes(self) -> set[tuple[str, str]]:
        return {(tag, name) for tag, attributes in self.elements for name in attributes}


def built(cim: Cim, captions: dict[str, str], folder: Path) -> tuple[Path, str]:
    """A run of the demo task with these captions (the others plain), and its page."""
    every = {f"demo_{number:02d}": "A red bicycle leans on a wall." for number in range(1, 13)} | captions
    result = cim("eval", "--model", captions_file(folder / "mine.jsonl", every), *METRICS)
    assert result.code == 0, result.err
    run = cim.results / "demo" / "mine"
    assert str(run / report.NAME) in result.out
    return run, (run / report.NAME).read_text(encoding="utf-8")


def test_what_a_page_holds(cim: Cim, tmp_path: Path) -> None:
    run, html = built(cim, {}, tmp_path)
    page = Page(html)
    for text in ("mine on Demo", "12 samples, 0 failed", "bleu4_char", "wrong image", "demo_12"):
        assert text in page.text, text
    scores = {row["metric"]: row for row in json.loads((run / "scores.json").read_text())["scores"]}
    low, high = scores["length"]["ci95"]["words"]
    assert f"{low:.2f} to {high:.2f}" in page.text and scores["length"]["signature"] in page.text
    for sample in data.samples(registry.task("demo")):
        for reference in sample.references:
            assert reference in page.text
    assert '<mark class="matched">' in html and '<mark class="missed">' in html and '<mark class="invented">' in html
    stored = json.loads((run / "manifest.json").read_text())
    assert stored["settings"]["model"]["sha256"] in page.text and stored["made_by"]["python"] in page.text
    assert stored["started"] not in html and str(tmp_path) not in html


def test_the_first_screen_says_what_is_no_better_than_a_control(cim: Cim, tmp_path: Path) -> None:
    run, _ = built(cim, {}, tmp_path)
    document = unsummed(run)
    (bleu,) = (row for row in document["scores"] if row["metric"] == "bleu4_char")
    point, bounds = bleu["values"]["score"], bleu["ci95"]

    def page(**others: float) -> Page:
        bleu["controls"] = {name: {"values": {"score": at}, "ci95": bounds} for name, at in others.items()}
        store.write_document(run / "scores.json", document)
        html = report.page(stored_run.load(run))
        first = html[html.index("<header>") : html.index("All 2 values")]
        assert "bleu4_char" in first and f"{point:.2f}" in first and "length" in first and "<article" not in first
        return Page(first)

    fine = page(wrong_image=point + 1, next_caption=point - 1).text  # the floor is what the run's own captions earn
    assert "The one main value with controls is better than the floor" in fine and "▾" not in fine
    worse = page(all_no=point - 2, next_caption=point, wrong_image=point - 1)
    assert "0 of 1 main values are better than their floor; no better (▾): bleu4_char." in worse.text
    assert "▾ no better than own captions, next image" in worse.text and f"{point - 2:.2f} (all no)" in worse.text
    heads = ("own captions, next image", "wrong image", "blind judge")
    assert [worse.text.index(head) for head in heads] == sorted(worse.text.index(head) for head in heads)
    assert "No main value has a control" in page().text


def test_a_tiny_image_is_stored_without_loss_and_a_photograph_small() -> None:
    import io

    from PIL import Image

    from harness.pages.thumbnail import thumbnail

    for size, kind, shown in ((48, "png", 144), (640, "jpeg", 160)):
        image, content = Image.effect_noise((size, size), 60).convert("RGB"), io.BytesIO()
        image.save(content, "PNG")
        small = thumbnail(content.getvalue())
        assert small is not None and small.address.startswith(f"data:image/{kind};base64,")
        assert (small.width, small.enlarged) == (shown, kind == "png")
        stored = Image.open(io.BytesIO(base64.b64decode(small.address.partition(",")[2])))
        assert (stored.tobytes() == image.tobytes()) == (kind == "png")


def test_a_page_is_the_same_each_time(cim: Cim, tmp_path: Path) -> None:
    run, html = built(cim, {}, tmp_path)
    (run / report.NAME).unlink()
    assert cim("report", "mine").out.strip() == str(run / report.NAME)
    assert cim("report", run, "--json").json == {"report": str(run / report.NAME)}
    assert (run / report.NAME).read_text(encoding="utf-8") == html
    assert sorted(path.name for path in run.iterdir() if path.suffix == ".tmp") == []


def test_hostile_captions_are_inert(cim: Cim, tmp_path: Path) -> None:
    run, html = built(cim, {}, tmp_path)
    tame = Page(html)
    shutil.rmtree(run)
    _, html = built(cim, HOSTILE, tmp_path)
    page = Page(html)
    new = {("p", "tabindex"), ("p", "role"), ("p", "aria-label"), ("p", "class"), ("span", "class")}
    assert page.attributes() - tame.attributes() <= new
    assert {tag for tag, _ in page.elements} - {tag for tag, _ in tame.elements} == {"b"}  # "Empty caption"
    assert page.scripts == tame.scripts and len(page.scripts) == 1
    for text in (
        "<script>alert(1)</script>",
        "onerror=alert(2)",
        "{{ 7*7 }}",
        "</textarea>",
        "evilU+202Egpj.exeU+202C",
    ):
        assert text in page.text, text
    assert not re.search("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\x01\x85]", html)
    assert "Empty caption" in page.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no gallery at /home/annabel/data/scenes; run `cim x`", "no gallery at …/scenes; run `cim x`"),
        ("cannot read '/home/annabel', ~/runs/a/b.jpg", "cannot read '…', …/b.jpg"),
        ("file:///srv/models/qwen C:\\Users\\ann\\m.bin", "…/qwen …/m.bin"),
        ("server http://ann@gpu7:8000/v1: 503", "server http://…/v1: 503"),
        ("n:12/500@ab, Qwen/Qwen2-VL-7B, and/or, 1/2/3", "n:12/500@ab, Qwen/Qwen2-VL-7B, and/or, 1/2/3"),
        ("a\u202eb\nc", "a[U+202E]b\nc"),
    ],
)
def test_a_public_text_names_no_folder_and_no_host(text: str, shown: str) -> None:
    assert public(text) == shown


def test_a_page_names_no_place_of_the_machine(cim: Cim, tmp_path: Path) -> None:
    """Neither in the run's folder nor on the leaderboard: paths and hosts in manifest, scores and rows."""
    run, _ = built(cim, {}, tmp_path)
    stored = json.loads((run / "manifest.json").read_text())
    stored["settings"]["model"] |= {"base_url": "http://gpu7:8000/v1", "checkpoint": "/home/annabel/weights/qwen"}
    store.write_document(run / "manifest.json", {**stored, "origin": "/home/annabel/model.toml"})
    document = unsummed(run)
    absent = {"metric": "cim", "values": {}, "ci95": {}, "n": 0, "n_failed": 0, "signature": None, "controls": {}}
    document["scores"].append({**absent, "not_computed": "no gallery at /home/annabel/scenes/x"})
    del document["outcomes"]  # counted anew
    rows = list(store.read_rows(run / "captions.jsonl"))
    rows[0] |= {"caption": None, "error": "cannot read /home/annabel/images/1.jpg"}
    store.write_rows(run / "captions.jsonl", rows)
    digest = records.digest(records.read(run))
    stored = json.loads((run / "manifest.json").read_text())
    store.write_document(run / "manifest.json", {**stored, "captions": digest})
    for score in document["scores"]:
        score["n_failed"] = 1
    store.write_document(run / "scores.json", {**document, "captions": digest})
    shutil.copytree(run, run.with_name("yours"))
    site = tmp_path / "site"
    assert cim("report", "mine").code == 0 and cim("board", "--out", site).code == 0
    assert cim("report", "mine", "--against", "yours", "--out", tmp_path / "report").code == 0
    assert cim("tables", "--out", tmp_path / "tables").code == 0
    made_here = [path for folder in ("site", "report", "tables") for path in (tmp_path / folder).rglob("*.*")]
    assert {path.suffix for path in made_here} >= {".html", ".csv", ".json", ".md", ".tex", ".svg"}
    for path in made_here:
        content = path.read_bytes() if path.is_file() else b""
        assert not re.search(b"annabel|gpu7", content) and str(tmp_path).encode() not in content, path
    for path in (*site.glob("*.html"), run / report.NAME, site / "runs" / "demo" / "mine.html"):
        html = path.read_text(encoding="utf-8")
        assert not re.search("annabel|gpu7", html) and str(tmp_path) not in html, path
    assert "no gallery at …/x" in html and "http://…/v1" in html and "cannot read …/1.jpg" in html


def test_a_page_loads_nothing(cim: Cim, tmp_path: Path) -> None:
    page = Page(built(cim, HOSTILE, tmp_path)[1])
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name not in ("srcset", "action", "formaction", "style", "poster") and not name.startswith("on")
            if name in ("src", "href"):
                assert value is not None and value.startswith(("data:image/jpeg;base64,", "data:,", "#")), (tag, value)
    style = templates.read(templates.HERE / "base.css", templates.HERE / "report.css")
    assert "url(" not in style and "@import" not in style


def test_failed_captions_are_shown_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import mock_engine

    monkeypatch.setattr(registry, "engine", registry.engine)
    mock_engine.main(tmp_path)
    page = Page(report.page(stored_run.load(tmp_path / "demo" / "mock")))
    assert "12 samples, 1 failed" in page.text and "Failed: the mock engine cannot read this image" in page.text


def test_a_run_without_scores_is_one_line(cim: Cim) -> None:
    cim("caption", "--model", "demo-terse")
    line = cim.refused("report", "demo-terse")
    assert "this run has no scores; run `cim score --model demo-terse --task demo`" in line
    assert not (cim.results / "demo" / "demo-terse" / report.NAME).exists()
    assert "no stored run 'nobody'" in cim.refused("report", "nobody")


def test_a_damaged_run_is_one_line(cim: Cim, tmp_path: Path) -> None:
    run, _ = built(cim, {}, tmp_path)
    stored = json.loads((run / "manifest.json").read_text())
    changed = {**stored, "settings": {**stored["settings"], "task": {**stored["settings"]["task"], "data": "0" * 12}}}
    store.write_document(run / "manifest.json", changed)
    assert "made on another version of demo" in cim.refused("report", "mine")
    store.write_document(run / "manifest.json", {"settings": {}})
    assert "manifest.json lacks format" in cim.refused("report", "mine")


def test_what_is_not_computed_says_why(cim: Cim, tmp_path: Path) -> None:
    run, _ = built(cim, {}, tmp_path)
    document = unsummed(run)
    row = {**document["scores"][0], "metric": "capture", "values": {"score": None}, "ci95": {"score": [None, None]}}
    row |= {"not_computed": "no weights here; run `make x`", "signature": None, "controls": {}}
    store.write_document(run / "scores.json", {**document, "scores": [*document["scores"], row]})
    assert "not computed: no weights here; run `make x`" in Page(report.page(stored_run.load(run))).text


@pytest.fixture
def docci(cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path) -> tuple[Cim, Path]:
    """Every tenth word of DOCCI500's references dropped, scored by what needs no Java."""
    captions = controls.perturbed(controls.references(benchmarks, "docci500"), "drop10")
    path = captions_file(tmp_path / "drop10.jsonl", captions)
    assert cim_on_benchmarks("eval", "--model", path, "--task", "docci500", *METRICS, "--draws", "0").code == 0
    return cim_on_benchmarks, cim_on_benchmarks.results / "docci500" / "drop10"


def test_five_hundred_samples(docci: tuple[Cim, Path]) -> None:
    """Under 5 MB, questions with their gold answers."""
    cim, run = docci
    assert cim("report", run).code == 0
    size = (run / report.NAME).stat().st_size
    page = Page((run / report.NAME).read_text(encoding="utf-8"))
    assert size < 5_000_000
    assert [tag for tag, _ in page.elements].count("article") == 500
    assert data.samples(registry.task("docci500"))[7].questions[0].text in page.text


def test_images_become_small_pictures(
    docci: tuple[Cim, Path], benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where there is one: a missing image, a text called .jpg and a cut-off one leave no picture."""
    from PIL import Image

    cim, run = docci
    shutil.copytree(benchmarks / "docci500", tmp_path / "data" / "docci500")
    images = tmp_path / "data" / "docci500" / "images"
    images.mkdir()
    names = [sample.image for sample in data.samples(registry.task("docci500"))]
    for name, size in zip(names[:2], [(640, 480), (480, 640)], strict=True):
        Image.effect_noise(size, 60).convert("RGB").save(images / name)
    (images / names[2]).write_text("no image")
    (images / names[3]).write_bytes((images / names[0]).read_bytes()[:2000])
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    assert cim("report", run).code == 0
    page = Page((run / report.NAME).read_text(encoding="utf-8"))
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert [(picture["width"], picture["height"]) for picture in pictures] == [("160", "120"), ("120", "160")]
    assert all(len(str(picture["src"])) < 16_000 for picture in pictures)
    monkeypatch.setattr(address_space, "limited", lambda: True)
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread, where address space is limited"))
    assert (run / report.NAME).read_text(encoding="utf-8") == report.page(stored_run.load(run))


def test_stored_elements_verdicts_and_replies_are_shown(docci: tuple[Cim, Path]) -> None:
    _, run = docci
    unsummed(run)
    sample = data.samples(registry.task("docci500"))[0]
    elements = [
        ("object", "muscovy ducks", "matched"),
        ("object", "asphalt", "missed"),
        ("object", "dragon", "invented"),
    ]
    row = {
        "sample_id": sample.id,
        "objects": {"elements": elements},
        "relation_qa": {"verdicts": ["n/a", *[question.answer for question in sample.questions[1:]]]},
    }
    store.write_rows(run / stored_run.DETAILS, [row])
    reply = {"sample_id": sample.id, "reply": "1: n/a\n<script>", "error": None}
    store.write_rows(run / "replies.relation_qa.rule-judge.jsonl", [reply])
    html = report.page(stored_run.load(run))
    first = Page(html[html.index("<article") : html.index("</article>")])
    assert "muscovy ducks" in first.text and "dragon invented" in first.text and "asphalt missed" in first.text
    assert (
        "n/a ✗ wrong" in first.text and "✓ right" in first.text and "Reply of relation_qa by rule-judge" in first.text
    )
    assert "1: n/a\n<script>" in first.text
    store.write_rows(run / stored_run.DETAILS, [{**row, "objects": {"elements": [["object", "dog", '"><script>']]}}])
    with pytest.raises(CimError, match="is malformed"):
        report.page(stored_run.load(run))


BROWSER = shutil.which("chromium")
PROBE = """
const place = document.getElementById("cards"), sort = document.getElementById("sort");
const ids = () => Array.from(place.children).filter((card) => !card.hidden).map((card) => card.id).join(" ");
const set = (id, value, kind) => {
  const one = document.getElementById(id); one.value = value; one.dispatchEvent(new Event(kind));
};
const seen = [];
set("sort", sort.querySelectorAll("option")[4].value, "change"); seen.push(ids());
document.getElementById("direction").click(); seen.push(ids());
set("sort", "2", "change"); seen.push(document.getElementById("direction").textContent, ids());
set("find", "demo_03", "input"); seen.push(ids(), document.getElementById("shown").textContent);
document.body.dataset.seen = JSON.stringify(seen);
"""


def browse(path: Path, profile: Path) -> tuple[str, str]:
    """The page's elements after its scripts have run, and the browser's log; no name resolves, no proxy answers."""
    assert BROWSER is not None
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --proxy-server=127.0.0.1:9 --enable-logging=stderr"
    command = [BROWSER, *flags.split(), "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]
    done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr


def probed(html: str, probe: str, folder: Path) -> Any:
    """What a script leaves in ``document.body.dataset.seen`` of a page whose policy is made to allow it."""
    digest = base64.b64encode(hashlib.sha256(probe.encode()).digest()).decode()
    allowed = html.replace("script-src ", f"script-src 'sha256-{digest}' ").replace(
        "</html>", f"<script>{probe}</script></html>"
    )
    (folder / "probe.html").write_text(allowed, encoding="utf-8")
    dom, log = browse(folder / "probe.html", folder / "profile")
    assert "CONSOLE" not in log, log
    (seen,) = [attributes["data-seen"] for tag, attributes in Page(dom).elements if tag == "body"]
    return json.loads(str(seen))


@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_the_page_works_in_a_browser(cim: Cim, tmp_path: Path) -> None:
    """Its script sorts, filters and says so, hostile captions included, and the console stays silent."""
    captions = {f"demo_{number:02d}": "red dog " * (13 - number) for number in range(8, 13)} | HOSTILE
    run, html = built(cim, captions, tmp_path)
    dom, log = browse(run / report.NAME, tmp_path / "profile")
    assert "CONSOLE" not in log, log
    assert 'id="controls">' in dom and dom.count("<article") == 12
    up, down, label, worst, filtered, count = probed(html, PROBE, tmp_path)
    per_sample = store.read_rows(run / "per_sample.jsonl")
    rows = {row["sample_id"]: row["length"]["words"] for row in per_sample}
    bleu = {row["sample_id"]: float(f"{row['bleu4_char']['score']:.6g}") for row in per_sample}
    expected = sorted(range(1, 13), key=lambda number: (rows[f"demo_{number:02d}"], number))
    assert up.split() == [f"sample-{number}" for number in expected]
    expected = sorted(range(1, 13), key=lambda number: (-rows[f"demo_{number:02d}"], number))
    assert down.split() == [f"sample-{number}" for number in expected]
    expected = sorted(range(1, 13), key=lambda number: (bleu[f"demo_{number:02d}"], number))
    assert label == "worst first" and worst.split() == [f"sample-{number}" for number in expected]
    assert filtered == "sample-3" and count == "1 of 12 samples"


@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_no_other_script_runs(cim: Cim, tmp_path: Path) -> None:
    """The page's own policy holds: a script put into it is refused, and so is a request."""
    _, html = built(cim, {}, tmp_path)
    bad = '<script>document.body.dataset.bad = "1"</script><img src="https://example.org/x.png">'
    (tmp_path / "bad.html").write_text(html.replace("</main>", bad + "</main>"), encoding="utf-8")
    dom, log = browse(tmp_path / "bad.html", tmp_path / "profile")
    assert "data-bad" not in dom and log.count("violates the following Content Security Policy") >= 2, log
