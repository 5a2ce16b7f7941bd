"""Tables 6 to 8 from stored runs: the four formats say the same, marks are right, empty cells name what fills them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from markdown_it import MarkdownIt

from harness import registry, store
from harness.runs import stats
from leaderboards import escape, markdown, published, tables
from leaderboards.tables import paper, systems
from leaderboards.tables.cells import METRICS
from tests import paper_runs, synthetic_runs
from tests.boards import Boards, measured
from tests.test_report import BROWSER, browse

NAMES = ("qwen2-vl-7b", "cim-qwen2-vl-7b", "qwen2-vl-7b-sft", "qwen2.5-vl-7b", "gemini-1.5")
FORMATS = ("tables.html", "tables.md", *(f"table_{n}.{kind}" for kind in ("csv", "tex") for n in (6, 7, 8)))
LINES = {"published": "published", "this run": "this run", "difference": "difference"}
Values = dict[tuple[int, int, str], list[str]]
"""Numbers of a line by table, row and line: as written, marks and bold apart; empty where there is none."""


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    paper_runs.make(results, n=60, names=NAMES)
    return results


@pytest.fixture
def boards(some: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Boards:
    shutil.copytree(some, tmp_path / "results")
    return Boards(tmp_path / "results", capsys)


def written(boards: Boards, *arguments: str | Path) -> Path:
    done = boards("tables", *arguments)
    assert done.code == 0, done.err
    return boards.results / tables.FOLDER


def score(path: Path, metric: str) -> tuple[dict[str, Any], dict[str, Any]]:
    document = json.loads(path.read_text())
    return document, next(row for row in document["scores"] if row["metric"] == metric)


# --- reading the four formats back --------------------------------------------------------------


def number(text: str) -> str:
    """The number of a cell without marks, links and bold; empty for anything else."""
    match = re.fullmatch(r"([+-]?\d+\.\d\d)[^\d.]*", re.sub(r"[*$†‡°\\]|\{|\}", "", text).strip())
    return match[1] if match else ""


def of_csv(folder: Path) -> Values:
    values = Values()
    for table in (6, 7, 8):
        rows = list(csv.reader(io.StringIO((folder / f"table_{table}.csv").read_text())))
        at, before = -1, None
        for cells in rows[2:]:
            at, before = at + (cells[:4] != before), cells[:4]
            if cells[4] in LINES:
                values[table, at, cells[4]] = [number(cell) for cell in cells[5:]]
                if cells[4] == "difference":
                    values[table, at, cells[4]] = [f"{float(cell):+.2f}" if cell else "" for cell in cells[5:]]
    return values


def of_markdown(folder: Path) -> Values:
    values, table, at = Values(), 0, -1
    for line in (folder / "tables.md").read_text().splitlines():
        if heading := re.match(r"## Table (\d)", line):
            table, at = int(heading[1]), -1
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("| ") else []
        if len(cells) > 2 and cells[1] in LINES:
            at += cells[1] == "published"
            texts = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", cell) for cell in cells[2:]]
            values[table, at, cells[1]] = [number(text) for text in texts]
    return values


def of_latex(folder: Path) -> Values:
    values = Values()
    for table in (6, 7, 8):
        at = -1
        for line in (folder / f"table_{table}.tex").read_text().splitlines():
            cells = line.removesuffix(r" \\").split(" & ")
            if line.startswith("%") or len(cells) < 3 or cells[1].strip() not in LINES:
                continue
            at += cells[1] == "published"
            texts = [re.sub(r"\$\^.*?\$$", "", cell.strip()) for cell in cells[2:]]
            texts = [re.sub(r"\\href\{[^}]*\}|\\textbf", "", text) for text in texts]
            values[table, at, cells[1].strip()] = [number(text) for text in texts]
    return values


class Page(HTMLParser):
    """Rows of the page's tables by table and row, its links, and what might run or load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values, self.links, self.tags = Values(), list[str](), list[str]()
        self.ids, self.text = set[str](), ""
        self._table, self._at, self._cells, self._row = 0, -1, list[str](), False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.links += [named["href"] or ""] if tag == "a" else []
        self.ids |= {named["id"] or ""} if "id" in named else set()
        if (named.get("id") or "").startswith("table-"):
            self._table, self._at = int((named["id"] or "")[6:]), -1
        elif tag == "tr":
            self._cells = []
        elif tag in ("td", "th"):
            self._cells.append("")
        elif tag in ("br", "sup") and self._cells:
            self._cells[-1] += "|"

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr" and (line := next((c for c in self._cells[:2] if c in LINES), None)):
            self._at += line == "published"
            after = self._cells[self._cells.index(line) + 1 :]
            self.values[self._table, self._at, line] = [number(cell.split("|")[0]) for cell in after]

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cells:
            self._cells[-1] += data


def of_html(folder: Path) -> Values:
    return Page((folder / "tables.html").read_text()).values


def test_all_formats_show_the_same_numbers_in_the_same_cells(boards: Boards) -> None:
    folder = written(boards)
    sheets = of_csv(folder)
    assert {key[0] for key in sheets} == {6, 7, 8} and len({key[:2] for key in sheets}) == 43
    assert sum(key[2] == "this run" for key in sheets) == 2 + 6 + 4  # rows of the three tables that have runs
    for read in (of_markdown, of_latex, of_html):
        cells = read(folder)
        assert all(any(values) for key, values in cells.items() if key[2] != "published"), "a row without a run"
        cells = {key: values for key, values in cells.items() if any(values)}
        assert cells.keys() == sheets.keys(), read
        for key, values in cells.items():
            assert values == sheets[key], (read, key)


def test_published_cells_are_those_of_the_file_and_ours_those_of_the_runs(boards: Boards) -> None:
    cells = of_csv(written(boards))
    rows = published.read()
    for table in (6, 7, 8):
        selected = [row for row in rows if row.table == table]
        for at, row in enumerate(selected):
            assert [f"{value:.2f}" for value in row.values.values()] == cells[table, at, "published"]
            run = boards.results / published.TASKS[row.benchmark] / systems.read()[row.system].run
            if not run.is_dir():
                continue
            scores = {s["metric"]: s["values"] for s in json.loads((run / "scores.json").read_text())["scores"]}
            ours = [f"{scores[METRICS[column][0]][METRICS[column][1]]:.2f}" for column in row.printed]
            assert ours == cells[table, at, "this run"]


def test_making_them_twice_gives_the_same_bytes_wherever_the_results_are(boards: Boards, tmp_path: Path) -> None:
    folder = written(boards)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(first) == sorted(FORMATS)
    written(boards)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    boards.results.rename(tmp_path / "elsewhere")
    boards.results = tmp_path / "elsewhere"
    folder = written(boards)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert not any(str(tmp_path).encode() in content for content in first.values())


def test_links_lead_to_runs_from_wherever_the_tables_are(boards: Boards, tmp_path: Path) -> None:
    (boards.results / "docci500" / "qwen2-vl-7b" / "report.html").write_text("a page")
    for folder in (written(boards), tmp_path / "far away" / "out"):
        done = boards("tables", "--out", folder)
        assert done.code == 0
        page = Page((folder / "tables.html").read_text())
        outward = [unquote(link) for link in page.links if not link.startswith("#")]
        assert outward and all((folder / link).is_file() for link in outward)
        assert any(link.endswith("docci500/qwen2-vl-7b/report.html") for link in outward)
        assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
        linked = re.findall(r"\]\((.*?)\)", (folder / "tables.md").read_text())
        assert {unquote(link.replace("\\", "")) for link in linked} == set(outward)


# --- marks --------------------------------------------------------------------------------------


def block(lines: list[dict[str, Any]], boards: Boards) -> paper.Block:
    """The block Qwen2-VL-7B on DOCCI500 of Table 8, with runs whose CAPTURE columns are given in its rows' order."""
    mapping = systems.read()
    shutil.rmtree(boards.results)
    for given, method in zip(lines, ("Base", "SFT", "SC-Captioner", "SFT + Ours"), strict=False):
        metric = registry.metric("capture@cim")
        folder = boards.results / "docci500" / mapping[f"Qwen2-VL-7B {method}"].run
        column = stats.Column(np.asarray(given["values"], float)[:, None], metric.aggregate)
        synthetic_runs.write(folder, "docci500", {"capture@cim": column})
        if extra := given.get("signature"):
            document, entry = score(folder / "scores.json", "capture@cim")
            entry["signature"] += extra
            store.write_document(folder / "scores.json", document)
    from harness.runs import stored_run
    from leaderboards.tables import cells

    stored = stored_run.load_all(boards.results, print)
    numbers = {"docci500": cells.numbers(stored, print)}
    everything = paper.Stored(
        numbers, {(run.task, run.model): run for run in stored}, mapping, frozenset(), boards.results / "out"
    )
    table = paper.tables(published.read(), everything)[2]
    return next(entry for entry in table.blocks if entry.benchmark == "DOCCI500")


def test_intervals_difference_and_significance_by_hand(boards: Boards) -> None:
    """Published CAPTURE: 62.53, 62.53, 63.83, 64.48. Ours: 60 and a clear 10 more, a noisy 0.1 more, a constant."""
    generator = np.random.default_rng(0)
    base = 60 + np.tile([-5.0, 5.0], 50)
    noisy = base + generator.normal(0, 8, 100)
    lines = [
        {"values": base},
        {"values": base + 10 + np.tile([-1.0, 1.0, 1.0, -1.0], 25)},
        {"values": noisy - noisy.mean() + 60.1},
        {"values": np.full(100, 64.482)},
    ]
    ours = [line.cells["capture"].ours for line in block(lines, boards).lines]
    assert all(cell is not None for cell in ours)
    first, clear, close, constant = (cell for cell in ours if cell is not None)
    assert str(first.value) == "60.00" and first.p is None and not first.significant
    assert str(first.difference) == "2.04" and str(clear.difference) == "7.47" and str(constant.difference) == "0.00"
    assert clear.significant and not close.significant
    assert first.ci95 is not None and 58.9 < float(first.ci95[0]) < 59.2 and 60.8 < float(first.ci95[1]) < 61.1
    assert [cell.outside for cell in (first, clear, close, constant)] == [True, True, True, False]
    assert [cell.best for cell in (first, clear, close, constant)] == [False, True, False, False]


def test_another_signature_is_marked_and_takes_no_part(boards: Boards) -> None:
    values = np.linspace(50, 70, 50)
    lines = [{"values": values}, {"values": values + 20, "signature": "|extra:1"}, {"values": values + 1}]
    shown = [line.cells["capture"].ours for line in block(lines, boards).lines]
    first, other, third, none = shown
    assert none is None and first and other and third
    assert other.letter == "a" and other.p is None and not other.best
    assert third.best and third.significant and not third.letter and not first.letter


def test_another_number_of_images_is_not_compared(boards: Boards) -> None:
    values = np.linspace(50, 70, 50)
    lines = [{"values": values}, {"values": values[:40] + 9}, {"values": values + 1}]
    first, fewer, third, _ = (line.cells["capture"].ours for line in block(lines, boards).lines)
    assert first and fewer and third
    assert fewer.p is None and fewer.letter == "a" and third.significant


def test_notes_name_the_fields_that_differ(boards: Boards) -> None:
    path = boards.results / "docci500" / "qwen2-vl-7b-sft" / "scores.json"
    document, scored = score(path, "bleu4_char")
    scored["signature"] = scored["signature"].replace("v:synthetic", "v:2|why:<i>x</i>")
    store.write_document(path, document)
    folder = written(boards)
    text = (folder / "tables.md").read_text()
    assert (
        "* a: DOCCI500, bleu4\\_char: differs from the column in v: synthetic / 2; why: - / \\<i\\>x\\</i\\>. " in text
    )
    page = (folder / "tables.html").read_text()
    assert 'id="note-8-a"' in page and "why: - / &lt;i&gt;x" in page and "<i>x" not in page
    assert r"why: - / \textless{}i\textgreater{}x" in (folder / "table_8.tex").read_text()


def test_best_of_each_block_is_bold_in_every_format(boards: Boards) -> None:
    """Table 8 on DOCCI500, as printed: 42.62 is the best BLEU-4, 83.69 the best Objects P."""
    folder = written(boards)
    for bold in ("**42.62**", "**83.69**"):
        assert bold in (folder / "tables.md").read_text()
    assert r"\textbf{42.62}" in (folder / "table_8.tex").read_text()
    assert "<b>42.62</b>" in (folder / "tables.html").read_text()
    for at, blocks in ((7, 10), (8, 2)):
        text = (folder / f"table_{at}.tex").read_text()
        rows = [line for line in text.splitlines() if "& published &" in line]
        assert sum(row.count(r"\textbf") for row in rows) >= 10 * blocks
        for part in text.split(r"\midrule")[1:]:
            cells = [line.split(" & ")[2:] for line in part.splitlines() if "& published &" in line]
            for column in zip(*cells, strict=True):
                plain = [float(re.findall(r"\d+\.\d\d", cell)[0]) for cell in column]
                bold_at = [at for at, cell in enumerate(column) if "textbf" in cell]
                assert bold_at == [at for at, value in enumerate(plain) if value == max(plain)]


def test_cells_that_the_audit_doubts_are_marked(boards: Boards) -> None:
    folder = written(boards)
    line = next(x for x in (folder / "tables.md").read_text().splitlines() if "| 79.28" in x and "77.59" in x)
    assert "| 79.28‡° | **75.91**‡° | **77.59**‡° |" in line
    assert next(x for x in (folder / "table_7.csv").read_text().splitlines() if "suspect" in x).count("suspect") == 3
    assert r"\ddagger" in (folder / "table_7.tex").read_text()
    page = (folder / "tables.html").read_text()
    assert page.count("‡") == 3 + 1  # the cells and the legend


# --- empty cells --------------------------------------------------------------------------------


def test_every_empty_cell_names_what_fills_it(boards: Boards) -> None:
    told = boards("tables", "--json").json
    folder = boards.results / tables.FOLDER
    assert told["files"] == sorted(FORMATS) and [entry["rows"] for entry in told["tables"]] == [5, 30, 8]
    for entry in told["tables"]:
        reader = csv.reader(io.StringIO((folder / f"table_{entry['table']}.csv").read_text()))
        lines = {(*cells[:4], cells[4]): cells[5:] for cells in reader}
        empty = 0
        for key, cells in lines.items():
            if key[4] == "published":
                ours = lines.get((*key[:4], "this run"), [""] * len(cells))
                commands = lines.get((*key[:4], "command"), [""] * len(cells))
                assert all(bool(a) != bool(b) for a, b in zip(ours, commands, strict=True))
                assert all("make eval MODEL=" in text and " TASK=" in text for text in commands if text)
                empty += sum(map(bool, commands))
        assert empty == entry["cells"] - entry["filled"]
        texts = [(folder / name).read_text() for name in ("tables.md", f"table_{entry['table']}.tex")]
        assert all(command in text for command in entry["commands"] for text in texts)
        page = Page((folder / "tables.html").read_text())
        assert all(command in page.text for command in entry["commands"])


def test_commands_say_what_has_to_be_there_first(boards: Boards) -> None:
    mapping = systems.read()
    known = [name for name in registry.names("models") if not registry.facts(name)["unavailable"]]
    commands = {
        name: systems.command(column, "docci500", ["capture@cim"], known, stored=False)
        for name, column in mapping.items()
    }
    eval_ = "make eval MODEL={} TASK=docci500 METRICS=capture@cim"
    assert commands["Qwen2.5-VL-7B Base"] == eval_.format("qwen2.5-vl-7b")
    assert (
        commands["Gemini-1.5"].endswith(eval_.format("gemini-1.5.jsonl"))
        and "provide captions" in commands["Gemini-1.5"]
    )
    assert commands["Qwen2-VL-7B Ours"] == eval_.format("cim-qwen2-vl-7b")
    assert "provide captions as cim-internvl3-8b.jsonl" in commands["InternVL3-8B Ours"], "its revision is not known"
    assert systems.command(mapping["Gemini-1.5"], "docci500", ["capture@cim"], known, stored=True) == eval_.format(
        "gemini-1.5"
    )
    assert mapping.keys() == {row.system for row in published.read()}
    assert len({column.run for column in mapping.values()}) == len(mapping)


def test_only_the_missing_metrics_of_a_stored_run_are_asked_for(boards: Boards) -> None:
    path = boards.results / "docci500" / "gemini-1.5" / "scores.json"
    document, scored = score(path, "relation_qa")
    scored["not_computed"] = "no judge"
    document["scores"] = [row for row in document["scores"] if row["metric"] != "capture@cim"]
    document["scores"].append({**score(path, "capture@cim")[1], "metric": "capture"})  # strict: not of this column
    store.write_document(path, document)
    told = boards("tables", "--json").json["tables"][0]
    assert "make eval MODEL=gemini-1.5 TASK=docci500 METRICS=capture@cim,relation_qa" in told["commands"]
    assert told["filled"] == 6 + 4


def test_a_row_can_be_given_another_run(boards: Boards) -> None:
    (boards.results / "docci500" / "gemini-1.5").rename(boards.results / "docci500" / "mine")
    before = boards("tables", "--json").json["tables"][0]
    after = boards("tables", "--json", "--row", "Gemini-1.5=mine").json["tables"][0]
    assert after["filled"] == before["filled"] + 6 and any("docci500/mine/" in run for run in after["runs"])
    assert "no row of the tables: 'Nobody=x'" in boards.refused("tables", "--row", "Nobody=x")
    assert "no row of the tables: 'mine'" in boards.refused("tables", "--row", "mine")


def test_no_runs_at_all_still_gives_the_published_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = Boards(tmp_path / "results", capsys)
    assert {key[2] for key in of_csv(written(empty))} == {"published"}


# --- what stands in names, and what the page does ------------------------------------------------


def test_hostile_names_are_inert(boards: Boards) -> None:
    name = '<script>alert(1)</script> "q" & %41 #1 \u202egpj'.replace("/", "_")
    (boards.results / "docci500" / "gemini-1.5").rename(boards.results / "docci500" / name)
    path = boards.results / "docci500" / name / "scores.json"
    document, scored = score(path, "capture@cim")
    scored["signature"] = '=capture"><img src=x onerror=alert(2)>\u202e|n:60'
    store.write_document(path, document)
    folder = written(boards, "--row", f"Gemini-1.5={name}")
    html = (folder / "tables.html").read_text()
    page = Page(html)
    assert "script" not in page.tags and "img" not in page.tags and "\u202e" not in html
    (link,) = {link for link in page.links if "script" in link}
    assert (folder / unquote(link)).is_file()
    sheet_ = (folder / "table_6.csv").read_text()
    assert "'=capture" in sheet_ and "\n=" not in sheet_ and ",=" not in sheet_
    (line,) = [line for line in (folder / "tables.md").read_text().splitlines() if "<img" in line]
    assert r'=capture"\>\<img src=x onerror=alert(2)\>\[U+202E\]\|n:60' in line


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a|b",
            "`x` ``",
            "<b>&lt;",
            "[l](u) ![i](u)",
            "*a* __b__ ~~c~~ $d$",
            "\\",
            "a\nb\r\nc",
            "a\u202eb\x00\x1b[31m",
        ),
        *("- a", "+ b", "===", "---", "-", "1. d", "12) e", "> g", "| --- |", "    h", "# 1 #", "\\|`*"),
    ],
)
def test_markdown_keeps_a_text_a_text(text: str) -> None:
    """Read by a Markdown parser, alone, in a list and in a table, it is the text again and nothing else."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    shown, plain = markdown.escaped(text), escape.one_line(text)
    assert shown.isprintable()
    for around in (shown, f"* {shown}", "\n".join(markdown.table_lines(["head", "n"], [[shown, "1"], ["last", "2"]]))):
        tokens = [child for token in parser.parse(around) for child in token.children or ()]
        assert {token.type for token in tokens} <= {"text", "text_special"}
        texts = ["".join(t.content for t in token.children or ()) for token in parser.parse(around) if token.children]
        assert texts in ([plain], ["head", "n", plain, "1", "last", "2"])


def test_code_latex_and_sheets_take_names_as_text() -> None:
    assert escape.latex("50 % of a_b & $x$ {y} #1 ~ ^ \\") == (
        r"50 \% of a\_b \& \$x\$ \{y\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert markdown.code("a``b") == "``` a``b ```" and markdown.code("a") == "`a`"
    assert escape.sheet("=1+1") == "'=1+1" and escape.sheet("a=1") == "a=1"


def test_latex_is_balanced_and_every_line_has_all_cells(boards: Boards) -> None:
    folder = written(boards)
    for table, width in ((6, 8), (7, 12), (8, 12)):
        lines = (folder / f"table_{table}.tex").read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("%"))
        bare = re.sub(r"\\[{}%&#_$]", "", text)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0 and "%" not in bare
        rows = [re.sub(r"\\&", "", line) for line in text.splitlines() if line.endswith(r"\\")]
        assert all(line.count("&") == width - 1 or r"\multicolumn" in line for line in rows)
        for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}", r"\end{table*}"):
            assert word in text


def test_the_page_needs_nothing_else(boards: Boards) -> None:
    html = (written(boards) / "tables.html").read_text()
    page = Page(html)
    assert "default-src 'none'" in html and "script" not in page.tags and "http" not in html.replace("http-equiv", "")
    assert 'name="viewport"' in html and "prefers-color-scheme: dark" in html and "overflow-x: auto" in html
    assert "CC BY 4.0" in page.text and "arXiv 2603.01696" in page.text


@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_a_browser_shows_it_without_a_word(boards: Boards, tmp_path: Path) -> None:
    dom, log = browse(written(boards) / "tables.html", tmp_path / "profile")
    assert "CONSOLE" not in log, log
    assert dom.count("<tbody>") == 13


# --- size ---------------------------------------------------------------------------------------


def test_thirty_models_on_two_benchmarks_need_little_memory(thirty_copied: Path) -> None:
    """All 21 systems of the tables and 30 others, 500 images each; seconds are printed by tests/bench_boards.py."""
    paper_runs.make(thirty_copied)
    assert len(list(thirty_copied.glob("docci500/*"))) == 51 and len(list(thirty_copied.glob("coco_ln500/*"))) == 48
    for command in (["tables"], ["audit", "--runs"]):
        assert measured(thirty_copied, *command).peak < 1000
    rows = of_csv(thirty_copied / tables.FOLDER)
    assert all(values.count("") == 0 for key, values in rows.items() if key[2] == "this run")
