"""Captions of the embedded world as unit vectors: the text side of its tiny dual encoder (not a general text encoder).

Trained by this project on drawn scenes (``tasks/miniscenes/encoders.py``); words outside that language are passed
over. Run with ``cim gallery build --source miniscenes``.
"""

from harness.encoders import _miniscenes

ENCODER = _miniscenes.encoder("miniscenes_text", "text")
