"""Parser factual: the sentences' graphs are FactualSceneGraph's, whatever batch and truncation rule they meet."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from harness import registry
from harness.errors import CimError, OutageError
from harness.parsers import factual
from harness.parsers.scene_graph import VARIANTS
from tests import tiny_t5

DRAW = random.Random(5)
SENTENCES = [tiny_t5.pair(DRAW)[0] for _ in range(9)] + [
    "A dog.",
    "x",
    "the red dog " * 60,
    "Ünïcödé 猫 😀 \x00 \t tab",
    "Generate Scene Graph: a man.",
]
# Texts as a model writes them, and how often a fact of theirs is not three parts.
WRITTEN = {
    "( dog , is , brown )": 0,
    "(dog,is,brown),(dog,on,bed)": 0,
    "( dog , is , brown ) , ( dog , is , brown ) , ( a , b , c )": 0,
    "( dog , is , brown ) , ( dog , on": 0,
    "( dog , is": 1,
    "dog": 1,
    "": 0,
    "( )": 0,
    "( dog , brown ) , ( cat , is , 2 )": 1,
    "( dog , brown )": 1,
    "( a , is , full of water ) , ( b , is , 3 ) , ( c , with , d , e )": 1,
    "Generate Scene Graph: ( man , in , hat )": 0,
    "( dog , is , ) , ( , on , bed )": 0,
    "(( dog , is , big ))": 0,
    "( z , on , y ) , ( Z , on , y ) , ( é , is , a )": 0,
    "( a , is , b ),": 0,
}


def loaded(folder: Path, double: bool = False) -> factual.Loaded:
    """The tiny parser in memory."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    dtype = torch.float64 if double else torch.float32
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype).eval()
    return factual.Loaded(model, factual.tokenizer(folder), "cpu")


@pytest.fixture(scope="module")
def tiny(tiny_t5_folder: Path) -> factual.Loaded:
    return loaded(tiny_t5_folder)


def limited(tokens: Any, rule: str) -> list[str]:
    """The sentences as one caption, cut by a rule of parser scene_graph."""
    parser = registry.parser("scene_graph" if rule == "strict" else f"scene_graph@{rule}")
    (limits,) = [parser.session.args[0](factual.lengths(tokens, SENTENCES))]  # type: ignore[attr-defined]
    return [factual.line(sentence.strip(), limit) for sentence, limit in zip(SENTENCES, limits, strict=True)]


@pytest.mark.parametrize(("rule", "double"), [("strict", False), ("sc", True)], ids=str)
def test_batches_write_the_same_tokens_as_one_by_one(
    tiny_t5_folder: Path, rule: str, double: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    t5 = loaded(tiny_t5_folder, double)
    rows = t5.encode(limited(t5.tokens, rule))
    rows.sort(key=lambda row: -len(row["ids"]))
    monkeypatch.setitem(factual.TOKENS, "cpu", 10**6)

    def written(size: int) -> list[list[int]]:
        tokens = [ids for at in range(0, len(rows), size) for ids in t5.generate(rows[at : at + size])]
        ends = [ids.index(1) + 1 if 1 in ids else len(ids) for ids in tokens]
        return [ids[:end] for ids, end in zip(tokens, ends, strict=True)]

    assert written(5) == written(1)
    assert rows[0]["cut"] == (
        0 if rule == "strict" else len(t5.tokens(factual.PROMPT + "the red dog " * 60)["input_ids"]) - 64
    )


def test_graphs_are_those_of_factual_scene_graph(tiny: factual.Loaded, tiny_t5_folder: Path) -> None:
    """FactualSceneGraph 0.6.1 on the same weights, all sentences in one call: same strings under its limit of 64."""
    oracle = pytest.importorskip("factual_scene_graph.parser.scene_graph_parser").SceneGraphParser
    parser = oracle(str(tiny_t5_folder), device="cpu")
    expected = [parser.parse([each], return_text=True)[0] for each in SENTENCES]
    parsed = list(factual.parse(tiny, limited(tiny.tokens, "sc")))
    assert [each["graph"] for each in parsed] == expected and len(set(expected)) > 5
    assert any(each["malformed"] for each in parsed) and any(not each["output_cut"] for each in parsed)


def test_the_rule_of_version_0_7_is_as_its_code_says(tiny: factual.Loaded) -> None:
    """FactualSceneGraph 0.7.3 ``_parse_batch`` said again, on captions of 1, 3, 32, 33 and 70 sentences."""
    tokens, draw = tiny.tokens, random.Random(1)
    for count in (1, 3, 32, 33, 70):
        caption = [draw.choice(SENTENCES) for _ in range(count)]
        expected = []
        for start in range(0, count, 32):
            prompts = ["Generate Scene Graph: " + sentence.strip() for sentence in caption[start : start + 32]]
            longest = max(len(tokens.encode(prompt, add_special_tokens=False)) for prompt in prompts)
            limit = min(64, longest)
            expected += tokens(prompts, max_length=limit, truncation=True)["input_ids"]
        limits = VARIANTS["cim"].session.args[0](factual.lengths(tokens, [sentence.strip() for sentence in caption]))  # type: ignore[attr-defined]
        lines = [factual.line(sentence.strip(), limit) for sentence, limit in zip(caption, limits, strict=True)]
        assert [row["ids"] for row in tiny.encode(lines)] == expected


def test_a_single_sentence_loses_its_last_token_in_version_0_7_alone(tiny: factual.Loaded) -> None:
    (count,) = factual.lengths(tiny.tokens, ["A red dog."])
    lines = [factual.line("A red dog.", limit) for limit in (count - 1, None)]
    cut, whole = tiny.encode(lines)
    assert (cut["cut"], whole["cut"], cut["tokens"], whole["tokens"]) == (1, 0, 5, 5)
    assert cut["ids"] == [*whole["ids"][:-2], tiny.tokens.eos_token_id]


def test_texts_are_cleaned_as_factual_scene_graph_does() -> None:
    utils = pytest.importorskip("factual_scene_graph.utils")
    for text, malformed in WRITTEN.items():
        stripped = text.replace("Generate Scene Graph:", "").strip()
        graph = factual.clean(text)
        assert graph == utils.clean_graph_string(utils.space_out_symbols_in_graph(stripped)), text
        assert (sum(len(fact) != 3 for fact in factual.parts(graph)) if graph else 0) == malformed, text


def test_spaces_are_cleaned_up_as_transformers_did_before_version_5(tiny: factual.Loaded) -> None:
    """The clean-up moved between major versions; this is what it gives and what FactualSceneGraph's strings rest on."""
    written = "( dog 's , isn 't , do n't . ) ! ? 'm 've"
    ids = tiny.tokens(written)["input_ids"]
    text = tiny.tokens.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)
    assert text == "( dog's, isn 't, don't. )!?'m've"


def test_values_count_what_was_cut(tiny: factual.Loaded) -> None:
    long = " ".join(["the red dog"] * 60)
    (value, short) = factual.parse(tiny, [factual.line(long, 64), factual.line("A dog.", None)])
    overhead = len(tiny.tokens("Generate Scene Graph:")["input_ids"])
    assert value["tokens"] == len(tiny.tokens(long)["input_ids"]) - 1
    assert value["cut"] == value["tokens"] + overhead - 64 and short["cut"] == 0
    assert set(value) == {"graph", "tokens", "cut", "output_cut", "malformed"}


def test_a_graph_of_128_tokens_is_marked_as_cut(tiny: factual.Loaded) -> None:
    row = {"tokens": 3, "cut": 0}
    assert tiny.value(row, [0, 5, 6])["output_cut"] and not tiny.value(row, [0, 5, 1, 0])["output_cut"]


def test_a_batch_that_does_not_fit_is_halved(tiny: factual.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    sizes, real = list[int](), factual.Loaded.generate

    def generate(self: factual.Loaded, rows: Sequence[dict[str, Any]]) -> list[list[int]]:
        sizes.append(len(rows))
        if len(rows) > most:
            raise torch.OutOfMemoryError("fake: CUDA out of memory")
        return real(self, rows)

    most, lines = 3, [factual.line(sentence, None) for sentence in SENTENCES[:8]]
    expected = list(factual.parse(tiny, lines))
    monkeypatch.setattr(factual.Loaded, "generate", generate)
    assert list(factual.parse(tiny, lines)) == expected and sizes == [8, 4, 2, 2, 2, 2]
    most = 0
    with pytest.raises(OutageError, match="does not fit"):
        list(factual.parse(tiny, lines))


def test_values_come_batch_by_batch(tiny: factual.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed command keeps all but its last batch: nothing is held back until the end."""
    monkeypatch.setitem(factual.ROWS, "cpu", 2)
    batches = list[int]()
    real = factual.Loaded.generate
    monkeypatch.setattr(factual.Loaded, "generate", lambda self, rows: (batches.append(len(rows)), real(self, rows))[1])
    values: Iterator[dict[str, Any]] = factual.parse(tiny, [factual.line(sentence, None) for sentence in SENTENCES[:6]])
    next(values)
    assert batches == [2]
    assert len(list(values)) == 5 and batches == [2, 2, 2]
    assert list(factual.parse(tiny, [])) == []


def test_a_batch_is_bounded_by_tokens_times_beams() -> None:
    rows = [{"ids": [0] * length} for length in (10, 10, 50, 10)]
    assert (
        len(factual._first(rows, 500)) == 2
        and len(factual._first(rows, 10)) == 1
        and factual._first(rows, 10**6) == rows
    )


def test_without_weights_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIM_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    reason = registry.parser("factual").missing() or ""
    assert "cim data fetch factual" in reason and "990 MB" in reason and "\n" not in reason
    with pytest.raises(CimError, match="cim data fetch factual"):
        factual.tokenizer()
    assert registry.parser("factual@bf16").settings()["precision"] == "bfloat16"


def test_bf16_runs_and_has_settings_of_its_own(tiny_t5_folder: Path, tiny_models: Path) -> None:
    full, half = registry.parser("factual"), registry.parser("factual@bf16")
    assert {**full.settings(), "precision": "bfloat16"} == half.settings()
    with half.session(lambda *_: []) as parse:
        assert next(iter(parse([factual.line("A red dog.", None)])))["tokens"] == 5
