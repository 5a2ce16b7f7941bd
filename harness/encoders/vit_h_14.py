"""Embeddings of images by OpenCLIP ViT-H-14 (laion2B): the image encoder of CIM's released code, 1024 numbers.

Never run with trained weights, which are not on the machines this was written on.
"""

from harness.encoders import _open_clip

ENCODER = _open_clip.encoder("vit_h_14", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "image", "vit_h_14_text")
