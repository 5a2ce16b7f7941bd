"""How engine ``transformers`` samples a token: by each row's own seed, in vLLM's order of cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.weights import Sampling


class Choice:
    """Samples by argmax: penalty, temperature, top_k, top_p, then p / q, so that greedy decoding picks the sample.

    q is exponential noise from the row's own generator (the Gumbel-max trick, as vLLM samples), so a row's
    text depends on its seed and on nothing else in the batch.
    """

    def __init__(self, sampling: Sampling, inputs: Any, seeds: Sequence[int]) -> None:
        import torch
        from transformers import TopKLogitsWarper, TopPLogitsWarper

        self.sampling, self.length = sampling, inputs["input_ids"].shape[1]
        place = inputs["input_ids"].device
        self.generators = [torch.Generator(device=place).manual_seed(seed) for seed in seeds]
        self.padded = ~inputs["attention_mask"].bool()
        # In vLLM's order: top_k before top_p.
        self.cuts = [TopKLogitsWarper(self.sampling.top_k)] if self.sampling.top_k else []
        self.cuts += [TopPLogitsWarper(self.sampling.top_p)] if self.sampling.top_p < 1 else []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores (rows, vocabulary) whose argmax is the chosen token."""
        import torch

        if self.sampling.repetition_penalty != 1:
            scores = self._penalised(input_ids, scores)
        if self.sampling.temperature == 0:
            return scores
        scores = scores.float() / self.sampling.temperature
        for cut in self.cuts:
            scores = cut(input_ids, scores)
        noise = torch.empty_like(scores)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores.softmax(-1).div_(noise)

    def _penalised(self, input_ids: Any, scores: Any) -> Any:
        """transformers' own penalty would count the padding as a token that was seen."""
        import torch

        seen = torch.ones_like(input_ids, dtype=torch.bool)
        seen[:, : self.length] = ~self.padded
        counts = torch.zeros_like(scores, dtype=torch.long).scatter_add_(1, input_ids, seen.long())
        penalty = self.sampling.repetition_penalty
        return torch.where(counts > 0, torch.where(scores > 0, scores / penalty, scores * penalty), scores)
