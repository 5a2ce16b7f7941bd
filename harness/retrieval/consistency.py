"""GRC, QIR and reward: formulas on arrays, accumulated in float64.

For a caption whose K retrieved images have the L2-normalised embeddings v_1..v_K (best first), u being its source's:
GRC = ||(1/K) sum v_r||, QIR = sum 2^-(r-1) <u, v_r>, reward = w_g GRC + w_q QIR (CIM, arXiv 2603.01696;
Jia-hn/CIM:reward/reward_server.py@870f58f5). GRC of mutually orthogonal images is 1/sqrt(K), not 0, and QIR is not
divided by the sum of its weights, so that neither is a scale from 0 to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RankWeights = Literal["halving", "uniform"]


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


def qir(cosines: Array, weights: Array, *, normalize: bool = False) -> Array:
    """Query-image relevance (...) of cosines (..., K), best rank first: their weighted sum; NaN (no row) adds 0.

    In [-sum(weights), sum(weights)], 1.75 for halving weights and K = 3. ``normalize`` divides by the summed
    weights of the existing rows.
    """
    there = ~np.isnan(cosines)
    value: Array = np.where(there, cosines, 0.0) @ weights
    return value / np.maximum(there @ weights, weights[0] * np.finfo(np.float64).tiny) if normalize else value


def reward(grc: Array, qir: Array, w_g: float = 1.0, w_q: float = 1.0) -> Array:
    """``w_g`` GRC + ``w_q`` QIR; in [-11/12, 2.75] for K = 3, halving weights and both at 1."""
    return w_g * grc + w_q * qir
