"""A small T5 of the parser's class, made on the spot and trained for seconds to write graphs, right or wrong.

Two layers of width 64, a tokenizer of this file's words. Half-trained on purpose: its graphs hold
malformed, repeated and cut-off facts, as those of the real parser do.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

PROMPT = "Generate Scene Graph: "
THINGS = [
    "dog",
    "cat",
    "glasses",
    "traffic",
    "lights",
    "man",
    "woman",
    "street",
    "car",
    "tree",
    "table",
    "cup",
    "people",
    "leaves",
    "window",
    "wall",
    "sky",
    "bus",
]
WORDS = ["red", "old", "brown", "wooden", "small", "blue", "2", "black", "large", "turned off", "full of water"]
LINKS = ["on", "under", "beside", "holding", "with"]


def pair(draw: random.Random) -> tuple[str, str]:
    """A sentence and a graph of it; some facts are malformed, some empty, some repeated."""
    facts, said = [], []
    for _ in range(draw.randint(1, 3)):
        thing, other = draw.choice(THINGS), draw.choice(THINGS)
        word, link = draw.choice(WORDS), draw.choice(LINKS)
        said.append(f"the {word} {thing} {link} a {other}")
        facts += [f"( {thing} , is , {word} )", f"( {thing} , {link} , {other} )"]
        if draw.random() < 0.3:
            facts.append(f"( {thing} , {word} )")
        if draw.random() < 0.3:
            facts.append(facts[0])
    return ", and ".join(said).capitalize() + ".", " , ".join(facts)


def build(folder: Path, steps: int = 150) -> Path:
    """Write the checkpoint as a folder that transformers reads; always the same one on one machine."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    draw = random.Random(0)
    pairs = [pair(draw) for _ in range(400)]
    tokens = tokenizer([PROMPT, *itertools.chain.from_iterable(pairs)])
    config = T5Config(
        vocab_size=len(tokens),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
        decoder_start_token_id=tokens.pad_token_id,
        pad_token_id=tokens.pad_token_id,
        eos_token_id=tokens.eos_token_id,
    )
    model = T5ForConditionalGeneration(config)
    _train(model, tokens, pairs, steps)
    model.eval().save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def tokenizer(texts: list[str]) -> Any:
    """T5's own tokenizer with a vocabulary of these texts' words, and of letters for all others."""
    from transformers import T5Tokenizer

    words = sorted({word for text in texts for word in text.replace(",", " ,").replace(".", " .").split()})
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")] + [("▁", -5.0)]
    vocabulary += [(f"▁{word}", -2.0) for word in words] + [(letter, -8.0) for letter in letters]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0)


def _train(model: Any, tokens: Any, pairs: list[tuple[str, str]], steps: int) -> None:
    import torch

    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        some = [pairs[(8 * step + at) % len(pairs)] for at in range(8)]
        given = tokens([PROMPT + sentence for sentence, _ in some], padding=True, return_tensors="pt")
        wanted = tokens([graph for _, graph in some], padding=True, return_tensors="pt")["input_ids"]
        labels = wanted.masked_fill(wanted == tokens.pad_token_id, -100)
        loss = model(**given, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
