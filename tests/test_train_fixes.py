"""Each fix of an engine's defect, on a stand-in that has the defect: the guard raises, or the defect is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import AlarmError, CimError
from harness.train import checkpoints, fixes

pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")

IMAGE, TEXT = 9, 5
ONE = [1, 2, *[IMAGE] * 6, 3, TEXT, 4]
TWO = [1, 2, *[IMAGE] * 6, 3, 2, *[IMAGE] * 4, 3, TEXT, 4]
BEGINS = [IMAGE, IMAGE, TEXT]


def expand(ids: Sequence[int], counts: Sequence[int]) -> list[int]:
    """What vLLM does with a prompt: the first image token of each place becomes as many as the image has features."""
    left, expanded = list(counts), list[int]()
    for token in ids:
        if token == IMAGE and left:
            expanded += [IMAGE] * left.pop(0)
        else:
            expanded.append(token)
    return expanded


class FakeVllm:
    """Fake: stands for TRL's VLLMGeneration over a vLLM that expands prompts by its own update; writes nothing."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts, self.seen, self.done = counts, list[list[int]](), list[str]()
        engine = SimpleNamespace(
            reset_encoder_cache=lambda: self.done.append("encoder"), reset_mm_cache=lambda: self.done.append("mm")
        )
        self.llm = SimpleNamespace(llm_engine=engine)

    def generate(self, prompts: Any, images: Any, num_generations: int, profiler: Any = None) -> Any:
        self.seen = [expand(ids, self.counts) for ids in prompts]
        return self.seen, [[TEXT]] * len(prompts), [[[0.0]]] * len(prompts), None

    def sync_weights(self) -> None:
        self.done.append("weights")


@pytest.mark.parametrize(("ids", "counts"), [(ONE, [6]), (TWO, [6, 4]), (BEGINS, [2]), ([1, TEXT], [])])
def test_collapsed_prompts_expand_to_what_they_were(ids: list[int], counts: list[int]) -> None:
    assert fixes.runs(ids, IMAGE) == len(counts)
    assert expand(fixes.collapse(ids, IMAGE), counts) == ids
    assert fixes.collapse(fixes.collapse(ids, IMAGE), IMAGE) == fixes.collapse(ids, IMAGE)


@pytest.mark.parametrize(("ids", "counts"), [(ONE, [6]), (TWO, [6, 4])])
def test_a_colocated_engine_sees_the_trainers_prompt(ids: list[int], counts: list[int]) -> None:
    """Without the fix the engine sees 2N - 1 image tokens, as vllm #57796 measured."""
    engine = FakeVllm(counts)
    engine.generate([ids], [[None] * len(counts)], 1)
    assert len(engine.seen[0]) == len(ids) + sum(counts) - len(counts)
    fixes.guard_prompts(engine, IMAGE, expands=True)
    engine.generate([ids], [[None] * len(counts)], 1)
    assert engine.seen == [ids]


def test_an_engine_that_still_expands_twice_is_refused() -> None:
    """The guard alone, as for an engine or a model whose prompts are made otherwise than we know."""
    engine = FakeVllm([6])
    fixes.guard_prompts(engine, IMAGE, expands=False)
    with pytest.raises(AlarmError, match=r"prompt 0 differs .* \(11 and 16 tokens, 6 and 11 image tokens\)") as stop:
        engine.generate([ONE], [[None]], 1)
    assert stop.value.name == "prompt_ids"


def test_an_image_that_has_no_place_is_refused() -> None:
    engine = FakeVllm([6])
    fixes.guard_prompts(engine, IMAGE, expands=True)
    with pytest.raises(CimError, match="1 places for 2 images"):
        engine.generate([ONE], [[None, None]], 1)
    with pytest.raises(CimError, match="1 places for 0 images"):
        engine.generate([ONE], None, 1)


def test_features_of_old_weights_are_thrown_away() -> None:
    engine = FakeVllm([6])
    fixes.reset_caches(engine)
    engine.sync_weights()
    engine.sync_weights()
    assert engine.done == ["weights", "encoder", "mm"] * 2


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "idefics3"])
def test_every_placeholder_of_a_tokenizer_is_banned(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from tests import tiny_models

    tokenizer = AutoTokenizer.from_pretrained(tiny_models.build(tmp_path, kind))
    tokens = set(tokenizer.convert_ids_to_tokens(fixes.banned(tokenizer)))
    named = {
        str(token)
        for token in tokenizer.added_tokens_decoder.values()
        if any(word in str(token) for word in ("image", "video", "vision", "img"))
    }
    assert tokens == named and len(tokens) >= 3
    assert not tokens & {tokenizer.eos_token, tokenizer.pad_token}


def test_a_policy_bent_on_a_placeholder_never_writes_one(tmp_path: Path) -> None:
    import torch
    import transformers

    from tests import tiny_models

    folder = tiny_models.build(tmp_path, "qwen2_5_vl")
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    video = tokenizer.convert_tokens_to_ids("<|video_pad|>")
    head = model.lm_head
    model.lm_head = torch.nn.Linear(head.in_features, head.out_features)
    model.lm_head.weight = head.weight
    torch.nn.init.zeros_(model.lm_head.bias)
    model.lm_head.bias.data[video] = 50.0
    prompt = torch.tensor([tokenizer("a red ball")["input_ids"]])
    banned = fixes.banned(tokenizer, keep=[tokenizer.eos_token_id])
    for ban in ({"suppress_tokens": [model.config.image_token_id]}, fixes.ban(banned, "transformers")):
        config = transformers.GenerationConfig(do_sample=True, max_new_tokens=8, pad_token_id=0, eos_token_id=1, **ban)
        torch.manual_seed(0)
        written = model.generate(prompt, generation_config=config)[0, prompt.shape[1] :].tolist()
        assert (video in written) == (len(ban["suppress_tokens"]) == 1), "TRL's own list bans the image token alone"
    assert fixes.ban(banned, "vllm") == {"logit_bias": {token: -100.0 for token in banned}}


def test_a_renamed_or_absent_weight_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from tests import tiny_models

    folder = tiny_models.build(tmp_path, "qwen2_5_vl")
    whole = load_file(folder / "model.safetensors")
    first = sorted(whole)[0]
    model = checkpoints.load(str(folder), "start-model", "float32")
    assert model.config._name_or_path == model.name_or_path == "start-model"
    save_file(
        {name + ("x" if name == first else ""): value for name, value in whole.items()}, folder / "model.safetensors"
    )
    with pytest.raises(CimError, match=r"does not fit its model \(2 weights; missing"):
        checkpoints.load(str(folder), "start-model", "float32")


def test_a_weight_that_a_resume_changed_is_named() -> None:
    import torch

    model = torch.nn.Linear(3, 2)
    before = checkpoints.fingerprint(model)
    checkpoints.require_same(before, checkpoints.fingerprint(model), "here")
    with torch.no_grad():
        model.weight[0, 0] += 1e-6
    with pytest.raises(CimError, match="here: resume changed 1 of 2 weights, weight first"):
        checkpoints.require_same(before, checkpoints.fingerprint(model), "here")
