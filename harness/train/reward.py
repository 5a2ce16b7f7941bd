"""The rewards of a run: opened with what they read, scored once per step, called by TRL.

TRL calls each reward function separately; captions are scored once and the terms handed out, so that GRC and QIR are
logged separately. A caption that cannot be scored leaves its group only if **all** functions return None: a single None
beside a number would count as 0 (`trl/trainer/grpo_trainer.py`, ``nansum``). TRL is not imported here; ``trl_reward``
is for scripts of a user's own. Which rewards a run can have is checked in ``plan.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import registry, store
from harness.errors import CimError
from harness.parts import RewardContext
from harness.resources import devices, paths
from harness.retrieval import index, stored_index
from harness.retrieval.consistency import CimSettings
from harness.retrieval.gallery import Gallery, encoding
from harness.retrieval.scorer import CimBatch, CimScorer
from harness.types import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.train.examples import Material

    Array = NDArray[Any]

RewardFunction = Callable[..., list[float | None]]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of the B captions of one generation batch, group after group.

    ``terms`` holds each reward function's numbers (NaN: not scored), ``shuffled`` QIR against another image of the
    batch, ``ids`` the sampled tokens, ``clipped`` whether they were truncated.
    """

    step: int
    captions: Sequence[str]
    source_ids: Sequence[str]
    ids: Sequence[Sequence[int]]
    clipped: Array
    group: int
    terms: Mapping[str, Array]
    weights: Mapping[str, float]
    batch: CimBatch
    shuffled: Array

    @property
    def reward(self) -> Array:
        """The weighted sum of the terms, as TRL computes it; NaN for captions without any score."""
        total: Array = sum(weight * self.terms[name] for name, weight in self.weights.items())  # type: ignore[assignment]
        return total


class SharedScore:
    """Scores each generation batch once, passes it to ``seen``, and serves the reward functions.

    Args:
        weights: rewards of the registry by name, with their weights.
        group: captions per image.
        ends: token ids that end a caption; one that does not end with such a token was truncated.
    """

    def __init__(
        self,
        context: RewardContext,
        weights: Mapping[str, float],
        group: int,
        ends: frozenset[int],
        seen: Callable[[Scored], None],
    ) -> None:
        self._context, self._weights, self._group, self._ends, self._seen = context, dict(weights), group, ends, seen
        self._last: Scored | None = None

    def functions(self) -> list[RewardFunction]:
        """One function per reward, in the order of the weights, under the names that TRL logs."""
        return [self._function(name) for name in self._weights]

    def _function(self, name: str) -> RewardFunction:
        def reward(
            completions: Sequence[Any],
            completion_ids: Sequence[Sequence[int]],
            source_id: Sequence[str],
            trainer_state: Any,
            **_: Any,
        ) -> list[float | None]:
            captions, step = [completion[0]["content"] for completion in completions], int(trainer_state.global_step)
            scored = self._last
            if scored is None or (scored.step, scored.captions, scored.source_ids) != (step, captions, list(source_id)):
                self._last = scored = self._score(step, captions, source_id, completion_ids)
                self._seen(scored)
            unscored = np.isnan(scored.reward)
            return [None if bad else float(value) for bad, value in zip(unscored, scored.terms[name], strict=True)]

        reward.__name__ = name
        return reward

    def _score(
        self, step: int, captions: Sequence[str], source_ids: Sequence[str], ids: Sequence[Sequence[int]]
    ) -> Scored:
        scorer = self._context.scorer
        assert scorer is not None
        batch = scorer.scored(captions, source_ids)
        terms = {name: registry.reward(name)(captions, source_ids, self._context) for name in self._weights}
        return Scored(
            step=step,
            captions=list(captions),
            source_ids=list(source_ids),
            ids=[list(tokens) for tokens in ids],
            clipped=np.array([not tokens or tokens[-1] not in self._ends for tokens in ids], dtype=bool),
            group=self._group,
            terms={name: np.asarray(values, dtype=np.float64) for name, values in terms.items()},
            weights=self._weights,
            batch=batch,
            shuffled=np.asarray(scorer.qir(batch.rows, shuffled(source_ids, self._group)), dtype=np.float64),
        )


def joined(parts: Sequence[Scored]) -> Scored:
    """Concatenates the parts of one generation batch from several processes, in rank order; each holds whole groups."""
    if len(parts) == 1:
        return parts[0]
    return Scored(
        step=parts[0].step,
        captions=[caption for part in parts for caption in part.captions],
        source_ids=[name for part in parts for name in part.source_ids],
        ids=[tokens for part in parts for tokens in part.ids],
        clipped=np.concatenate([part.clipped for part in parts]),
        group=parts[0].group,
        terms={name: np.concatenate([part.terms[name] for part in parts]) for name in parts[0].terms},
        weights=parts[0].weights,
        batch=CimBatch.concatenate([part.batch for part in parts]),
        shuffled=np.concatenate([part.shuffled for part in parts]),
    )


def shuffled(source_ids: Sequence[str], group: int) -> list[str]:
    """Source ids rolled by one group: mismatched image-caption pairs, the shuffled control."""
    return [*source_ids[group:], *source_ids[:group]]


def weights_of(text: str) -> dict[str, float]:
    """Rewards and weights of ``--rewards``: ``cim`` is GRC and QIR at 1 and 1; ``grc=0.5,qir`` names the terms.

    Raises:
        CimError: a weight that is no finite number, or a reward named twice.
    """
    weights = dict[str, float]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = part.partition("=")
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            weight = np.nan
        if not np.isfinite(weight):
            raise CimError(f"{number!r} is no weight", where="--rewards", hint="such as grc=1,qir=0.5")
        for term in ("grc", "qir") if name == "cim" else (name,):
            if term in weights:
                raise CimError(f"reward {term} is named twice", where="--rewards")
            weights[term] = weight
    if not weights:
        raise CimError("no reward is named", where="--rewards", hint="cim list rewards")
    return weights


@dataclass(frozen=True, slots=True)
class Lookup:
    """How captions are looked up: a search of ``index.NAMES``, and the precision in which texts are encoded."""

    search: str = "exact"
    precision: str = "float32"

    def changes(self) -> dict[str, str]:
        """What differs from numpy in float32, on which every number of a CPU stands."""
        return {name: value for name, value in asdict(self).items() if value != getattr(Lookup(), name)}


def lookup(search: str | None, precision: str | None) -> Lookup:
    """What was asked for; where nothing was, bfloat16 and search on the GPU where one answers, else the defaults.

    Raises:
        CimError: no such search, or it cannot run here.
    """
    if search is not None:
        index.require(search)
    if search and precision:
        return Lookup(search, precision)
    usual = Lookup("exact-cuda", "bfloat16") if devices.gpu_answers() else Lookup()
    return Lookup(search or usual.search, precision or usual.precision)


@contextmanager
def opened(
    gallery: Gallery, scoring: CimSettings, material: Material, rewards: Iterable[str], by: Lookup | None = None
) -> Iterator[RewardContext]:
    """What rewards read: the scorer over a gallery, with all images encoded, and what they need beside.

    Texts are encoded as ``by`` says; images, once at the start, in float32 as the gallery's were.

    Raises:
        CimError: other encoders than the gallery's, or an image that cannot be read.
    """
    images = {key: image for image, key in material.keys.items()}
    needs = {need for name in rewards for need in registry.reward(name).needs}
    tower = gallery.encoder("image").text_tower if "image_text" in needs else None
    by = by or Lookup()
    with ExitStack() as stack:
        # once, for captions and for phrases
        encode = stack.enter_context(encoding(gallery.encoder("text"), by.precision))
        search = None if by.search == "exact" else stored_index.of_gallery(by.search, gallery)
        scorer = CimScorer(gallery, encode, scoring, search=search)
        scorer.add_images({key: partial(material.place, image) for key, image in images.items()})
        yield RewardContext(
            scorer=scorer,
            references={key: material.reference(image) for key, image in images.items()},
            samples=partial(_sample, material, images),
            phrases=encode,
            image_text=stack.enter_context(encoding(registry.encoder(tower))) if tower else None,
            graphs=material.graphs,
        )


def _sample(material: Material, images: Mapping[str, str], source_id: str) -> Sample:
    """The sample of a source id; an image that is rendered is written to the shared cache."""
    image = material.place(images[source_id])
    if not isinstance(image, Path):
        file = paths.results_root() / ".cache" / "images" / material.name / f"{images[source_id]}.png"
        if not file.is_file():
            store.write_bytes(file, image)
        image = file
    return Sample(source_id, (material.reference(images[source_id]),), image=str(image.absolute()))


def trl_reward(
    scorer: CimScorer, reward: str = "cim", *, column: str = "source_id", references: Mapping[str, str] | None = None
) -> Callable[..., list[float]]:
    """A reward function ``f(completions, **columns) -> list[float]``, called ``reward`` in TRL's logs.

    For ``GRPOTrainer(reward_funcs=[trl_reward(scorer)], ...)`` of a user's own script. Completions are texts or
    conversations (their last message counts).

    Args:
        reward: a name of ``cim list rewards``; several functions over one scorer score each batch once.
        column: the data set's column with source ids (``<source>:<image id>``, keys of gallery rows or of images
            given to ``scorer.add_images``).
        references: reference captions by source id, for rewards that read them.

    Raises:
        CimError: an unknown reward, or one that needs more than the scorer and the references.
    """
    part = registry.reward(registry.check("rewards", reward))
    context = RewardContext(scorer=scorer, references=references)
    if lacking := [need for need in part.needs if getattr(context, need) is None]:
        raise CimError(f"reward {reward} needs {', '.join(lacking)}", hint="`cim train --rewards` has them")

    def function(completions: Sequence[Any], **columns: Any) -> list[float]:
        if column not in columns:
            what = f"the data set has no column {column!r}: {', '.join(columns) or 'no columns'}"
            raise CimError(what, hint="trl_reward(scorer, column=...)")
        texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
        return [float(value) for value in part(texts, columns[column], context)]

    function.__name__ = reward
    return function
