"""Command line of ``cim plan``: images and judge calls that a difference needs, from stored runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.command.numbers import between, positive
from harness.command.places import split
from harness.errors import CimError, one_line
from harness.resources import paths

if TYPE_CHECKING:
    from harness.parts import Metric
    from harness.runs.power import Plan, Test
    from harness.runs.stored_run import StoredRun
    from harness.stages.costs import PerImage

KEPT = 3  # columns that every width shows


@dataclass(frozen=True, slots=True)
class Planned:
    """What was planned, of which runs, by which test, for which difference; calls, and what was left out, by metric."""

    runs: Sequence[StoredRun]
    test: Test
    difference: float | None
    plans: Sequence[tuple[Metric, Plan]]
    calls_of: Mapping[str, PerImage | None]
    left_out: Mapping[str, str]


def options(verb: argparse.ArgumentParser) -> None:
    """Options of ``cim plan``."""
    verb.add_argument("run_a", metavar="A", help="stored run: folder or name")
    about = "a second run on the same images; without it the correlation of two runs is assumed"
    verb.add_argument("run_b", metavar="B", nargs="?", help=about)
    verb.add_argument("--task", help="task of the runs, where names are given")
    verb.add_argument("--metrics", "--metric", metavar="A[,B]", help="default: all that the runs have")
    verb.add_argument(
        "--difference",
        type=between(0, 1e6),
        metavar="D",
        help="true difference to find, in units of the value",
    )
    verb.add_argument("--power", type=between(0.5, 1), metavar="P", help="chance to find it (default: 0.8 and 0.9)")
    verb.add_argument("--alpha", type=between(0, 0.5), default=0.05, metavar="P", help="level of the test (0.05)")
    about = "p values that Holm corrects together, values times runs (default 1)"
    verb.add_argument("--comparisons", type=positive, default=1, metavar="K", help=about)
    about = "of two runs over images, with one run (default: 0.5 and 0.9)"
    verb.add_argument("--correlation", type=between(-1, 1), metavar="R", help=about)
    verb.add_argument("--wide", action="store_true", help="all columns, however narrow the terminal is")


def plan_verb(args: argparse.Namespace) -> int:
    """Print what each value needs."""
    from harness.runs import power, stored_run
    from harness.stages import costs

    results = paths.results_root(args.results)
    names = [name for name in (args.run_a, args.run_b) if name is not None]
    runs = [stored_run.load(stored_run.find(name, results, args.task)) for name in names]
    if len(runs) > 1 and args.correlation is not None:
        raise CimError("--correlation is an assumption for one run; two runs have their own")
    test = power.Test(args.alpha, args.comparisons, (args.power,) if args.power else power.POWERS)
    metrics, left_out = _metrics(runs, split(args.metrics))
    plans = _plans(runs, metrics, test, args)
    calls_of = {metric.name: costs.per_image(runs[-1], metric) for metric in metrics}
    planned = Planned(runs, test, args.difference, plans, calls_of, left_out)
    if args.json:
        print(json.dumps(_document(planned), indent=1))
    else:
        print("\n".join(_lines(planned, wide=args.wide)))
    return 0


def _metrics(runs: Sequence[StoredRun], named: Sequence[str]) -> tuple[list[Metric], dict[str, str]]:
    """The metrics to plan for, and why others that one of the runs has are left out; CimError for a named one."""
    from harness import registry
    from harness.pages import scores
    from harness.runs import stored_run

    first, last = runs[0], runs[-1]
    known = sorted({**first.scores, **last.scores}, key=scores.order)
    chosen = [registry.named("metrics", name) for name in named] or known
    words = ("run a", "run b") if len(runs) > 1 else ("this run", "this run")
    reasons = {name: stored_run.obstacle(first.scores.get(name), last.scores.get(name), words) for name in chosen}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    fit = [registry.metric(name) for name in chosen if name not in left_out]
    if left_out and (named or not fit):
        what = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise CimError(what, where=str(last.files.folder))
    if not fit:
        raise CimError("no metric is computed", where=str(last.files.folder))
    return fit, left_out


def _plans(
    runs: Sequence[StoredRun], metrics: Sequence[Metric], test: Test, args: argparse.Namespace
) -> list[tuple[Metric, Plan]]:
    from harness.runs import compare, power

    if len(runs) > 1:
        pairs = zip(metrics, compare.pairs(runs[0], runs[1], metrics), strict=True)
        rows = [(metric, power.of_pair(metric, pair, test, args.difference)) for metric, pair in pairs]
    else:
        assumed = power.CORRELATIONS if args.correlation is None else (args.correlation,)
        rows = [
            (metric, power.of_run(metric, runs[0].column(metric), test, args.difference, assumed)) for metric in metrics
        ]
    return [(metric, plan) for metric, plans in rows for plan in plans]


def _lines(planned: Planned, *, wide: bool) -> list[str]:
    from harness.pages import text

    runs, test, plans, calls_of = planned.runs, planned.test, planned.plans, planned.calls_of
    width = None if wide else text.screen_width()
    judged = bool(planned.difference) and any(calls_of.values())
    head = ["metric", "sd of b - a" if len(runs) > 1 else "sd of difference", "95 % interval", "r"]
    head += [f"images {power:.0%}" for power in test.powers] if planned.difference else []
    head += [f"calls {power:.0%}" for power in test.powers] if judged else []
    head += [f"detectable {power:.0%}" for power in test.powers]
    rows = {True: list[list[str]](), False: list[list[str]]()}
    for metric, plan in plans:
        if plan.not_planned is None:
            cells = _row(metric, plan, calls_of[metric.name] if judged else None, judged)
            rows[metric.value(plan.value).main].append(cells)
    between_them = [[""] * len(head)] if rows[True] and rows[False] else []
    table, missing = text.fitted([head, *rows[True], *between_them, *rows[False]], width, KEPT)
    below = [f"left out for width: {', '.join(missing)}; --wide, or --json, shows all"] if missing else []
    reasons = {**planned.left_out, **{m.label(p.value): p.not_planned for m, p in plans if p.not_planned}}
    below += [f"{name} not planned: {reason}" for name, reason in reasons.items()]
    below += [*_legend(planned), *(_judging(calls_of) if judged else ())]
    return [*text.wrapped([_title(runs)], width), *table, *text.wrapped(map(one_line, below), width)]


def _title(runs: Sequence[StoredRun]) -> str:
    from harness.runs import compare

    names = ", ".join(f"{compare.letter(at)} = {name}" for at, name in enumerate(compare.names(runs)))
    return one_line(f"{names}; n = {runs[0].n_images} images of {runs[0].task}")


def _row(metric: Metric, plan: Plan, calls_of: PerImage | None, judged: bool) -> list[str]:
    digits = metric.value(plan.value).decimals
    low, high = plan.sd_ci95
    needed = dict(plan.needed or {})
    more = {power: "+" if images[0] > plan.images else " " for power, images in needed.items()}
    calls = [str(calls_of.of(images[0])[0]) if calls_of else "" for images in needed.values()] if judged else []
    return [
        one_line(metric.label(plan.value)),
        f"{plan.sd:.{digits}f}",
        f"{low:.{digits}f} .. {high:.{digits}f}",
        "-" if plan.correlation is None else f"{plan.correlation:.2f}",
        *(f"{images[0]}{more[power]}" for power, images in needed.items()),
        *calls,
        *(f"{smallest:.{digits}f}" for smallest in (plan.detectable or {}).values()),
    ]


def _legend(planned: Planned) -> Iterator[str]:
    runs, test = planned.runs, planned.test
    level = f"two-sided paired test at {test.level:g}"
    if test.comparisons > 1:
        level += f" ({test.alpha:g} by Holm over {test.comparisons} comparisons)"
    if planned.difference:
        yield (
            f"images: so many find a true difference of {planned.difference:g} in that share of repetitions; "
            f"+ more than the {runs[0].n_images} there are; {level}"
        )
    yield f"detectable: the smallest true difference that these {runs[0].n_images} images find; {level}"
    if len(runs) > 1:
        yield "sd: of the paired difference per image; r: correlation of both runs over images"
    else:
        yield (
            "sd: of the paired difference per image with a run of equal variance whose correlation with this one is r, "
            "an assumption; name a second stored run to measure it"
        )


def _judging(calls_of: Mapping[str, PerImage | None]) -> Iterator[str]:
    for name, each in calls_of.items():
        if each is None:
            continue
        controls = f", those about {each.controls} controls among them" if each.controls else ""
        tokens = "tokens not reported"
        if each.prompt_tokens is not None and each.reply_tokens is not None:
            tokens = f"{each.prompt_tokens:.0f} prompt and {each.reply_tokens:.0f} reply tokens a call"
        price = "price not known"
        if each.price and (cost := each.of(1000)[1]) is not None:
            price = f"{cost:.4g} {each.price.currency} for 1000 images"
        yield f"calls: of one run; {name}: {each.calls:.4g} an image to {each.model}{controls}; {tokens}; {price}"


def _document(planned: Planned) -> dict[str, Any]:
    return {
        "runs": [str(run.files.folder) for run in planned.runs],
        "images": planned.runs[0].n_images,
        "difference": planned.difference,
        "alpha": planned.test.alpha,
        "comparisons": planned.test.comparisons,
        "plans": [_record(plan, planned.calls_of[metric.name]) for metric, plan in planned.plans],
        "not_planned": dict(planned.left_out),
        "judges": {name: asdict(each) for name, each in planned.calls_of.items() if each},
    }


def _record(plan: Plan, calls_of: PerImage | None) -> dict[str, Any]:
    if plan.not_planned is not None:
        return {"metric": plan.metric, "value": plan.value, "not_planned": plan.not_planned}
    powers = []
    for power, detectable in (plan.detectable or {}).items():
        row: dict[str, Any] = {"power": power, "detectable": detectable}
        if needed := (plan.needed or {}).get(power):
            row |= {"images": needed[0], "images_ci95": needed[1:]}
            row |= dict(zip(("judge_calls", "price"), calls_of.of(needed[0]), strict=True)) if calls_of else {}
        powers.append(row)
    known = {"metric": plan.metric, "value": plan.value, "images": plan.images, "sd": plan.sd, "sd_ci95": plan.sd_ci95}
    return {**known, "correlation": plan.correlation, "powers": powers}
