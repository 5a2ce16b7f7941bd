"""Section (e): what happened during training: curves, diagnostics, alarms."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.report import curves, draw
from leaderboards.report.curves import STEPS, VALIDATION, Training
from leaderboards.report.parts import NONE, Missing, Part, Remark, Section, Table, number

TOGETHER = 4  # arms per chart
LAST = (
    ("reward", (STEPS, "reward.mean"), 3),
    ("QIR", (STEPS, "terms.qir.mean"), 3),
    ("QIR, other images", (STEPS, "retrieval.qir_shuffled"), 3),
    ("tokens", (STEPS, "length.mean"), 1),
    ("KL", (STEPS, "kl"), 3),
    ("distinct", (STEPS, "text.distinct_images"), 2),
    ("held-out statements that are true", (VALIDATION, "truth"), 1),
)
WHAT = (
    "QIR against shuffled source images (grey) is the control of QIR: if both rise together, the policy adapts to the "
    "gallery and not to the image. Length, KL, distinct captions and the held-out share of true statements "
    "show what a rising reward may cost."
)


def section(runs: Sequence[Training]) -> Section:
    """Charts of a few arms each, and a table of first and last values of every run."""
    title = "What happened in training?"
    if not runs:
        return Section("training", title, (Missing("No training run is stored.", "make train-cim"),))
    order = list(dict.fromkeys(run.arm for run in runs))
    rewarded = [arm for arm in order if any((STEPS, "reward.mean") in run.lines for run in runs if run.arm == arm)]
    parts: list[Part] = [Remark(WHAT)]
    for start in range(0, len(rewarded), TOGETHER):
        arms = rewarded[start : start + TOGETHER]
        shown = [run for run in runs if run.arm in arms]
        parts.append(draw.training(f"training-{start // TOGETHER + 1}", shown, rewarded))
    head = ("run", "steps", "ended", "alarms", *(label for label, *_ in LAST))
    rows = tuple(_row(run) for run in runs)
    batches = sorted({run.captions for run in runs if run.captions})
    note = (
        "First to last logged value. A step is "
        f"{' or '.join(map(str, batches)) or 'an unknown number of'} sampled captions; supervised runs log no reward. "
        "Alarms: name and the first step at which it was raised."
    )
    numbers = {run.name: {"steps": run.steps, "ended": run.ended} for run in runs}
    parts.append(Table("Runs", head, rows, note))
    if said := [(run.name, *row) for run in runs for row in run.captions_of]:
        parts.append(_captions(said))
    return Section("training", title, tuple(parts), numbers)


def _captions(said: Sequence[tuple[str, str, str, int, str]]) -> Table:
    head = ("run", "held-out image", "checkpoint", "caption")
    rows = tuple((run, image, f"{which}, step {step}", caption or NONE) for run, image, which, step, caption in said)
    note = "Greedy captions of the first held-out images: read them before you believe a curve."
    return Table("What the checkpoints say", head, rows, note, folded=True)


def _row(run: Training) -> tuple[str, ...]:
    first = dict[str, int]()
    for step, name in run.alarms:
        first.setdefault(name, step)
    alarms = ", ".join(f"{name} (step {step})" for name, step in first.items())
    cells = (_ends(run.lines.get(key), digits) for _, key, digits in LAST)
    return run.name, str(run.steps), run.ended, alarms or "none", *cells


def _ends(line: curves.Line | None, digits: int) -> str:
    return f"{number(line[0][1], digits)} → {number(line[-1][1], digits)}" if line else NONE
