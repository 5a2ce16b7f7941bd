"""Averages, wins and gains that the paper's text claims, recomputed from its tables (A-7 to A-11, A-14).

A claimed number with one decimal may differ by rounding (0.05), and so may the cells it was computed from (0.01 on a
difference of two).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Any

from leaderboards.audit.counts import count
from leaderboards.audit.record import Check, Number, average, plain, signed, verdict
from leaderboards.published import COLUMNS, TITLES, PaperRow

GAINS = {"bleu4": "2.3", "meteor": "3.6", "capture": "2.0", "obj_f1": "4.3", "attr_f1": "5.0", "rel_qa": "5.1"}
ROOM = Fraction(6, 100)
OVER_SC = {
    ("attr_f1", "COCO-LN500"): "1.2",
    ("attr_f1", "DOCCI500"): "1.3",
    ("rel_qa", "COCO-LN500"): "4.8",
    ("rel_qa", "DOCCI500"): "7.3",
}
RELATION_RECALL = {"Qwen2.5-VL": "20.2", "Qwen2-VL": "10.4", "InternVL3": "10.0"}
CLOSED = ("Gemini-1.5", "Claude-3.7")
ABOVE = {"claimed": ("capture", "obj_f1", "attr_f1", "rel_qa"), "not claimed": ("bleu4", "meteor")}


@dataclass(frozen=True, slots=True)
class Group:
    """Table 7's three rows of one backbone on one benchmark."""

    backbone: str
    benchmark: str
    ours: PaperRow
    base: PaperRow
    larger: PaperRow

    @property
    def label(self) -> str:
        """``Qwen2-VL, DOCCI500``."""
        return f"{self.backbone}, {self.benchmark}"


def groups(rows: Sequence[PaperRow]) -> list[Group]:
    """Table 7 by backbone and benchmark: Ours, the base of the same size, the larger base."""
    complete = list[Group]()
    seven = [row for row in rows if row.table == 7]
    for backbone, benchmark in dict.fromkeys((row.base, row.benchmark) for row in seven):
        by_method = {row.method: row for row in seven if (row.base, row.benchmark) == (backbone, benchmark)}
        ours = next((row for method, row in by_method.items() if method.endswith("-Ours")), None)
        if ours is None:
            continue
        base = by_method.get(ours.method.removesuffix("Ours") + "Base")
        larger = next((row for row in by_method.values() if row not in (ours, base)), None)
        if base and larger:
            complete.append(Group(backbone, benchmark, ours, base, larger))
    return complete


def gains(rows: Sequence[PaperRow], claimed: Mapping[str, str] = GAINS) -> Check:
    """A-7: mean gain of Ours over the larger base, and other interpretations of "averaged over all"."""
    backbones = groups(rows)
    table = {column: _readings(backbones, column) for column in claimed}
    matched = {c: abs(table[c]["larger, points"] - Fraction(claimed[c])) <= ROOM for c in claimed}
    right, subsets = sum(matched.values()), _subsets(backbones, claimed)
    return Check(
        id="A-7",
        what="Section 8.2: average gains over the larger sibling",
        inputs={"groups": [group.label for group in backbones]},
        formula="D = mean over groups of (Ours - larger base), points; also by benchmark, mean relative gain, "
        "ratio of means, Ours - own base, and all non-empty subsets of groups",
        tolerance="abs(D - claim) <= 0.05 + 0.01",
        claimed={c: float(text) for c, text in claimed.items()},
        recomputed={c: {name: plain(x) for name, x in table[c].items()} | {"matches": matched[c]} for c in claimed}
        | {"subsets": subsets},
        verdict=verdict(right, len(claimed) - right),
        found=f"{right} of {len(claimed)} claimed averages follow from Table 7; of {subsets['tried']:,} subsets of "
        f"groups the best gives {subsets['most matched']}",
        details=tuple(
            f"{TITLES[c]}: claimed {claimed[c]}, recomputed "
            + ", ".join(f"{signed(x)} ({name})" for name, x in table[c].items())
            for c in claimed
        ),
    )


def _readings(backbones: Sequence[Group], column: str) -> dict[str, Fraction]:
    ours, base, larger = (
        [Fraction(getattr(g, name).values[column]) for g in backbones] for name in ("ours", "base", "larger")
    )
    over = [a - b for a, b in zip(ours, larger, strict=True)]
    readings = {"larger, points": average(over)}
    for benchmark in dict.fromkeys(group.benchmark for group in backbones):
        some = [x for x, group in zip(over, backbones, strict=True) if group.benchmark == benchmark]
        readings[f"larger, points, {benchmark}"] = average(some)
    readings["larger, mean relative %"] = average([100 * x / b for x, b in zip(over, larger, strict=True)])
    readings["larger, ratio of means %"] = 100 * (average(ours) / average(larger) - 1)
    readings["own base, points"] = average([a - b for a, b in zip(ours, base, strict=True)])
    return readings


def _subsets(backbones: Sequence[Group], claimed: Mapping[str, str]) -> dict[str, Any]:
    over = [
        [Fraction(g.ours.values[c]) - Fraction(g.larger.values[c]) - Fraction(claimed[c]) for c in claimed]
        for g in backbones
    ]
    best, tried, which = 0, 0, list[list[str]]()
    for size in range(1, len(backbones) + 1):
        for chosen in combinations(range(len(backbones)), size):
            tried += 1
            hits = sum(abs(sum(column)) <= ROOM * size for column in zip(*(over[at] for at in chosen), strict=True))
            if hits > best:
                best, which = hits, []
            if hits == best and hits:
                which.append([backbones[at].label for at in chosen])
    return {"tried": tried, "most matched": best, "of": len(claimed), "subsets": len(which), "first": which[:1]}


def wins(rows: Sequence[PaperRow]) -> Check:
    """A-8: is Ours better than the larger sibling and than its base in every column?"""
    backbones = groups(rows)
    table, details, won_all, cases = dict[str, Any](), list[str](), 0, 0
    for against in ("larger", "base"):
        name = "larger sibling" if against == "larger" else "own base"
        table[name] = {}
        for column in COLUMNS:
            differences = {g.label: g.ours.values[column] - getattr(g, against).values[column] for g in backbones}
            won = sum(x > 0 for x in differences.values())
            lost = {label: plain(x) for label, x in differences.items() if x <= 0}
            table[name][column] = {"wins": won, "of": len(backbones), "losses": lost}
            won_all, cases = won_all + (not lost), cases + 1
            listed = "".join(f"; {label} {x:+.2f}" for label, x in lost.items())
            details.append(f"{TITLES[column]} over the {name}: {won} of {len(backbones)}{listed}")
    return Check(
        id="A-8",
        what='Section 8.2: "consistently", "surpass much larger models on both"',
        inputs={"groups": [group.label for group in backbones], "columns": list(COLUMNS)},
        formula="Ours - larger base, Ours - own base; a win is above 0",
        tolerance="none",
        claimed="a win in every column and group",
        recomputed=table,
        verdict=verdict(won_all, cases - won_all),
        found=f"without a loss in {won_all} of {cases} comparisons of a column with the larger sibling or the own base",
        details=tuple(details),
    )


def closed_models(rows: Sequence[PaperRow]) -> Check:
    """A-9: Table 6, SFT + Ours is best in all columns, both closed models are above the base."""
    six = {row.base: row for row in rows if row.table == 6}
    ours, base = six["SFT + Ours"], six["Qwen2-VL-7B"]
    best = {c: all(ours.values[c] > row.values[c] for row in six.values() if row is not ours) for c in ours.printed}
    above = {
        group: {name: {c: six[name].values[c] > base.values[c] for c in columns} for name in CLOSED}
        for group, columns in ABOVE.items()
    }
    claims = [*best.values(), *(above_base for named in above["claimed"].values() for above_base in named.values())]
    details = [
        f"{name}, {TITLES[c]}: {signed(six[name].values[c] - base.values[c])} to the base ({group})"
        for group, columns in ABOVE.items()
        for name in CLOSED
        for c in columns
    ]
    return Check(
        id="A-9",
        what="Section 8.1: Table 6",
        inputs={"rows": list(six)},
        formula="SFT + Ours > every other row; closed model > base",
        tolerance="none",
        claimed="SFT + Ours is best in all six columns; both closed models are above the base in CAPTURE, Objects F1, "
        "Attributes F1, Relations QA",
        recomputed={"best": best, "above the base": above},
        verdict=verdict(sum(claims), len(claims) - sum(claims)),
        found=f"best in {sum(best.values())} of {len(best)} columns; closed models are above the base in "
        f"{sum(claims) - sum(best.values())} of {len(claims) - len(best)} claimed cells",
        details=tuple(details),
    )


def over_sc_captioner(rows: Sequence[PaperRow], questions: Mapping[str, int]) -> Check:
    """A-10: Table 8, gains over SFT and SC-Captioner; Relations QA from the recovered counts."""
    eight = {(row.benchmark, row.method): row for row in rows if row.table == 8}
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in eight))
    table, losses, gained, won = dict[str, Any](), list[str](), dict[str, bool](), 0
    for benchmark in benchmarks:
        ours = eight[benchmark, "SFT + Ours"]
        for method in ("SFT", "SC-Captioner"):
            other = eight[benchmark, method]
            differences = {c: _difference(ours.values[c], other.values[c], c, questions[benchmark]) for c in COLUMNS}
            table[f"{benchmark}, over {method}"] = {c: plain(x) for c, x in differences.items()}
            losses += [f"{benchmark}, {TITLES[c]} over {method} {signed(x)}" for c, x in differences.items() if x <= 0]
            won += sum(x > 0 for x in differences.values())
            for (column, place), text in OVER_SC.items():
                if (place, "SC-Captioner") == (benchmark, method):
                    room = Fraction(5, 100) + (0 if column == "rel_qa" else Fraction(1, 100))
                    gained[f"{TITLES[column]}, {place}"] = abs(differences[column] - Fraction(text)) <= room
    return Check(
        id="A-10",
        what="Section 8.3: Table 8, gains over SC-Captioner",
        inputs={"questions": dict(questions), "rows": [row.label for row in eight.values()]},
        formula="SFT + Ours - other; Relations QA as 100 (k1 - k2)/N from the recovered counts",
        tolerance="0.05 for Relations QA, 0.05 + 0.01 for Attributes F1",
        claimed={f"{TITLES[c]}, {b}": float(text) for (c, b), text in OVER_SC.items()}
        | {"consistently outperforms both": True},
        recomputed={"gains as claimed": gained, "differences": table, "losses": losses},
        verdict=verdict(sum(gained.values()) + (not losses), len(gained) - sum(gained.values()) + bool(losses)),
        found=f"{sum(gained.values())} of {len(gained)} claimed gains follow; {won} wins and {len(losses)} losses "
        "or ties over SFT and SC-Captioner, all columns",
        details=(*_gain_lines(table, gained), *(f"not above: {loss}" for loss in losses)),
    )


def _difference(ours: Decimal, other: Decimal, column: str, n: int) -> Fraction:
    k_ours, k_other = (count(value, n) if column == "rel_qa" else None for value in (ours, other))
    return Fraction(ours - other) if k_ours is None or k_other is None else Fraction(100 * (k_ours - k_other), n)


def _gain_lines(table: Mapping[str, Any], gained: Mapping[str, bool]) -> Iterator[str]:
    for (column, benchmark), text in OVER_SC.items():
        key = f"{TITLES[column]}, {benchmark}"
        if key in gained:
            gain = table[f"{benchmark}, over SC-Captioner"][column]
            yield f"{key}: claimed +{text}, recomputed {signed(Fraction(str(gain)), 4)}"


def abstract(rows: Sequence[PaperRow]) -> Check:
    """A-11: "20% improvement in relation reasoning", Qwen2.5-VL-7B on COCO-LN500."""
    group = next(g for g in groups(rows) if (g.backbone, g.benchmark) == ("Qwen2.5-VL", "COCO-LN500"))
    ours, base = group.ours.values["rel_qa"], group.base.values["rel_qa"]
    readings: dict[str, Number] = {
        "points": ours - base,
        "relative to the base, %": 100 * (Fraction(ours) / Fraction(base) - 1),
    }
    matches = {name: abs(Fraction(x) - 20) <= Fraction(51, 100) for name, x in readings.items()}
    named = [name for name, hit in matches.items() if hit]
    return Check(
        id="A-11",
        what='Abstract: "20% improvement in relation reasoning"',
        inputs={"Ours": str(ours), "base": str(base), "row": group.ours.label},
        formula="Ours - base in points; 100 (Ours/base - 1)",
        tolerance="0.5 + 0.01",
        claimed=20,
        recomputed={name: plain(x, 2) for name, x in readings.items()} | {"matching": named},
        verdict=verdict(len(named), int(not named)),
        found=", ".join(f"{signed(x)} {name}" for name, x in readings.items())
        + f"; 20 matches {', '.join(named) or 'neither'}",
    )


def object_recall(rows: Sequence[PaperRow]) -> Check:
    """A-14: gains in "Relation Recall" from a digest of the main paper, interpreted as Objects R of Table 7."""
    by_backbone = {g.backbone: g for g in groups(rows) if g.benchmark == "COCO-LN500"}
    gained = {b: by_backbone[b].ours.values["obj_r"] - by_backbone[b].base.values["obj_r"] for b in RELATION_RECALL}
    matches = {b: abs(Fraction(x) - Fraction(RELATION_RECALL[b])) <= ROOM for b, x in gained.items()}
    right = sum(matches.values())
    return Check(
        id="A-14",
        what='Main paper, COCO-LN500: gains in "Relation Recall", a column that Tables 6 to 8 do not have',
        inputs={"source": "a digest of the main paper, not the paper itself", "column": "obj_r"},
        formula="Objects R: Ours - own base",
        tolerance="0.05 + 0.01",
        claimed={b: float(text) for b, text in RELATION_RECALL.items()},
        recomputed={b: plain(x, 2) for b, x in gained.items()} | {"matches": matches},
        verdict=verdict(right, len(matches) - right),
        found=f"{right} of {len(matches)} gains are those of Objects R",
        details=tuple(f"{b}: claimed +{RELATION_RECALL[b]}, Objects R {signed(x)}" for b, x in gained.items()),
    )


OF_TABLES = (gains, wins, closed_models, abstract, object_recall)
