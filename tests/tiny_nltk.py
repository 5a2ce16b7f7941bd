"""NLTK's splitter and tagger, trained in a blink on this project's own text: fit for tests, named ``test``.

The real ``punkt_tab`` and ``averaged_perceptron_tagger_eng`` come from NLTK's server alone (``nltk_data.py``).
"""

from __future__ import annotations

from pathlib import Path

from harness.resources.nltk_data import FOR_TESTS, PUNKT, RESOURCES, TAGGER
from tests.conftest import ROOT
from tests.tiny_t5 import LINKS, THINGS, WORDS

SENTENCES = 400


def build(root: Path) -> Path:
    """Write both resources below a folder of NLTK's data."""
    import nltk.data
    from nltk.tag.perceptron import PerceptronTagger
    from nltk.tokenize.punkt import PunktTrainer, save_punkt_params

    for resource in RESOURCES:
        (root / resource.place).mkdir(parents=True, exist_ok=True)
        (root / resource.place / FOR_TESTS).write_text("trained by tests/tiny_nltk.py\n")
    nltk.data.path.insert(0, str(root))  # nltk writes nowhere else
    try:
        text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"))
        save_punkt_params(PunktTrainer(text).get_params(), dir=str(root / PUNKT.place))
        tagger = PerceptronTagger(load=False)
        tagger.train(_tagged(), nr_iter=2)
        tagger.save_to_json(lang="eng", loc=str(root / TAGGER.place))
    finally:
        nltk.data.path.remove(str(root))
    return root


def _tagged() -> list[list[tuple[str, str]]]:
    """Sentences of known words, plain and with a capital, in the places where captions have them."""
    nouns, tagged = sorted({*THINGS, "dogs", "trees", "lights"}), []
    for at in range(SENTENCES):
        first, second = nouns[at % len(nouns)], nouns[(7 * at + 3) % len(nouns)]
        word, link = WORDS[at % len(WORDS)].split()[0], LINKS[at % len(LINKS)]
        tag = "CD" if word.isdigit() else "JJ"
        plural = "NNS" if first.endswith("s") else "NN"
        tagged.append(
            [("the", "DT"), (word, tag), (first, plural), (link, "IN"), ("a", "DT"), (second, "NN"), (".", ".")]
        )
        tagged.append([("The", "DT"), (first, plural), ("is", "VBZ"), (word, tag), (".", ".")])
        tagged.append([(first.capitalize(), plural), ("and", "CC"), ("it", "PRP"), ("runs", "VBZ"), (".", ".")])
    return tagged
