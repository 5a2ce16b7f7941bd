"""Scene graphs of single sentences by FACTUAL's flan-t5 (Li et al. 2023, arXiv 2305.17497), as CAPTURE reads them.

A text is ``<limit>\\t<sentence>``: how many input tokens are kept, prompt and end marker included, or ``-`` if the
sentence is not truncated, so that all truncation rules share the values of sentences that none truncates. Its value::

    {"graph": "( dog , is , brown ) , ( dog , on , bed )", "tokens": 7, "cut": 0, "output_cut": false, "malformed": 0}

``tokens`` are those of the sentence alone, ``cut`` the number removed, ``malformed`` counts facts that are not
three parts. Prompt, beams and lengths: factual_scene_graph/parser/scene_graph_parser.py of FactualSceneGraph 0.6.1,
``SceneGraphParser.parse``; clean-up of the text: its utils.py. Adjacent sentences share a batch, so pass them
in the order of their lengths (``harness/parsers/scene_graph.py`` does). Run with ``cim parse --metrics capture``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import OutageError
from harness.parts import Parse, Parser, Values
from harness.resources import pretrained

PROMPT = "Generate Scene Graph: "
UNCUT = "-"
BEAMS = 5
LONGEST_OUTPUT = 128  # tokens, the start token counted
# A batch's sentences at most, and its input tokens times beams. A CPU is busy with few; a sentence of 64 tokens
# takes about 70 MB of keys and values in float32.
ROWS = {"cpu": 8, "cuda": 128}
TOKENS = {"cpu": 8_192, "cuda": 65_536}


def line(sentence: str, limit: int | None) -> str:
    """The parser's text for a sentence truncated to ``limit`` input tokens; None: not truncated."""
    return f"{UNCUT if limit is None else limit}\t{sentence}"


def tokenizer(folder: Path | None = None) -> Any:
    """The checkpoint's tokenizer.

    Raises:
        CimError: the weights are not here.
    """
    from transformers import AutoTokenizer

    place = folder or pretrained.require(pretrained.FACTUAL)
    return AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)


def lengths(tokens: Any, sentences: Sequence[str]) -> list[int]:
    """Input tokens of each sentence, prompt and end marker included."""
    return [len(ids) for ids in tokens([PROMPT + sentence for sentence in sentences])["input_ids"]] if sentences else []


def clean(text: str) -> str:
    """The graph string of a model output: its complete facts, each once, in code-point order."""
    spaced = text.replace(PROMPT.strip(), "")
    for symbol in "(),":
        spaced = spaced.replace(symbol, f" {symbol} ")
    spaced = " ".join(spaced.split())
    facts = spaced.split(") ,")
    if not spaced.endswith(")"):  # truncated: drop the last fact; of a single fact keep the subject
        facts = facts[:-1] if len(facts) > 1 else [facts[0].partition(",")[0]]
    whole = {fact.strip().strip("()").strip() for fact in facts} - {""}
    return " , ".join(f"( {fact} )" for fact in sorted(whole))


def parts(graph: str) -> list[list[str]]:
    """The facts of a graph string, each split at commas; ``[[""]]`` for an empty graph."""
    return [[part.strip() for part in fact.strip().strip("()").split(",")] for fact in graph.strip().split(") ,")]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model in memory with its tokenizer, on a device."""

    model: Any
    tokens: Any
    device: str

    def encode(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Input ids of texts, truncated to their limits, with the sentence's and the removed numbers of tokens."""
        if not texts:
            return []
        parted = [text.partition("\t") for text in texts]
        whole = self.tokens([PROMPT + sentence for _, _, sentence in parted])["input_ids"]
        around, rows = len(self.tokens(PROMPT.strip())["input_ids"]), []
        for (limit, _, sentence), ids in zip(parted, whole, strict=True):
            kept = ids
            if limit != UNCUT:
                kept = self.tokens(PROMPT + sentence, max_length=int(limit), truncation=True)["input_ids"]
            rows.append({"ids": kept, "tokens": len(ids) - around, "cut": len(ids) - len(kept)})
        return rows

    def generate(self, rows: Sequence[dict[str, Any]]) -> list[list[int]]:
        """Output ids of a batch."""
        import torch

        longest, pad = max(len(row["ids"]) for row in rows), self.tokens.pad_token_id
        ids = [row["ids"] + [pad] * (longest - len(row["ids"])) for row in rows]
        mask = [[1] * len(row["ids"]) + [0] * (longest - len(row["ids"])) for row in rows]
        with torch.inference_mode():
            output = self.model.generate(
                torch.tensor(ids, device=self.device),
                attention_mask=torch.tensor(mask, device=self.device),
                use_cache=True,
                decoder_start_token_id=pad,
                num_beams=BEAMS,
                max_length=LONGEST_OUTPUT,
                early_stopping=True,
                num_return_sequences=1,
            )
        written: list[list[int]] = output.tolist()
        return written

    def value(self, row: dict[str, Any], ids: list[int]) -> dict[str, Any]:
        """The stored value of a sentence whose model output is ``ids``."""
        graph = clean(self.tokens.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True))
        malformed = sum(len(fact) != 3 for fact in parts(graph)) if graph else 0
        stopped = self.tokens.eos_token_id in ids
        counts = {"tokens": row["tokens"], "cut": row["cut"]}
        return {"graph": graph, **counts, "output_cut": not stopped, "malformed": malformed}


def parse(loaded: Loaded, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One value per text, in order, by batches; a batch that does not fit into memory is halved.

    Raises:
        OutageError: one sentence alone does not fit.
    """
    import torch

    rows, at, most = loaded.encode(texts), 0, ROWS[loaded.device]
    while at < len(rows):
        batch = _first(rows[at : at + most], TOKENS[loaded.device])
        try:
            written = loaded.generate(batch)
        except torch.OutOfMemoryError:
            written = []
        if written:
            yield from map(loaded.value, batch, written)
            at += len(batch)
            continue
        if len(batch) == 1:
            raise OutageError("a sentence does not fit into this device's memory", hint="free some of it")
        most = len(batch) // 2
        if loaded.device == "cuda":
            torch.cuda.empty_cache()


def _first(rows: Sequence[dict[str, Any]], tokens: int) -> Sequence[dict[str, Any]]:
    """The first rows that make a batch of so many tokens, all as long as the longest of them; at least one."""
    longest = 0
    for count, row in enumerate(rows):
        longest = max(longest, len(row["ids"]))
        if count and (count + 1) * longest * BEAMS > tokens:
            return rows[:count]
    return rows


@contextmanager
def session(precision: str, _: Values | None = None) -> Iterator[Parse]:
    """Load the weights and yield the function from texts to values.

    Raises:
        CimError: the weights are not here or not whole.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM

    folder = pretrained.whole(pretrained.FACTUAL)
    options = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    with pretrained.device() as device:
        model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=getattr(torch, precision), **options)
        yield partial(parse, Loaded(model.to(device).eval(), tokenizer(folder), device))


def settings(precision: str) -> dict[str, str]:
    """What can change a sentence's value; the limit stands in the text."""
    return {
        "weights": pretrained.identity(pretrained.FACTUAL),
        "prompt": PROMPT.strip(),
        "decoding": f"beams {BEAMS}, output {LONGEST_OUTPUT}, early stopping",
        "precision": precision,
        "transformers": pretrained.major(),
        "clean": "FactualSceneGraph 0.6.1",
    }


def _parser(name: str, precision: str) -> Parser:
    missing = partial(pretrained.missing, pretrained.FACTUAL)
    return Parser(name, partial(settings, precision), partial(session, precision), missing, weights=True)


PARSER = _parser("factual", "float32")
VARIANTS = {"bf16": _parser("factual@bf16", "bfloat16")}
