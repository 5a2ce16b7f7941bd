"""The nouns of the harness: what a task, an engine, a parser and a metric hand to each other.

A part is a frozen record of data and plain functions, one constant a file; the folder is the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.weights import Weights

    Array = NDArray[np.float64]

Track = Callable[[Iterable[Any], str, int], Iterator[Any]]  # track(items, title, total) yields the items


def untracked(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
    """A progress display that shows nothing."""
    yield from items


def none_missing() -> str | None:
    """The answer of a part that needs nothing beyond the core packages."""
    return None


@dataclass(frozen=True, slots=True)
class Question:
    """A relation question about one image and its gold answer (bytes of the file, defects included)."""

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class SceneGraph:
    """What a text or an image holds: heads, fine names by head, attribute words by owner, relation triples."""

    objects: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    relations: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its annotations.

    ``image`` is the file name under ``$CIM_DATA/<task>/images``; ``objects`` and ``attributes`` (owner to words) are
    annotated lists that widen precision; ``graph`` is the truth of a made image; taxonomy asks for species and breed.
    """

    id: str
    references: tuple[str, ...]
    image: str = ""
    objects: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()
    graph: SceneGraph | None = None
    species: str = ""
    breed: str = ""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a benchmark: name inside its folder, size in bytes, sha256, and where it comes from."""

    name: str
    bytes: int
    sha256: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where images come from: a ``.zip``, ``.tar`` or ``.tar.gz``; ``member`` names a sample's image in it.

    ``bytes`` is its size, about that where ``sha256`` is None: what arrives first is recorded then.
    """

    url: str
    bytes: int
    sha256: str | None
    member: Callable[[Sample], str]
    licence: str
    source: str


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark, its caption prompt and what its samples hold.

    ``provides`` names the annotations a metric may ask for (``references``, ``objects``, ``attributes``,
    ``questions``). ``folder`` is set for data that ships with the project; otherwise the files lie in
    ``$CIM_DATA/<name>``. ``load`` turns that folder into samples, in the order that defines "the first N" and "the
    next image". ``archive`` brings the images, or ``draw`` gives the PNG bytes of a sample whose image is made;
    ``parser`` names what reads its captions as scene graphs, and ``judge`` the model that answers its judges'
    questions.
    """

    name: str
    title: str
    prompt: str
    files: tuple[DataFile, ...]
    count: int
    provides: frozenset[str]
    load: Callable[[Path], list[Sample]]
    licence: str
    source: str
    folder: Path | None = None
    archive: Archive | None = None
    version: str = "1"
    draw: Callable[[str], bytes] | None = None
    parser: str | None = None
    judge: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to generate: the prompt for one sample, with its image file if the model looks at it."""

    sample_id: str
    prompt: str
    image: Path | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine wrote for one request; ``text`` is None exactly when ``error`` says why."""

    sample_id: str
    text: str | None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """Something that captions: a TOML file, a captions file or a stored run.

    ``settings`` is what identifies it in a manifest (engine, revision, sha256, sampling as the engine receives it);
    two runs of one name must agree on it. ``tasks`` are what it is run on when nobody says otherwise (empty: found
    from its captions), ``limit`` what a stored run was limited to. ``weights`` are set for a model that looks at
    images and writes; a captions file has none.
    """

    name: str
    engine: str
    source: Path | None
    settings: Mapping[str, Any]
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    weights: Weights | None = None


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


@dataclass(frozen=True, slots=True)
class Records:
    """What a metric reads: samples and their captions, row by row, and the stored parses of texts.

    A failed caption arrives as the empty text. ``parse(parser, texts)`` gives one value a text (``parser`` is the
    one that reads the task's captions as scene graphs), ``replies(judge)`` the raw replies of each sample by the
    judge's keys.
    """

    samples: Sequence[Sample]
    captions: Sequence[str]
    parse: Callable[[str, Sequence[str]], list[Any]]
    replies: Callable[[str], list[dict[str, str]]]
    parser: str | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """What a report marks in the texts and lists.

    ``kind`` is ``object``, ``attribute``, ``relation``; ``state`` is ``matched`` (caption and reference say it),
    ``missed`` (only the reference) or ``invented`` (only the caption).
    """

    kind: str
    text: str
    state: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric's result a sample: ``values`` (n, v) as shown, and ``statistics`` (n, s).

    The sum of ``statistics`` over any resample of images is all that ``Metric.aggregate`` needs; for a plain mean
    they are the values themselves.
    """

    values: Array
    statistics: Array


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
    field. ``scale`` is the highest possible value, None where there is none.
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


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one run: values with 95 % intervals, counts, controls, signature.

    ``values`` are percentages except for ``cider``, ``cim`` and ``length``; None with a reason in ``not_computed``,
    and ``outage`` where something stopped answering half-way, so that the same command may do better.
    """

    metric: str
    values: Mapping[str, float | None]
    ci95: Mapping[str, tuple[float | None, float | None]]
    n: int
    n_failed: int
    signature: str | None
    controls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    not_computed: str | None = None
    outage: bool = False
