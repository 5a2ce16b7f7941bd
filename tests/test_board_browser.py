"""The board in Chromium: sorting, filtering, columns, the address, a phone's width; it asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from leaderboards import __main__ as face
from tests import board_runs
from tests.test_report import BROWSER, Page, browse

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")

STATE = """
const table = document.querySelector(".scroll[aria-labelledby=table-1] table"), body = table.tBodies[0];
const all = (list, what) => Array.from(list, what);
const inSight = (one) => {
  const [at, box] = [one, one.closest(".scroll")].map((it) => it.getBoundingClientRect());
  return at.left >= box.left && at.right <= box.right + 1;
};
const state = () => ({
  names: all(body.rows, (row) => row).filter((row) => !row.hidden).map((row) => row.querySelector("bdi").textContent),
  ranks: all(body.rows, (row) => row.cells[0].textContent),
  heads: all(table.tHead.rows[0].cells, (one) => one).filter((one) => one.offsetWidth).map((one) => one.dataset.key),
  sorted: all(table.querySelectorAll("[aria-sort]"), (one) => `${one.dataset.key} ${one.ariaSort}`).join(),
  hash: location.hash,
  told: document.getElementById("shown").textContent,
  by: table.querySelector("[data-by]").textContent,
  seen: inSight(table.querySelector("[aria-sort]")),
});
const press = (key) => table.querySelector(`[data-key="${key}"] button`).click();
const set = (id, value, kind) => {
  const one = document.getElementById(id);
  one.value = value;
  one.dispatchEvent(new Event(kind));
};
"""
USE = """
const seen = [state()];
press("objects.f1"); seen.push(state());
press("objects.f1"); seen.push(state());
press("run"); seen.push(state());
table.closest(".scroll").style.setProperty("width", "600px");
set("by", "bleu4.score", "change"); seen.push(state());
set("find", "SYSTEM-03", "input"); seen.push(state());
set("find", "", "input"); set("columns", "objects", "change"); seen.push(state());
set("columns", "all", "change"); seen.push(state());
press("date"); set("columns", "about", "change"); seen.push(state());
document.body.dataset.seen = JSON.stringify(seen);
"""
LOOK = "document.body.dataset.seen = JSON.stringify(state());"
WIDTH = """
const seen = document.documentElement;
const boxes = ".scroll, .sheet, .tabs, .unseen";
const wide = Array.from(document.querySelectorAll("body *")).filter((one) => !one.closest(boxes) &&
  one.getBoundingClientRect().right > seen.clientWidth + 0.5).map((one) => one.tagName + "." + one.className);
const pinned = Array.from(document.querySelectorAll(".board .name")).map((one) => getComputedStyle(one).position);
document.body.dataset.seen = JSON.stringify([innerWidth, seen.scrollWidth - seen.clientWidth, wide, pinned]);
parent.postMessage(document.body.dataset.seen, "*");
"""


def probed(page: Path, probe: str) -> Path:
    """A copy of a page beside it that also runs a script of this test."""
    digest = base64.b64encode(hashlib.sha256(probe.encode()).digest()).decode()
    html = page.read_text(encoding="utf-8")
    allowed = f"script-src 'sha256-{digest}'"  # a page without a script has no such directive
    html = (
        html.replace("script-src", allowed, 1)
        if "script-src" in html
        else html.replace("base-uri", f"{allowed}; base-uri", 1)
    )
    copy = page.with_name(f"probe-{page.name}")
    copy.write_text(html.replace("</body>", f"<script>{probe}</script></body>"), encoding="utf-8")
    return copy


def seen(dom: str) -> object:
    (state,) = [attributes["data-seen"] for tag, attributes in Page(dom).elements if tag == "body"]
    return json.loads(str(state))


def build(results: Path, site: Path) -> Path:
    assert face.main(["board", "--results", str(results), "--out", str(site)]) == 0
    return site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return build(board_runs.make(tmp_path / "results"), tmp_path / "site")


@pytest.fixture
def hostile_site(tmp_path: Path) -> Path:
    return build(board_runs.hostile(board_runs.make(tmp_path / "results")), tmp_path / "site")


def test_it_sorts_ranks_filters_and_chooses_columns(site: Path, tmp_path: Path) -> None:
    html = (site / "docci500.html").read_text()
    lines = re.findall(
        r"<tr>(.*?)</tr>", re.findall(r'<tbody class="runs">(.*?)</tbody>', html, re.DOTALL)[0], re.DOTALL
    )
    keys = re.findall(r'data-key="([^"]+)"', html)
    cells = {}
    for line in lines:
        name = re.findall(r"<bdi>(.*?)</bdi>", line)[0]
        for key, cell in zip(keys[1:-4], re.findall(r'<td class="number[^>]*>', line), strict=True):
            cells[name, key] = (
                float(re.findall(r'data-v="([^"]+)"', cell)[0]),
                "".join(re.findall(r'data-r="([^"]+)"', cell)),
            )
    names = [f"system-0{at}" for at in range(5)]
    dom, log = browse(probed(site / "docci500.html", STATE + USE), tmp_path / "profile")
    assert "CONSOLE" not in log, log
    opened, down, up, by_name, by_bleu, filtered, objects, every, about = seen(dom)  # type: ignore[misc]
    for state, key, sign in (
        (opened, "capture.score", -1),
        (down, "objects.f1", -1),
        (up, "objects.f1", 1),
        (by_bleu, "bleu4.score", -1),
    ):
        expected = sorted(names, key=lambda name: sign * cells[name, key][0])
        assert state["names"] == expected, key
        assert state["ranks"] == [cells[name, key][1] for name in expected]
        assert state["sorted"] == f"{key} {'ascending' if sign > 0 else 'descending'}"
        assert state["by"] == key.replace(".score", "").replace(".", " ")
    assert by_bleu["seen"] and by_bleu["heads"].index("bleu4.score") > 5  # though it lay outside the box of 600 px
    assert by_name["names"] == names and by_name["sorted"] == "run ascending" and by_name["by"] == "objects f1"
    assert filtered["names"] == ["system-03"] and filtered["told"] == "1 of 5 runs"
    assert opened["hash"] == "" and by_bleu["hash"] == "#by=bleu4.score"
    assert "objects.recall" not in opened["heads"] and "objects.f1" in opened["heads"]
    shown = [None, "run", "objects.precision", "objects.recall", "objects.f1", "bleu4.score", "failed"]
    shown += ["engine", "date", "size", "licence"]
    assert objects["heads"] == shown and every["heads"] == [None, *keys]
    assert about["heads"] == [None, "run", "failed", *shown[-4:]] and about["sorted"] == "date ascending"


def test_the_address_holds_the_view(site: Path, tmp_path: Path) -> None:
    page = probed(site / "docci500.html", STATE + LOOK)

    class Address:
        def as_uri(self) -> str:
            return page.as_uri() + "#by=run&dir=desc&find=system-0&columns=relation_qa"

    dom, log = browse(Address(), tmp_path / "profile")  # type: ignore[arg-type]
    assert "CONSOLE" not in log, log
    state = seen(dom)
    assert isinstance(state, dict)
    assert state["names"] == [f"system-0{at}" for at in (4, 3, 2, 1, 0)] and state["told"] == "5 of 5 runs"
    assert state["heads"][2:5] == ["relation_qa.score", "relation_qa.score_tolerant", "relation_qa.yes_recall"]


def test_hostile_runs_stay_text_and_nothing_is_asked_for(hostile_site: Path, tmp_path: Path) -> None:
    odd = [path for path in (hostile_site / "runs" / "docci500").iterdir() if "system" not in path.name]
    assert len(odd) == 2
    for page in (hostile_site / "docci500.html", hostile_site / "index.html", *odd):
        dom, log = browse(page, tmp_path / "profile")
        assert "CONSOLE" not in log, log
        assert not [tag for tag, _ in Page(dom).elements if tag in ("img", "iframe")]
    probe = STATE.replace("table-1", "table-2") + "press('run'); set('find', 'ONERROR=alert', 'input');" + LOOK
    dom, log = browse(probed(hostile_site / "docci500.html", probe), tmp_path / "profile")
    state = seen(dom)
    assert isinstance(state, dict) and "CONSOLE" not in log, log
    told = {line for line in state["names"] if "<img src=x onerror=alert(1)>" in line and "[U+202E]" in line}
    assert len(told) == 1 and len(state["names"]) == 2 and state["told"] == "2 of 5 runs"


def test_no_other_script_or_style_runs(site: Path, tmp_path: Path) -> None:
    bad = '<script>document.body.dataset.bad = "1"</script><img src="https://example.org/x"><b style="color:red"></b>'
    page = site / "docci500.html"
    page.write_text(page.read_text().replace("</main>", bad + "</main>"))
    dom, log = browse(page, tmp_path / "profile")
    assert "data-bad" not in dom and log.count("violates the following Content Security Policy") >= 3, log


def at_390(page: Path, folder: Path) -> tuple[object, ...]:
    """Inner width, width beyond it, elements beyond it, and how run names are placed. Chromium's own window has 500."""
    listener = "onmessage = (event) => { document.body.dataset.seen = event.data; };"
    size = "width=390 height=800 style='border:0'"
    framed = f"<script>{listener}</script><iframe {size} src='{probed(page, WIDTH).as_uri()}'></iframe>"
    frame = folder / "frame.html"
    frame.write_text(f"<!doctype html><body>{framed}</body>")
    dom, log = browse(frame, folder / "profile")
    assert "CONSOLE" not in log, log
    return tuple(seen(dom))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["index.html", "docci500.html", "img-src", "xxx"])
def test_a_phone_has_no_sideways_scroll(name: str, hostile_site: Path, tmp_path: Path) -> None:
    """At 390 px only boxes scroll sideways, and the run's name stays in sight."""
    (page,) = [path for path in hostile_site.rglob("*.html") if name in path.name]
    inner, beyond, wide, pinned = at_390(page, tmp_path)
    assert (inner, beyond, wide) == (390, 0, [])
    assert set(pinned) == ({"sticky"} if name == "docci500.html" else set())  # type: ignore[call-overload]


def test_the_comparison_and_the_tables_fit_a_phone(hostile_site: Path, tmp_path: Path) -> None:
    results = hostile_site.parent / "results"
    out = ("--results", str(results), "--out", str(tmp_path / "out"))
    named = ("system-02", "--against", "system-03", "system-04", "--task", "docci500")
    assert face.main(["report", *named, *out]) == 0 and face.main(["tables", *out]) == 0
    for name in ("report.html", "tables.html"):
        assert at_390(tmp_path / "out" / name, tmp_path)[:3] == (390, 0, []), name
