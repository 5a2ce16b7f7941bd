"""What a reward pays for: captions with one thing changed, whose effect on the truth is known, and what it earns.

For every edit of an environment's battery, with d_i the change of the reward in scene i: the mean of d, its paired 95 %
bootstrap interval over scenes, the share of scenes where d > 0, and the mean in units of the standard deviation of a
group of captions of one scene (root mean square over scenes), which is all that a group-normalised advantage sees. The
price of a false fact is the mean gain of a false fact over the mean gain of a true one told in its place; it is
defined where the true one gains significantly. ``cim audit-reward R`` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harness import registry
from harness.errors import CimError
from harness.parts import RewardContext, mean
from harness.retrieval.consistency import SAFE
from harness.retrieval.gallery import Gallery
from harness.runs import stats
from harness.train import copies, reward
from harness.train.audit_result import FACT, GROUP, TOTAL, Audit, Change, Effect, Price
from harness.train.examples import of_samples
from harness.train.needs import require
from harness.types import Sample
from harness.worlds import Edit, World

if TYPE_CHECKING:
    from harness.parts import Array

HUBS = 64  # gallery captions among which the hub is looked for
FEWEST = 5  # scenes; an edit that fewer allow is left out
ROUNDING = 1e-6  # smaller changes are rounding: an encoder's result may depend on the batch
PADDING = "padding"
COPIED, HUB = "gallery caption copied", "hub caption"
ABOUT = {
    COPIED: "the caption of the gallery image most similar to the source image",
    HUB: f"of {HUBS} gallery captions the one that earns most on every second scene; measured on the others",
}


@dataclass(frozen=True, slots=True)
class _Scores:
    """Values (m, 1 + t) of captions of scenes by their number: the reward and its t terms."""

    places: Mapping[tuple[int, str], int]
    values: Array

    def of(self, scenes: Sequence[int], captions: Sequence[str]) -> Array:
        return self.values[[self.places[pair] for pair in zip(scenes, captions, strict=True)]]


Pairs = list[tuple[int, str, str]]  # scene, caption, edited caption


def audit(
    world: World,
    gallery: Gallery,
    weights: Mapping[str, float],
    level: str,
    count: int,
    say: Callable[[str], None] = lambda line: None,
) -> Audit:
    """Audit a weighted sum of rewards on the first scenes of the validation split.

    A reward that reads an image's own gallery row is audited on scenes of the gallery, whose own row is left out of the
    retrieval.

    Raises:
        CimError: a reward that this gallery or machine cannot have, or no number for a caption; no such level.
    """
    if level not in world.levels:
        raise CimError(f"unknown level {level!r}", where="--level", hint=f"one of {', '.join(world.levels)}")
    needs_rows = any(registry.reward(registry.check("rewards", name)).own_row for name in weights)
    split = "gallery" if needs_rows else "validation"
    material = of_samples(world, _samples(world, split, count))
    require(weights, gallery, material)
    images, keys = list(material.train), list(material.keys.values())
    pairs = {name: _pairs(edit, images, level) for name, edit in world.edits.items()}
    scoring = replace(SAFE, w_g=weights.get("grc", 0.0), w_q=weights.get("qir", 0.0))
    with reward.opened(gallery, scoring, material, weights) as context:
        captions = [world.caption(image, level) for image in images]
        assert context.scorer is not None
        nearest = copies.nearest(world, gallery, keys, context.scorer.source_vectors(keys))
        pairs[COPIED] = list(zip(range(len(keys)), captions, nearest, strict=True))
        hubs = copies.first(world, gallery, keys, HUBS)
        sampled = [world.sampled(image, level, number) for image in images for number in range(GROUP)]
        texts = [(at, text) for edited in pairs.values() for at, *both in edited for text in both]
        texts += [(at // GROUP, text) for at, text in enumerate(sampled)]
        texts += [(at, text) for at in range(len(images)) for text in hubs]
        scores = _score(texts, keys, weights, context, say)
    pairs[HUB] = _hub(hubs, captions, scores)
    names = (TOTAL, *weights)
    groups = scores.of(np.repeat(np.arange(len(images)), GROUP).tolist(), sampled).reshape(-1, GROUP, len(names))
    within = np.sqrt(groups.var(axis=1, ddof=1).mean(axis=0))
    effects = [
        _effect(name, world, images, edited, scores, dict(zip(names, within.tolist(), strict=True)))
        for name, edited in pairs.items()
        if len(edited) >= FEWEST
    ]
    return Audit(
        rewards=dict(weights),
        gallery=gallery.name,
        sha=gallery.sha,
        world=world.name,
        split=split,
        level=level,
        scenes=len(images),
        deviations=dict(zip(names, within.tolist(), strict=True)),
        effects=effects,
        prices=[price for kind in (FACT, *world.kinds) if (price := _price(kind, pairs, scores))],
        word=_word(pairs[PADDING], scores),
    )


def _samples(world: World, split: str, count: int) -> list[Sample]:
    if count < FEWEST:
        raise CimError(
            f"{count} scenes are too few for an interval", where="--n", hint=f"{FEWEST} or more, such as 300"
        )
    try:
        return world.samples(split, count)
    except ValueError as error:
        raise CimError(f"{world.name} has no {count} scenes in split {split}: {error}", where="--n") from error


def _pairs(edit: Edit, images: Sequence[str], level: str) -> Pairs:
    pairs = [(at, edit.pair(image, level)) for at, image in enumerate(images)]
    return [(at, *texts) for at, texts in pairs if texts]


def _hub(hubs: Sequence[str], captions: Sequence[str], scores: _Scores) -> Pairs:
    """The caption that earns most on scenes of even number, in place of those of odd number."""
    chosen = range(0, len(captions), 2)
    earned = [scores.of(chosen, [text] * len(chosen))[:, 0].mean() for text in hubs]
    hub = hubs[int(np.argmax(earned))]
    return [(at, captions[at], hub) for at in range(1, len(captions), 2)]


def _score(
    texts: Sequence[tuple[int, str]],
    keys: Sequence[str],
    weights: Mapping[str, float],
    context: RewardContext,
    say: Callable[[str], None],
) -> _Scores:
    """Every distinct caption of a scene, scored once by every reward.

    Raises:
        CimError: a reward gives no finite number for each caption.
    """
    places = {pair: at for at, pair in enumerate(dict.fromkeys(texts))}
    captions, sources = [text for _, text in places], [keys[at] for at, _ in places]
    say(f"scoring {len(captions)} captions of {len(keys)} scenes")
    terms = []
    for name in weights:
        values = np.asarray(registry.reward(name)(captions, sources, context), dtype=np.float64)
        if values.shape != (len(captions),) or not np.isfinite(values).all():
            raise CimError(f"reward {name} gives no finite number for each caption", hint="cim doctor --part FILE")
        terms.append(values)
    total: Array = np.array(list(weights.values())) @ np.stack(terms)
    return _Scores(places, np.stack([total, *terms], axis=1))


def _gains(edited: Pairs, scores: _Scores) -> Array:
    """Change (n, 1 + t) of every value by an edit."""
    scenes, before, after = zip(*edited, strict=True)
    gains = scores.of(scenes, after) - scores.of(scenes, before)
    return np.where(np.abs(gains) < ROUNDING, 0.0, gains)


def _effect(
    name: str, world: World, images: Sequence[str], edited: Pairs, scores: _Scores, within: Mapping[str, float]
) -> Effect:
    gains, edit = _gains(edited, scores), world.edits.get(name)
    (drawn,) = stats.bootstrap([stats.Column(gains, mean)])
    bounds = stats.interval(drawn)
    changes = {
        value: Change(
            mean=float(gains[:, at].mean()),
            ci95=(float(bounds[at, 0]), float(bounds[at, 1])),
            wins=float((gains[:, at] > 0).mean()),
            deviations=float(gains[:, at].mean()) / deviation if deviation > 0 else None,
        )
        for at, (value, deviation) in enumerate(within.items())
    }
    true, false = _truths(edit, world, images, edited)
    words = float(np.mean([len(after.split()) - len(before.split()) for _, before, after in edited]))
    return Effect(name, edit.about if edit else ABOUT[name], len(edited), true, false, words, changes)


def _truths(edit: Edit | None, world: World, images: Sequence[str], edited: Pairs) -> tuple[float, float]:
    """True and false statements more, on average: as declared, else counted."""
    true, false = (edit.true, edit.false) if edit else (None, None)
    if true is not None and false is not None:
        return true, false
    before = [world.count(images[at], text) for at, text, _ in edited]
    after = [world.count(images[at], text) for at, _, text in edited]
    counted = np.mean(np.array(after) - np.array(before), axis=0)
    return float(counted[0]) if true is None else true, float(counted[1]) if false is None else false


def _price(kind: str, pairs: Mapping[str, Pairs], scores: _Scores) -> Price | None:
    """The price of a false fact of a kind; None where too few scenes allow both edits."""
    true, false = pairs[f"true {kind} added"], pairs[f"false {kind} added"]
    both = {at for at, *_ in true} & {at for at, *_ in false}
    if len(both) < FEWEST:
        return None
    gains = [_gains([pair for pair in edited if pair[0] in both], scores)[:, 0] for edited in (false, true)]
    statistics = np.stack(gains, axis=1)
    means, ratios = stats.bootstrap([stats.Column(statistics, mean), stats.Column(statistics, _ratio)])
    if stats.interval(means)[1, 0] <= 0:
        return Price(kind, len(both), None, None)
    (low, high), (price,) = stats.interval(ratios)[0], stats.point(stats.Column(statistics, _ratio))
    return Price(kind, len(both), float(price), (float(low), float(high)))


def _ratio(totals: Array, n: int | Array) -> Array:
    """Gain of the false fact over that of the true one (..., 1)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw in which the true one earns 0
        ratio: Array = totals[..., :1] / totals[..., 1:]
    return ratio


def _word(padded: Pairs, scores: _Scores) -> tuple[float, float, float]:
    """Mean change of the reward per word of padding, and its interval."""
    words = np.mean([len(after.split()) - len(before.split()) for _, before, after in padded])
    gains = _gains(padded, scores)[:, :1] / words
    low, high = stats.interval(stats.bootstrap([stats.Column(gains, mean)])[0])[0]
    return float(gains.mean()), float(low), float(high)
