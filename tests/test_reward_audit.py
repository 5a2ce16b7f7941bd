"""``cim audit-reward``: every edit does to the truth what it declares, and known rewards get the verdict they must."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError
from harness.parts import Encoder
from harness.retrieval import sources
from harness.retrieval.gallery import open_folder
from harness.train import audit, copies, verdict
from harness.train.audit_result import FACT, Change, Effect, Price
from harness.worlds import World
from tasks.miniscenes import edits
from tests import training
from tests.cli import Cim

SCENES = 60
IDS = [f"validation_{number:06d}" for number in range(SCENES)]
ORACLE = """
\"\"\"Counts the truth: a true statement earns 1, a false one costs 2.\"\"\"
import numpy as np
from harness.parts import Reward
from tasks.miniscenes.training import WORLD

def _values(captions, source_ids, context):
    counts = [WORLD.count(key.split(":")[1], text) for text, key in zip(captions, source_ids)]
    return np.array([true - 2.0 * false for true, false in counts])

REWARD = Reward("oracle", _values)
"""


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a gallery of 70 scenes by fake encoders."""
    folder = tmp_path_factory.mktemp("data")
    training.fake_gallery(folder / "galleries" / "small", rows=70)
    return folder


@pytest.fixture(autouse=True)
def fake_encoders(galleries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake encoders, so that no torch is loaded."""
    real, fakes = registry.encoder, training.fake_encoders()

    def encoder(name: str) -> Encoder:
        return fakes[name] if name in fakes else real(name)

    monkeypatch.setattr(registry, "encoder", encoder)
    monkeypatch.setenv("CIM_DATA", str(galleries))


@pytest.fixture
def world() -> World:
    return sources.worlds()["miniscenes"]


@pytest.mark.parametrize("name", edits.EDITS)
def test_an_edit_does_to_the_truth_what_it_declares(name: str, world: World) -> None:
    """Declared by construction, counted by ``truth.py``, which knows no negation: there the text without "not"."""
    edit, possible = edits.EDITS[name], 0
    for level in world.levels:
        for sample_id in IDS:
            if (pair := edit.pair(sample_id, level)) is None:
                continue
            before, after = pair
            assert before != after and world.count(sample_id, before)[1] == 0, "captions have no errors of their own"
            if name == "negation":
                assert after == before + after.removeprefix(before) and " is not " in after
                said = np.subtract(world.count(sample_id, after.replace(" not ", " ")), world.count(sample_id, before))
                assert said.tolist() == [0, 0], "a true fact that was told is negated"
                continue
            true, false = np.subtract(world.count(sample_id, after), world.count(sample_id, before))
            assert edit.true in (None, true) and edit.false in (None, false), (pair, true, false)
            if name in ("half the facts left out", "object left out"):
                assert true < 0
            if name == "caption said twice":
                assert false == before.split(" the background")[0].count(" a "), "as many objects that are not there"
            possible += 1
    assert possible >= SCENES / 2 or name == "negation", "possible in enough scenes"


def test_true_and_false_facts_are_told_in_the_same_place(world: World) -> None:
    for kind in (FACT, *world.kinds):
        for sample_id in IDS:
            true, false = (edits.EDITS[f"{truth} {kind} added"].pair(sample_id, "base") for truth in ("true", "false"))
            assert (true is None) == (false is None)
            if true and false:
                assert true[0] == false[0] and len(true[1].split()) == len(false[1].split())
                assert true[1] != false[1]
    assert edits.EDITS["true colour added"].pair(IDS[0], "full") is None, "nothing is left to be told"


def test_a_reward_of_words_pays_for_lies_as_for_truths(cim: Cim) -> None:
    """Everything is known of reward ``length``: the price is 1, a word earns a word, and it sees no truth."""
    done = cim("audit-reward", "length", "--gallery", "small", "--n", "40", "--json")
    assert done.code == 0, done.err
    result = done.json
    assert result["prices"][0] == {"kind": "fact", "n": 40, "price": 1.0, "ci95": [1.0, 1.0]}
    assert result["word"] == [1.0, 1.0, 1.0]
    for effect in result["effects"]:
        change = effect["changes"]["reward"]
        assert change["mean"] == pytest.approx(effect["words"]) and change == effect["changes"]["length"]
        assert change["deviations"] == pytest.approx(effect["words"] / result["deviations"]["reward"])
        assert change["ci95"][0] <= change["mean"] <= change["ci95"][1]
    by_edit = {effect["edit"]: effect for effect in result["effects"]}
    assert by_edit["padding"]["changes"]["reward"]["wins"] == 1.0
    assert by_edit["fine name made false"]["changes"]["reward"]["ci95"] == [0.0, 0.0]
    assert by_edit["gallery caption copied"]["false"] > 3 and by_edit["hub caption"]["n"] == 20
    lines = dict(line.split(": ") for line in result["verdict"] if ": " in line)
    assert "object invented" in lines["rewarded although less is true"]
    assert "negation" in lines["rewarded although less is true"]
    assert "fine name made false" in lines["not punished although less is true"]
    assert "true fine name added" in lines["not rewarded although more is true"]
    assert lines["paid for although nothing is said"].split(", ") == ["fact said again", "padding", "markdown"]
    weighted = cim("audit-reward", "length=-0.5", "--gallery", "small", "--n", "40", "--json").json
    assert weighted["prices"][0]["price"] is None and weighted["word"] == [-0.5, -0.5, -0.5]
    assert weighted["verdict"][0] == "a true fact earns nothing significant, so a false one has no price"


def test_a_reward_of_the_truth_breaks_no_rule(cim: Cim, tmp_path: Path) -> None:
    """A user's file: a false fact costs twice what a true one earns, and only what it cannot read is free."""
    (tmp_path / "oracle.py").write_text(ORACLE)
    kept = tmp_path / "kept.json"
    done = cim("audit-reward", f"{tmp_path / 'oracle.py'}=0.5", "--gallery", "small", "--n", "40", "--out", kept)
    assert done.code == 0, done.err
    assert "oracle=0.5: base captions of 40 scenes, gallery small" in done.out
    assert done.out.splitlines()[-3:] == [
        "a false fact costs 2.00 [2.00, 2.00] times what a true one earns in its place",
        "a word that says nothing earns +0.0000 [+0.0000, +0.0000]",
        "not punished although less is true: negation",
    ]
    assert kept.is_file() and not cim.results.exists()


def test_a_reward_that_reads_the_own_row_is_audited_on_the_gallery(cim: Cim, world: World, galleries: Path) -> None:
    result = cim("audit-reward", "text,qir", "--gallery", "small", "--n", "30", "--json").json
    assert result["split"] == "gallery" and result["scenes"] == 30
    gallery = open_folder(galleries / "galleries" / "small")
    own_texts = [world.reference(key.split(":")[1]) for key in gallery.keys]
    near = copies.nearest(world, gallery, gallery.keys, gallery.images(np.arange(len(gallery))))
    assert all(text != other and text in own_texts for text, other in zip(near, own_texts, strict=True))
    assert copies.first(world, gallery, gallery.keys[:3], 9) == own_texts[3:12]


def test_a_price_is_a_ratio_of_means_and_needs_a_gain() -> None:
    """Gains 1 to 5 of the true fact, 2 of the false one: 10 / 15, where the mean of ratios would be 0.91."""
    values = np.array([[0.0], [2.0], [1.0], [2.0], [3.0], [4.0], [5.0], [-9.0]])
    scores = audit._Scores({(at, text): i for at in range(5) for i, text in enumerate("abcdefgh")}, values)

    def price(after: str) -> Price | None:
        pairs = {"true x added": [(at, "a", text) for at, text in enumerate(after)]}
        return audit._price("x", {**pairs, "false x added": [(at, "a", "b") for at in range(5)]}, scores)

    priced = price("cdefg")
    assert priced and priced.price == pytest.approx(2 / 3) and priced.ci95
    assert 2 / 5 < priced.ci95[0] < 2 / 3 < priced.ci95[1] < 2
    assert price("cdefh") == Price("x", 5, None, None), "the true fact earns nothing significant"
    assert price("cdef") is None, "too few scenes"


REFUSED = {
    "unknown reward": (("nosuch",), "unknown reward 'nosuch'"),
    "no weight": (("grc=x",), "'x' is no weight"),
    "needs": (("clip",), "reward clip needs image_text: image encoder fake_image of gallery small has no text tower"),
    "task": (("cim", "--task", "docci500"), "no environment 'docci500'; one of miniscenes (--task)"),
    "level": (("cim", "--level", "most"), "unknown level 'most'"),
    "few": (("cim", "--n", "4"), "4 scenes are too few"),
    "many": (("cim", "--n", "501"), "miniscenes has no 501 scenes in split validation"),
    "own row": (("text", "--n", "71"), "own gallery row, which 1 of 71 images lack"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_audited_is_refused(cim: Cim, name: str) -> None:
    arguments, fault = REFUSED[name]
    line = cim.refused("audit-reward", *arguments, "--gallery", "small")
    assert fault.split(";")[0] in line, line


def test_a_reward_without_numbers_is_named(cim: Cim, tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text(ORACLE.replace("true - 2.0 * false", 'float("nan")').replace("oracle", "none"))
    done = cim("audit-reward", tmp_path / "none.py", "--gallery", "small", "--n", "5")
    assert done.code == 2 and "reward none gives no finite number for each caption" in done.err


def test_a_gallery_of_other_images_is_refused(world: World, galleries: Path) -> None:
    gallery = open_folder(galleries / "galleries" / "small")
    with pytest.raises(CimError, match="gallery small holds no image of elsewhere"):
        copies.first(replace(world, name="elsewhere"), gallery, [], 3)


def test_truer_is_what_adds_more_truth_than_falsehood() -> None:
    changes: dict[str, Change] = {}
    wanted = {(1, 0): 1, (0, 1): -1, (-1, 1): -1, (-2, 0): -1, (0, 0): 0, (2, 8): -1, (3, 1): 1}
    for (true, false), direction in wanted.items():
        assert verdict.truer(Effect("x", "", 9, true, false, 0, changes)) == direction
