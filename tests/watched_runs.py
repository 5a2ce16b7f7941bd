"""How often a watch stops: simulated evaluations of images whose quality falls, or does not.

Values of an image are those of miniscenes' metrics in kind: shares of a few facts, in percent, many the same at both
steps. ``python -m tests.watched_runs`` prints false alarms of 2,000 null runs and how soon a drop is flagged.
"""

from __future__ import annotations

import numpy as np

from harness.runs import sequential

FACTS = 10  # of an image; a caption has each of them or not
LOOKS = 25


def values(rng: np.random.Generator, hard: np.ndarray, drop: float, changed: float) -> np.ndarray:
    """Paired differences (n,) in points: a share of facts said anew at another step, less often by ``drop`` points.

    ``hard`` (n,) is the chance that a fact of an image is said.
    """
    chance = hard[:, None].repeat(FACTS, 1)
    before, anew = rng.random(chance.shape) < chance, rng.random(chance.shape) < chance
    after = np.where(rng.random(chance.shape) < changed, anew, before)
    lost = rng.random(chance.shape) < drop / 100 / hard.mean()
    return 100 * ((after & ~lost).mean(1) - before.mean(1))


def first_flag(rng: np.random.Generator, n: int, drop: float, at: int, looks: int | None, changed: float = 0.3) -> int:
    """Number of the look that calls the run worse, 0 if none; the drop begins at look ``at``."""
    hard, left = rng.beta(6, 3, n), sequential.ALPHA
    for look in range(1, LOOKS + 1):
        level = sequential.share(left, look, looks)
        left -= level
        if sequential.p_worse(values(rng, hard, drop if look >= at else 0.0, changed)) <= level:
            return look
    return 0


def false_alarms(runs: int, n: int, looks: int | None, seed: int = 0) -> float:
    """Share of runs without any drop that are called worse."""
    rng = np.random.default_rng(seed)
    return sum(first_flag(rng, n, 0.0, 1, looks) > 0 for _ in range(runs)) / runs


def flagged(runs: int, n: int, drop: float, at: int, looks: int | None, seed: int = 1) -> float:
    """Share of runs with a drop at look ``at`` that are called worse at that look or the next."""
    rng = np.random.default_rng(seed)
    return sum(first_flag(rng, n, drop, at, looks) in (at, at + 1) for _ in range(runs)) / runs


def main() -> None:
    """Print both tables."""
    for looks in (LOOKS, None):
        for n in (50, 100, 200, 500):
            rng = np.random.default_rng(2)
            sd = values(rng, rng.beta(6, 3, 20_000), 0.0, 0.3).std()
            early, late = (flagged(500, n, 3.0, at, looks) for at in (2, 20))
            print(
                f"looks {looks or 'unknown'}, n {n}, sd of a difference {sd:.1f}: false alarms "
                f"{false_alarms(2000, n, looks):.2%}; 3 points flagged within two looks: {early:.0%} at look 2, "
                f"{late:.0%} at look 20"
            )


if __name__ == "__main__":
    main()
