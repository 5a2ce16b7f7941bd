"""Which verdicts to label, in which order: at random, with more of the rare ones than chance would bring.

Strata are the judge's state (right, wrong, unread) by kind. A stratum of N facts gets labels in proportion to the
square root of N (power allocation, Bankier 1988), at least two; the estimate weighs them by what they stand for.
Inside a stratum the order is that of a hash of sample and question, so a plan needs no file: a killed or shared
session goes on, and every beginning of the order is a random sample of each stratum.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from harness.calibration.estimate import Stratum

SEED = "0"
DEFAULT = 200  # labels
LEAST = 2  # of a stratum


def order(strata: Sequence[Stratum], names: Sequence[tuple[str, int]], labels: int) -> list[int]:
    """Indexes of the facts to label, first to last; at most ``labels`` of them.

    Args:
        names: sample id and number of the question of each fact.
    """
    members = dict[Stratum, list[int]]()
    for index, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(index)
    roots = sum(math.sqrt(len(indexes)) for indexes in members.values())
    ranked = list[tuple[float, str, int]]()
    for indexes in members.values():
        wanted = max(LEAST, labels * math.sqrt(len(indexes)) / roots)
        hashed = sorted((_hash(*names[index]), index) for index in indexes)
        ranked += [((rank + 0.5) / wanted, digest, index) for rank, (digest, index) in enumerate(hashed)]
    return [index for _, _, index in sorted(ranked)[:labels]]


def _hash(sample: str, question: int) -> str:
    return hashlib.sha256(f"{SEED}:{sample}:{question}".encode(errors="surrogatepass")).hexdigest()
