"""How often the gate cries wolf, and what it misses: mini-detailed at T = 0.3, many seeds, objects dropped.

Every seed is generated and scored in full; seed 0 is the baseline. ``python -m tests.gate_rates`` prints false alarms
of the other seeds, then how often the gate fails captions of which a share of the objects was dropped: those of the
other seeds against seed 0, and greedy ones against the committed baseline. About fifteen minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.command import cli
from harness.runs import stored_run
from harness.runs.stored_run import StoredRun
from leaderboards import gate
from tests.cli import captions_file
from tests.weaker import drop_objects, sampled

SHARES = (0.01, 0.02, 0.03, 0.05, 0.1)


def evaluated(model: str, results: Path, *options: str) -> StoredRun:
    """A run of miniscenes by this model, made or gone on with."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        code = cli.main(["eval", "--model", model, "--task", "miniscenes", "--results", str(results), *options])
    assert code == 0, told.getvalue()
    return stored_run.load(stored_run.find(Path(model).stem, results, "miniscenes"))


def worst(outcome: gate.Gate) -> tuple[gate.Row, float]:
    """The gated value that fell furthest in units of its margin, and its drop in points."""
    drops = []
    for row in outcome.rows:
        if row.margin:
            better = row.comparison.higher_is_better is False
            drops.append((row, (row.test.difference if better else -row.test.difference) / row.margin * outcome.points))
    return max(drops, key=lambda pair: pair[1])


def told(outcome: gate.Gate) -> str:
    """One line on a comparison: verdict, largest drop with its p, smallest corrected p of all."""
    row, drop = worst(outcome)
    smallest = min(outcome.rows, key=lambda entry: entry.comparison.holm_permutation)
    verdict = (
        "FAILED " + ", ".join(entry.comparison.label for entry in outcome.failures) if outcome.failures else "passed"
    )
    return (
        f"{outcome.run.model}: {verdict}; largest drop {drop:.2f} points, {row.comparison.label}, "
        f"p {row.test.p_permutation:.4f}, corrected {row.comparison.holm_permutation:.4f}; smallest corrected p "
        f"{smallest.comparison.holm_permutation:.4f}, {smallest.comparison.label} {smallest.test.difference:+.2f}"
    )


def dropped(name: str, captions: Mapping[str, str], share: float, seed: int, results: Path, models: Path) -> StoredRun:
    """A run of captions of which a share of the objects was dropped."""
    path = captions_file(
        models / f"{name}-without-{100 * share:g}-seed-{seed:02d}.jsonl", drop_objects(captions, share, seed)
    )
    return evaluated(str(path), results)


def captions_of(run: StoredRun) -> dict[str, str]:
    """A run's captions by sample id."""
    return {key: completion.text or "" for key, completion in run.files.completions().items()}


def summary(title: str, outcomes: Sequence[gate.Gate]) -> str:
    """One line on many comparisons: how many failed, and how far the worst values fell."""
    drops = [worst(outcome)[1] for outcome in outcomes]
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    return f"{title}: failed {failed} of {len(outcomes)}; largest drop {np.mean(drops):.2f} points in the mean"


def detectable(outcomes: Sequence[gate.Gate]) -> Iterator[str]:
    """Minimum detectable difference of each value, the mean over comparisons."""
    for rows in zip(*(outcome.rows for outcome in outcomes), strict=True):
        yield f"  {rows[0].comparison.label}: {np.mean([row.test.detectable for row in rows]):.3g}"


def main() -> None:
    """Generate, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--results", type=Path, help="keep the runs here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results, models = args.results or Path(scratch) / "results", Path(scratch) / "models"
        os.environ["CIM_MODELS"] = str(models)
        runs = [evaluated(sampled(models, seed), results) for seed in range(args.seeds + 1)]
        noise = [gate.compare_with(run, runs[0]) for run in runs[1:]]
        print("\n".join(map(told, noise)))
        print(summary("seed 0 the baseline", noise))
        pairs = [(a, b) for a in runs for b in runs if a is not b]
        print(summary("every seed the baseline of every other", [gate.compare_with(b, a) for a, b in pairs]))
        print("minimum detectable difference of two seeds:", *detectable(noise), sep="\n", flush=True)
        kept = stored_run.load(gate.BASELINES / "miniscenes" / "mini-detailed")
        for share in SHARES:
            drawn = [(run.model, captions_of(run), runs[0]) for run in runs[1:]]
            greedy = [("greedy", captions_of(kept), kept)] * args.seeds
            for title, sources in (("T = 0.3, another seed", drawn), ("greedy, the same captions", greedy)):
                outcomes = [
                    gate.compare_with(dropped(name, captions, share, seed, results, models), baseline)
                    for seed, (name, captions, baseline) in enumerate(sources, start=1)
                ]
                print(summary(f"{100 * share:g} % of objects dropped, {title}", outcomes), flush=True)


if __name__ == "__main__":
    main()
