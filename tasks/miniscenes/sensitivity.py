"""What the reward can teach: full captions of scenes that nothing was trained on, against damaged ones.

For each kind of damage the share of scenes where the full caption has the higher GRC, QIR and reward (the rest are ties
and losses), and the mean differences. Training raises what wins clearly more than half the time. Run with
``python -m tasks.miniscenes.sensitivity --gallery miniscenes``; ``cim study --pearson`` keeps it in
``results/train/sensitivity.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.retrieval.gallery import key
from harness.retrieval.scorer import CimBatch, CimScorer
from harness.worlds import World

TERMS = ("grc", "qir", "reward")
SCENES = 400


def compare(
    score: Callable[[Sequence[str]], CimBatch], world: World, sample_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """One row per damage: ``win`` shares and mean ``difference`` of full minus damaged captions, by term.

    Args:
        score: scores one caption of each sample.
    """
    rows = []
    for name in world.damages:
        captions = [world.damaged(name, sample_id) for sample_id in sample_ids]
        full, damaged = (score(part) for part in zip(*captions, strict=True))
        apart = {term: getattr(full, term) - getattr(damaged, term) for term in TERMS}
        win = {term: float((values > 0).mean()) for term, values in apart.items()}
        rows.append({"damage": name, "win": win, "difference": {term: float(v.mean()) for term, v in apart.items()}})
    return rows


def table(gallery: str, world: World, count: int = SCENES) -> list[dict[str, Any]]:
    """The rows of a world's first validation scenes against a gallery.

    Raises:
        CimError: no gallery, or other encoders than its own.
    """
    ids = [sample.id for sample in world.samples("validation", count)]
    images = {key(world.name, sample_id): partial(world.draw, sample_id) for sample_id in ids}
    with CimScorer.from_gallery(gallery, "safe") as scorer:
        scorer.add_images(images)
        return compare(lambda captions: scorer.score(captions, list(images)), world, ids)


def main(arguments: Sequence[str] | None = None, say: Callable[[str], Any] = sys.stdout.write) -> int:
    """Print the table; with ``--out`` keep it."""
    parser = argparse.ArgumentParser(prog="python -m tasks.miniscenes.sensitivity", description=__doc__)
    parser.add_argument("--gallery", default="miniscenes")
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    try:
        world = next(iter(registry.training("cim_rl").worlds.values()))
        rows = table(args.gallery, world, args.scenes)
    except CimError as error:
        sys.stderr.write(f"cim: {error}\n")
        return 2
    if args.out:
        store.write_document(args.out, {"gallery": args.gallery, "scenes": args.scenes, "rows": rows})
    say("| damage | GRC wins | QIR wins | reward wins | mean difference GRC, QIR |\n| --- | --- | --- | --- | --- |\n")
    for row in rows:
        wins = " | ".join(f"{100 * row['win'][term]:.0f} %" for term in TERMS)
        say(f"| {row['damage']} | {wins} | {row['difference']['grc']:+.3f}, {row['difference']['qir']:+.3f} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
