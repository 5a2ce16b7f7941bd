"""Rewards: golden values on the small gallery, what each needs, and that one batch is scored once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import registry
from harness.errors import CimError
from harness.parts import RewardContext
from harness.retrieval.scorer import CimScorer
from harness.types import SceneGraph
from tests.test_cim_scorer import encode, four

CONTEXT = RewardContext(scorer=CimScorer(four(), encode))
CAPTIONS, IDS = ["q", "q", "r"], ["g:3", "g:1", "g:0"]


def test_all_rewards_of_the_contract_are_there() -> None:
    assert set(registry.names("rewards")) >= {
        "cim",
        "grc",
        "qir",
        "rr",
        "self_retrieval",
        "clip",
        "sc",
        "text",
        "length",
    }


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cim", [2.245356, 0.745356 + 0.25, 0.577350 + 0.25]),
        ("grc", [0.745356, 0.745356, 0.577350]),
        ("qir", [1.5, 0.25, 0.25]),
        ("text", [1, 0.6, 0]),
        ("rr", [1, 1 / 3, 1 / 3]),
        ("self_retrieval", [1, 1 / 2, 1 / 2]),
        ("length", [1, 1, 1]),
    ],
)
def test_golden_values(name: str, wanted: list[float]) -> None:
    captions = CAPTIONS if name != "self_retrieval" else ["q", "q", "r"]
    ids = IDS if name != "self_retrieval" else ["g:0", "g:1", "g:0"]
    assert registry.reward(name)(captions, ids, CONTEXT) == pytest.approx(wanted, abs=1e-6)


def test_clip_is_the_cosine_with_the_own_image_and_checks_its_space() -> None:
    def tower(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[3.0, 4.0, 0.0]] * len(texts), dtype=np.float32)

    clip = registry.reward("clip")
    assert clip(["q", "r"], ["g:0", "g:1"], replace(CONTEXT, image_text=tower)) == pytest.approx([0.6, 0.8])
    with pytest.raises(CimError, match="reward clip needs image_text, which this run does not have"):
        clip(["q"], ["g:0"], CONTEXT)
    with pytest.raises(CimError, match="same CLIP model"):
        clip(["q"], ["g:0"], replace(CONTEXT, image_text=encode))


def test_sc_by_hand() -> None:
    angles = {"dog": 0, "puppy": 40, "cat": 90, "red": 0, "scarlet": 30, "big": 90}  # cosines 1, 0.766, 0 to dog

    def phrases(words: Sequence[str]) -> NDArray[np.float32]:
        turned = np.radians([angles[word] for word in words])
        return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)

    def graphs(texts: Sequence[str]) -> list[SceneGraph]:
        known = {
            "reference": SceneGraph(("dog",), attributes={"dog": ("red",)}),
            "good": SceneGraph(("dog", "puppy"), attributes={"dog": ("scarlet", "big"), "puppy": ("red",)}),
            "bad": SceneGraph(("cat",)),
        }
        return [known.get(text, SceneGraph()) for text in texts]

    context = RewardContext(graphs=graphs, phrases=phrases, references={"g:0": "reference"})
    values = registry.reward("sc")(["good", "bad", "nothing", ""], ["g:0"] * 4, context)
    soft = ((1 - 0.55) + (np.cos(np.radians(40)) - 0.55)) / 2
    inner = np.array([2 * soft + 0.25 * 2 + 0.15, 2 * (0 - 0.55) - 0.25, 0, -1])
    assert values == pytest.approx(1 / (1 + np.exp(-inner)) - 0.5, abs=1e-6)
    with pytest.raises(CimError, match="1 images have no reference, first 'g:1'"):
        registry.reward("sc")(["good"], ["g:1"], context)


def test_several_rewards_read_one_batch() -> None:
    calls = list[int]()

    def counting(texts: Sequence[str]) -> NDArray[np.float64]:
        calls.append(len(texts))
        return encode(texts)

    context = RewardContext(scorer=CimScorer(four(), counting))
    for name in ("cim", "grc", "qir", "text"):
        registry.reward(name)(CAPTIONS, IDS, context)
    assert calls == [2]
    registry.reward("cim")(CAPTIONS, IDS[::-1], context)
    assert calls == [2, 2]
