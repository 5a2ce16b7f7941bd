"""The parse verb: tokens, alignments and scene graphs that metrics need; each text is parsed once for all runs.

Values are cached in ``results/.cache/parses/<parser>-<settings>.jsonl`` by the text's hash as they arrive.
Those of a ``kept`` parser are also stored in the run's ``parses.jsonl``, so that a run can be scored
where that parser cannot run. ``cim parse --model M`` runs ahead of scoring; scoring parses the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry, store
from harness.cluster import pool
from harness.errors import CimError, OutageError
from harness.parts import Metric, Parse, Parser
from harness.runs.cache import Cache, key, settings_key
from harness.runs.run import Run
from harness.stages.device import Device
from harness.stages.encode import Encodings
from harness.types import Track, untracked

if TYPE_CHECKING:
    from harness.parts import Vectors

NAME = "parses.jsonl"
MANY = 20_000  # texts that are parsed at a time; no more values than a few times that are kept in memory


SHARE = 256  # texts that an actor of a cluster parses at once


def _full_name(parser: Parser) -> str:
    """Name and settings key of a parser, which name its cache file."""
    return f"{parser.name}-{settings_key(parser.settings())}"


class Parses:
    """Parses of texts by parser name: from the run, the cache, or one session per parser and command.

    A parser that runs a model shares the device with encoders and engines: it is closed when one of these is opened.
    """

    def __init__(self, results: Path, track: Track = untracked, device: Device | None = None) -> None:
        self._folder, self._track = results / ".cache" / "parses", track
        self.device = device or Device()
        self._sessions = ExitStack()
        self._open: dict[str, Parse] = {}
        self._given: Mapping[str, Mapping[str, Any]] = {}
        self._read: dict[str, dict[str, Any]] = {}  # known values by full name and key
        self._caches: dict[str, Cache] = {}
        self._encodings = Encodings(results, track, self.device)

    def __enter__(self) -> Parses:
        return self

    def __exit__(self, *failure: Any) -> bool | None:
        self.device.close()
        return self._sessions.__exit__(*failure)

    def encode(self, name: str, texts: Sequence[str]) -> Vectors:
        """L2-normalised embeddings (n, d) of texts, as ``Encodings.encode``."""
        return self._encodings.encode(name, texts)

    def take(self, folder: Path | None) -> None:
        """Use the values of a run's ``parses.jsonl`` in place of another run's; the cache does not change.

        Args:
            folder: of the run; None for a new run.

        Raises:
            CimError: a row without parser, key and value; names file and line.
        """
        by_parser = dict[str, dict[str, Any]]()
        for number, row in enumerate(store.read_rows(folder / NAME) if folder else (), start=1):
            if not (isinstance(row.get("parser"), str) and isinstance(row.get("key"), str) and "value" in row):
                hint = "delete that line to have it made again"
                raise CimError("a row without parser, key and value", where=f"{folder}/{NAME}:{number}", hint=hint)
            by_parser.setdefault(row["parser"], {})[row["key"]] = row["value"]
        self._given = by_parser

    def stored(self, name: str, texts: Sequence[str]) -> dict[str, Any]:
        """Known values of these texts, by key."""
        full = _full_name(registry.parser(name))
        keys = {key(text) for text in texts}
        of_run, read = self._given.get(full, {}), self._read.setdefault(full, {})
        if len(read) > 4 * MANY:
            read.clear()
        read |= self._cache(full).find(keys - of_run.keys() - read.keys())
        return {k: of_run[k] if k in of_run else read[k] for k in keys if k in of_run or k in read}

    def parse(self, name: str, texts: Sequence[str]) -> list[Any]:
        """One value per text, in order; equal texts are parsed once.

        Raises:
            OutageError: the parser stopped before the last text; finished values are kept.
        """
        parser = registry.parser(name)
        values, keys = self.stored(name, texts), [key(text) for text in texts]
        absent = {k: text for k, text in zip(keys, texts, strict=True) if k not in values}
        if absent:
            parse, count, full = self._parsing(parser), 0, _full_name(parser)
            cache, read = self._cache(full), self._read[full]
            try:
                parsed = parse(list(absent.values()))
                for k, value in zip(absent, self._track(parsed, name, len(absent)), strict=False):
                    cache.add(k, value)
                    values[k] = read[k] = value
                    count += 1
            finally:
                cache.close()
            if count < len(absent):
                raise OutageError(f"parser {name} gave {count} of {len(absent)} values")
        return [values[k] for k in keys]

    def _cache(self, full: str) -> Cache:
        if full not in self._caches:
            self._caches[full] = Cache(self._folder / f"{full}.jsonl")
        return self._caches[full]

    def _parsing(self, parser: Parser) -> Parse:
        cluster = self.device.cluster
        if cluster is None or parser.derived:  # what a derived parser builds on is asked of the cluster
            return self._session(parser)
        return partial(_on_cluster, cluster, parser)

    def _session(self, parser: Parser) -> Parse:
        if parser.weights:
            return self.device.open(f"parser {parser.name}", partial(parser.session, self.parse))
        if parser.name not in self._open:
            self._open[parser.name] = self._sessions.enter_context(parser.session(self.parse))
        return self._open[parser.name]


def texts(run: Run) -> Iterator[list[str]]:
    """The texts of a run that parsers read, in blocks: its captions so far and all references of its task.

    A text stands once in a block.
    """
    return _blocks(itertools.chain(_captions(run), _references(run)))


@contextmanager
def parsing(name: str) -> Iterator[Callable[[Sequence[str]], list[Any]]]:
    """A session of a parser that builds on no other, as a cluster's actor opens it."""
    with registry.parser(name).session(_no_values) as session:
        yield lambda texts: list(session(texts))


def _no_values(name: str, _: Sequence[str]) -> list[Any]:
    raise CimError(f"parser {name} is asked for by one that is not marked as derived")


def _on_cluster(cluster: pool.Cluster, parser: Parser, texts: Sequence[str]) -> Iterator[Any]:
    shares = [list(texts[at : at + SHARE]) for at in range(0, len(texts), SHARE)]
    for values in pool.ordered(cluster, parsing, (parser.name,), shares, gpu=parser.weights):
        yield from values


def _blocks(listing: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(listing)
    while block := list(itertools.islice(remaining, MANY)):
        yield list(dict.fromkeys(block))


def _captions(run: Run) -> Iterator[str]:
    return (caption.text or "" for caption in run.captions.values())


def _references(run: Run) -> Iterator[str]:
    return (reference for sample in run.all_samples for reference in sample.references)


def missing(run: Run, metric: Metric, parses: Parses, *, named: bool) -> str | None:
    """Why the parsers of a metric cannot run here, or run only on request; None if all their values are known."""
    for name in metric.parsers:
        parser = registry.parser(name)
        reason = parser.missing() or (None if named else parser.slow())
        if reason is None:
            continue
        done = run.captions
        if any(sample.id not in done for sample in run.samples):
            return reason
        if any(len(parses.stored(name, wanted)) < len(wanted) for wanted in texts(run)):
            return reason
    return None


def names(run: Run, metrics: Sequence[Metric]) -> list[str]:
    """The parsers that the metrics name, and the task's scene-graph parser if they need graphs."""
    parsers = {name for metric in metrics for name in metric.parsers}
    if run.task.parser and any("graph" in metric.needs for metric in metrics):
        parsers.add(run.task.parser)
    return sorted(parsers)


def ahead(run: Run, metrics: Sequence[Metric], parses: Parses) -> list[str]:
    """One line per slow parser with texts to parse: their number and the estimated CPU time."""
    lines = list[str]()
    for parser in map(registry.parser, names(run, metrics)):
        if parser.pace is None or parser.slow() is None:
            continue
        new = total = characters = 0
        for wanted in texts(run):
            stored = parses.stored(parser.name, wanted)
            unknown = [text for text in wanted if key(text) not in stored]
            new, total, characters = new + len(unknown), total + len(wanted), characters + sum(map(len, unknown))
        if new:
            hours = characters / parser.pace / 3600
            lines.append(f"{parser.name}: {new} of {total} texts to parse, about {hours:.1f} CPU hours")
    return lines


def summaries(run: Run, metrics: Sequence[Metric], parses: Parses) -> list[str]:
    """One line per parser with a summary, over the known values of captions and of references."""
    lines = list[str]()
    for name in names(run, metrics):
        summary = registry.parser(name).summary
        for what, some in (("captions", _captions(run)), ("references", _references(run))) if summary else ():
            every = list(some)
            known = parses.stored(name, every)
            values = [known[k] for k in map(key, every) if k in known]
            if values and summary:
                lines.append(f"{name}, {len(values)} {what}: {summary(values)}")
    return lines


def parse(run: Run, metrics: Sequence[Metric], parses: Parses) -> dict[str, int]:
    """Parse captions and references with all parsers that the metrics name; returns the number of texts per parser."""
    parsers, total = names(run, metrics), 0
    for number, name in enumerate(parsers):
        kept = dict[str, Any]()
        for wanted in texts(run):
            values = parses.parse(name, wanted)
            total += 0 if number else len(wanted)
            if registry.parser(name).kept:
                kept |= dict(zip(map(key, wanted), values, strict=True))
        if registry.parser(name).kept:
            _keep(run.folder / NAME, registry.parser(name), kept)
    return dict.fromkeys(parsers, total)


def _keep(path: Path, parser: Parser, values: Mapping[str, Any]) -> None:
    """Store values with the run, beside those of its other parsers; a file that already holds them is not rewritten."""
    rows = store.read_rows(path)
    new = [{"parser": _full_name(parser), "key": k, "value": value} for k, value in values.items()]
    if new != [row for row in rows if row.get("parser") == _full_name(parser)]:
        stem = parser.name + "-"
        store.write_rows(
            path, [*(row for row in rows if not str(row.get("parser")).startswith(stem)), *new], sealed=True
        )
