"""A sequential one-sided test that holds its error over all evaluations of a training run.

Every evaluation captions the same images, so later ones do not add information to earlier ones as patients do in a
trial: the Brownian correlation behind the boundaries of Lan and DeMets (1983) does not hold here. Their idea does: a
budget alpha, of which each look spends a share. As each look is tested by itself at its share (Bonferroni), the chance
of any false alarm is at most the sum of the shares, alpha, however evaluations depend on each other. The shares are
equal where the number of looks is known (the budget of Pocock 1977), else 1/2, 1/6, ..., 1/(k (k + 1)) of alpha.

``decision`` is for images of one benchmark that are judged in a random order until it is clear what all will show.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.runs import stats

if TYPE_CHECKING:
    from harness.parts import Array

ALPHA = 0.05


def share(left: float, look: int, looks: int | None = None) -> float:
    """What look number ``look`` (from 1) spends of the ``left`` budget; ``looks`` is how many there will be.

    Looks beyond the planned number spend as if their number were unknown; nothing left spends nothing.
    """
    return left / (looks - look + 1) if looks is not None and look <= looks else left / (look + 1)


def p_worse(differences: Array) -> float:
    """One-sided p of differences (n,) per image under "the mean is not below 0": paired t test, n - 1 degrees.

    1 where fewer than two images or no difference; 0.5^n (a sign test) where all images lose the same.
    """
    n = len(differences)
    mean = float(differences.mean()) if n else 0.0
    if n < 2 or mean >= 0:
        return 1.0
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    return 0.5**n if error <= 1e-12 * abs(mean) else stats.student(mean / error, n - 1)


BETTER, WORSE, NO_DIFFERENCE, UNDECIDED = "better", "worse", "no difference", "undecided"
LOOK, FIRST = 25, 50  # images between two looks, and before the first
SURE = 1.85  # predictive standard errors between the mean of all images and what is said of it
SEED = "0"


def order(images: Sequence[str]) -> list[str]:
    """Images in a random order that needs no file: that of a hash of their names."""
    return sorted(images, key=lambda name: hashlib.sha256(f"{SEED}:{name}".encode(errors="surrogatepass")).digest())


def decision(differences: Array, images: int, least: float, largest: float) -> str | None:
    """What all ``images`` will show, by differences (n,) of those judged so far, a random part; None: go on.

    What is predicted is the test with all images: significant at 5 % (``BETTER``, ``WORSE``), else a mean difference
    below ``least`` (``NO_DIFFERENCE``). The mean of all is normal about that of the n, with variance s^2 (1/n -
    1/images): sampling without replacement. Predictive stopping as in Spiegelhalter, Freedman and Blackburn 1986. Into
    s^2 goes one more image with the ``largest`` possible difference, so that n equal ones are no certainty.
    """
    n, middle = len(differences), float(differences.mean())
    squares = float(((differences - middle) ** 2).sum())
    if n >= images:
        edge, unsure = stats.NORMAL.inv_cdf(1 - ALPHA / 2) * math.sqrt(squares / (n - 1) / n), 0.0
    else:
        sd = math.sqrt((squares + largest**2) / (n - 1))
        edge = stats.NORMAL.inv_cdf(1 - ALPHA / 2) * sd / math.sqrt(images)
        unsure = SURE * sd * math.sqrt(1 / n - 1 / images)
    if abs(middle) - unsure > edge:
        return BETTER if middle > 0 else WORSE
    if abs(middle) + unsure < least:
        return NO_DIFFERENCE
    return UNDECIDED if n >= images else None


def looks(images: int) -> list[int]:
    """How many images are judged at each look; all at the last."""
    return [*range(FIRST, images, LOOK), images]
