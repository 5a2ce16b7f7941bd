"""Speed of scene-graph parsing: all sentences in batches of like length, beside one caption at a time.

No trained weights here: the model has the sizes of flan-t5-base (247.6 M parameters) and random weights, and ends a
graph after as many tokens as graphs of such sentences have, since random weights never end one. Both sides run the
same model on the same sentences, FactualSceneGraph 0.6.1 a caption at a time as CAPTURE does; graphs are equal before
a time is printed. Part of ``make bench``.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

from harness import registry
from harness.parsers import factual
from harness.parts import Parse, Parser, Values
from harness.stages.parse import Parses
from tests.clock import measured
from tests.tiny_t5 import pair, tokenizer

CAPTIONS = 6
STEPS = 3.0  # output tokens for one input token: a fact is eight tokens, and a clause of five words holds two


def model(tokens: Any) -> Any:
    """flan-t5-base with random weights, whose graphs end after ``STEPS`` times the input."""
    import torch
    from transformers import LogitsProcessor, T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "vocab_size": 32128}
    ids = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    config = T5Config(**sizes, **ids, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    torch.manual_seed(0)
    t5 = T5ForConditionalGeneration(config).eval()
    written = t5.generate

    class Ending(LogitsProcessor):
        """Nothing but the end marker once a sentence has its tokens, and no word before that is not in the list."""

        def __init__(self, lengths: Any) -> None:
            self.lengths = lengths

        def __call__(self, ids: Any, scores: Any) -> Any:
            scores[:, len(tokens) :] = -torch.inf
            ends = ids.shape[1] >= self.lengths.repeat_interleave(len(ids) // len(self.lengths))
            scores[:, 1] = torch.where(ends, 1e4, -torch.inf)
            return scores

    def generate(ids: Any, attention_mask: Any, **arguments: Any) -> Any:
        ending = Ending((attention_mask.sum(1) * STEPS).long())
        return written(ids, attention_mask=attention_mask, logits_processor=[ending], **arguments)

    t5.generate = generate
    return t5


def captions(count: int) -> list[list[str]]:
    """Captions of one to five made-up sentences."""
    draw = random.Random(3)
    return [[pair(draw)[0] for _ in range(1 + at % 5)] for at in range(count)]


def parsing(say: Callable[[str], None], count: int = CAPTIONS) -> dict[str, Any]:
    """Seconds of both sides, and of a second model whose references are known."""
    if absent := [name for name in ("torch", "transformers", "factual_scene_graph") if not find_spec(name)]:
        say(f"scene graphs left out: {', '.join(absent)} not installed")
        return {}
    import torch
    from factual_scene_graph.parser.scene_graph_parser import SceneGraphParser

    torch.set_num_threads(1)  # two threads on a busy machine wait for each other, and waiting counts as CPU time
    tokens = tokenizer([factual.PROMPT, *(part for _ in range(200) for part in pair(random.Random(_)))])
    loaded, given = factual.Loaded(model(tokens), tokens, "cpu"), captions(count)
    oracle = SceneGraphParser.__new__(SceneGraphParser)
    for name, value in {"device": "cpu", "tokenizer": tokens, "model": loaded.model, "parser_type": "default"}.items():
        setattr(oracle, name, value)
    oracle.lemmatize = oracle.lowercase = False
    loaded.generate(loaded.encode([factual.line("A dog.", None)]))  # neither side pays for the first call
    theirs, ours, again = dict[str, float](), dict[str, float](), dict[str, float]()
    with measured(theirs):
        expected = {
            sentence: graph
            for some in given
            for sentence, graph in zip(some, oracle.parse(some, return_text=True), strict=True)
        }
    unique = sorted(expected, key=lambda sentence: -factual.lengths(tokens, [sentence])[0])
    lines = [factual.line(sentence, None) for sentence in unique]

    @contextmanager
    def session(_: Values) -> Iterator[Parse]:
        yield lambda texts: factual.parse(loaded, texts)

    parser = Parser("factual", lambda: {"weights": "random"}, session)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(registry, "parser", lambda _: parser):
        with measured(ours), Parses(Path(folder)) as parses:
            graphs = parses.parse("factual", lines)
        assert [sentence["graph"] for sentence in graphs] == [expected[sentence] for sentence in unique], (
            "graphs differ"
        )
        with measured(again), Parses(Path(folder)) as parses:
            assert parses.parse("factual", lines) == graphs
    say(f"scene graphs, {count} captions, {len(unique)} sentences, random weights of flan-t5-base's sizes")
    for label, row in (("FactualSceneGraph 0.6.1, a caption at a time", theirs), ("ours, equal graphs", ours)):
        say(f"  {label:<46} {row['cpu']:6.2f} CPU s {row['wall']:6.2f} s")
    say(f"  {theirs['cpu'] / ours['cpu']:.2f}x CPU, {theirs['wall'] / ours['wall']:.2f}x wall")
    say(f"  known texts (references, for every further model)    {again['cpu']:6.2f} CPU s {again['wall']:6.2f} s")
    return {"reference": theirs, "ours": ours, "known": again}
