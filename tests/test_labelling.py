"""Labels of people: the page by real requests, the sheet, what counts, and the corrected score wherever it is shown."""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness import registry
from harness.resources import data
from tasks.miniscenes import language, reading
from tasks.miniscenes.world import Dice, scene
from tests.cli import Cim, captions_file, process
from tests.conftest import ROOT

HOSTILE = '<script>alert(1)</script> a square . "><img src=x onerror=alert(2)>'
COMMON = ("--task", "miniscenes", "--judge", "noisy", "--metrics", "relation_qa", "--partial")
FILE = "labels.relation_qa.noisy.jsonl"
WORDS = {"Yes": "yes", "No": "no", "n/a": "n/a"}


@pytest.fixture(autouse=True)
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FAKE judge that errs."""
    monkeypatch.setenv("CIM_PATH", str(ROOT / "tests" / "fakes"))
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "noisy.toml").write_text('about = "a fake"\nengine = "noisy"\n')


def captions(path: Path, share: float, count: int = 100) -> Path:
    """Captions of which a share says everything, and the first holds markup."""
    texts = dict[str, str]()
    for number, sample in enumerate(data.samples(registry.task("miniscenes"))[:count]):
        dice = Dice(f"labels/{sample.id}")
        level = language.LEVELS["full" if dice.chance(share) else "base"]
        texts[sample.id] = language.caption(scene("test", number), level, dice)
    return captions_file(path, {**texts, "test_000000": HOSTILE})


def answer(caption: str, question: str) -> str:
    """What a person reads in a caption."""
    return WORDS[reading.answer(question, reading.read(caption))]


def filled(path: Path) -> None:
    """Fill in a sheet as a careful person does."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "answer": answer(row["caption"], row["question"])} for row in rows)


def labelled(cim: Cim, run: Path, sheet: Path, count: int = 100, labeller: str = "me") -> Any:
    """Judge a run and label it by a sheet."""
    assert cim("eval", "--model", run, *COMMON, "--json").code == 0
    common = ("judge", "--model", run, *COMMON, "--labeller", labeller, "--json")
    assert cim(*common, "--label", str(count), "--out", sheet).json["written"] == count
    filled(sheet)
    return cim(*common, "--label", str(count), "--labels", sheet).json


class Page:
    """A labelling page, asked as a browser asks."""

    def __init__(self, address: str) -> None:
        self.address, self.place = urlsplit(address), urlsplit(address).netloc

    def __call__(
        self, method: str = "GET", path: str = "", body: str | None = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection(self.place, timeout=20)
        where = path if path.startswith("/") else self.address.path + path
        try:
            connection.request(method, where, body, {"Host": self.place, **headers})
            reply = connection.getresponse()
            return reply.status, reply.read().decode(), dict(reply.getheaders())
        finally:
            connection.close()

    def current(self) -> tuple[str, str, str]:
        """Number, caption and question that are shown."""
        status, text, _ = self()
        assert status == 200
        match = re.search(
            r'class="caption" dir="auto">(.*?)</p>.*class="question" dir="auto">(.*?)</p>.*name="at" value="(\d+)"',
            text,
            re.DOTALL,
        )
        assert match, text
        return match[3], re.sub(r"<[^>]*>", "", match[1]), match[2]

    def say(self, verdict: str, at: str | None = None) -> int:
        """Answer the question that is shown."""
        at = self.current()[0] if at is None else at
        return self("POST", "label", f"at={at}&verdict={verdict}")[0]


@contextmanager
def page(results: Path, run: Path, *more: str) -> Iterator[tuple[Page, subprocess.Popen[str]]]:
    """``cim judge --label`` as a process of its own."""
    started = process("judge", "--model", run, *COMMON, *more, results=results)
    try:
        assert started.stderr is not None
        line = next(line for line in started.stderr if "label here" in line)
        yield Page(re.findall(r"http://\S+", line)[0]), started
    finally:
        started.kill()
        started.communicate()


def test_a_page_stores_every_answer_at_once_and_goes_on(cim: Cim, tmp_path: Path) -> None:
    run = captions(tmp_path / "run.jsonl", 0.5, 30)
    assert cim("judge", "--model", run, *COMMON, "--json").code == 2  # no captions yet
    assert cim("eval", "--model", run, *COMMON, "--json").code == 0
    file = cim.results / "miniscenes" / "run" / FILE
    with page(cim.results, run, "--label", "40") as (shown, started):
        first = shown.current()
        assert shown.say("yes") == 303 and shown.say("no") == 303
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row["verdict"] for row in rows] == ["yes", "no"] and {row["labeller"] for row in rows} == {"me"}
        assert shown.say("no", at=first[0]) == 303  # a form that is sent twice
        assert len(file.read_text().splitlines()) == 2
        assert shown("POST", "undo", "")[0] == 303 and shown("POST", "undo", "")[0] == 303
        assert shown.current() == first
        assert shown.say("n/a") == 303
        assert "1 / 40 answered" in shown()[1]
        started.send_signal(signal.SIGKILL)
        started.wait()
    with page(cim.results, run, "--label", "40", "--json") as (shown, started):
        assert "1 / 40 answered" in shown()[1]
        assert cim("score", "--model", run, *COMMON, "--json").code == 0  # labelling does not lock a run
        assert "another process is writing labels of this run" in cim.refused(
            "judge", "--model", run, *COMMON, "--label"
        )
        while 'name="at"' in shown()[1]:
            _, caption, question = shown.current()
            assert shown.say(answer(caption, question)) == 303
        assert "All 40 questions are answered." in shown()[1]
        assert shown("POST", "finish", "")[0] == 200
        out, _ = started.communicate(timeout=60)
    told = json.loads(out)
    assert (told["answered"], told["questions"], started.returncode) == (40, 40, 0)


def test_a_page_is_blind_escaped_and_for_this_machine(cim: Cim, tmp_path: Path) -> None:
    run = captions(tmp_path / "secret-model.jsonl", 0.5, 30)
    assert cim("eval", "--model", run, *COMMON, "--json").code == 0
    with page(cim.results, run, "--label", "150") as (shown, _):
        hostile = False
        for _ in range(150):
            _, text, headers = shown()
            assert not any(word in text for word in ("secret-model", "noisy", "wrong", "key No", "key Yes"))
            assert "<script>alert" not in text and "<img src=x" not in text
            hostile = hostile or "&lt;script&gt;alert(1)" in text
            shown.say("yes")
        assert hostile
        assert "form-action 'self'" in text and "default-src 'none'" in text
        assert headers["Cache-Control"] == "no-store" and headers["X-Frame-Options"] == "DENY"
        lines = (cim.results / "miniscenes" / "secret-model" / FILE).read_text()
        token = shown.address.path.strip("/")
        for method, path, body, more, code in (
            ("GET", "/", None, {}, 404),
            ("GET", "/" + "x" * len(token) + "/", None, {}, 404),
            ("GET", f"/{token}/label", None, {}, 404),
            ("GET", f"/{token}/../../etc/passwd", None, {}, 404),
            ("POST", "/x/label", "at=0&verdict=no", {}, 404),
            ("GET", "", None, {"Host": "evil.example"}, 403),
            ("POST", "undo", "", {"Host": "evil.example"}, 403),
            ("POST", "undo", "", {"Sec-Fetch-Site": "cross-site"}, 403),
            ("POST", "label", "at=0&verdict=" + "x" * 2000, {}, 400),
            ("POST", "label", "at=x&verdict=no", {}, 400),
            ("POST", "label", "at=%C2%B2&verdict=no", {}, 400),
            ("POST", "label", "at=0&verdict=maybe", {}, 303),
            ("POST", "label", None, {"Content-Length": "-1"}, 400),
            ("PUT", "label", "", {}, 501),
        ):
            assert shown(method, path, body, **more)[0] == code, (method, path, body, more)
        assert (cim.results / "miniscenes" / "secret-model" / FILE).read_text() == lines


def test_two_labellers_and_their_agreement(cim: Cim, tmp_path: Path) -> None:
    run = captions(tmp_path / "run.jsonl", 0.5)
    labelled(cim, run, tmp_path / "a.csv", 60, "Ada")
    common = ("judge", "--model", run, *COMMON, "--label", "60", "--labeller", "Bob", "--json")
    assert cim(*common, "--out", tmp_path / "b.csv").json["written"] == 60
    rows = list(csv.DictReader(io.StringIO((tmp_path / "b.csv").read_text(encoding="utf-8-sig"), newline="")))
    assert {row["answer"] for row in rows} == {""}  # the other's answers are not shown
    filled(tmp_path / "b.csv")
    text = (tmp_path / "b.csv").read_text()
    (tmp_path / "b.csv").write_text(text.replace(",yes\n", ",no\n", 5).replace(",yes\r\n", ",no\r\n", 5))
    told = cim(*common, "--labels", tmp_path / "b.csv").json
    (agreement,) = told["agreement"]
    assert (agreement["a"], agreement["b"], agreement["n"]) == ("Ada", "Bob", 60)
    assert agreement["agreement"] == pytest.approx(100 * 55 / 60) and 0.5 < agreement["kappa"] < 1
    low, high = agreement["kappa_ci95"]
    assert low < agreement["kappa"] < high


def test_a_sheet_with_a_fault_stores_nothing(cim: Cim, tmp_path: Path) -> None:
    run, sheet = captions(tmp_path / "run.jsonl", 0.5, 30), tmp_path / "sheet.csv"
    assert cim("eval", "--model", run, *COMMON, "--json").code == 0
    common = ("judge", "--model", run, *COMMON, "--label", "40")
    assert cim(*common, "--out", sheet).code == 0
    text = sheet.read_bytes().decode("utf-8-sig")
    lines = text.splitlines()
    for fault, said in (
        (text.replace(f"{lines[3]}", f"{lines[3]}perhaps"), "sheet.csv:4: answer 'perhaps'"),
        (text.replace(lines[2].split(",")[1], "0" * 12), "is about another caption"),
        (text.replace("test_0", "best_0"), "no question 'best_0"),
        (text.replace("caption_hash", "hash"), "lacks a column"),
        ("\0", "lacks a column"),
    ):
        sheet.write_text(fault)
        assert said in cim.refused(*common, "--labels", sheet)
    assert "no sheet of labels" in cim.refused(*common, "--labels", tmp_path / "none.csv")
    assert (cim.results / "miniscenes" / "run" / FILE).read_text() == ""
    semicolons = [line.replace(",", ";") for line in lines if line.count(",") == 4]
    sheet.write_text("\n".join(f"{line}Y" if at else line for at, line in enumerate(semicolons)))
    assert cim(*common, "--labels", sheet, "--json").json["read"] == len(semicolons) - 1


def test_the_corrected_score_stands_beside_the_judges(cim: Cim, tmp_path: Path) -> None:
    """In JSON, terminal and page; what a rule judge says of the captions lies in its interval."""
    run = captions(tmp_path / "run.jsonl", 0.5)
    told = labelled(cim, run, tmp_path / "sheet.csv", 200)
    assert told["answered"] == told["read"] == 200
    (score,) = cim("score", "--model", run, *COMMON, "--json").json["scores"]
    corrected = score["corrected"]
    assert corrected["raw"] == pytest.approx(score["values"]["score"]) and corrected["n_labels"] == 200
    truth = cim("eval", "--model", run, "--name", "truth", *COMMON, "--judge", "rule-judge", "--json").json
    honest = truth["scores"][0]["values"]["score"]
    assert corrected["ci95"][0] < honest < corrected["ci95"][1]
    assert corrected["rates"]["all"]["sensitivity"]["ci95"][1] < 95  # it errs, and the labels show it
    assert {"key Yes", "key No"} < corrected["rates"].keys()
    text = cim("score", "--model", run, *COMMON).out
    row = next(line for line in text.splitlines() if line.startswith("  corrected"))
    assert f"{corrected['corrected']:.2f}" in row and f"{corrected['ci95'][0]:.2f}..{corrected['ci95'][1]:.2f}" in row
    assert "200 labels of me" in text and "sensitivity" in text
    assert f"raw {corrected['raw']:.2f}" in cim("score", "--model", run, *COMMON, "-v").out
    html = (cim.results / "miniscenes" / "run" / "report.html").read_text()
    assert "corrected by 200 labels" in html and "specificity" in html
    assert cim("verify", "run", "--json").code == 0


def test_labels_of_changed_captions_do_not_count(cim: Cim, tmp_path: Path) -> None:
    run = captions(tmp_path / "run.jsonl", 0.5)
    labelled(cim, run, tmp_path / "sheet.csv", 60)
    texts = {row["sample_id"]: row["caption"] for row in map(json.loads, run.read_text().splitlines())}
    captions_file(run, {name: "a square ." for name in texts})
    (score,) = cim("eval", "--model", run, *COMMON, "--fresh", "--json").json["scores"]
    assert score["corrected"]["corrected"] is None and score["corrected"]["stale"] == 60
    assert "0 labels are too few" in score["corrected"]["reason"]
    file = cim.results / "miniscenes" / "run" / FILE
    file.write_text(file.read_text() + '{"sample_id": 5}\n')
    assert f"{FILE}:61: is no label" in cim.refused("score", "--model", run, *COMMON)


def test_compare_warns_where_the_judge_does_not_separate(cim: Cim, tmp_path: Path) -> None:
    a, b = captions(tmp_path / "a.jsonl", 0.45, 300), captions(tmp_path / "b.jsonl", 0.56, 300)
    labelled(cim, a, tmp_path / "a.csv", 40)
    assert cim("eval", "--model", b, *COMMON, "--json").code == 0
    compare = ("compare", "a", "b", "--task", "miniscenes")
    told = cim(*compare, "--json").json
    raw = next(row for row in told["comparisons"] if row["value"] == "score")
    assert raw["p_permutation_holm"] < 0.05
    (row,) = told["corrected"]
    assert row["assumption"].startswith("assuming that the judge errs on both as on the first")
    assert row["ci95"][0] < row["difference"] < row["ci95"][1] and row["n_labels"] == [40, 0]
    labelled(cim, b, tmp_path / "b.csv", 40)
    (row,) = cim(*compare, "--json").json["corrected"]
    assert row["assumption"] == "each run corrected by labels of its own" and row["warning"]
    assert "warning: the judge does not separate these runs" in cim(*compare).out
