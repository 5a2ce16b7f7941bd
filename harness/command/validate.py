"""``cim validate``: agreement of metrics with human judgements, the sets there are, and the validity cards."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.command.numbers import draws
from harness.errors import CimError, one_line
from harness.resources import paths

if TYPE_CHECKING:
    from rich.table import Table

    from harness.validity.judgements import Source

STORED = ".validity"  # folder of results that keeps what was measured, one document per set
TITLES = {
    "tau_c": "tau-c",
    "accuracy": "accuracy",
    "auc": "AUC",
    "tau_b": "tau-b",
    "spearman": "Spearman",
    "accuracy_ties": "with ties",
    "tau_b_length": "length out",
    "accuracy_length": "length out",
    "system_tau": "systems",
}


def options(verb: argparse.ArgumentParser) -> None:
    """Declare the verb's options; loads nothing."""
    about = (
        "a set of --list, a task.toml, or a file with id, caption, rating; id, caption, label; or id, a, b, preferred"
    )
    verb.add_argument("--on", metavar="SET|FILE", help=about)
    verb.add_argument("--files", nargs="+", metavar="FILE", help="a set's files, where they are not in $CIM_DATA/SET")
    verb.add_argument("--references", metavar="FILE", help="references of your own file, in any form of captions")
    verb.add_argument("--shape", choices=("ratings", "pairs", "labels"), help="of your own file (default: by its keys)")
    verb.add_argument("--metrics", metavar="A[,B]", help="names or .py files (default: all that can be computed here)")
    verb.add_argument("--draws", type=draws, metavar="N", help="bootstrap resamples (default 2000; 0: no intervals)")
    verb.add_argument("--list", action="store_true", help="the sets, how each is had, and its licence")
    about = "measure all sets that are here and write the cards that comparisons and pages show"
    verb.add_argument("--cards", action="store_true", help=about)
    verb.add_argument("--table", action="store_true", help="print the stored cards as a Markdown table")
    verb.add_argument("--out", metavar="FILE", help="with --cards: write there (default: results/published)")


def validate_verb(args: argparse.Namespace) -> int:
    """Validate metrics on a set or file, list the sets, or make the cards."""
    if args.list:
        return _list(args)
    if args.cards:
        return _cards(args)
    if args.table:
        return _table(args)
    if not args.on:
        raise CimError("--on is missing", hint="a set (cim validate --list), a file of judgements, or a task.toml")
    source = _read(args.on, args)
    document = _measured(source, args)
    place = _kept(document, args.results)
    if args.json:
        print(json.dumps({**document, "published": _published(document)}, indent=1))
        return 0
    from harness.command import terminal
    from harness.pages import text

    for table in _tables(document, _main(document)):
        terminal.show(table)
    lacking = args.metrics is None and not source.judgements.references
    alone = ["no references, so only metrics without references are computed"] if lacking else []
    remarks = map(one_line, (*source.notes, *alone, *_remarks(document)))
    print("\n".join([*text.wrapped(remarks, text.screen_width()), f"kept: {place}"]))
    return 0


def _read(on: str, args: argparse.Namespace) -> Source:
    """The judgements of one set or file."""
    from harness.validity import own, sets

    if on in sets.SETS:
        if args.references or args.shape:
            raise CimError(f"{on} brings its own references and shape", hint="--references, --shape: for your own file")
        return sets.read(sets.SETS[on], [Path(name) for name in args.files or ()])
    if args.files:
        raise CimError("--files names the files of a set", hint="cim validate --list")
    if not Path(on).exists():
        raise CimError(f"no set or file {on!r}", hint=f"sets: {', '.join(sets.SETS)}")
    if Path(on).suffix != ".toml":
        return own.read(own.of_file(Path(on), Path(args.references) if args.references else None, args.shape))
    if args.references or args.shape:
        raise CimError("a task.toml names references and shape itself", where=on)
    return own.read(own.of_task(Path(on)))


def _measured(source: Source, args: argparse.Namespace) -> dict[str, Any]:
    """The document of a set or file."""
    from harness import registry
    from harness.command import terminal
    from harness.validity import validation

    names = None if args.metrics is None else [name.strip() for name in args.metrics.split(",")]
    metrics = None if names is None else [registry.named("metrics", name) for name in names]
    draws = {} if args.draws is None else {"draws": args.draws}
    results = paths.results_root(args.results)
    measured = validation.validate(source.judgements, metrics, results, track=terminal.track, **draws)
    return validation.document(measured, source.title, source.files)


def _kept(document: Mapping[str, Any], results: str | None) -> Path:
    from harness import store

    path = paths.results_root(results) / STORED / f"{document['set']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_document(path, document)
    return path


def _main(document: Mapping[str, Any]) -> str:
    """The criterion that stands for a set: its own, else the first."""
    from harness.validity import sets

    named = sets.SETS[document["set"]].criterion if document["set"] in sets.SETS else ""
    return named if named in document["criteria"] else next(iter(document["criteria"]))


def _tables(document: Mapping[str, Any], main: str) -> Iterator[Table]:
    """The main criterion with all its statistics, then the other criteria side by side."""
    from rich.table import Table
    from rich.text import Text

    rows = document["criteria"][main]
    statistics = [name for name in TITLES if any(name in metric["agreement"] for metric in rows["metrics"])]
    title = f"{document['title']}{f', {main}' if main else ''}: {_counted(document, rows)}"
    table = Table(title=Text(one_line(title)), title_justify="left")
    table.add_column("metric", no_wrap=True)
    table.add_column(f"{TITLES[statistics[0]]} [95 %]", justify="right", no_wrap=True)
    for name in statistics[1:]:
        table.add_column(TITLES[name], justify="right")
    for metric in rows["metrics"]:
        cells = [_number(metric["agreement"].get(name, {})) for name in statistics]
        table.add_row(metric["label"], cells[0] + _bounds(metric["agreement"].get(statistics[0], {})), *cells[1:])
    yield table
    others = [name for name in document["criteria"] if name != main]
    if not others:
        return
    table = Table(title=Text(f"{TITLES[statistics[0]]} by other criteria"), title_justify="left")
    table.add_column("metric", no_wrap=True)
    for name in others:
        table.add_column(Text(one_line(name)), justify="right")
    for at, metric in enumerate(rows["metrics"]):
        of_others = (document["criteria"][name]["metrics"][at]["agreement"].get(statistics[0], {}) for name in others)
        table.add_row(metric["label"], *map(_number, of_others))
    yield table


def _counted(document: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    texts, images = f"{rows['texts']} texts", f"{rows['images']} image{'s' * (rows['images'] > 1)}"
    return f"{rows['judgements']} {document['shape']}, {texts}, {images}, median {rows['median_words']:.0f} words"


def _number(estimate: Mapping[str, Any]) -> str:
    return "-" if estimate.get("value") is None else f"{estimate['value']:.3f}"


def _bounds(estimate: Mapping[str, Any]) -> str:
    bounds = estimate.get("ci95")
    return f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""


def _remarks(document: Mapping[str, Any]) -> Iterator[str]:
    """What stands below the tables: paired tests, published values, texts without a value, metrics not computed."""
    main = _main(document)
    yield "length out: word count partialled out (pairs: mean over pairs whose preferred text is longer, and shorter)"
    yield from _verdict(document, main)
    yield from _beside(_published(document))
    for metric in document["criteria"][main]["metrics"]:
        if metric["undefined"]:
            yield f"{metric['label']} is undefined for {metric['undefined']} texts, which are left out for it"
    for name, reason in document["not_computed"].items():
        yield f"not computed: {name} ({reason})"


def _beside(published: list[dict[str, Any]]) -> Iterator[str]:
    """Which published values follow from the files, and which do not, by source."""
    named = {True: list[str](), False: list[str]()}
    for row in published:
        named[row["follows"]].append(f"{row['metric']} {row['statistic']} {row['here']:.1f} ({row['published']})")
    if published:
        sources = "; ".join(dict.fromkeys(row["source"] for row in published if not row["follows"]))
        yield f"follow from these files to 0.1 points, published in brackets: {', '.join(named[True]) or 'none'}"
        if named[False]:
            yield f"do not follow: {', '.join(named[False])}; published: {sources}"


def _verdict(document: Mapping[str, Any], main: str) -> Iterator[str]:
    """Which metrics are significantly better than word count, and which than all others."""
    from harness.runs.compare import ALPHA

    tests = [test for test in document["contrasts"] if test["criterion"] == main]
    if not tests:
        return
    better = {(t["a"], t["b"]) if t["difference"] > 0 else (t["b"], t["a"]) for t in tests if t["holm"] < ALPHA}
    labels = [metric["label"] for metric in document["criteria"][main]["metrics"]]
    rule = f"paired bootstrap, Holm-corrected p < {ALPHA:g} over {len(tests)} pair{'s' * (len(tests) > 1)}"
    if len(tests) / (document["interval"]["draws"] + 1) >= ALPHA:
        yield f"too few resamples to find a difference among {len(tests)} pairs; --draws {40 * len(tests)}"
        return
    if "length" in labels:
        above = [label for label in labels if (label, "length") in better]
        yield f"significantly better than word count: {', '.join(above) or 'none'} ({rule})"
    for label in labels:
        if beaten := [other for other in labels if (label, other) in better and other != "length"]:
            yield f"{label} is significantly better than {', '.join(beaten)}"


def _published(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    from harness.validity import published

    return [{**asdict(row), "follows": row.follows} for row in published.beside(document)]


def _list(args: argparse.Namespace) -> int:
    """The sets: which are here, how each is had, its licence."""
    from harness.validity import sets

    rows = []
    for name, chosen in sets.SETS.items():
        names = [file.name for file in chosen.files] or [chosen.expects]
        here = all((chosen.folder / file).is_file() for file in names)
        size = sum(file.bytes for file in chosen.files)
        how = (
            f"cim data fetch {name} ({size / 1e6:.1f} MB)" if chosen.files else f"by you, --files FILE: {chosen.source}"
        )
        about = chosen.source if chosen.files else chosen.title
        rows.append((name, chosen.shape, "here" if here else how, about, chosen.licence))
    if args.json:
        head = ("set", "shape", "files", "about", "licence")
        print(json.dumps([dict(zip(head, row, strict=True)) for row in rows], indent=1))
        return 0
    for name, shape, files, about, licence in rows:
        print(f"{name:<20} {shape:<8} {files}\n{'':<20} {about}; licence: {licence}")
    return 0


def _table(args: argparse.Namespace) -> int:
    """The stored cards."""
    from harness.validity import cards

    print(json.dumps([asdict(card) for card in cards.read()], indent=1) if args.json else "\n".join(cards.table()))
    return 0


def _cards(args: argparse.Namespace) -> int:
    """Measure every set whose files are here and write the cards."""
    from harness.validity import cards, sets

    measured = list[cards.Card]()
    progress, named = sys.stderr if args.json else sys.stdout, [Path(file) for file in args.files or ()]
    for name, chosen in sets.SETS.items():
        try:
            source = sets.read(chosen, named if chosen.files else ())
        except CimError as error:
            print(f"left out: {one_line(str(error))}", file=progress)
            continue
        document = _measured(source, args)
        _kept(document, args.results)
        measured += cards.of_document(document, _main(document), judged=chosen.judged)
        print(f"{name}: {len(document['criteria'][_main(document)]['metrics'])} values", file=progress)
    if not measured:
        raise CimError("no set is here", hint="cim validate --list")
    path = Path(args.out) if args.out else cards.PATH
    cards.write(measured, path)
    print(json.dumps({"cards": str(path), "count": len(measured)}) if args.json else f"{len(measured)} cards: {path}")
    return 0
