"""A small random MPNet of the phrase encoder's class, with the files that sentence-transformers reads."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = "a an the red dog cat on in under table small wooden traffic light holding , . ##s ##ing ##er".split()  # noqa: SIM905


def build(folder: Path) -> Path:
    """Write the checkpoint: two layers of width 32, mean pooling and norm, at most 384 tokens."""
    import torch
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(97, 123)]
    pieces = ["<s>", "<pad>", "</s>", "[UNK]", *WORDS, *letters, *(f"##{letter}" for letter in letters), "<mask>"]
    vocabulary = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    MPNetTokenizer(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=514,
    )
    MPNetModel(config).eval().save_pretrained(folder)
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 384, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir()
    return folder
