"""Fine names (breeds) stated in captions of made scenes: precision, recall and F1, means over images.

Pairs of family and fine name, matched exactly (``_graphs.py``).
Run with ``cim eval --model M --task miniscenes --metrics fine_names``.
"""

from harness.metrics import _graphs

METRIC = _graphs.set_metric("fine_names", "fine name", _graphs.names, 4)
