"""Embeddings of texts in the space of vit_h_14's images; 77 tokens are read. For reward clip.

Never run with trained weights, which are not on the machines this was written on.
"""

from harness.encoders import _open_clip

ENCODER = _open_clip.encoder("vit_h_14_text", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "text")
