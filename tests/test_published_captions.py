"""Published values against the captions they were printed for: four systems on COCO's Karpathy test, Flickr8k-Expert.

The captions are not part of this project (``../shared/captions``); values are those of arXiv 2503.14604.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from harness.runs import stored_run
from leaderboards.audit import systems
from leaderboards.audit.systems import Printed
from tests.cli import Cim, captions_file
from tests.conftest import ROOT, SHARED

KARPATHY, FLICKR8K = SHARED / "captions" / "karpathy_systems", SHARED / "captions" / "flickr8k_expert" / "flickr8k.json"
PUBLISHED = ROOT / "results" / "published" / "karpathy_test.csv"
FLAGGED = "llava-1.5-7b_briefly"
SYSTEMS = ("m2_transformer", "blip2_results_xe", "llava-1.5-7b_default", FLAGGED)


def audited(cim: Cim, metrics: str, names: tuple[str, ...] = SYSTEMS) -> dict[str, list[str]]:
    """Outcomes by system after scoring these by some metrics."""
    if not KARPATHY.is_dir():
        pytest.skip("captions of real models are not there: ../shared/captions")
    models = ",".join(str(KARPATHY / f"{name}.json") for name in names)
    options = ("--references", KARPATHY / "reference_captions.json", "--metrics", metrics, "--draws", "0")
    assert cim("eval", "--model", models, *options).code == 0
    done = cim("audit", *names, "--published", PUBLISHED, "--json")
    assert done.code == 1
    return {check["run"].partition("/")[2]: check["recomputed"] for check in done.json["checks"]}


@pytest.mark.parametrize("agreeing", [SYSTEMS[:1], pytest.param(SYSTEMS[:3], marks=pytest.mark.slow)], ids=len)
def test_the_others_agree_and_the_fourth_is_flagged(agreeing: tuple[str, ...], cim: Cim) -> None:
    outcomes = audited(cim, "bleu4,cider,length", (*agreeing, FLAGGED))
    assert outcomes.pop(FLAGGED) == [
        "differs: 8.1 published, 22.26 from its captions",
        "not computed",
        "differs: 69.6 published, 68.61 from its captions",
        "agrees",
    ]
    assert list(outcomes.values()) == len(agreeing) * [["agrees", "not computed", "agrees", "agrees"]]


@pytest.mark.slow
def test_meteor_of_the_four_systems(cim: Cim) -> None:
    meteor = {name: outcomes[1] for name, outcomes in audited(cim, "meteor").items()}
    assert meteor.pop(FLAGGED) == "differs: 28.0 published, 27.39 from its captions"
    assert list(meteor.values()) == 3 * ["agrees"]


def test_captions_of_one_image_widen_the_interval(cim: Cim) -> None:
    if not FLICKR8K.is_file():
        pytest.skip("captions of real models are not there: ../shared/captions")
    done = cim("eval", "--model", FLICKR8K, "--references", FLICKR8K, "--metrics", "cider", "--several", "--json")
    (score,) = done.json["scores"]
    assert score["n"] == 5664 and "|n:5664 captions of 1000@" in score["signature"]
    run = stored_run.load(next(cim.results.glob("*/flickr8k")))
    assert len({row[stored_run.IMAGE_ID] for row in run.per_sample.values()}) == 1000
    values, (low, high) = run.numbers("cider", "score"), score["ci95"]["score"]
    naive = 2 * 1.96 * np.std(values, ddof=1) / math.sqrt(len(values))
    assert 1.25 < (high - low) / naive < 1.45


@pytest.mark.parametrize(
    ("text", "number", "expected"),
    [
        ("8.1", 8.05, "agrees"),
        ("8.1", 8.15, "agrees"),
        ("8.1", 8.0499, "differs: 8.1 published, 8.05 from its captions"),
        ("8.10", 8.1051, "differs: 8.10 published, 8.105 from its captions"),
        ("8", 8.4, "agrees"),
        ("-0.3", 0.3, "differs: -0.3 published, 0.30 from its captions"),
        ("8.1", None, "not computed"),
    ],
)
def test_a_value_agrees_within_half_a_unit_of_its_last_digit(text: str, number: float | None, expected: str) -> None:
    assert systems.outcome(Printed("a", "bleu4", "score", text, ""), number) == expected


def test_exit_code_and_unit(cim: Cim, tmp_path: Path) -> None:
    file = captions_file(tmp_path / "two.jsonl", {"demo_01": "a b c", "demo_02": "a b c d e"})
    assert cim("eval", "--model", file, "--partial", "--metrics", "length,bleu4_char", "--draws", "0").code == 0
    table = tmp_path / "published.csv"
    table.write_text("system,metric,value,source\ntwo,length,4.0,a page\ntwo,meteor,12.1,a page\n")
    done = cim("audit", "--published", table, "--json")
    assert (done.code, done.json["checks"][0]["recomputed"]) == (0, ["agrees", "not computed"])
    table.write_text("system,metric,value,source\ntwo,length.words,4.1,a page\n")
    assert cim("audit", "two", "--published", table).code == 1
    table.write_text("# column words: integers; metric length.words\nsystem,words\ntwo,4.1\n")
    assert "4.1 published, 4.00" in cim("audit", "--published", table, "--json").json["checks"][0]["recomputed"][0]

    run = stored_run.load(cim.results / "demo" / "two")
    stored = {"values": {"score": 0.713}, "signature": "cider|v:1"}
    run.scores["cider"] = stored
    row = Printed("two", "cider", "score", "71.3", "")
    assert systems.outcome(row, systems.ours(run, row)) == "agrees"
    run.scores["cider"] = {"values": {"score": 71.3}, "signature": "cider|scale:x100|v:2"}
    assert systems.outcome(row, systems.ours(run, row)) == "agrees"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no table below the header"),
        ("system,metric,value,source\n", "no row below the column names"),
        ("system,bleu4\na,12.1\n", "holds no published value"),
        ("system,metric,value,source\na,bleu4,nan,b\n", ":2: value is no decimal number: 'nan'"),
        ("system,metric,value,source\na,bleu4,1\n", ":2: another number of columns than the header"),
        ("system,metric,value,source\na,bleu5,1,b\n", ":2:"),
        ("system,metric,value,source\na,objects,1,b\n", "has several values; name one as objects.precision"),
        ("system,metric,value,source\na,bleu4,1,b\n", "no stored run 'a'"),
        ('system,metric,value,source\n"a,bleu4,1,b\n', "not a table (unexpected end of data)"),
    ],
)
def test_a_faulty_file_is_refused_by_its_line(cim: Cim, tmp_path: Path, content: str, words: str) -> None:
    table = tmp_path / "published.csv"
    table.write_text(content)
    assert words in cim.refused("audit", "--published", table)
