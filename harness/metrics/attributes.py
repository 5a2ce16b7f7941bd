"""Attributes stated in captions of made scenes: precision, recall and F1 an image, means over images.

Pairs of owner and colour, size or texture, and the background's colour, matched exactly (``_graphs.py``).
Run with ``cim eval --model M --task miniscenes --metrics attributes``.
"""

from harness.metrics import _graphs

METRIC = _graphs.set_metric("attributes", "attribute", _graphs.attributes)
