"""The parts of the harness, each a frozen record of data and plain functions: engines, judges, parsers, metrics.

One constant a file; the folder is the registry (``harness/registry.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.types import Completion, Element, Model, Request, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Vectors = NDArray[np.float32]


def none_missing() -> str | None:
    """The answer of a part that needs nothing beyond the core packages."""
    return None


@dataclass(frozen=True, slots=True)
class Engine:
    """What turns requests into completions, each yielded as it is ready, in any order.

    ``known`` gives the sample ids a model of this engine can caption; None where it captions any image.
    ``describe`` says what a run was really made with (build, version, device, sampling as received); an engine that
    has it runs weights.
    """

    name: str
    generate: Callable[[Model, Sequence[Request]], Iterable[Completion]]
    known: Callable[[Model], frozenset[str]] | None = None
    missing: Callable[[], str | None] = none_missing
    describe: Callable[[Model], Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Prompts about one caption, put to a model; how replies are read is the metric's business.

    ``prompts(sample, caption)`` gives prompts by key ("" for a judge with one), none where there is nothing to ask.
    ``signature`` names what enters the signature of a metric that reads the replies.
    """

    name: str
    prompts: Callable[[Sample, str], Mapping[str, str]]
    signature: Mapping[str, str]


Parse = Callable[[Sequence[str]], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Parser:
    """What turns one text into tokens, an alignment or a scene graph (any JSON value).

    ``settings`` name everything that can change a result: they key the cache and enter signatures. ``session``
    opens what parsing needs (a process, weights) and yields a function from texts to values, one a text, in order,
    each as soon as it is known.
    """

    name: str
    settings: Mapping[str, str]
    session: Callable[[], AbstractContextManager[Parse]]
    missing: Callable[[], str | None] = none_missing


Encode = Callable[[Sequence[str]], "Iterator[Vectors]"]


@dataclass(frozen=True, slots=True)
class Encoder:
    """What turns one text into one unit vector.

    ``settings`` name everything that can change a vector: they key the cache and enter signatures. ``session`` opens
    the weights and yields a function from texts to vectors (d,), float32, one a text, in order.
    """

    name: str
    settings: Mapping[str, str]
    session: Callable[[], AbstractContextManager[Encode]]
    missing: Callable[[], str | None] = none_missing


@dataclass(frozen=True, slots=True)
class Records:
    """What a metric reads: samples and their captions, row by row, and the stored parses of texts.

    A failed caption arrives as the empty text. ``parse(parser, texts)`` gives one value a text (``parser`` is the
    one that reads the task's captions as scene graphs), ``replies(judge)`` the raw replies of each sample by the
    judge's keys, ``encode(encoder, phrases)`` unit vectors (n, d).
    """

    samples: Sequence[Sample]
    captions: Sequence[str]
    parse: Callable[[str, Sequence[str]], list[Any]]
    replies: Callable[[str], list[dict[str, str]]]
    parser: str | None = None
    encode: Callable[[str, Sequence[str]], Vectors] | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric's result a sample: ``values`` (n, v) as shown, and ``statistics`` (n, s).

    The sum of ``statistics`` over any resample of images is all that ``Metric.aggregate`` needs; for a plain mean
    they are the values themselves. ``counts`` are whole-run numbers to print beside them, such as skipped images.
    """

    values: Array
    statistics: Array
    counts: Mapping[str, float] = field(default_factory=dict)


def mean(totals: Array, n: int) -> Array:
    """Aggregate of a metric that is a mean over images: (..., s) sums to (..., s) means."""
    return totals / n


@dataclass(frozen=True, slots=True)
class Metric:
    """A number about captions.

    ``values`` names its v numbers; ``needs`` the annotations it reads; ``parsers`` those that the parse verb runs
    over captions and references beforehand, ``judge`` whose replies it reads. ``empty`` is the declared value of a
    failed or empty caption, one a value. ``aggregate(totals, n)`` maps summed statistics (..., s) of n images to
    (..., v). ``floor`` asks for the wrong-image control row. ``signature`` says how the number is made, field by
    field. ``scale`` is the highest possible value, None where there is none. ``made`` takes its place on tasks whose
    images are made from a scene graph. ``elements`` gives a report what to mark sample by sample, ``verdicts`` how
    each question was answered.
    """

    name: str
    values: tuple[str, ...]
    measure: Callable[[Records], Measurement]
    signature: Callable[[], Mapping[str, str]]
    empty: tuple[float, ...]
    needs: frozenset[str] = frozenset({"references"})
    parsers: tuple[str, ...] = ()
    judge: str | None = None
    aggregate: Callable[[Array, int], Array] = mean
    floor: bool = False
    scale: float | None = 100.0
    missing: Callable[[], str | None] = none_missing
    made: Metric | None = None
    elements: Callable[[Records], list[list[Element]]] | None = None
    verdicts: Callable[[Records], list[list[str]]] | None = None
