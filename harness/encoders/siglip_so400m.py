"""Embeddings of images by SigLIP SO400M at 384 pixels, 1152 numbers: another image encoder for a gallery.

Never run with trained weights, which are not on the machines this was written on.
"""

from harness.encoders import _open_clip

ENCODER = _open_clip.encoder("siglip_so400m", "timm/ViT-SO400M-14-SigLIP-384", "image")
