"""Captions of the embedded world as unit vectors: the text side of its tiny dual encoder (not a general text encoder).

Trained by this project on drawn scenes (``dual_encoder.py``); words outside that language are passed
over. Run with ``cim gallery build --source miniscenes``.
"""

from tasks.miniscenes.encoders import _dual

ENCODER = _dual.encoder("miniscenes_text", "text")
