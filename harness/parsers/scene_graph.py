"""Scene graphs of captions as CAPTURE makes them: sentences, their graphs by parser ``factual``, merge, noun filter.

A value is what the metrics compare, in code-point order, and what was lost on the way::

    {"objects": ["dog"], "attributes": {"dog": ["brown"]}, "relations": [["dog", "on", "bed"]],
     "sentences": 1, "tokens": 7, "tokens_cut": 0, "inputs_cut": 0, "outputs_cut": 0, "malformed": 0, "nouns_lost": 0}

Three rules limit a sentence in T5 tokens, prompt and end marker included: none is truncated below 512 (strict);
``@sc`` truncates at 64, as FactualSceneGraph 0.5 and 0.6 do; ``@cim`` at min(64, the longest prompt of its group of 32
sentences counted without end marker), as 0.7 does, so that the longest sentence of each group loses its last token.
``@bf16`` is strict in half precision. The steps are those of capture_metric 0.1.13 (capture.py,
``merge_sentence_results`` and ``sample_to_parse_results``) and FactualSceneGraph 0.6.1 (``graph_string_to_object``).
``@lite`` is another parser, with values of the same form (``_light.py``).
Run with ``cim parse --metrics capture``.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.parsers import _light, factual
from harness.parts import Parse, Parser, Values
from harness.resources import machine, nltk_data, pretrained, wordnet
from harness.resources.wordnet_words import lemmatiser

# capture_metric 0.1.13, stop_words.py (Apache-2.0), one a line; a few are several words.
STOP_WORDS = Path(__file__).with_name("stop_words.txt")
GROUP = 32  # sentences of one caption that FactualSceneGraph parses in one call
SHORT, LONG = 64, 512  # tokens
PACE = 22.0  # characters a second of one CPU core: 29 s a caption of 642 (DOCCI500), random weights of the real sizes
COUNTS = ("tokens", "tokens_cut", "inputs_cut", "outputs_cut", "malformed", "nouns_lost")

Rule = Callable[[Sequence[int]], list[int | None]]  # lengths of a caption's sentences to the limit of each


def _fixed(limit: int, counts: Sequence[int]) -> list[int | None]:
    return [limit if count > limit else None for count in counts]


def _one_lost(limit: int, counts: Sequence[int]) -> list[int | None]:
    """FactualSceneGraph 0.7.3, ``_parse_batch``: prompts are counted without end marker, and cut with it."""
    limits = list[int | None]()
    for start in range(0, len(counts), GROUP):
        group = counts[start : start + GROUP]
        limits += _fixed(min(limit, max(group) - 1), group)
    return limits


@dataclass(frozen=True, slots=True)
class Language:
    """Linguistic functions: sentence splitter, tokenizer, tagger, lemmas of nouns and adjectives."""

    sentences: Callable[[str], list[str]]
    words: Callable[[str], list[str]]
    tag: Callable[[list[str]], list[tuple[str, str]]]
    noun: Callable[[str], str]
    adjective: Callable[[str], str]

    def nouns(self, sentences: Sequence[str]) -> list[str]:
        """Tokens of a caption that are tagged as nouns; it is tagged as a whole."""
        tokens = [word for sentence in sentences for word in self.words(sentence)]
        return [word for word, tag in self.tag(tokens) if tag.startswith("NN")]


def language() -> Language:
    """NLTK's splitter, tokenizer and tagger, and WordNet's lemmas.

    Raises:
        CimError: their data are not on this machine.
    """
    if reason := nltk_data.missing() or wordnet.missing_wordnet():
        raise CimError(reason)
    import nltk.data
    from nltk.tag.perceptron import PerceptronTagger
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktTokenizer

    # NLTK reads its search path on import; folders that were found later must be added.
    places = list(dict.fromkeys(str(nltk_data.root(resource)) for resource in nltk_data.RESOURCES))
    nltk.data.path[:] = [*places, *(place for place in nltk.data.path if place not in places)]
    folder = wordnet.folder()
    assert folder is not None
    # nltk.sent_tokenize, word_tokenize and pos_tag, without their process-wide memory of the data first seen.
    return Language(
        PunktTokenizer("english").tokenize,
        NLTKWordTokenizer().tokenize,
        PerceptronTagger().tag,
        lemmatiser(folder, "noun"),
        lemmatiser(folder, "adj"),
    )


@cache
def stop_words() -> frozenset[str]:
    """CAPTURE's stop words: heads that are no objects."""
    return frozenset(STOP_WORDS.read_text(encoding="utf-8").splitlines())


def merge(graphs: Sequence[str], speech: Language) -> tuple[set[str], dict[str, set[str]], set[tuple[str, str, str]]]:
    """Objects, attribute words by owner and relations of all sentences of a caption, lemmatised."""
    objects, attributes, relations = set[str](), dict[str, set[str]](), set[tuple[str, str, str]]()
    for graph in graphs:
        facts = factual.parts(graph)
        for fact in facts:
            if len(fact) != 3:
                if len(facts) == 1:  # of a single malformed fact its subject stays
                    objects.add(speech.noun(fact[0]))
                continue
            owner, predicate, other = speech.noun(fact[0]), fact[1], fact[2]
            objects.add(owner)
            if predicate != "is":
                objects.add(speech.noun(other))
                relations.add((owner, predicate, speech.noun(other)))
            elif not other.isdigit() and " of" not in (word := speech.adjective(other)):
                attributes.setdefault(owner, set()).add(word)
    return objects, attributes, relations


def graph_of(sentences: Sequence[str], parsed: Sequence[Mapping[str, Any]], speech: Language) -> dict[str, Any]:
    """The value of one caption from the values of its sentences that are not blank."""
    objects, attributes, relations = merge([sentence["graph"] for sentence in parsed], speech)
    said = speech.nouns(sentences)
    nouns = {speech.noun(word) for word in said}

    def is_noun(head: str) -> bool:
        return head in nouns or all(piece in nouns for piece in head.split(" "))

    lower = nouns | {speech.noun(word.lower()) for word in said}

    def is_lost(head: str) -> bool:
        return not is_noun(head) and all(speech.noun(piece.lower()) in lower for piece in head.split(" "))

    return {
        "objects": sorted(head for head in objects - stop_words() if is_noun(head)),
        "attributes": {owner: sorted(attributes[owner]) for owner in sorted(attributes) if is_noun(owner)},
        "relations": sorted(list(triple) for triple in relations if is_noun(triple[0]) and is_noun(triple[2])),
        "sentences": len(parsed),
        "tokens": sum(sentence["tokens"] for sentence in parsed),
        "tokens_cut": sum(sentence["cut"] for sentence in parsed),
        "inputs_cut": sum(sentence["cut"] > 0 for sentence in parsed),
        "outputs_cut": sum(sentence["output_cut"] for sentence in parsed),
        "malformed": sum(sentence["malformed"] for sentence in parsed),
        "nouns_lost": sum(map(is_lost, objects - stop_words())),
    }


Tools = Callable[[], tuple[Language, Any]]  # words, and the tokenizer of T5


def _parse(rule: Rule, by: str, values: Values, tools: Tools, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Parse the sentences of all captions, longest first; then return one value per caption.

    No generator: the sentences' progress is over before that of the captions begins.
    """
    speech, tokens = tools()
    split = [speech.sentences(pretrained.readable(text)) for text in texts]
    captions = [[sentence.strip() for sentence in sentences if sentence.strip()] for sentences in split]
    unique = list(dict.fromkeys(sentence for sentences in captions for sentence in sentences))
    lengths = dict(zip(unique, factual.lengths(tokens, unique), strict=True))
    lines_of, order = list[list[str]](), dict[str, int]()
    for sentences in captions:
        limits = rule([lengths[sentence] for sentence in sentences])
        lines_of.append([factual.line(sentence, limit) for sentence, limit in zip(sentences, limits, strict=True)])
        order |= zip(lines_of[-1], map(lengths.__getitem__, sentences), strict=True)
    lines = sorted(order, key=lambda line: (-order[line], line))
    parsed = dict(zip(lines, values(by, lines), strict=True))
    captions_and_lines = zip(split, lines_of, strict=True)
    return (graph_of(text, [parsed[line] for line in lines], speech) for text, lines in captions_and_lines)


@contextmanager
def _session(rule: Rule, by: str, values: Values) -> Iterator[Parse]:
    """Yield the function from captions to values; data and tokenizer are loaded when it is first called."""
    tools = cache(lambda: (language(), factual.tokenizer()))
    yield partial(_parse, rule, by, values, tools)


def _stop_settings() -> str:
    return f"CAPTURE {sha256(STOP_WORDS.read_bytes()).hexdigest()[:12]}"


def _settings(limit: str, by: str) -> dict[str, str]:
    installed = wordnet.missing_wordnet() is None
    return {
        **registry.parser(by).settings(),
        "input": limit,
        "nltk": importlib.metadata.version("nltk"),
        **nltk_data.settings(),
        "wordnet": f"3.0-{wordnet.checksum()}" if installed else "absent",
        "stop": _stop_settings(),
        "steps": "capture-metric 0.1.13",
        "v": "1",
    }


def _missing(by: str) -> str | None:
    return registry.parser(by).missing() or nltk_data.missing() or wordnet.missing_wordnet()


def _gpu() -> bool:
    """Is there a GPU that torch can use? Checked without loading it."""
    return machine.usable_gpu()


def _slow() -> str | None:
    if _gpu():
        return None
    return (
        f"scene graphs take hours without a GPU, about {1000 / PACE:.0f} CPU seconds for 1,000 characters; "
        "to make them here all the same, name the metric: --metrics capture"
    )


def summary(values: Sequence[Mapping[str, Any]]) -> str:
    """Truncated and dropped parts of captions, in one line."""
    sums = {name: sum(value[name] for value in values) for name in ("sentences", *COUNTS)}

    def share(part: str, whole: str) -> str:
        return f"{sums[part]} of {sums[whole]} ({100 * sums[part] / max(1, sums[whole]):.1f} %)"

    return (
        f"tokens cut {share('tokens_cut', 'tokens')}, sentences cut {share('inputs_cut', 'sentences')}, graphs cut "
        f"{share('outputs_cut', 'sentences')}, malformed facts {sums['malformed']}, nouns lost {sums['nouns_lost']}"
    )


def _light_parser() -> Parser:
    """The rules of ``_light.py`` with CAPTURE's stop words; quick, so that it runs wherever it is asked for."""

    def settings() -> dict[str, str]:
        return {**_light.settings(), "stop": _stop_settings()}

    @contextmanager
    def session(values: Values) -> Iterator[Parse]:
        with _light.session(stop_words(), values) as parse:
            yield parse

    return Parser("scene_graph@lite", settings, session, _light.missing, kept=True)


def _parser(name: str, rule: Rule, limit: str, by: str = "factual") -> Parser:
    settings, missing, session = partial(_settings, limit, by), partial(_missing, by), partial(_session, rule, by)
    return Parser(name, settings, session, missing, _slow, kept=True, summary=summary, pace=PACE, derived=True)


_STRICT = partial(_fixed, LONG)
PARSER = _parser("scene_graph", _STRICT, str(LONG))
VARIANTS = {
    "cim": _parser("scene_graph@cim", partial(_one_lost, SHORT), f"{SHORT}, last token lost as FactualSceneGraph 0.7"),
    "sc": _parser("scene_graph@sc", partial(_fixed, SHORT), f"{SHORT}, none lost as FactualSceneGraph 0.6"),
    "bf16": _parser("scene_graph@bf16", _STRICT, str(LONG), "factual@bf16"),
    "lite": _light_parser(),
}
