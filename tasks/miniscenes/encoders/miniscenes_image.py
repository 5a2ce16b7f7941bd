"""Pictures of the embedded world as unit vectors: the image side of its tiny dual encoder (48 x 48 pixels only).

It looks through mini-base's frozen vision tower (``dual_encoder.py``). Run with
``cim gallery build --source miniscenes``.
"""

from tasks.miniscenes.encoders import _dual

ENCODER = _dual.encoder("miniscenes_image", "image", "miniscenes_text")
