"""Caption length in words, to be read beside every other metric.

words = number of white-space separated pieces; mean over images. Output length alone agrees with
human ratings better than most caption metrics do (CapArena, arXiv 2503.12329, Table 2). Run with
``cim eval --model M --metrics length``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.parts import Measurement, Metric, Records, Value


def _measure(records: Records) -> Measurement:
    words = np.array([[len(caption.split())] for caption in records.captions], dtype=np.float64)
    return Measurement(words, words)


def _signature() -> Mapping[str, str]:
    return {"tok": "whitespace", "agg": "mean", "v": "1"}


METRIC = Metric(
    name="length",
    values=(Value("words", higher_is_better=None),),
    order=1000,
    needs=frozenset(),
    measure=_measure,
    signature=_signature,
    empty=(0.0,),
    scale=None,
)
