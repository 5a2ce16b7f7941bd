"""Embeddings of images by DINOv3 ViT-L/16 (LVD-1689M), 1024 numbers: another image encoder for a gallery.

Never run with trained weights, which are not on the machines this was written on. Its weights are gated (DINOv3
licence). The paper names DINOv3 without its size; this one is our choice.
"""

from harness.encoders import _dino

ENCODER = _dino.encoder("dinov3_l", "facebook/dinov3-vitl16-pretrain-lvd1689m")
