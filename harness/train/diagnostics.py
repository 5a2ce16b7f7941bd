"""Diagnostics of a generation batch: rewards, lengths, repetition, retrieval, and the shuffled control.

Shares and means lie in 0-1 unless the name says tokens. Groups are consecutive captions of one image. Pure functions
of arrays; ``alarms.py`` reads the result, ``log.py`` writes it as one row per step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.runs import stats
from harness.train.reward import Scored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ORDER = 4  # words per n-gram, for repetition within a caption
OPENING = 5  # first words compared between captions, to detect boilerplate
QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}
FLAT = 1e-6  # standard deviation of a group's rewards under which it gives no gradient


def summary(scored: Scored) -> dict[str, Any]:
    """All diagnostics of one batch, nested by subject; None where undefined."""
    reward = scored.reward
    words = [caption.split() for caption in scored.captions]
    lengths = np.array([len(tokens) for tokens in scored.ids], dtype=float)
    return {
        "reward": spread(reward, scored.group),
        "terms": {name: spread(values, scored.group) for name, values in scored.terms.items()},
        "unscored": int(np.isnan(reward).sum()),
        "length": {
            "mean": float(lengths.mean()),
            "p10": float(np.quantile(lengths, 0.1)),
            "p90": float(np.quantile(lengths, 0.9)),
            "max": int(lengths.max()),
            "clipped": float(scored.clipped.mean()),
            "reward_rank": rank_correlation(reward, lengths, scored.group),
        },
        "text": {
            "distinct": len(set(scored.captions)) / len(scored.captions),
            "distinct_images": distinct_images(scored.captions, scored.group),
            "distinct_1": distinct_ngrams(words, 1),
            "distinct_2": distinct_ngrams(words, 2),
            "repeated": float(np.mean([repeated(caption) for caption in words])),
            "same_opening": same_opening(words, scored.group),
            "empty": float(np.mean(scored.batch.empty)),
        },
        "retrieval": _retrieval(scored),
    }


def spread(values: Array, group: int) -> dict[str, float | None]:
    """Mean, quantiles, mean standard deviation within groups (n - 1), and the share of groups without variation.

    NaN, a caption that was not scored, is left out; infinities are kept, so that the alarm sees them.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return {name: None for name in ("mean", *QUANTILES, "group_std", "flat_groups")}
    groups = [line[~np.isnan(line)] for line in values.reshape(-1, group)]
    with np.errstate(invalid="ignore"):
        deviations = np.array([line.std(ddof=1) if line.size > 1 else 0.0 for line in groups])
    quantiles = {name: float(np.quantile(known, level)) for name, level in QUANTILES.items()}
    within = {"group_std": float(deviations.mean()), "flat_groups": float((deviations < FLAT).mean())}
    return {"mean": float(known.mean()), **quantiles, **within}


def distinct_images(captions: Sequence[str], group: int) -> float:
    """Share of distinct captions among those of different images: the k-th captions of all groups, mean over k.

    A policy with one caption for every image has 1 / images; a deterministic one that sees its images keeps 1.
    """
    columns = [captions[at::group] for at in range(group)]
    return float(np.mean([len(set(column)) / len(column) for column in columns]))


def distinct_ngrams(words: Sequence[Sequence[str]], order: int) -> float | None:
    """Distinct n-grams of the batch divided by all its n-grams."""
    grams = [gram for caption in words for gram in ngrams(caption, order)]
    return len(set(grams)) / len(grams) if grams else None


def ngrams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """All n-grams of ``order`` words."""
    return [tuple(words[at : at + order]) for at in range(len(words) - order + 1)]


def repeated(words: Sequence[str], order: int = ORDER) -> float:
    """Share of a caption's n-grams that repeat an earlier one; about one half if the caption is written twice."""
    counts = Counter(ngrams(words, order))
    total = sum(counts.values())
    return 1 - len(counts) / total if total else 0.0


def same_opening(words: Sequence[Sequence[str]], group: int) -> float:
    """Share of images with the most common opening; an image's opening is the most frequent one of its captions."""
    openings = Counter(tuple(caption[:OPENING]) for caption in words[::group])
    return max(openings.values()) / sum(openings.values())


def rank_correlation(values: Array, lengths: Array, group: int) -> float | None:
    """Spearman's correlation of reward and length, mean over the groups in which both vary."""
    pairs = zip(values.reshape(-1, group), lengths.reshape(-1, group), strict=True)
    known = ((reward[np.isfinite(reward)], length[np.isfinite(reward)]) for reward, length in pairs)
    defined = [rho for reward, length in known if (rho := stats.spearman(reward, length)) is not None]
    return float(np.mean(defined)) if defined else None


def _retrieval(scored: Scored) -> dict[str, float | None]:
    """Retrieved own rows, hubs, and QIR against its shuffled control."""
    batch = scored.batch
    qir = batch.qir[np.isfinite(batch.qir)]
    rows, counts = np.unique(batch.rows[batch.rows >= 0], return_counts=True)
    gap = (batch.qir - scored.shuffled)[np.isfinite(batch.qir)]
    return {
        "self_hit_1": float(np.mean(batch.self_hit_1)),
        "self_hit_k": float(np.mean(batch.self_hit_k)),
        "own_share": float(np.sum(batch.own_qir) / qir.sum()) if qir.size and qir.sum() > 0 else None,
        "qir_shuffled": float(np.mean(scored.shuffled)),
        "qir_gap": float(gap.mean()) if gap.size else None,
        "grc_qir": correlation(batch.grc, batch.qir),
        "rows_used": float(rows.size),
        "top_row": float(counts.max() / batch.rows.shape[0]) if counts.size else None,
    }


def correlation(a: Array, b: Array) -> float | None:
    """Pearson's correlation; None if either is constant."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 2 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return None
    return float(np.corrcoef(a[known], b[known])[0, 1])
