"""A sequential one-sided test that holds its error over all evaluations of a training run.

Every evaluation captions the same images, so later ones do not add information to earlier ones as patients do in a
trial: the Brownian correlation behind the boundaries of Lan and DeMets (1983) does not hold here. Their idea does: a
budget alpha, of which each look spends a share. As each look is tested by itself at its share (Bonferroni), the chance
of any false alarm is at most the sum of the shares, alpha, however evaluations depend on each other. The shares are
equal where the number of looks is known (the budget of Pocock 1977), else 1/2, 1/6, ..., 1/(k (k + 1)) of alpha.
"""

from __future__ import annotations

import math
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
