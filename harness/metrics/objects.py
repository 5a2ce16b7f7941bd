"""Objects named in captions of made scenes: precision, recall and F1 an image, means over images.

Families found against the scene's families, matched exactly (``_graphs.py``).
Run with ``cim eval --model M --task miniscenes --metrics objects``.
"""

from harness.metrics import _graphs

METRIC = _graphs.set_metric("objects", "object", _graphs.objects)
