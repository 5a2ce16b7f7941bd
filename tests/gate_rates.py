"""How often the gate cries wolf, and what it misses: mini-base at T = 0.3, many seeds, objects dropped.

Every seed is generated and scored in full; seed 0 is the baseline. ``python -m tests.gate_rates`` prints false alarms
of the other seeds, then how often it fails captions of which a share of the objects was dropped. About ten minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from pathlib import Path

from harness import cli, records, scored
from leaderboards import gate, runs
from tests.cli import captions_file
from tests.weaker import drop_objects, sampled

SHARES = (0.01, 0.02, 0.03, 0.05, 0.1)


def evaluated(model: str, results: Path, *options: str) -> runs.Run:
    """A run of miniscenes by this model, made or gone on with."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        code = cli.main(["eval", "--model", model, "--task", "miniscenes", "--results", str(results), *options])
    assert code == 0, told.getvalue()
    return runs.read(scored.find(Path(model).stem, results, "miniscenes"))


def worst(found: gate.Gate) -> tuple[gate.Row, float]:
    """The gated value that fell furthest in units of its margin, and its drop in points."""
    drops = []
    for row in found.rows:
        if row.margin:
            better = gate.lower_is_better(row.comparison.metric, row.comparison.value)
            drops.append((row, (row.test.difference if better else -row.test.difference) / row.margin * found.points))
    return max(drops, key=lambda pair: pair[1])


def told(found: gate.Gate) -> str:
    """One line on a comparison: verdict, largest drop with its p, smallest corrected p of all."""
    row, drop = worst(found)
    smallest = min(found.rows, key=lambda one: one.comparison.holm_permutation)
    verdict = "FAILED " + ", ".join(one.comparison.label for one in found.failures) if found.failures else "passed"
    return (
        f"{found.run.model}: {verdict}; largest drop {drop:.2f} points, {row.comparison.label}, "
        f"p {row.test.p_permutation:.4f}, corrected {row.comparison.holm_permutation:.4f}; smallest corrected p "
        f"{smallest.comparison.holm_permutation:.4f}, {smallest.comparison.label} {smallest.test.difference:+.2f}"
    )


def main() -> None:
    """Generate, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--results", type=Path, help="keep the runs here")
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results, models = args.results or Path(scratch) / "results", Path(scratch) / "models"
        os.environ["CIM_MODELS"] = str(models)
        made = [evaluated(sampled(models, seed), results) for seed in range(args.seeds + 1)]
        noise = [gate.judge(run, made[0]) for run in made[1:]]
        print("\n".join(map(told, noise)))
        print(f"false alarms, seed 0 the baseline: {sum(bool(one.failures) for one in noise)} of {len(noise)}")
        pairs = [(a, b) for a in made for b in made if a is not b]
        alarms = sum(bool(gate.judge(b, a).failures) for a, b in pairs)
        print(f"false alarms, every seed the baseline once: {alarms} of {len(pairs)}", flush=True)
        for share in args.shares:
            found = []
            for seed, run in enumerate(made[1:], start=1):
                captions = {key: one.text or "" for key, one in records.read(run.folder).items()}
                path = models / f"dropped-{100 * share:g}-seed-{seed:02d}.jsonl"
                captions_file(path, drop_objects(captions, share, seed))
                found.append(gate.judge(evaluated(str(path), results), made[0]))
            drop = sum(worst(one)[1] for one in found) / len(found)
            failed = sum(bool(one.failures) for one in found)
            print(f"{100 * share:g} % of objects dropped: failed {failed} of {len(found)}, mean worst drop {drop:.2f}")


if __name__ == "__main__":
    main()
