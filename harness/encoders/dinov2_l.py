"""Embeddings of images by DINOv2 ViT-L/14, 1024 numbers: another image encoder for a gallery.

Never run with trained weights, which are not on the machines this was written on.
"""

from harness.encoders import _dino

ENCODER = _dino.encoder("dinov2_l", "facebook/dinov2-large")
