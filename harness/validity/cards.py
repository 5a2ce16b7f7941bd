"""Validity cards: what is known of a metric's agreement with people, in one sentence made of stored numbers.

``results/published/validity_cards.json`` is written by ``cim validate --cards``, never by hand. A card speaks for a
metric only where the signature is the one it was measured with, samples and benchmark aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.resources import paths
from harness.runs import signature
from harness.validity.agreement import CHANCE, MAIN

NAME = "validity_cards.json"
PATH = paths.HOME / "results" / "published" / NAME
INSTALLED = Path(__file__).with_name(NAME)  # where a wheel has it
LONG = 30  # words; COCO's and Flickr8k's captions have a median of about 10
USEFUL = 0.7  # AUC under which telling apart is poor (Hosmer, Lemeshow and Sturdivant 2013, section 5.2.4)
NAMES = {"tau_c": "tau-c", "auc": "AUC", "accuracy": "accuracy"}
OF_RUN = ("n", "task")  # fields of a signature that say on what, not how
NONE = "not validated here"


@dataclass(frozen=True, slots=True)
class Card:
    """One metric on one set: the statistic with its 95 % interval, and on what it was measured.

    ``judged``: by people; else the damage to a text is the judgement. ``length`` is the statistic of word count.
    """

    metric: str
    value: str
    label: str
    signature: str
    set: str
    title: str
    shape: str
    criterion: str
    judged: bool
    statistic: str
    estimate: float
    ci95: tuple[float, float]
    length: float | None
    judgements: int
    texts: int
    images: int
    median_words: float

    @property
    def better_than_chance(self) -> bool:
        """Does the whole interval lie above what a metric without information has?"""
        return self.ci95[0] > CHANCE[self.statistic]

    @property
    def long(self) -> bool:
        """Are the texts long captions?"""
        return self.median_words >= LONG

    @property
    def number(self) -> str:
        """``tau-c 0.439 [0.418, 0.459]``."""
        return f"{NAMES[self.statistic]} {self.estimate:.3f} [{self.ci95[0]:.3f}, {self.ci95[1]:.3f}]"

    @property
    def where(self) -> str:
        """``Flickr8k-Expert, 11 words``."""
        return f"{self.title}, {self.median_words:.0f} words"


def of_document(document: Mapping[str, Any], criterion: str, *, judged: bool) -> list[Card]:
    """The cards of a validation (``validation.document``) by one of its criteria; none of a value without interval."""
    rows, cards = document["criteria"][criterion], list[Card]()
    main = next(statistic for shape, statistic in MAIN.items() if shape == document["shape"])
    of_length = next(row["agreement"] for row in rows["metrics"] if row["metric"] == "length")
    for row in rows["metrics"]:
        for statistic in (main,) if judged else (main, "auc"):
            estimate = row["agreement"].get(statistic, {})
            if estimate.get("value") is not None and estimate["ci95"] is not None:
                on = {name: document[name] for name in ("set", "title", "shape")}
                on |= {name: rows[name] for name in ("judgements", "texts", "images", "median_words")}
                of_row = {name: row[name] for name in ("metric", "value", "label", "signature")}
                low, high = estimate["ci95"]
                cards.append(
                    Card(
                        **of_row,
                        **on,
                        criterion=criterion,
                        judged=judged,
                        statistic=statistic,
                        estimate=estimate["value"],
                        ci95=(low, high),
                        length=of_length.get(statistic, {}).get("value"),
                    )
                )
    return cards


def write(cards: Sequence[Card], path: Path) -> None:
    """Store cards."""
    store.write_document(
        path, {"format": 1, "command": "cim validate --cards", "cards": [asdict(card) for card in cards]}
    )


@cache
def read() -> tuple[Card, ...]:
    """The stored cards.

    Raises:
        CimError: the file is none of cards.
    """
    path = PATH if PATH.is_file() else INSTALLED
    rows = (store.read_document(path) or {}).get("cards", [])
    try:
        return tuple(Card(**{**row, "ci95": tuple(row["ci95"])}) for row in rows)
    except (TypeError, KeyError) as error:
        raise CimError(f"is no file of cards ({error})", where=str(path), hint="cim validate --cards") from error


def of_metric(line: str, value: str, cards: Iterable[Card] | None = None) -> list[Card]:
    """The cards of a metric's value, by the signature of a number; those of another version are not its cards."""
    how = {name: field for name, field in signature.read(line).items() if name not in OF_RUN}
    listed = read() if cards is None else cards
    return [card for card in listed if card.value == value and signature.read(card.signature) == how]


def sentence(line: str, value: str, cards: Iterable[Card] | None = None) -> str:
    """What is known of a metric's value: agreement on short captions, then on long ones.

    Args:
        line: the signature of a number.
        cards: those to speak from; the stored ones if None.
    """
    known = of_metric(line, value, cards)
    if not known:
        return NONE
    sides = {"short captions": False, "long captions": True}
    return ". ".join(f"{side}: {_said([card for card in known if card.long is long])}" for side, long in sides.items())


def _said(cards: Sequence[Card]) -> str:
    """What cards say, those that say the same together."""
    numbers = dict[str, list[str]]()
    for card in cards:
        numbers.setdefault(_finding(card), []).append(f"{card.number}, {card.where}")
    return "; ".join(f"{said} ({'; '.join(listed)})" for said, listed in numbers.items()) or NONE


def _finding(card: Card) -> str:
    """A rule made sentence: at chance where the interval reaches it, hardly better under ``USEFUL``."""
    hardly = "" if card.statistic != "auc" or card.estimate >= USEFUL else "hardly "
    if card.judged and card.shape == "labels":
        return f"{hardly}tells true from invented" if card.better_than_chance else "blind to invention"
    if card.judged:
        otherwise = "disagrees" if card.ci95[1] < CHANCE[card.statistic] else "not shown to agree"
        return f"{'agrees' if card.better_than_chance else otherwise} with people"
    if not card.better_than_chance:
        return "does not notice swapped nouns"
    return (
        f"{hardly}tells texts with swapped nouns" if card.statistic == "auc" else "notices swapped nouns side by side"
    )


def table(cards: Iterable[Card] | None = None) -> list[str]:
    """Cards as a Markdown table: a row per set and statistic, a column per value, word count last."""
    listed = read() if cards is None else tuple(cards)
    labels = list(dict.fromkeys(card.label for card in listed))
    cells = {
        (card.where, card.statistic, card.label): f"{card.estimate:.2f} [{card.ci95[0]:.2f}, {card.ci95[1]:.2f}]"
        for card in listed
    }
    lines = [f"| texts; statistic | {' | '.join(labels)} |", f"| --- |{' ---: |' * len(labels)}"]
    for where, statistic in dict.fromkeys((card.where, card.statistic) for card in listed):
        row = " | ".join(cells.get((where, statistic, label), "–") for label in labels)
        lines.append(f"| {where}; {NAMES[statistic]} | {row} |")
    return lines


def summary(metrics: Sequence[tuple[str, str, str]], cards: Iterable[Card] | None = None) -> str:
    """One line on several metrics for a terminal: agreement on short captions, invention in long ones.

    Args:
        metrics: label, signature and value of each; those without a card are named last.
    """
    listed = read() if cards is None else tuple(cards)
    known = {label: [card for card in of_metric(line, value, listed) if card.judged] for label, line, value in metrics}
    parts = list[str]()
    for long in (False, True):
        of_side = [card for label in known for card in known[label] if card.long is long]
        covered = Counter(card.set for card in of_side)
        best = max(of_side, key=lambda card: (covered[card.set], card.judgements, card.set), default=None)
        if best is not None:
            same = [card for card in of_side if card.set == best.set]
            numbers = ", ".join(f"{card.label} {card.estimate:.2f}" for card in same)
            blind = [card.label for card in same if not card.better_than_chance]
            at_chance = f" (no better than chance: {', '.join(blind)})" if blind else ""
            parts.append(f"{best.where}: {NAMES[best.statistic]} {numbers}{at_chance}")
    without = [label for label, listed_cards in known.items() if not listed_cards]
    absent = [f"{NONE}: {', '.join(without)}"] if without else []
    on = " on " if parts else ": "
    return f"agreement with people{on}{'; '.join(parts + absent)} (docs/validity.md)" if parts or absent else ""
