"""What tests of training share: a fake scorer named fake, scored batches made by hand, and jobs on tiny models."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.parts import Encoder, RewardContext
from harness.retrieval.consistency import SAFE
from harness.retrieval.scorer import CimBatch
from harness.train.reward import Scored
from harness.types import Model
from harness.weights import Sampling, Weights
from tests.galleries import of_arrays

if TYPE_CHECKING:
    from harness.train.examples import Material
    from harness.train.plan import Plan

GROUP, IMAGES = 4, 8


def fake_batch(grc: Any, qir: Any, rows: Any, empty: Any) -> CimBatch:
    """A batch made by hand: no own row is found."""
    n = len(grc)
    none = np.zeros(n, dtype=bool)
    return CimBatch(
        reward=grc + qir,
        grc=grc,
        qir=qir,
        rows=rows,
        similarities=np.full((n, 3), 0.5),
        cosines=np.full((n, 3), 0.5),
        k=np.full(n, 3),
        source_rows=np.full(n, -1),
        self_hit_1=none,
        self_hit_k=none,
        own_similarity=np.full(n, np.nan),
        own_qir=np.zeros(n),
        empty=empty,
        duplicates=none,
    )


class FakeScorer:
    """Fake: GRC is 0.5, QIR grows with the different words of a caption; rows are made up. No gallery, no encoder."""

    def __init__(self, unscored: Callable[[str], bool] = lambda caption: False) -> None:
        self.calls, self._unscored = 0, unscored
        self._last: tuple[tuple[list[str], list[str]], CimBatch] | None = None

    def score(self, captions: Sequence[str], source_ids: Sequence[str]) -> CimBatch:
        self.calls += 1
        n = len(captions)
        bad = np.array([self._unscored(caption) for caption in captions])
        qir = np.where(bad, np.nan, [len(set(caption.split())) / 20 for caption in captions])
        rows, empty = np.arange(3 * n).reshape(n, 3) % 97, np.array([not caption for caption in captions])
        return fake_batch(np.where(bad, np.nan, 0.5), qir, rows, empty)

    def scored(self, captions: Sequence[str], source_ids: Sequence[str]) -> CimBatch:
        request = list(captions), list(source_ids)
        if self._last is None or self._last[0] != request:
            self._last = request, self.score(captions, source_ids)
        return self._last[1]

    def qir(self, rows: Any, source_ids: Sequence[str]) -> Any:
        return np.zeros(len(source_ids))


def healthy(seed: int = 0, images: int = IMAGES, group: int = GROUP) -> Scored:
    """A batch as it should be: different captions, QIR well above that of other images, rewards unlike lengths."""
    dice = np.random.default_rng(seed)
    words = [f"w{number}" for number in range(400)]
    captions = [" ".join(dice.choice(words, size=12, replace=False)) for _ in range(images * group)]
    return scored(captions, dice.normal(1.0, 0.2, len(captions)), group=group)


def scored(
    captions: Sequence[str], qir: Any, *, group: int = GROUP, shuffled: Any = 0.3, rows: Any = None, lengths: Any = None
) -> Scored:
    """A scored batch of these captions and QIR values; GRC is 0.8."""
    n, dice = len(captions), np.random.default_rng(1)
    lengths = dice.integers(8, 16, n) if lengths is None else lengths
    none = np.zeros(n, dtype=bool)
    rows = np.arange(3 * n).reshape(n, 3) if rows is None else rows
    batch = fake_batch(np.full(n, 0.8), np.asarray(qir, dtype=float), rows, none)
    return Scored(
        step=0,
        captions=captions,
        source_ids=[f"s:{at // group}" for at in range(n)],
        ids=[[7] * int(length) for length in lengths],
        clipped=none,
        group=group,
        terms={"grc": batch.grc, "qir": batch.qir},
        weights={"grc": 1.0, "qir": 1.0},
        batch=batch,
        shuffled=np.broadcast_to(np.asarray(shuffled, dtype=float), (n,)),
    )


def picture(sample_id: str) -> bytes:
    """The PNG of a miniscene."""
    from tasks.miniscenes import draw

    return draw.picture(sample_id)


def material(validation: int = 0, draw: Callable[[str], bytes] = picture) -> Material:
    """Twelve training scenes, and the first of them for validation."""
    from harness.train.examples import Material

    train = [f"train_{number:06d}" for number in range(12)]
    return Material(
        name="miniscenes",
        prompt="describe the scene .",
        train=train,
        validation=train[:validation],
        keys={image: f"miniscenes:{image}" for image in train},
        place=draw,
        targets=lambda image: [""],
        reference=lambda image: "",
        truth=lambda captions: {},
    )


def tiny(
    folder: Path,
    checkpoint: Path,
    images: Material | None = None,
    *,
    rewards: Mapping[str, float] | None = None,
    system: str | None = None,
    settings: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """A GRPO run called tiny of two steps with 4 x 4 captions of at most 8 tokens, without a probe.

    ``changes`` are those of the preset, ``settings`` of TRL's configuration, ``options`` of ``Options``.
    """
    from harness.train import plan, presets

    preset = presets.preset("mini")
    preset = replace(preset, settings={**preset.settings, "max_completion_length": 8, "warmup_steps": 0})
    preset = replace(preset, **{"prompts": 4, "group": 4, "micro_batch": 16, "save_every": 1, **(changes or {})})
    weights = Weights(str(checkpoint), digest="made-up", system=system, sampling=Sampling(max_tokens=8))
    model = Model("base", "transformers", None, {}, tasks=("miniscenes",), weights=weights)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = plan.Options(model, "cim_rl", **{"steps": 2, "probe": False, **options})
    return plan.Plan(
        options=chosen,
        name="tiny",
        folder=folder,
        weights=weights,
        preset=preset,
        material=images or material(),
        rewards=rewards or {"grc": 1.0, "qir": 1.0},
        gallery=replace(of_arrays(np.eye(3), np.eye(3), ["g:0", "g:1", "g:2"]), sha="fake"),
        scoring=SAFE,
        arguments=presets.arguments(preset, processes, chosen.steps, settings or {}),
        processes=processes,
    )


def train(planned: Plan, scorer: FakeScorer | None = None, say: Callable[[str], None] = lambda line: None) -> int:
    """Train as planned, rewarded by the fake scorer."""
    from harness.train import trl_engine

    context = RewardContext(scorer=scorer or FakeScorer())
    return trl_engine.train(planned, context, say, lambda step, steps: None)


def build(
    planned: Plan,
    place: Path | None = None,
    seen: Callable[[Scored], None] = lambda scored: None,
    scorer: FakeScorer | None = None,
) -> Any:
    """The trainer of a plan with the fake scorer."""
    from harness.train import trl_engine

    context = RewardContext(scorer=scorer or FakeScorer())
    return trl_engine.build(planned, context, place, seen, lambda line: None)


def fake_encoders() -> dict[str, Encoder]:
    """Fake encoders of the embedded world: texts by their words, images by the colours of a coarse grid."""
    return {
        "fake_text": Encoder("fake_text", lambda: {"v": "1"}, lambda: nullcontext(_words)),
        "fake_image": Encoder("fake_image", lambda: {"v": "1"}, lambda: nullcontext(_pixels), kind="image"),
    }


def _words(texts: Sequence[str]) -> Iterator[Any]:
    for text in texts:
        vector = np.full(64, 1e-3, dtype=np.float32)
        for word in text.split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
            vector += np.random.default_rng(seed).normal(size=64).astype(np.float32)
        yield vector / np.linalg.norm(vector)


def _pixels(files: Sequence[str]) -> Iterator[Any]:
    from PIL import Image

    for file in files:
        vector = np.asarray(Image.open(file).resize((6, 6)), dtype=np.float32).ravel() - 127.5
        yield vector / np.linalg.norm(vector)


def fake_gallery(folder: Path, rows: int = 200) -> None:
    """A gallery of miniscenes' gallery split by the fake encoders."""
    from harness.retrieval import build
    from harness.retrieval.sources import Pair
    from tasks.miniscenes import samples, world

    def pairs() -> Iterator[Pair]:
        for number in range(rows):
            scene = world.scene("gallery", number)
            yield Pair("miniscenes", scene.id, samples.reference(scene), partial(picture, scene.id))

    fakes = fake_encoders()
    build.build(build.Plan(folder, pairs, [{"kind": "made"}], fakes["fake_text"], fakes["fake_image"]))
