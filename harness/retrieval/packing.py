"""A text model as the scorer's encode function: texts of like length packed together, mean pooling, unit length.

vector = mean over a text's token states, L2-normalised, as sentence-transformers makes it for all-mpnet-base-v2; the
model may run in bfloat16, pooling is float32. ``truncates`` says which texts are longer than the model reads, so that
a run can tell what its reward does not see. For training, where speed counts; ``harness/encoders`` is for metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from harness.parts import Vectors

ONLY_IDS = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
BUDGET = {"cpu": 2048, "cuda": 16384}  # padded tokens a call


@dataclass(frozen=True, slots=True)
class Packed:
    """A loaded model with its fast tokenizer, at the model's own device and precision.

    Args:
        longest: tokens read of a text, markers included; 384 for all-mpnet-base-v2.
        budget: padded tokens a call; by device if None.
    """

    model: Any
    tokens: Any
    longest: int
    budget: int | None = None
    _last: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (n, d), float32."""
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        ids = list(self._ids(texts))
        if long := [row for row, one in enumerate(ids) if len(one) > self.longest]:
            cut = self.tokens([texts[row] for row in long], truncation=True, max_length=self.longest, **ONLY_IDS)
            for row, one in zip(long, cut["input_ids"], strict=True):
                ids[row] = one
        found = dict[int, Any]()
        for rows in self._packs([len(one) for one in ids]):
            found |= zip(rows, self._call([ids[row] for row in rows]), strict=True)
        return np.stack([found[at] for at in range(len(texts))])

    def truncates(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than is read."""
        return [len(one) > self.longest for one in self._ids(texts)] if texts else []

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Whole token ids; those of the batch before are kept, as both functions are asked about the same one."""
        asked = tuple(texts)
        if self._last.get("texts") != asked:
            self._last.update(texts=asked, ids=self.tokens(list(texts), **ONLY_IDS)["input_ids"])
        ids: list[list[int]] = self._last["ids"]
        return ids

    def _packs(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows of one call, longest first, so that little is padded and the largest call comes first."""
        budget, pack = self.budget or BUDGET.get(self.model.device.type, BUDGET["cuda"]), list[int]()
        for row in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
            if pack and lengths[pack[0]] * (len(pack) + 1) > budget:
                yield pack
                pack = []
            pack.append(row)
        yield pack

    def _call(self, ids: Sequence[Sequence[int]]) -> Vectors:
        import torch

        lengths = np.array([len(one) for one in ids])
        padded = np.full((len(ids), lengths.max()), self.tokens.pad_token_id, dtype=np.int64)
        there = np.arange(lengths.max()) < lengths[:, None]
        padded[there] = np.concatenate(ids)
        given, mask = (torch.from_numpy(part).to(self.model.device) for part in (padded, there.astype(np.int64)))
        with torch.inference_mode():
            states = self.model(input_ids=given, attention_mask=mask)[0].float()
            mean = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
            unit: Vectors = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return unit
