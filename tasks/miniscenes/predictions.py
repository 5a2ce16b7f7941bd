"""Does the audit of a reward predict what training on it does to the truth? Every reward of the project, one arm each.

``cim audit-reward`` comes first, and the prediction is made by rule from it alone: where a false fact costs more than
a true one earns (price below -1), the share of true statements will rise, otherwise it will fall. Then ``cim train``
trains on this reward alone, with the alarms for truth and collapse tolerated, and the *last* checkpoint, which no
validation chose, is compared with the base on the test scenes. The table is kept in
``results/train/predictions.json``; finished stages are not repeated. Run with
``python -m tasks.miniscenes.predictions [--seed N]``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.resources import paths
from harness.runs import stored_run
from harness.train import checkpoints
from harness.train.audit_result import FACT
from tasks.miniscenes import contrasts, study

FILE = "predictions.json"
OWN_ROW = "miniscenes-own"  # the gallery that holds the training scenes
GALLERIES = {name: "miniscenes" for name in ("cim", "grc", "qir", "clip", "sc", "length")} | {
    name: OWN_ROW for name in ("text", "rr", "self_retrieval")
}
TOLERATED = "truth,distinct,repetition"
SHARE = "statements share_true"
SCENES = "500"


def predicted(price: float | None) -> int:
    """Sign of the change in the share of true statements: 1 where a false fact costs more than a true one earns."""
    return 1 if price is not None and price < -1 else -1


def arm(results: Path, reward: str, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Audit a reward, train on it alone, and compare its last checkpoint with the base."""
    audit = results / paths.TRAINED / f"audit-{reward}.json"
    if not audit.is_file():
        say(f"audit {reward}")
        study.command(say, "audit-reward", reward, "--n", SCENES, "--gallery", "miniscenes", "--out", str(audit))
    prices = (store.read_document(audit) or {})["prices"]
    price = next((row["price"] for row in prices if row["kind"] == FACT), None)
    folder = results / paths.TRAINED / f"only-{reward}-seed{seed}"
    say(f"train {folder.name}")
    options = ("--model", study.BASE, "--rewards", reward, "--gallery", GALLERIES[reward], "--tolerate", TOLERATED)
    study.train(say, folder, seed, options)
    _, last = checkpoints.whole(folder / "checkpoints")[-1]
    study.evaluate(results, str(last), last.name, ("statements", "length"), say)
    base, trained = (stored_run.load(results / study.TASK / run) for run in (study.BASE, last.name))
    test = contrasts.against(base, trained)[SHARE]
    return {"reward": reward, "price": price, "predicted": predicted(price), **test}


def table(results: Path, seed: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per reward, stored as it grows."""
    study.build_galleries(dict.fromkeys(GALLERIES.values()), say)
    study.evaluate(results, study.BASE, study.BASE, ("statements", "length"), say)
    rows = list[dict[str, Any]]()
    for reward in GALLERIES:
        rows.append(arm(results, reward, seed, say))
        store.write_document(results / paths.TRAINED / FILE, {"seed": seed, "rows": rows})
    return rows


def came_true(row: dict[str, Any]) -> bool:
    """Has the change the predicted sign?"""
    return bool(row["difference"] * row["predicted"] > 0)


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The table as Markdown, and how many predictions came true."""
    head = ["| reward | price of a false fact | predicted | true statements %, change | |", "| --- " * 5 + "|"]
    body = [
        f"| {row['reward']} | {'none' if row['price'] is None else format(row['price'], '+.2f')} | "
        f"{'rises' if row['predicted'] > 0 else 'falls'} | {row['value']:.1f}, {row['difference']:+.1f} "
        f"[{row['ci95'][0]:.1f}, {row['ci95'][1]:.1f}] | {'as predicted' if came_true(row) else 'other'} |"
        for row in rows
    ]
    return [*head, *body, f"{sum(map(came_true, rows))} of {len(rows)} as predicted"]


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tasks.miniscenes.predictions", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    try:
        rows = table(paths.results_root(), parser.parse_args(arguments).seed, _say)
    except CimError as error:
        _say(f"predictions: {error}")
        return error.exit_code
    sys.stdout.write("\n".join(lines(rows)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
