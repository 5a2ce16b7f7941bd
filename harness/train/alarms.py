"""Alarms: named conditions under which a run is no longer improving captions, read from its rows alone.

``STOPPING`` ones end a run whose preset has guards, ``WATCHED`` ones are only logged. Thresholds that depend on the
data set are relative to the run's own first row and first validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Reason = str | None

DISTINCT = 0.5  # least share of distinct captions among those of different images
IMAGES = 4  # of a batch, below which that share says nothing
REPEATED = 0.3  # largest mean share of n-grams that repeat an earlier one of the same caption
MISMATCH = 0.1  # nats per token between rollout engine and trainer; not yet calibrated on a GPU run
TRUTH = 5.0  # points of the share of true statements that validation may lose while the reward rises
OPENING = 0.9
LONGEST = 0.8
HUB = 0.5
ROWS = 3  # steps in a row
FEWEST = 8  # captions of a batch below which hubs are not reported


def numbers(row: Row, prefix: str = "") -> dict[str, float]:
    """All numbers of a nested row under dotted names."""
    flat = dict[str, float]()
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat.update(numbers(value, f"{prefix}{name}."))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[prefix + name] = float(value)
    return flat


def _nan(rows: Sequence[Row], _: Sequence[Row]) -> Reason:
    bad = [name for name, value in numbers(rows[-1]).items() if not math.isfinite(value)]
    if rows[-1].get("unscored", -1) == rows[-1].get("captions", 0):
        return "no caption could be scored"
    return f"{', '.join(bad[:3])} not finite" if bad else None


def _distinct(rows: Sequence[Row], validations: Sequence[Row]) -> Reason:
    """Sampled captions differ by chance, so the greedy ones of validation are checked as well."""
    last = validations[-1] if validations else {}
    checks = [("greedy captions of validation", last.get("images", 0), last.get("distinct"))]
    checks += [("captions", rows[-1]["images"], rows[-1]["text"]["distinct_images"])] if rows else []
    for what, images, share in checks:
        if images >= IMAGES and share is not None and share < DISTINCT:
            return f"{what} of {images} images are {share:.0%} different ones, under {DISTINCT:.0%}"
    return None


def _repetition(rows: Sequence[Row], _: Sequence[Row]) -> Reason:
    share = rows[-1]["text"]["repeated"]
    return f"{share:.0%} of a caption repeats it, over {REPEATED:.0%}" if share > REPEATED else None


def _mismatch(rows: Sequence[Row], _: Sequence[Row]) -> Reason:
    difference = rows[-1].get("logp_difference", 0.0)
    return (
        f"rollout engine and trainer differ by {difference:.3f} nats per token, over {MISMATCH}"
        if difference > MISMATCH
        else None
    )


def _truth(_: Sequence[Row], validations: Sequence[Row]) -> Reason:
    """Reward hacking: at two validations in a row the reward is higher and captions are clearly less true than before.

    One alone may be a passing phase: what a policy has just begun to say is often wrong at first.
    """
    known = [row for row in validations if row.get("truth") is not None and row.get("reward") is not None]
    if len(known) < 3:
        return None
    first, *_, before, last = known
    lost, gained = first["truth"] - last["truth"], last["reward"] - first["reward"]
    if any(first["truth"] - row["truth"] <= TRUTH or row["reward"] <= first["reward"] for row in (before, last)):
        return None
    return f"reward {gained:+.3f} on validation while the share of true statements fell by {lost:.1f} points"


def _references(_: Sequence[Row], validations: Sequence[Row]) -> Reason:
    """Reward hacking on a user's own images: as ``truth``, but by the first metric that reads their references.

    Captions are worse than the start model's where the whole interval of the paired difference lies below 0.
    """
    known = [row for row in validations[1:] if row.get("references") and row.get("reward") is not None]
    if len(known) < 2:
        return None
    for row in known[-2:]:
        (name, values), *_ = row["references"].items()
        if not values.get("ci95") or values["ci95"][1] >= 0 or row["reward"] <= validations[0]["reward"]:
            return None
    gained = known[-1]["reward"] - validations[0]["reward"]
    changed = f"{values['difference']:.2f} [{values['ci95'][0]:.2f}, {values['ci95'][1]:.2f}]"
    return f"reward {gained:+.3f} on validation while {name} against the references changed by {changed}"


def _opening(rows: Sequence[Row], _: Sequence[Row]) -> Reason:
    share, before = rows[-1]["text"]["same_opening"], rows[0]["text"]["same_opening"]
    if rows[-1]["images"] < IMAGES or share < OPENING or before >= OPENING:
        return None
    return f"{share:.0%} of images get the same first words, {before:.0%} at the start"


def _length(rows: Sequence[Row], _: Sequence[Row]) -> Reason:
    rank = rows[-1]["length"]["reward_rank"]
    return f"reward follows length within groups (rank correlation {rank:.2f})" if (rank or 0) > LONGEST else None


def _hub(rows: Sequence[Row], _: Sequence[Row]) -> Reason:
    share, images = rows[-1]["retrieval"]["top_row"], rows[-1]["images"]
    if images < IMAGES or rows[-1]["captions"] < FEWEST or (share or 0) <= HUB:
        return None
    return f"one gallery row is retrieved by {share:.0%} of all captions"


def _ungrounded(rows: Sequence[Row], _: Sequence[Row]) -> Reason:
    """Captions fit other images nearly as well as their own, ``ROWS`` steps in a row: one batch may be an odd one.

    No step of eleven runs in the embedded environment (nine rewards, seed 0) came below half of the first gap.
    """
    opening, last = rows[:ROWS], rows[-ROWS:]
    gaps = [row["retrieval"]["qir_gap"] for row in (*opening, *last)]
    if len(rows) < 2 * ROWS or None in gaps or any(row["images"] < 2 for row in last):
        return None
    first = sum(gaps[:ROWS]) / ROWS
    if first <= 0 or any(gap > 0.5 * first for gap in gaps[ROWS:]):
        return None  # a start model that does not tell images apart has nothing to lose
    return f"QIR is {gaps[-1]:+.3f} above that of other images, {first:+.3f} at the start"


Check = Callable[[Sequence[Row], Sequence[Row]], Reason]
STOPPING: Mapping[str, Check] = {
    "nan": _nan,
    "distinct": _distinct,
    "repetition": _repetition,
    "mismatch": _mismatch,
    "truth": _truth,
    "references": _references,
    "ungrounded": _ungrounded,
}
WATCHED: Mapping[str, Check] = {"opening": _opening, "length": _length, "hub": _hub}
OF_VALIDATION = ("truth", "references", "distinct")


def cannot_ring(*, truth: bool, references: bool, validation: bool, images: int, vllm: bool) -> dict[str, str]:
    """Alarms that a run can never ring, with the reason: they are no guards of it.

    Args:
        images: how many a step takes.
        vllm: are captions written by another engine than the trainer's?
    """
    silent = {} if truth else {"truth": "no true statements are known of these images"}
    if truth or not references:
        silent["references"] = "true statements are known" if truth else "no metric reads references of these images"
    if not validation:
        silent |= dict.fromkeys(("truth", "references"), "no image is held out")
    if images < 2:
        silent["ungrounded"] = "a step has one image"
    if images < IMAGES and not validation:
        silent["distinct"] = f"a step has fewer than {IMAGES} images, and none is held out"
    if not vllm:
        silent["mismatch"] = "captions are written by the trainer itself"
    return silent


def that_stop(guarded: bool, tolerated: Sequence[str]) -> tuple[str, ...]:
    """Names of the alarms that end a run: none if its preset has no guards, else all but the tolerated ones."""
    return tuple(name for name in STOPPING if guarded and name not in tolerated)


def check(rows: Sequence[Row], validations: Sequence[Row]) -> dict[str, str]:
    """The alarms that fire, with their reasons.

    Args:
        rows: rows of generation steps so far, oldest first.
        validations: rows of validations so far, the first being that of the start model.
    """
    if not rows:
        return {}
    reasons = {name: test(rows, validations) for name, test in {**STOPPING, **WATCHED}.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}
