"""GRC, QIR and reward: formulas on arrays, accumulated in float64, and the settings by which captions are scored.

For a caption whose K retrieved images have the L2-normalised embeddings v_1..v_K (best first), u being its source's:
GRC = ||(1/K) sum v_r||, QIR = sum 2^-(r-1) <u, v_r>, reward = w_g GRC + w_q QIR (CIM, arXiv 2603.01696;
Jia-hn/CIM:reward/reward_server.py@870f58f5). GRC of mutually orthogonal images is 1/sqrt(K), not 0, and QIR is not
divided by the sum of its weights, so that neither is a scale from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from harness.errors import CimError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RankWeights = Literal["halving", "uniform"]
SelfPolicy = Literal["include", "exclude", "exclude_near"]
Blank = Literal["encode", "zero"]


def rank_weights(k: int, kind: RankWeights = "halving") -> Array:
    """Weights (K,) of the ranks 1..K: 1, 1/2, 1/4, ... or all 1."""
    return np.power(0.5, np.arange(k)) if kind == "halving" else np.ones(k)


def grc(images: NDArray[Any]) -> Array:
    """Gallery representation consistency (...) of retrieved L2-normalised embeddings (..., K, d): norm of their mean.

    In [0, 1]; in [1/sqrt(K), 1] if no two embeddings have a negative cosine. 1 for every caption if K is 1.
    """
    length: Array = np.linalg.norm(images.astype(np.float64).mean(axis=-2), axis=-1)
    return length


def cosines(sources: NDArray[Any], images: NDArray[Any]) -> Array:
    """Cosines (..., K) of L2-normalised embeddings (..., d) with retrieved ones (..., K, d)."""
    products: Array = np.einsum("...d,...kd->...k", sources.astype(np.float64), images.astype(np.float64))
    return products


@dataclass(frozen=True, slots=True)
class CimSettings:
    """How captions are scored; all of it enters signatures and manifests.

    ``self_policy``: ``include`` keeps the image's own row in the gallery (as the released code), ``exclude`` drops
    it, ``exclude_near`` also drops images of equal bytes or with a cosine of at least ``near`` to it.
    ``empty``: a blank caption is encoded like any other, or gets zero. ``dedupe_images`` keeps the best row of
    each image. ``strict``: fewer than K rows left is an error; else K shrinks for that caption. ``refuse_constant``:
    no K = 1 while GRC, which is 1 then, has weight.
    """

    k: int = 3
    w_g: float = 1.0
    w_q: float = 1.0
    rank_weights: RankWeights = "halving"
    normalize_qir: bool = False
    self_policy: SelfPolicy = "include"
    near: float = 0.98
    empty: Blank = "encode"
    dedupe_images: bool = False
    strict: bool = True
    refuse_constant: bool = False

    def check(self) -> None:
        """CimError where a value is out of range."""
        options = (
            ("rank_weights", self.rank_weights, get_args(RankWeights)),
            ("self_policy", self.self_policy, get_args(SelfPolicy)),
            ("empty", self.empty, get_args(Blank)),
        )
        for name, value, allowed in options:
            if value not in allowed:
                raise CimError(f"{name} is {value!r}", hint=f"one of {', '.join(allowed)}")
        if self.k < 1 or (self.refuse_constant and self.k < 2 and self.w_g):
            why = "GRC is then 1 for every caption" if self.k == 1 else "it counts the retrieved images"
            raise CimError(f"k is {self.k}: {why}", hint="k of 2 or more")
        if not np.isfinite([self.w_g, self.w_q, self.near]).all():
            raise CimError(f"w_g {self.w_g}, w_q {self.w_q} and near {self.near} must be finite")

    def qir(self, cosines: Array) -> Array:
        """Query-image relevance (...) of cosines (..., K), best rank first: their weighted sum; NaN (no row) adds 0.

        In [-sum(weights), sum(weights)], 1.75 for halving weights and K = 3. ``normalize_qir`` divides by the summed
        weights of the existing rows.
        """
        weights, there = rank_weights(cosines.shape[-1], self.rank_weights), ~np.isnan(cosines)
        value: Array = np.where(there, cosines, 0.0) @ weights
        if not self.normalize_qir:
            return value
        normalised: Array = value / np.maximum(there @ weights, weights[0] * np.finfo(np.float64).tiny)
        return normalised

    def reward(self, grc: Array, qir: Array) -> Array:
        """``w_g`` GRC + ``w_q`` QIR; in [-11/12, 2.75] for K = 3, halving weights and both at 1."""
        return self.w_g * grc + self.w_q * qir


PAPER = CimSettings()
SAFE = CimSettings(self_policy="exclude", empty="zero", refuse_constant=True)
EVALUATION = CimSettings(empty="zero", strict=False)  # the paper's, but fewer than K remaining rows are no error
PRESETS = {"paper": PAPER, "safe": SAFE, "evaluation": EVALUATION}


def named(settings: CimSettings | str) -> CimSettings:
    """Settings by name (``PRESETS``); CimError for an unknown one."""
    if isinstance(settings, str) and settings not in PRESETS:
        raise CimError(f"unknown settings {settings!r}", hint=f"one of {', '.join(PRESETS)}")
    return PRESETS[settings] if isinstance(settings, str) else settings
