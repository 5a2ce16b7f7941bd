"""Pictures of the embedded world as unit vectors: the image side of its tiny dual encoder (48 x 48 pixels only).

It looks through mini-base's frozen vision tower (``tasks/miniscenes/encoders.py``). Run with
``cim gallery build --source miniscenes``.
"""

from harness.encoders import _miniscenes

ENCODER = _miniscenes.encoder("miniscenes_image", "image")
