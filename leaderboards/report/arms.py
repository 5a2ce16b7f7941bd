"""Sections (b) and (c): the arms of a study compared with its base, and the effect of gallery size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.resources import paths
from harness.runs import manifest, signature
from harness.runs.stored_run import StoredRun
from leaderboards.report import draw, pearson
from leaderboards.report.associations import STUDIED, by_captions
from leaderboards.report.parts import NONE, Missing, Part, Remark, Section, Table, bounds, number, p_text, signed
from leaderboards.report.pearson import RunColumns
from leaderboards.report.study import REFERENCE, Arm, Contrast, Mean, Study, contrasts, over_seeds

VALUES = (
    "objects f1",
    "attributes f1",
    "fine_names f1",
    "capture",
    "relation_qa",
    "statements share_true",
    "statements clean",
    "length",
)
COMMAND = "make ablation SEEDS=3"
SIZED = re.compile(r"gallery-(\d+)")
FEWEST = 2  # sizes of a curve


def ablation(study: Study | None, n: int) -> Section:
    """Figure 4: every arm compared with the base, per seed and over seeds."""
    title = "Which reward term does what?"
    values = [value for value in VALUES if study and any(value in arm.points for arm in study.arms)]
    if study is None or not values:
        return Section("ablation", title, (Missing("No study with an evaluated arm is stored.", COMMAND),))
    parts: list[Part] = [
        draw.ablation(study.arms, values, study.base, n, [arm.name for arm in study.arms]),
        Table("Arms", ("arm", "what it is", "seeds", "stopped by alarm"), tuple(map(_about, study.arms))),
        *(_table(study, value, n) for value in values),
    ]
    if all(len(arm.seeds) < 2 for arm in study.arms):
        parts.append(Missing("One seed per arm: no difference between arms can be significant.", COMMAND))
    means = {arm.name: {value: _mean(arm, value) for value in values} for arm in study.arms}
    numbers = {arm: {value: mean.mean for value, mean in arm_means.items() if mean} for arm, arm_means in means.items()}
    return Section("ablation", title, tuple(parts), numbers)


def _mean(arm: Arm, value: str) -> Mean | None:
    return over_seeds([point.difference for point in arm.points.get(value, ())])


def _about(arm: Arm) -> tuple[str, ...]:
    stopped = ", ".join(f"{name} (seed {seed})" for seed, name in arm.stopped.items())
    return arm.name, arm.about, ", ".join(map(str, arm.seeds)), stopped or NONE


def _table(study: Study, value: str, n: int) -> Table:
    against = {contrast.arm: contrast for contrast in contrasts(study, value)}
    rows = tuple(_row(arm, value, against.get(arm.name)) for arm in study.arms if value in arm.points)
    base = next(point.base for arm in study.arms for point in arm.points.get(value, ()))
    head = ("arm", f"each seed, minus {study.base}", "mean over seeds", f"minus {REFERENCE}", "p (Holm)")
    note = (
        f"{study.base} has {number(base)}; {n} images. Brackets: for a seed, paired bootstrap over images; for a mean "
        f"or a difference to {REFERENCE}, Student's t over seeds. p: the same t, Holm over the arms of this table."
    )
    return Table(value, head, rows, note)


def _row(arm: Arm, value: str, against: Contrast | None) -> tuple[str, ...]:
    seeds = "; ".join(
        f"{signed(p.difference)} {bounds(p.ci95)}{' stopped' if p.seed in arm.stopped else ''}"
        for p in arm.points[value]
    )
    mean = _mean(arm, value)
    over = NONE if mean is None else f"{signed(mean.mean)} {bounds(mean.ci95) if mean.ci95 else 'one seed'}"
    if against is None:
        return arm.name, seeds, over, NONE, NONE
    to_reference = f"{signed(against.mean)} {bounds(against.ci95) if against.ci95 else 'one seed'}"
    return arm.name, seeds, over, to_reference, NONE if against.p_holm is None else p_text(against.p_holm)


def scaling(
    study: Study | None, scored: Sequence[RunColumns], runs: Sequence[StoredRun], results: Path, n: int
) -> Section:
    """Figure 5, two separate readings: gallery size in training, and gallery size in scoring the same captions."""
    numbers = dict[str, object]()
    parts: list[Part] = [
        Remark(
            "Two separate readings: training with galleries of these sizes (all runs scored alike), and scoring the "
            "same fixed captions with galleries of these sizes (nothing trained)."
        )
    ]
    parts += _trained(study, sizes(study, runs, results) if study else {}, n, numbers)
    parts += _scored(scored, numbers)
    return Section("scaling", "How large must the gallery be?", tuple(parts), numbers)


def sizes(study: Study, runs: Sequence[StoredRun], results: Path) -> dict[str, int]:
    """Gallery rows per arm: from its name; for the reference arm, of the gallery with the SHA-256 in its manifest."""
    rows = {arm.name: int(match[1]) for arm in study.arms if (match := SIZED.fullmatch(arm.name))}
    arm = study.arm(REFERENCE)
    for seed in arm.seeds if arm else ():
        stored = manifest.read(results / paths.TRAINED / f"{REFERENCE}-seed{seed}") or {}
        sha = str(stored.get("settings", {}).get("training", {}).get("gallery", ""))
        for run in runs:
            line = str((run.scores.get("cim") or {}).get("signature") or "")
            read = signature.read(line)
            digest = read.get("gallery", "").rpartition("@")[2]
            if digest and sha.startswith(digest) and read.get("rows", "").isdigit():
                rows[REFERENCE] = int(read["rows"])
    return dict(sorted(rows.items(), key=lambda pair: pair[1]))


def _trained(study: Study | None, rows: Mapping[str, int], n: int, numbers: dict[str, object]) -> list[Part]:
    arms = [arm for arm in study.arms if arm.name in rows and arm.points] if study else []
    if study is None or len({rows[arm.name] for arm in arms}) < FEWEST:
        return [Missing("No arms trained with galleries of different sizes are stored.", COMMAND)]
    values = [value for value in VALUES if any(value in arm.points for arm in arms)]
    panels = {
        value: {"runs": sorted((rows[arm.name], p.value) for arm in arms for p in arm.points.get(value, ()))}
        for value in values
    }
    seeds = ", ".join(f"{rows[arm.name]:,} rows: {len(arm.seeds)}" for arm in arms)
    caption = (
        f"Trained with GRC + QIR, {n} test images per point; one mark per seed (seeds: {seeds}), the line joins means."
    )
    units = {value: "words" if value == "length" else "percent" for value in values}
    lines = tuple(
        (f"{rows[arm.name]:,}", arm.name, str(len(arm.seeds)), *(_value(arm, value) for value in values))
        for arm in sorted(arms, key=lambda arm: rows[arm.name])
    )
    numbers["trained"] = {str(rows[arm.name]): {v: _over(arm, v) for v in values} for arm in arms}
    note = f"Mean over seeds and its t interval, {n} images per seed; all were trained from {study.base}."
    return [
        draw.sizes("scaling-trained", panels, units, caption, mean=True),
        Table("Trained with", ("gallery rows", "arm", "seeds", *values), lines, note),
    ]


def _value(arm: Arm, value: str) -> str:
    mean = over_seeds([point.value for point in arm.points.get(value, ())])
    return NONE if mean is None else f"{number(mean.mean)} {bounds(mean.ci95) if mean.ci95 else '(one seed)'}"


def _over(arm: Arm, value: str) -> float | None:
    mean = over_seeds([point.value for point in arm.points.get(value, ())])
    return None if mean is None else mean.mean


def _scored(runs: Sequence[RunColumns], numbers: dict[str, object]) -> list[Part]:
    groups = by_captions([columns for columns in runs if columns.run.task in STUDIED and columns.gallery_rows])
    groups = [group for group in groups if len({columns.gallery_rows for columns in group}) >= FEWEST]
    if not groups:
        return [Missing("No captions are scored with galleries of different sizes.", "make ablation")]
    parts = list[Part]()
    for group in groups:
        group = sorted(group, key=lambda columns: columns.gallery_rows or 0)
        by_size = pearson.brief(group)
        rows = [columns.gallery_rows or 0 for columns in group]
        curves = {
            title: {
                name: [
                    (size, float(getattr(panels[at], key) or 0.0)) for size, panels in zip(rows, by_size, strict=True)
                ]
                for at, name in enumerate(pearson.METRICS)
                if all(getattr(panels[at], key) is not None for panels in by_size)
            }
            for title, key in (("un-binned r", "raw"), ("binned r", "r"), ("un-binned Spearman's rho", "rho"))
        }
        curves = {title: lines for title, lines in curves.items() if lines}
        n, task = len(group[0].ids), group[0].run.task
        caption = f"The same {n:,} captions of {task} scored with each gallery; correlation with {group[0].source}."
        if curves:
            parts.append(
                draw.sizes(f"scaling-scored-{task}", curves, dict.fromkeys(curves, "correlation"), caption, False)
            )
        lines = tuple(
            (f"{size:,}", columns.run.model, panel.metric, number(panel.r),
             f"{number(panel.raw)} {bounds(panel.raw_ci)}", number(panel.rho),
             number(float(columns.metrics[panel.metric].mean()), 3))
            for size, columns, panels in zip(rows, group, by_size, strict=True)
            for panel in panels
        )  # fmt: skip
        head = ("gallery rows", "run", "metric", "binned r", "un-binned r", "un-binned rho", "mean of the metric")
        parts.append(Table(f"Scored with, {task}", head, lines, f"{n:,} captions, the same in every row."))
        numbers[f"scored {task}"] = {str(s): {p.metric: p.raw for p in e} for s, e in zip(rows, by_size, strict=True)}
    return parts
