"""Judgements of a user's own: a file of rows, or what a ``task.toml`` names under ``[judgements]``.

Rows as any captions file may have them (JSON lines, CSV, parquet ...): an image's ``id`` and

* ratings: ``caption``, ``rating`` (a number, or a list of one per rater);
* labels: ``caption``, ``label`` (1, true, yes, right or 0, false, no, wrong);
* pairs: ``a``, ``b`` (texts), ``preferred`` (``a``, ``b`` or ``tie``; or a number, positive for a).

``system`` (of pairs ``system_a`` and ``system_b``) and ``criterion`` may stand beside them. The keys of the first row
say which shape it is. A judgement that is empty, null or NaN is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.benchmark import build, definition
from harness.errors import CimError
from harness.forms import ids
from harness.forms import texts as forms
from harness.forms.entries import Entry
from harness.forms.keys import ABSENT, CAPTIONS, IDS, Named, value
from harness.resources import data
from harness.validity import layouts
from harness.validity.judgements import SHAPES, Judgement, Shape, Source, checked

A, B = ("a", "caption_a", "caption1", "caption_1"), ("b", "caption_b", "caption2", "caption_2")
KEYS: Mapping[str, tuple[str, ...]] = {
    "id": IDS,
    "caption": CAPTIONS.texts,
    "a": A,
    "b": B,
    "system": CAPTIONS.systems,
    "system_a": ("system_a", "system1", "model_a", "model1"),
    "system_b": ("system_b", "system2", "model_b", "model2"),
    "criterion": ("criterion", "aspect", "dimension"),
}
VALUES: Mapping[Shape, tuple[str, ...]] = {
    "ratings": (*forms.RATINGS, "human_score"),
    "labels": ("label", "correct", "right"),
    "pairs": ("preferred", "preference", "winner", "choice"),
}
WORDS = {"true": 1.0, "yes": 1.0, "right": 1.0, "false": 0.0, "no": 0.0, "wrong": 0.0}
CHOICES = {"a": 1.0, "first": 1.0, "b": -1.0, "second": -1.0, "tie": 0.0, "equal": 0.0}
PLACES = ({0.0, 1.0}, {1.0, 2.0})  # numbers that may be the place of the preferred text, or say how much


@dataclass(frozen=True, slots=True)
class Own:
    """A file of judgements: shape and keys where they are named, references by image where there are some.

    ``name`` has a suffix, so that it is never that of a published set.
    """

    file: Path
    shape: Shape | None
    keys: Mapping[str, str]
    references: Mapping[str, tuple[str, ...]]
    name: str


def of_file(
    path: Path, references: Path | None, shape: Shape | None = None, keys: Mapping[str, str] | None = None
) -> Own:
    """Judgements in a file, references in another.

    Args:
        keys: where a row has what; ``id``, ``caption``, ``value``, ``a``, ``b``, ``system`` ...; guessed where absent.
    """
    texts = {} if references is None else {row.id: row.texts for row in forms.read(references, forms.REFERENCES).rows}
    return Own(path, shape, keys or {}, texts, path.name)


def of_task(path: Path) -> Own:
    """Judgements that a ``task.toml`` names, on the references of its benchmark.

    Raises:
        CimError: it names none, or their file is another than its sha256 says.
    """
    given = definition.read(path)
    table = given.tables.get(definition.JUDGEMENTS)
    if table is None:
        hint = '[judgements] with file = "ratings.csv"'
        raise CimError("names no judgements", where=str(path), hint=hint)
    file, shape = Path(table["file"]), next((known for known in SHAPES if known == table.get("shape")), None)
    if "shape" in table and shape is None:
        raise CimError(f"judgements.shape is {table['shape']!r}", where=str(path), hint=", ".join(SHAPES))
    if file.is_file() and table.get("sha256") not in (None, data.sha256(file)):
        raise CimError(f"is not the file with sha256 {table['sha256'][:16]}...", where=str(file))
    keys = {name.removesuffix("_key"): key for name, key in table.items() if name.endswith("_key")}
    task = build.task(given)
    references = {sample.id: sample.references for sample in task.load(Path()) if sample.references}
    return Own(file, shape, keys, references, f"{given.name}.toml")


def read(files: Own) -> Source:
    """The judgements of a file.

    Raises:
        CimError: a row lacks a key, or holds no judgement; names file and line.
    """
    listing = layouts.rows(files.file, Named())
    first = listing[0]
    shape = files.shape or _shape(first, files.keys)
    keys = _keys(first, shape, files.keys)
    rows = [row for entry in listing for row in _judgements(entry, shape, keys)]
    left_out = sum(math.isnan(row.value) for row in rows)
    kept = [row for row in rows if not math.isnan(row.value)]
    if shape == "pairs" and {row.value for row in kept} in PLACES:
        what = f"{keys['value']} holds only {' and '.join(f'{n:g}' for n in sorted({row.value for row in kept}))}"
        raise CimError(f"{what}: a place, or how much a is preferred?", where=str(files.file), hint="write a, b or tie")
    images = list(dict.fromkeys(row.image for row in kept))
    rule, matched = ids.matched(files.references.keys(), images)
    references = (
        {image: files.references.get(matched.get(image, image), ()) for image in images} if files.references else {}
    )
    notes = [f"ids matched {rule}"] if rule else []
    notes += [f"{left_out} of {len(rows)} judgements are empty and left out"] if left_out else []
    judgements = checked(files.name, shape, kept, references)
    return Source(judgements, files.name, {files.file.name: data.sha256(files.file)}, tuple(notes))


def _shape(entry: Entry, named: Mapping[str, str]) -> Shape:
    for shape in ("pairs", "labels", "ratings"):
        if _first(entry, VALUES[shape]) and (shape != "pairs" or named.get("a") or _first(entry, A)):
            return shape
    shown = ", ".join(map(str, entry.content))[:80] if isinstance(entry.content, dict) else ""
    hint = f"its keys: {shown}; a rating, a label, or a, b and preferred (docs/validity.md)"
    raise CimError("no judgement in this row", where=entry.where, hint=hint)


def _keys(entry: Entry, shape: Shape, named: Mapping[str, str]) -> dict[str, str]:
    """The key of each thing a row has: named, or the first usual one that the first row has; else the usual one."""
    needed = ("id", "a", "b") if shape == "pairs" else ("id", "caption")
    optional = ("system_a", "system_b", "criterion") if shape == "pairs" else ("system", "criterion")
    keys = {name: named.get(name) or _first(entry, KEYS[name]) or KEYS[name][0] for name in needed}
    keys["value"] = named.get("value") or _first(entry, VALUES[shape]) or VALUES[shape][0]
    return keys | {name: key for name in optional if (key := named.get(name) or _first(entry, KEYS[name]))}


def _first(entry: Entry, names: tuple[str, ...]) -> str:
    return next((name for name in names if value(entry.content, name) not in (ABSENT, None, "")), "")


def _judgements(entry: Entry, shape: Shape, keys: Mapping[str, str]) -> Iterator[Judgement]:
    inside = {name: key for name, key in keys.items() if name != "id" or entry.id is ABSENT}
    content = {name: layouts.field(entry, key) for name, key in inside.items()}
    image = str(content.get("id", entry.id))
    criterion = str(content.get("criterion", ""))
    if shape == "pairs":
        a, b = (layouts.text(content[name], entry.where) for name in ("a", "b"))
        sides = [str(content.get(name, "")) for name in ("system_a", "system_b")]
        yield Judgement(image, a, _preference(content["value"], sides, entry.where), b, criterion, *sides)
        return
    caption, given = layouts.text(content["caption"], entry.where), content["value"]
    for each in _listed(given):
        yield Judgement(
            image, caption, _number(each, shape, entry.where), None, criterion, str(content.get("system", ""))
        )


def _listed(given: Any) -> list[Any]:
    """The ratings of one cell: a list, possibly written as JSON in a table."""
    if isinstance(given, str) and given.startswith("["):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return [given]
    return given if isinstance(given, list) else [given]


def _number(given: Any, shape: Shape, where: str) -> float:
    if given is None or given == "":
        return math.nan
    if shape == "labels" and str(given).strip().lower() in WORDS:
        return WORDS[str(given).strip().lower()]
    return layouts.number(given, where)


def _preference(given: Any, systems: list[str], where: str) -> float:
    """A choice as a number: of letters, of words, of the systems' names, or a number as it is."""
    if given is None or given == "":
        return math.nan
    if isinstance(given, int | float):
        return float(given)
    named = {name: side for name, side in zip(systems, (1.0, -1.0), strict=True) if name} if len({*systems}) > 1 else {}
    choice = str(given).strip()
    if choice in named:
        return named[choice]
    if choice.lower() in CHOICES:
        return CHOICES[choice.lower()]
    return layouts.number(given, where)
