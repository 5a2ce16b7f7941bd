"""The parse verb: what the metrics of a run need to know about its texts, each text once for all runs.

Values stand in ``results/.cache/parses/<parser>-<settings>.jsonl`` by the text's hash and are added as
they are made. ``cim parse --model M`` does it ahead of scoring; scoring does what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import records, registry
from harness.cache import Cache, key, settings_key
from harness.errors import OutageError
from harness.parts import Metric, Parse, Parser
from harness.run import Run
from harness.types import Track, untracked


class Parses:
    """Parses of texts by parser name: from the cache, else made by one session a parser and command."""

    def __init__(self, results: Path, track: Track = untracked) -> None:
        self._folder, self._track = results / ".cache" / "parses", track
        self._sessions = ExitStack()
        self._open: dict[str, Parse] = {}

    def __enter__(self) -> Parses:
        return self

    def __exit__(self, *failure: Any) -> bool | None:
        return self._sessions.__exit__(*failure)

    def parse(self, name: str, texts: Sequence[str]) -> list[Any]:
        """One value a text, in order; equal texts are parsed once.

        Raises:
            OutageError: the parser stopped before its last text; what it gave is kept.
        """
        parser = registry.parser(name)
        cache = Cache(self._folder / f"{name}-{settings_key(parser.settings)}.jsonl")
        keys = [key(text) for text in texts]
        values = cache.find(keys)
        absent = {k: text for k, text in zip(keys, texts, strict=True) if k not in values}
        if absent:
            session, made = self._session(parser), 0
            try:
                parsed = session(list(absent.values()))
                for k, value in zip(absent, self._track(parsed, name, len(absent)), strict=False):
                    cache.add(k, value)
                    values[k] = value
                    made += 1
            finally:
                cache.close()
            if made < len(absent):
                raise OutageError(f"parser {name} gave {made} of {len(absent)} values")
        return [values[k] for k in keys]

    def _session(self, parser: Parser) -> Parse:
        if parser.name not in self._open:
            self._open[parser.name] = self._sessions.enter_context(parser.session())
        return self._open[parser.name]


def parse(run: Run, metrics: Sequence[Metric], parses: Parses) -> dict[str, int]:
    """Parse captions and references for all parsers that the metrics name; texts a parser, new or not."""
    captions = [made.text or "" for made in records.read(run.folder).values()]
    references = [reference for sample in run.all_samples for reference in sample.references]
    texts = list(dict.fromkeys([*captions, *references]))
    names = {name for metric in metrics for name in metric.parsers}
    if run.task.parser and any("graph" in metric.needs for metric in metrics):
        names.add(run.task.parser)
    for name in sorted(names):
        parses.parse(name, texts)
    return dict.fromkeys(sorted(names), len(texts))
