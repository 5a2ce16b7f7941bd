"""One scoring pass per step, shared by all reward functions that TRL calls.

TRL calls each reward function separately; captions are scored once and the terms handed out, so that GRC and QIR are
logged separately. A caption that cannot be scored leaves its group only if **all** functions return None: a single None
beside a number would count as 0 (`trl/trainer/grpo_trainer.py`, ``nansum``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from harness.errors import CimError
from harness.retrieval.scorer import CimBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

RewardFunction = Callable[..., list[float | None]]


class Scorer(Protocol):
    """A CIM scorer, as ``harness/retrieval/scorer.py``."""

    def score(self, captions: Sequence[str], source_ids: Sequence[str]) -> CimBatch:
        """GRC, QIR and retrieved rows of captions of the images with these keys."""

    def qir(self, rows: Array, source_ids: Sequence[str]) -> Array:
        """QIR of already retrieved rows against other images."""


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


Extra = Callable[[Sequence[str], Sequence[str]], "Array"]


class SharedScore:
    """Scores each generation batch once, passes it to ``seen``, and serves the reward functions.

    Args:
        weights: reward functions by name, with their weights: ``grc`` and ``qir`` of the scorer, or one of ``extra``.
        extra: further rewards by name: functions from captions and source ids to one number per caption.
        group: captions per image.
        ends: token ids that end a caption; one that does not end with such a token was truncated.
    """

    def __init__(
        self,
        scorer: Scorer,
        weights: Mapping[str, float],
        group: int,
        ends: frozenset[int],
        seen: Callable[[Scored], None],
        extra: Mapping[str, Extra] | None = None,
    ) -> None:
        self._scorer, self._weights, self._group, self._ends = scorer, dict(weights), group, ends
        self._seen, self._extra = seen, dict(extra or {})
        self._key, self._scored = "", list[Scored]()

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
            texts = [completion[0]["content"] for completion in completions]
            scored = self._of(int(trainer_state.global_step), texts, source_id, completion_ids)
            unscored = np.isnan(scored.reward)
            return [None if bad else float(value) for bad, value in zip(unscored, scored.terms[name], strict=True)]

        reward.__name__ = name
        return reward

    def _of(
        self, step: int, captions: Sequence[str], source_ids: Sequence[str], ids: Sequence[Sequence[int]]
    ) -> Scored:
        text = "\0".join([str(step), *captions, *source_ids])
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if key != self._key:
            self._scored, self._key = [self._score(step, captions, source_ids, ids)], key
            self._seen(self._scored[0])
        return self._scored[0]

    def _score(
        self, step: int, captions: Sequence[str], source_ids: Sequence[str], ids: Sequence[Sequence[int]]
    ) -> Scored:
        batch = self._scorer.score(captions, source_ids)
        known: dict[str, Array] = {"grc": batch.grc, "qir": batch.qir}
        terms = {
            name: np.asarray(
                known[name] if name in known else self._extra[name](captions, source_ids), dtype=np.float64
            )
            for name in self._weights
        }
        return Scored(
            step=step,
            captions=list(captions),
            source_ids=list(source_ids),
            ids=[list(tokens) for tokens in ids],
            clipped=np.array([not tokens or tokens[-1] not in self._ends for tokens in ids], dtype=bool),
            group=self._group,
            terms=terms,
            weights=self._weights,
            batch=batch,
            shuffled=np.asarray(self._scorer.qir(batch.rows, shuffled(source_ids, self._group)), dtype=np.float64),
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
