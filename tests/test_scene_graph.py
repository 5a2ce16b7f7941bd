"""Parser scene_graph: the sets of CAPTURE's own code, each sentence parsed once, whatever a caption holds."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from harness import registry
from harness.errors import CimError
from harness.parsers import factual, scene_graph
from harness.resources import wordnet
from harness.runs.cache import settings_key
from harness.stages.parse import Parses
from tests import tiny_t5
from tests.test_factual import WRITTEN

if wordnet.missing_wordnet():
    pytest.skip(f"lemmas need WordNet: {wordnet.COMMAND}", allow_module_level=True)

DRAW = random.Random(9)
CAPTIONS = [" ".join(tiny_t5.pair(DRAW)[0] for _ in range(count)) for count in (1, 2, 4)] + [
    "Dogs on a table. The traffic lights glow! Dogs",
    "A dog. A dog. A dog.",
    "the red dog and the old cat " * 20,
    # Names all things, so that the noun filter leaves relations.
    " ".join(tiny_t5.pair(DRAW)[0] for _ in range(5)) + f" The {', the '.join(tiny_t5.THINGS)}.",
]
HOSTILE = [
    "",
    " ",
    "\n\n",
    "\x00",
    "\ud800 half",
    "word " * 3000,
    "😀 猫",
    "a" * 5000,
    "(((",
    ") , (",
    "\u2028\x85\r\n",
    ".",
]
PARSERS = ("scene_graph", "scene_graph@cim", "scene_graph@sc")
KEYS = {"objects", "attributes", "relations", "sentences", *scene_graph.COUNTS}


@pytest.fixture
def parses(tmp_path: Path, tiny_models: Path, tiny_nltk: Path) -> Iterator[Parses]:
    with Parses(tmp_path / "results") as opened:
        yield opened


@pytest.fixture
def speech(tiny_nltk: Path) -> scene_graph.Language:
    return scene_graph.language()


@pytest.fixture(scope="module")
def capture(tiny_nltk_folder: Path) -> Any:
    """capture_metric 0.1.13 without its networks; it and NLTK read the data of this test session."""
    import nltk.data

    nltk.data.path.insert(0, str(tiny_nltk_folder))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nltk.download", lambda *_, **__: True)
        patched.setenv("NLTK_DATA", str(tiny_nltk_folder))
        module = pytest.importorskip("capture_metric.capture")
        yield module.CAPTURE(soft_matching=False)
    nltk.data.path.remove(str(tiny_nltk_folder))


def oracle(capture: Any, texts: Sequence[str]) -> list[tuple[Any, ...]]:
    """What the reference makes of captions: objects, attributes, relations, in the order of our values."""
    graphs = []
    for text in texts:
        _, objects, attributes, relations = capture.sample_to_parse_results((0, text))
        owners = {owner: sorted(words) for owner, words in sorted(attributes.items())}
        graphs.append((sorted(objects), owners, sorted(map(list, relations))))
    return graphs


def sets(values: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(value["objects"], value["attributes"], value["relations"]) for value in values]


def test_captions_become_the_sets_of_the_reference_code(parses: Parses, capture: Any, tiny_t5_folder: Path) -> None:
    """capture_metric 0.1.13 with FactualSceneGraph 0.6.1 on the same weights, caption by caption: ``@sc``."""
    from factual_scene_graph.parser.scene_graph_parser import SceneGraphParser

    capture.parser = SceneGraphParser(str(tiny_t5_folder), device="cpu")
    odd = [text for text in HOSTILE if len(text) < 20 and "\ud800" not in text]
    values = parses.parse("scene_graph@sc", CAPTIONS + odd)
    assert sets(values) == oracle(capture, CAPTIONS + odd) and len(odd) > 6
    assert sum(len(value["objects"]) for value in values) > 5  # relations by chance only: that model differs by machine
    assert list(values[2]) == list(values[0]) and set(values[0]) == KEYS


GRAPHS = [
    ["( dog , is , brown ) , ( dog , on , bed )", "( dogs , is , browner ) , ( man , holding , glasses )"],
    ["( dog , is , made of wood ) , ( dog , is , turned off )", "( cup , is , full of water )"],
    ["( dog , is , 2 ) , ( dogs , is , ² ) , ( men , is , 10 )"],
    ["( dog )", "( dog , cat )", ""],
    ["( dog , is , )", "( , on , bed )", "( dog , is , red , blue ) , ( cat , is , red )"],
    ["( traffic lights , on , street )", "( image , of , dog )", "( Dogs , is , red ) , ( wall , is , white )"],
    ["( dog , isn't , red ) , ( dog ,  is  , big ) , ( dog , IS , big )"],
    [factual.clean(text) for text in WRITTEN],
]
RELATED = [GRAPHS[at] for at in (0, 5, 7)]  # hold relations that the noun filter leaves
TEXT = (
    "Dogs and a brown dog on the bed hold glasses. The man sees traffic lights, a street, an image, wall and cat. a cup"
)


@pytest.mark.parametrize("graphs", GRAPHS, ids=range(len(GRAPHS)))
def test_hand_written_graphs_become_the_sets_of_the_reference_code(
    graphs: list[str], capture: Any, speech: scene_graph.Language
) -> None:
    from factual_scene_graph.parser.scene_graph_parser import SceneGraphParser

    class Given:
        def parse(self, sentences: list[str], **_: Any) -> list[Any]:
            read = SceneGraphParser.graph_string_to_object
            bare = SceneGraphParser.__new__(SceneGraphParser)
            return [read(bare, graph) for graph in graphs]

    capture.parser = Given()
    counts = {"tokens": 0, "cut": 0, "output_cut": False, "malformed": 0}
    value = scene_graph.graph_of(speech.sentences(TEXT), [{"graph": graph, **counts} for graph in graphs], speech)
    assert sets([value]) == oracle(capture, [TEXT])
    assert bool(value["relations"]) == (graphs in RELATED)


def test_golden_words(speech: scene_graph.Language) -> None:
    """caption_metrics 2 and 10: what the lemmatiser makes of the words that matter."""
    nouns = {"glasses": "glass", "pants": "pant", "men": "men", "people": "people", "Dogs": "Dogs", "us": "u"}
    assert {word: speech.noun(word) for word in nouns} == nouns
    assert speech.noun("traffic lights") == "traffic lights" and speech.adjective("browner") == "brown"


def test_lemmas_are_those_of_nltk(speech: scene_graph.Language, benchmarks: Path) -> None:
    """WordNetLemmatizer of nltk on all words of the 1,000 references, as they stand and in lower case."""
    from nltk.stem import WordNetLemmatizer

    from tests.controls import FILES, references

    words = {word for task in FILES for text in references(benchmarks, task).values() for word in speech.words(text)}
    words |= {word.lower() for word in words}
    lemmatize = WordNetLemmatizer().lemmatize
    assert len(words) > 5_000
    for word in words:
        assert (speech.noun(word), speech.adjective(word)) == (lemmatize(word, "n"), lemmatize(word, "a")), word


def test_words_and_tags_are_those_of_nltk(speech: scene_graph.Language, capture: Any) -> None:
    """``nltk.sent_tokenize`` and ``pos_tag(word_tokenize(text))`` with the same data."""
    import nltk

    for text in [*CAPTIONS, TEXT]:
        sentences = speech.sentences(text)
        assert sentences == nltk.sent_tokenize(text)
        tagged = nltk.pos_tag(nltk.word_tokenize(text))
        assert speech.nouns(sentences) == [word for word, tag in tagged if tag.startswith("NN")]


def test_stop_words_are_those_of_capture() -> None:
    """The list is data of capture_metric 0.1.13; the sum of its file stands in the protocol."""
    module = pytest.importorskip("capture_metric.stop_words")
    assert sha256(Path(module.__file__).read_bytes()).hexdigest().startswith("745676bc0a2aaa3fd4176347")
    assert scene_graph.STOP_WORDS.read_text(encoding="utf-8").splitlines() == module.stop_words_list
    assert len(scene_graph.stop_words()) == 317


def test_losses_by_case_and_plural_are_counted(speech: scene_graph.Language) -> None:
    loss = {"tokens": 0, "cut": 0, "output_cut": False, "malformed": 0}
    text = "Dogs run. The traffic lights"
    assert set(speech.nouns(speech.sentences(text))) >= {"Dogs", "traffic", "lights"}
    graph = "( dog , is , red ) , ( traffic lights , is , red ) , ( unicorn , is , red )"
    value = scene_graph.graph_of(speech.sentences(text), [{"graph": graph, **loss}], speech)
    assert value["objects"] == [] and value["nouns_lost"] == 2


@pytest.mark.parametrize("name", PARSERS)
def test_hostile_captions_have_a_value_and_leave_others_alone(name: str, parses: Parses) -> None:
    alone = parses.parse(name, CAPTIONS[:2])
    with Parses(parses._folder.parent.parent / "other") as other:
        parsed = other.parse(name, [*HOSTILE, *CAPTIONS[:2]])
    assert parsed[-2:] == alone and all(set(value) == KEYS for value in parsed)
    empty = {"objects": [], "attributes": {}, "relations": [], "sentences": 0, **dict.fromkeys(scene_graph.COUNTS, 0)}
    assert parsed[0] == parsed[1] == parsed[2] == empty
    long = parsed[HOSTILE.index("word " * 3000)]
    assert long["inputs_cut"] == 1 and 0 < long["tokens"] - long["tokens_cut"] < (512 if name == "scene_graph" else 64)


def test_rules_share_what_none_of_them_cuts(parses: Parses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sentence is parsed once; two captions hold the same ones, and @cim cuts the longest of each caption."""
    asked, real = list[str](), factual.Loaded.generate

    def generate(self: factual.Loaded, rows: Sequence[dict[str, Any]]) -> list[list[int]]:
        asked.extend(str(row["ids"]) for row in rows)
        return real(self, rows)

    monkeypatch.setattr(factual.Loaded, "generate", generate)
    captions = ["The red dog on a table. A cat.", "A cat. The red dog on a table. A cat."]
    strict, sc = (parses.parse(name, captions) for name in ("scene_graph", "scene_graph@sc"))
    assert len(asked) == 2 and strict == sc and [value["sentences"] for value in strict] == [2, 3]
    cim = parses.parse("scene_graph@cim", captions)
    assert len(asked) == 3 and [value["tokens_cut"] for value in cim] == [1, 1]
    assert [value["inputs_cut"] for value in cim] == [1, 1] and strict[0]["tokens_cut"] == 0


def test_cold_warm_and_half_a_cache_agree(tmp_path: Path, parses: Parses) -> None:
    cold = parses.parse("scene_graph", CAPTIONS)
    with Parses(tmp_path / "half") as half:
        half.parse("scene_graph", CAPTIONS[::2])
        assert half.parse("scene_graph", CAPTIONS[::-1]) == cold[::-1]
    for file in (tmp_path / "half" / ".cache" / "parses").glob("factual-*.jsonl"):
        file.unlink()
    assert parses.parse("scene_graph", CAPTIONS) == cold


KILLED = """
import os, sys
from pathlib import Path
from harness.stages.parse import Parses
from harness.parsers import factual
real, batches = factual.Loaded.generate, []
def generate(self, rows):
    if len(batches) == 2:
        os.kill(os.getpid(), 9)
    batches.append(rows)
    return real(self, rows)
factual.Loaded.generate = generate
factual.ROWS["cpu"] = 2
with Parses(Path(sys.argv[1])) as parses:
    parses.parse("scene_graph", sys.argv[2:])
"""


def test_a_killed_command_keeps_its_sentences(
    tmp_path: Path, tiny_models: Path, tiny_nltk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = [" ".join(tiny_t5.pair(random.Random(seed))[0] for seed in (at, at + 50, at + 99)) for at in range(3)]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), *captions], capture_output=True, timeout=300)
    assert done.returncode == -9
    (file,) = (tmp_path / ".cache" / "parses").glob("factual-*.jsonl")
    stored = file.read_bytes().splitlines()
    assert len(stored) == 4
    asked, real = list[int](), factual.Loaded.generate
    monkeypatch.setattr(factual.Loaded, "generate", lambda self, rows: (asked.append(len(rows)), real(self, rows))[1])
    with Parses(tmp_path) as parses:
        after = parses.parse("scene_graph", captions)
    assert sum(asked) == 9 - 4 and file.read_bytes().splitlines()[:4] == stored
    with Parses(tmp_path / "whole") as parses:
        assert parses.parse("scene_graph", captions) == after


def test_settings_say_what_can_change_a_value(
    tiny_models: Path, tiny_nltk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_parser = {name: registry.parser(name).settings() for name in (*PARSERS, "scene_graph@bf16")}
    assert len({settings_key(entry) for entry in by_parser.values()}) == 4
    strict = by_parser["scene_graph"]
    assert strict["averaged_perceptron_tagger_eng"] == strict["punkt_tab"] == "test" and strict["input"] == "512"
    assert strict["weights"].startswith("sha256:") and strict["wordnet"].startswith("3.0-")
    (tiny_nltk / "taggers/averaged_perceptron_tagger_eng/TRAINED_FOR_TESTS").rename(tiny_nltk / "set-aside")
    try:
        tagger = registry.parser("scene_graph").settings()["averaged_perceptron_tagger_eng"]
        assert len(tagger) == 12 and tagger != "test"
    finally:
        (tiny_nltk / "set-aside").rename(tiny_nltk / "taggers/averaged_perceptron_tagger_eng/TRAINED_FOR_TESTS")


def test_what_is_missing_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = registry.parser("scene_graph")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("CIM_MODELS", raising=False)
    assert "cim data fetch factual" in (parser.missing() or "")
    monkeypatch.setattr("harness.resources.pretrained.absent", lambda _: None)
    monkeypatch.setattr(wordnet, "search_path", lambda: [tmp_path])
    assert "punkt_tab and averaged_perceptron_tagger_eng" in (parser.missing() or "")
    assert "-m harness.resources.nltk_data" in (parser.missing() or "") and parser.settings()["wordnet"] == "absent"
    with pytest.raises(CimError, match=r"harness\.resources\.nltk_data"):
        scene_graph.language()


def test_without_a_gpu_it_is_made_by_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_graph, "_gpu", lambda: False)
    assert "--metrics capture" in (registry.parser("scene_graph").slow() or "")
    monkeypatch.setattr(scene_graph, "_gpu", lambda: True)
    assert registry.parser("scene_graph").slow() is None


def test_a_summary_gives_shares() -> None:
    value = {
        "sentences": 4,
        "tokens": 80,
        "tokens_cut": 8,
        "inputs_cut": 1,
        "outputs_cut": 0,
        "malformed": 3,
        "nouns_lost": 2,
    }
    said = scene_graph.summary([value, value])
    assert said == (
        "tokens cut 16 of 160 (10.0 %), sentences cut 2 of 8 (25.0 %), graphs cut 0 of 8 (0.0 %), malformed facts 6, "
        "nouns lost 4"
    )
    assert scene_graph.summary([]).startswith("tokens cut 0 of 0 (0.0 %)")


def test_values_are_json_in_code_point_order(tmp_path: Path, parses: Parses) -> None:
    values = parses.parse("scene_graph", CAPTIONS)
    assert json.loads(json.dumps(values)) == values
    for value in values:
        assert value["objects"] == sorted(value["objects"]) and value["relations"] == sorted(value["relations"])
        assert list(value["attributes"]) == sorted(value["attributes"])
    (file,) = (tmp_path / "results" / ".cache" / "parses").glob("scene_graph-*.jsonl")
    assert len(file.read_text().splitlines()) == len(CAPTIONS)
