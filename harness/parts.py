"""The parts of the harness, each a frozen record of data and plain functions; the folder is the registry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.errors import CimError
from harness.types import Completion, Element, Judged, Model, Request, Sample, SceneGraph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.weights import Weights

    Array = NDArray[np.float64]
    Vectors = NDArray[np.float32]


Generate = Callable[[Sequence[Request]], Iterable[Completion]]


def none_missing() -> str | None:
    """The answer of a part that needs nothing beyond the core packages."""
    return None


def runs_any(weights: Weights) -> str | None:
    """The answer of an engine that can run any weights."""
    return None


@dataclass(frozen=True, slots=True)
class Engine:
    """What turns requests into completions, each yielded as it is ready, in any order.

    ``known`` gives the sample ids a model of this engine can caption; None where it captions any image.
    ``describe`` says what a run was really made with (build, version, device, sampling as received); an engine with it
    runs weights. ``session`` loads a model and yields the function from requests to completions, for several runs;
    ``start`` says how long it takes, ``refuses`` why it cannot run some weights; ``batches`` are its batches in order.
    """

    name: str
    generate: Callable[[Model, Sequence[Request]], Iterable[Completion]]
    known: Callable[[Model], Collection[str]] | None = None
    missing: Callable[[], str | None] = none_missing
    describe: Callable[[Model], Mapping[str, Any]] | None = None
    session: Callable[[Model], AbstractContextManager[Generate]] | None = None
    start: str = ""
    refuses: Callable[[Weights], str | None] = runs_any
    batches: Callable[[Sequence[Request]], Iterator[list[Request]]] | None = None


ReplyParser = Callable[[str, int], Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class Judge:
    """Prompts about one caption, put to a model, and the parsers of its replies.

    ``prompts(sample, caption)`` gives prompts by key ("" for a judge with one), none where there is nothing to ask;
    ``system`` is the system prompt of all. A whole reply may take ``reply_tokens``: a model that stops earlier is
    refused. ``signature`` enters that of a metric that reads the replies. ``parsers`` are ways to read one, the first
    for whoever names none: ``parser(reply, n)`` gives answers to n questions, None for one without: never a "no".
    """

    name: str
    prompts: Callable[[Sample, str], Mapping[str, str]]
    signature: Mapping[str, str]
    parsers: Mapping[str, ReplyParser]
    system: str | None = None
    reply_tokens: int = 0


Parse = Callable[[Sequence[str]], Iterator[Any]]
Values = Callable[[str, Sequence[str]], list[Any]]  # values(parser, texts): what another parser makes of texts


@dataclass(frozen=True, slots=True)
class Parser:
    """What turns one text into tokens, an alignment or a scene graph (any JSON value).

    ``settings()`` names everything that can change a result: it keys the cache and enters signatures. ``session``
    opens what parsing needs (a process, weights) and yields a function from texts to values, one per text, in order,
    as they become known; it is handed the values of other parsers, for one that builds on them. ``slow`` says
    why it is not run here unless it is asked for by name; what a ``kept`` one made is stored with the run as well, so
    that the run can be scored where it cannot run. ``summary`` says in one line what values hold or lack; ``pace`` is
    about how many characters a CPU core reads in a second, for an estimate where it is slow. ``weights``: a session
    holds a model in the memory of the GPU; ``derived``: it builds on other parsers.
    """

    name: str
    settings: Callable[[], Mapping[str, str]]
    session: Callable[[Values], AbstractContextManager[Parse]]
    missing: Callable[[], str | None] = none_missing
    slow: Callable[[], str | None] = none_missing
    kept: bool = False
    summary: Callable[[Sequence[Any]], str] | None = None
    pace: float | None = None
    weights: bool = False
    derived: bool = False


Encode = Callable[[Sequence[str]], "Iterator[Vectors]"]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Turns one text, or one image, into one L2-normalised embedding; an image encoder takes file paths.

    ``settings()`` names everything that can change an embedding: it keys the cache and enters signatures. ``session``
    yields a function from texts to embeddings (d,), float32, in order. ``text_tower``: an image encoder's text encoder.
    """

    name: str
    settings: Callable[[], Mapping[str, str]]
    session: Callable[[], AbstractContextManager[Encode]]
    missing: Callable[[], str | None] = none_missing
    kind: Literal["text", "image"] = "text"
    text_tower: str | None = None


@dataclass(frozen=True, slots=True)
class Records:
    """What a metric reads: samples and their captions, row by row, and the stored parses of texts.

    A failed caption is the empty text. ``parse(parser, texts)`` gives one value per text (``parser`` reads the task's
    captions as scene graphs), ``replies(judge)`` raw replies per sample by key, ``encode(encoder, phrases)`` gives
    L2-normalised embeddings (n, d), ``retrievals()`` rows retrieved per caption. ``shared`` is a memo of one run; a key
    names all its value depends on. ``corpus`` is what metrics keep of all samples where these are a block of many.
    """

    samples: Sequence[Sample]
    captions: Sequence[str]
    parse: Callable[[str, Sequence[str]], list[Any]]
    replies: Callable[[str], list[dict[str, str]]]
    parser: str | None = None
    encode: Callable[[str, Sequence[str]], Vectors] | None = None
    retrievals: Callable[[], list[dict[str, Any]]] | None = None
    shared: dict[Any, Any] = field(default_factory=dict)
    corpus: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric's result per sample: ``values`` (n, v) as shown, and ``statistics`` (n, s).

    The sum of ``statistics`` over any resample is all that ``Metric.aggregate`` needs; for a plain mean they are the
    values. ``counts`` are printed beside them, such as skipped images: sums or ``Share``.
    """

    values: Array
    statistics: Array
    counts: Mapping[str, float] = field(default_factory=dict)


def mean(totals: Array, n: int | Array) -> Array:
    """Aggregate of a metric that is a mean over captions: (..., s) sums to (..., s) means."""
    return totals / n


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a metric, and what a reader must know of it.

    ``higher_is_better`` is False for a rate of errors, None where neither direction is better: such a value is shown,
    never ranked or gated. ``decimals`` are shown. ``main`` values are shown where there is room for few. ``bounds`` are
    the lowest and highest possible number, where they are not 0 and the metric's scale.
    """

    name: str
    higher_is_better: bool | None = True
    decimals: int = 2
    main: bool = True
    bounds: tuple[float, float] | None = None


SCORE = (Value("score"),)
PRECISION_RECALL_F1 = (Value("precision", main=False), Value("recall", main=False), Value("f1"))


@dataclass(frozen=True, slots=True)
class Metric:
    """A number about captions.

    ``values`` are its v numbers; ``order`` is its place among the columns of a table, lowest first; ``needs`` the
    annotations it reads; ``parsers`` those that the parse stage runs over captions and references beforehand, ``judge``
    whose replies it reads. ``empty`` is the declared value of a failed or empty caption, one per value, NaN where a
    share is undefined. ``aggregate(totals, n)`` maps summed statistics (..., s) of n captions (an array (..., 1) where
    n differs between the sums) to (..., v). ``floor`` asks for the controls of captions (``runs/controls.py``).
    ``signature`` says how the number is made, field by field. ``scale`` is the highest possible value, None where there
    is none, ``fewest`` the number of images under which it is undefined. ``of_graphs`` takes its place on tasks whose
    images are made from a scene graph. ``elements`` gives a report what to mark sample by sample, ``verdicts`` how each
    question was answered, ``judged`` what people may label of it: the first value is 100 times the share that is right.
    ``constants`` are control replies, by key, of judges that read no caption. ``pretrained`` names weights, ``corpus``
    keeps what values depend on beyond their sample, for ``Records.corpus``, of blocks of a large run.
    """

    name: str
    values: tuple[Value, ...]
    measure: Callable[[Records], Measurement]
    signature: Callable[[], Mapping[str, str]]
    empty: tuple[float, ...]
    needs: frozenset[str] = frozenset({"references"})
    parsers: tuple[str, ...] = ()
    judge: str | None = None
    aggregate: Callable[[Array, int | Array], Array] = mean
    floor: bool = False
    scale: float | None = 100.0
    fewest: int = 1
    order: int = 100
    missing: Callable[[], str | None] = none_missing
    of_graphs: Metric | None = None
    elements: Callable[[Records], list[list[Element]]] | None = None
    verdicts: Callable[[Records], list[list[str]]] | None = None
    judged: Callable[[Records], list[list[Judged]]] | None = None
    constants: Mapping[str, Callable[[Sample], Mapping[str, str]]] = field(default_factory=dict)
    pretrained: tuple[str, ...] = ()
    corpus: Callable[[Iterator[Records]], Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values."""
        return tuple(value.name for value in self.values)

    def value(self, name: str) -> Value:
        """The value of this name."""
        return next(value for value in self.values if value.name == name)

    def bounds(self, name: str) -> tuple[float, float] | None:
        """The lowest and highest possible number of a value; None where it has no highest."""
        return self.value(name).bounds or (None if self.scale is None else (0.0, self.scale))

    def best(self, name: str) -> float | None:
        """The best possible number of a value; None where there is none."""
        bounds, better = self.bounds(name), self.value(name).higher_is_better
        return None if bounds is None or better is None else bounds[1 if better else 0]

    def label(self, name: str) -> str:
        """``objects f1``; the metric's name alone where the value is called ``score`` or is the only one."""
        shown = name if name.startswith(f"{self.name}_") else f"{self.name} {name}"
        return self.name if name == "score" or len(self.values) == 1 else shown


class RewardScorer(Protocol):
    """What rewards ask of the CIM scorer (``harness/retrieval/scorer.py``)."""

    def scored(self, captions: Sequence[str], source_ids: Sequence[str]) -> Any:
        """The ``CimBatch`` of these captions, made once for all rewards."""

    def qir(self, rows: NDArray[np.int64], source_ids: Sequence[str]) -> Array:
        """QIR (B,) of retrieved rows (B, K) against these images."""

    def reciprocal_rank(
        self, captions: Sequence[str], source_ids: Sequence[str], among: Sequence[str] | None = None
    ) -> Array:
        """1 / rank (B,) of each image's own caption."""

    def source_vectors(self, source_ids: Sequence[str]) -> Array:
        """Embeddings (B, d_v) of images."""


@dataclass(frozen=True, slots=True)
class RewardContext:
    """What rewards may read beside captions; a field is None where the run does not have it.

    ``image_text`` encodes texts into the space of the gallery's images, ``phrases`` words: L2-normalised (n, d).
    ``graphs`` parses texts into scene graphs; ``samples`` and ``references`` give sample and caption of a source id.
    """

    scorer: RewardScorer | None = None
    image_text: Callable[[Sequence[str]], Vectors] | None = None
    phrases: Callable[[Sequence[str]], Vectors] | None = None
    graphs: Callable[[Sequence[str]], Sequence[SceneGraph]] | None = None
    references: Mapping[str, str] | None = None
    samples: Callable[[str], Sample] | None = None


@dataclass(frozen=True, slots=True)
class Reward:
    """A number per caption that training maximises.

    ``values(captions, source_ids, context)`` gives (B,), higher is better; source ids are gallery keys. ``needs``
    names the fields of the context that must not be None; ``own_row`` is set for one that reads the image's own row
    of the gallery, so that every image must have one.
    """

    name: str
    values: Callable[[Sequence[str], Sequence[str], RewardContext], Array]
    needs: tuple[str, ...] = ()
    own_row: bool = False

    def __call__(self, captions: Sequence[str], source_ids: Sequence[str], context: RewardContext) -> Array:
        """Values (B,); CimError where the context lacks what is needed."""
        if lacking := [name for name in self.needs if getattr(context, name) is None]:
            raise CimError(f"reward {self.name} needs {', '.join(lacking)}, which this run does not have")
        return self.values(captions, source_ids, context)
