"""DOCCI500: 500 images of DOCCI's test split with long human descriptions.

References 44-334 words, objects, attributes and 2,481 relation questions. Run with
``cim eval --model M --task docci500``.
"""

from harness.types import Archive, Task
from tasks import _sc_captioner

_FILES = tuple(
    _sc_captioner.annotation("evaluate_docci500", *row)
    for row in (
        ("test_docci_500_gt.json", 332691, "414d46a252b8830d60b87c3c26bf04adbe4ea4503ba4fd90d13b89c871ff7151"),
        ("docci500_gpt_objects.jsonl", 49601, "54c223b74d03cb5fbc4d34934c57e5be1de901a6790e5f29af76000d6d9e7377"),
        ("docci500_gpt_attributes.json", 1231389, "12191625eea436031589517ddaaf259321deb8c96632f5a1c20188799a469dc0"),
        ("questions_docci500.json", 214174, "bc3bd5b2d515029d34062dafd287acd4b1051a83e6c3159ad38c3c480bc8884b"),
    )
)

TASK = Task(
    name="docci500",
    title="DOCCI500",
    prompt=_sc_captioner.PROMPT,
    files=_FILES,
    count=500,
    questions=2_481,
    provides=_sc_captioner.PROVIDES,
    gallery=_sc_captioner.GALLERY,
    load=_sc_captioner.loader(_FILES),
    licence="descriptions CC BY 4.0 (Google), lists Apache-2.0",
    source=_sc_captioner.SOURCE,
    judge="qwen3-8b",
    # Size as google.github.io/docci rounds it; no sum is published.
    archive=Archive(
        url="https://storage.googleapis.com/docci/data/docci_images.tar.gz",
        bytes=7_100_000_000,
        sha256=None,
        member=lambda sample: f"images/{sample.image}",
        licence="CC BY 4.0 (Google)",
        source="google.github.io/docci",
    ),
)
